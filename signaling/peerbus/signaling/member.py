"""
One session as a member of a channel.

Owns what the channel and the others know of it (name, identity, order, attributes) and what it may do. Never
decides who receives what (that is the hub).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from peerbus.protocol.channel import lineage_identity
from peerbus.protocol.grants import Admission, Operation
from peerbus.protocol.messages import Attributes, Connect
from peerbus.protocol.messages import Member as MemberInfo
from peerbus.protocol.session.server import ServerSession
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.limits import Limits
from peerbus.signaling.mail import Mail
from peerbus.signaling.rate import SharedRate, TokenBucket

if TYPE_CHECKING:
    from peerbus.signaling.channel import Channel


class Peer(Struct, frozen=True):
    """Where a connection comes from: what of it grants look at, and the id that the log knows it by."""

    address: str | None
    origin: str | None
    correlation_id: str


DepartureReason = Literal["left", "lost", "replaced", "kicked", "expired", "closed"]


class Member:
    """A session in a channel. `connection` is the shell's own object, or None while the connection is lost."""

    __slots__ = (
        "_grant_bucket",
        "_lossy_bucket",
        "_request_bucket",
        "_send_bucket",
        "admission",
        "attributes",
        "author",
        "auto_receive",
        "capabilities",
        "channel",
        "connection",
        "credential",
        "crypto_session",
        "expires_ms",
        "identity",
        "is_dirty",
        "is_gone",
        "is_warned",
        "key_rate",
        "lineage",
        "mail",
        "message_bytes",
        "name",
        "order",
        "peer",
        "project",
        "pushes_presence",
        "receives",
        "sealed_attributes",
        "send_rate_per_s",
        "sent_count",
        "session",
        "since",
        "types",
        "wants_all",
        "warning_ms",
    )

    def __init__(
        self,
        session: ServerSession[EncodedFrame],
        channel: Channel,
        *,
        name: str,
        identity: str,
        lineage: bytes,
        project: str,
        order: int,
        since: int,
        limits: Limits,
        now_ms: int,
    ) -> None:
        self.key_rate: SharedRate
        """What all sessions of its developer key together may send."""
        self.session: Final = session
        self.channel: Final = channel
        self.name: Final = name
        self.identity: Final = identity
        self.lineage: Final = lineage
        self.author: Final = lineage_identity(lineage)
        """Whose hand its messages are from; several sessions may share a claimed identity, not this."""
        self.mail: Mail | None = None
        """What it knows of its mailbox, if its name is claimed."""
        self.project: Final = project
        self.order: Final = order
        self.since: Final = since
        """The offset after which its session began; what was stored before is history, or mail."""
        self.attributes: Attributes = {}
        self.sealed_attributes = b""
        self.crypto_session = b""
        self.capabilities: list[str] = []
        self.auto_receive = True
        self.types: frozenset[str] | None = None
        self.connection: Any = None
        self.credential: CredentialIds
        """What it is here by; set by the membership, as is `key_rate`."""
        self.is_dirty = False
        self.is_gone = False
        """It has left for good; frames that still come from its connection mean nothing."""
        self.is_warned = False
        self.warning_ms = 0
        """How long before its credential ends the client is told."""
        self.sent_count = 0
        self.message_bytes = 0
        # They last as long as the session: connecting again, or renewing, gives nothing back.
        self._send_bucket: Final = _bucket(limits.send_rate_per_s, now_ms)
        self._lossy_bucket: Final = _bucket(limits.lossy_rate_per_s, now_ms)
        self._request_bucket: Final = _bucket(limits.request_rate_per_s, now_ms)
        self._grant_bucket: TokenBucket | None = None
        """Of a grant with a rate of its own, which holds for all classes together."""

    def begin(
        self,
        connect: Connect,
        admission: Admission,
        limits: Limits,
        connection: Any,
        peer: Peer,
        now_ms: int,
    ) -> None:
        """A connection begins: what it asked for and what it may do from now on. Attributes stay as they are."""
        self.capabilities = connect.capabilities
        self.auto_receive = connect.auto_receive
        self.types = frozenset(connect.types) or None
        if connect.crypto_session != self.crypto_session:
            # New, or a page that was loaded again: what it sealed before belongs to the crypto-session that has ended.
            self.crypto_session = connect.crypto_session
            self.sealed_attributes = connect.sealed_attributes
        self.connection = connection
        self.peer = peer
        self.admit(admission, limits, now_ms)

    def admit(self, admission: Admission, limits: Limits, now_ms: int) -> None:
        """Puts what a (new) credential allows in place of what the last one did."""
        self.admission = admission
        self.expires_ms = admission.expires_ms
        self.is_warned = False
        self.receives = self.auto_receive and admission.allows(Operation.READ)
        self.wants_all = self.receives and self.types is None
        self.pushes_presence = admission.allows(Operation.PRESENCE)
        rate: float = limits.send_rate_per_s
        lossy_rate: float = limits.lossy_rate_per_s
        granted = admission.rate_per_s
        if granted is not None:
            rate = min(rate, granted)
            lossy_rate = min(lossy_rate, granted)
        if granted is None:
            self._grant_bucket = None
        elif self._grant_bucket is None:
            self._grant_bucket = _bucket(granted, now_ms)
        else:
            self._grant_bucket.change(granted, _burst(granted), now_ms)
        self.send_rate_per_s = rate
        self._send_bucket.change(rate, _burst(rate), now_ms)
        self._lossy_bucket.change(lossy_rate, _burst(lossy_rate), now_ms)

    def take_send(self, is_lossy: bool, now_ms: int) -> int:
        """0, or the milliseconds until the next message is allowed: by the session, its channel, and its key."""
        wait_ms = (self._lossy_bucket if is_lossy else self._send_bucket).take(now_ms)
        if not wait_ms and self._grant_bucket is not None:
            wait_ms = self._grant_bucket.take(now_ms)
        if wait_ms:
            return wait_ms
        channel, key = self.channel.rate, self.key_rate
        channel.left -= 1
        if channel.left < 0 and (wait_ms := channel.refill(now_ms)):
            return wait_ms
        key.left -= 1
        return key.refill(now_ms) if key.left < 0 else 0

    @property
    def exhausted(self) -> str:
        """Whose rate it was that `take_send` has just refused by, in words."""
        if self.channel.rate.left <= 0:
            return "in this channel"
        return "with this key" if self.key_rate.left <= 0 else "from this session"

    def take_request(self, now_ms: int) -> int:
        """0, or the milliseconds until the next request other than a message is allowed."""
        return self._request_bucket.take(now_ms)

    def wants(self, type_: str, custom_event_type: str | None) -> bool:
        """Whether messages of this type are pushed to it."""
        types = self.types
        return self.receives and (types is None or type_ in types or custom_event_type in types)

    @property
    def info(self) -> MemberInfo:
        """The member as the others see it."""
        return MemberInfo(
            session_id=self.session.session_id,
            name=self.name,
            order=self.order,
            identity=self.identity,
            is_claimed=self.admission.is_claimed,
            state="present" if self.session.is_attached else "away",
            attributes=self.attributes,
            sealed_attributes=self.sealed_attributes,
            crypto_session=self.crypto_session,
            capabilities=self.capabilities,
        )

    def members_to_show(self) -> list[MemberInfo]:
        """Who is in the channel, as far as it may see that: itself at least."""
        return self.channel.snapshot() if self.pushes_presence else [self.info]


def _burst(rate_per_s: float) -> float:
    return max(1.0, 2 * rate_per_s)


def _bucket(rate_per_s: float, now_ms: int) -> TokenBucket:
    return TokenBucket(rate_per_s, _burst(rate_per_s), now_ms)
