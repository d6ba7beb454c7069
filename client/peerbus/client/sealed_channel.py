"""
What a connection object does to its frames in a sealed channel: seals those it sends, opens those it gets.

Owns which frames are sealed, what stands inside an envelope and what is bound to it, and the figures. Never sends or
receives anything, and never shows what it could not open. See PROTOCOL.md, section 13.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from peerbus.client.seal_window import SealWindows, Verdict
from peerbus.client.sealing import Context, Header, SealClass, Sealer, SealingKeys
from peerbus.protocol.addressing import name_of
from peerbus.protocol.channel import session_address
from peerbus.protocol.codec import check_value
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.groups import GROUP_AGENT
from peerbus.protocol.messages import SIGNAL_TYPE, Attributes, Connect, Member, Message, Send, Update
from peerbus.protocol.session.roster import Roster
from peerbus.protocol.signals import SFU_AGENT

_CLASSES: Final = {
    "durable": SealClass.DURABLE,
    "live": SealClass.LIVE,
    "lossy": SealClass.LOSSY,
}


class SealingCounters(Struct):
    """What became of sealed messages since the connection object was made."""

    sealed: int = 0
    opened: int = 0
    refused: int = 0
    """Never shown: each was told as an error."""
    dropped: int = 0
    """Never shown and not told: shown before, or too old to say."""


class _Inside(Struct):
    content: Any = UNSET
    binary: bytes | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


_Bearer: TypeAlias = tuple[str, bytes]
"""A member's name and announced crypto-session, which its private attributes are bound to."""

_INSIDE: Final = msgspec.msgpack.Decoder(_Inside)
_ATTRIBUTES: Final = msgspec.msgpack.Decoder(dict[str, Any])


class SealedChannel:
    """One connection object in one sealed channel. `sealer` has seen, and will see, no other."""

    def __init__(self, keys: SealingKeys, sealer: Sealer, private_attributes: Attributes) -> None:
        self._keys: Final = keys
        self._sealer: Final = sealer
        self._windows: Final = SealWindows()
        self._attributes_of: dict[str, tuple[_Bearer, bytes, Attributes]] = {}
        """What was opened of each session's, whose it was, and of which envelope."""
        self._wanted = private_attributes
        self._told = private_attributes
        self.counters: Final = SealingCounters()
        self.safety_number: Final = keys.safety_number

    # --- out --------------------------------------------------------------------------------------------

    @property
    def crypto_session(self) -> bytes:
        """The one that is announced."""
        return self._sealer.announced

    @property
    def private_attributes(self) -> Attributes:
        """The own ones, as the server has taken them."""
        return self._told

    def want_attributes(self, attributes: Attributes) -> None:
        """The next update carries these."""
        self._wanted = attributes

    def attributes_told(self) -> None:
        """The server has taken an update."""
        self._told = self._wanted

    def seal_connect(self, frame: Connect) -> Connect:
        """With the private attributes, if it is known already under which name."""
        if not frame.agent or not self._told:
            return frame
        return structs.replace(
            frame, sealed_attributes=self._sealed_attributes(self._told, name_of(frame.agent))
        )

    def seal(self, frame: Send | Update, sender: str, roster: Roster) -> Send | Update:
        """
        The frame as it travels.

        Raises `ProtocolError`: `unknown_recipient` for a live message to somebody whom the roster doesn't show,
        `not_sealed` for one that mixes the SFU or the group with others, and those of `SealingKeys.encrypt`.
        """
        if isinstance(frame, Update):
            if not self._wanted:
                return frame
            return structs.replace(frame, sealed_attributes=self._sealed_attributes(self._wanted, sender))
        for service in (SFU_AGENT, GROUP_AGENT):
            if frame.to is UNSET or service not in frame.to:
                continue
            if frame.to != [service] or frame.type != SIGNAL_TYPE:
                raise ProtocolError(
                    ErrorCode.NOT_SEALED, f"What goes to {service} is not sealed: signals, to it alone."
                )
            return frame
        return self._sealed_message(frame, sender, roster)

    def _sealed_message(self, frame: Send, sender: str, roster: Roster) -> Send:
        recipients: list[bytes] = []
        if frame.delivery == "live" and frame.to is not UNSET:
            recipients = _crypto_sessions(frame.to, roster)
        inside = {
            name: value
            for name, value in (
                ("content", frame.content),
                ("binary", frame.binary),
                ("metadata", frame.metadata),
            )
            if value is not UNSET
        }
        plaintext = msgspec.msgpack.encode(inside)
        envelope = self._sealer.seal(_CLASSES[frame.delivery], plaintext, _context(frame, sender), recipients)
        retry_tag: bytes | UnsetType = UNSET
        if frame.delivery == "durable" and frame.idempotency_key is not UNSET:
            retry_tag = self._keys.retry_tag(frame.idempotency_key, plaintext)
        self.counters.sealed += 1
        return structs.replace(
            frame, content=UNSET, binary=UNSET, metadata=UNSET, sealed=envelope, retry_tag=retry_tag
        )

    def _sealed_attributes(self, attributes: Attributes, sender: str) -> bytes:
        return self._sealer.seal(
            SealClass.ATTRIBUTES, msgspec.msgpack.encode(attributes), Context(sender=sender)
        )

    # --- in ---------------------------------------------------------------------------------------------

    def open(self, message: Message, epoch: str) -> Message | None:
        """
        The message as its sender wrote it; None for one that was shown before, or may have been.

        `epoch` is that of the log, and of the offset. Raises `ProtocolError` for what is never shown: `not_sealed`,
        `wrong_key`, `tampered`, `replayed`, `reordered`, `bad_frame`, `not_supported`.
        """
        try:
            opened = self._opened(message, epoch)
        except ProtocolError:
            self.counters.refused += 1
            raise
        if opened is None:
            self.counters.dropped += 1
        else:
            self.counters.opened += 1
        return opened

    def _opened(self, message: Message, epoch: str) -> Message | None:
        if message.sealed is UNSET:
            raise ProtocolError(ErrorCode.NOT_SEALED, "A message came that is not sealed.")
        seal_class = _CLASSES[message.delivery]
        context = _context(message, message.sender)
        header, plaintext = self._keys.decrypt(seal_class, message.sealed, context)
        is_direct = seal_class is SealClass.LIVE and context.to is not None
        if is_direct and self.crypto_session not in header.recipients:
            raise ProtocolError(
                ErrorCode.REPLAYED, "A message came that was sealed for somebody else of this name."
            )
        inside = _read_inside(plaintext)
        verdict = self._judge(seal_class, header, message, epoch)
        if verdict is Verdict.DROPPED:
            return None
        if verdict is not Verdict.OK:
            raise ProtocolError(ErrorCode(verdict.value))
        return structs.replace(
            message,
            content=inside.content,
            binary=inside.binary,
            metadata=inside.metadata,
            sealed=UNSET,
        )

    def _judge(self, seal_class: SealClass, header: Header, message: Message, epoch: str) -> Verdict:
        if seal_class is SealClass.LIVE:
            return self._windows.live(header.crypto_session, header.counter)
        if seal_class is SealClass.LOSSY:
            return self._windows.lossy(header.crypto_session, header.counter)
        if message.offset is UNSET:
            raise ProtocolError(ErrorCode.REORDERED, "A stored message came without its place in the log.")
        return self._windows.durable(header.crypto_session, epoch, message.offset, header.counter)

    def attributes_of(self, member: Member) -> Attributes:
        """
        The private attributes of a member; those known before where it shows older ones again.

        Raises `ProtocolError` for such as cannot be opened, once: from then on they count as none.
        """
        bearer = (member.name, member.crypto_session)
        known = self._attributes_of.get(member.session_id)
        if known is not None and known[0] != bearer:
            # The server calls the session otherwise by now: what was opened was not said by that one.
            known = None
        if known is not None and known[1] == member.sealed_attributes:
            return known[2]
        before: Attributes = {} if known is None else known[2]
        self._attributes_of[member.session_id] = (bearer, member.sealed_attributes, {})
        if not member.sealed_attributes:
            return {}
        try:
            opened = self._opened_attributes(member)
        except ProtocolError:
            self.counters.refused += 1
            raise
        if opened is None:
            self.counters.dropped += 1
            opened = before
        else:
            self.counters.opened += 1
        self._attributes_of[member.session_id] = (bearer, member.sealed_attributes, opened)
        return opened

    def forget_member(self, session_id: str) -> None:
        """A session has left."""
        self._attributes_of.pop(session_id, None)

    def forget_all_but(self, session_ids: Container[str]) -> None:
        """All other sessions have left."""
        for session_id in [known for known in self._attributes_of if known not in session_ids]:
            del self._attributes_of[session_id]

    def _opened_attributes(self, member: Member) -> Attributes | None:
        header, plaintext = self._keys.decrypt(
            SealClass.ATTRIBUTES, member.sealed_attributes, Context(sender=member.name)
        )
        if header.crypto_session != member.crypto_session:
            raise ProtocolError(ErrorCode.REPLAYED, "Private attributes came that belong to another session.")
        try:
            attributes = _ATTRIBUTES.decode(plaintext)
            check_value(attributes)
        except (msgspec.MsgspecError, ProtocolError, RecursionError, UnicodeDecodeError):
            raise _unreadable() from None
        verdict = self._windows.attributes(header.crypto_session, header.counter)
        return None if verdict is Verdict.DROPPED else attributes


def _read_inside(plaintext: bytes) -> _Inside:
    try:
        inside = _INSIDE.decode(plaintext)
        if (inside.content is UNSET) is (inside.binary is UNSET):
            raise _unreadable()
        if inside.content is not UNSET:
            check_value(inside.content)
        if inside.metadata is not UNSET:
            check_value(inside.metadata)
    except (msgspec.MsgspecError, ProtocolError, RecursionError, UnicodeDecodeError):
        raise _unreadable() from None
    return inside


def _unreadable() -> ProtocolError:
    return ProtocolError(
        ErrorCode.BAD_FRAME, "A sealed message could be opened, but what is inside makes no sense."
    )


def _crypto_sessions(names: list[str], roster: Roster) -> list[bytes]:
    """
    Those of all sessions that bear one of the names, or are addressed themselves.

    Raises `ProtocolError` (`unknown_recipient`).
    """
    wanted = {name_of(name): name for name in names}
    bearers = [
        member
        for member in roster.members
        if member.name in wanted or session_address(member.session_id) in wanted
    ]
    here = {way for member in bearers for way in (member.name, session_address(member.session_id))}
    missing = wanted.keys() - here
    if missing:
        details = {"missing": [written for name, written in wanted.items() if name in missing]}
        raise ProtocolError(ErrorCode.UNKNOWN_RECIPIENT, details=details)
    return [member.crypto_session for member in bearers]


def _context(frame: Send | Message, sender: str) -> Context:
    return Context(
        sender=sender,
        type=frame.type,
        custom_event_type=None if frame.custom_event_type is UNSET else frame.custom_event_type,
        to=None if frame.to is UNSET else frame.to,
        filter=None if isinstance(frame.filter, UnsetType) else frame.filter,
        reply_to=None if frame.reply_to is UNSET else frame.reply_to,
        idempotency_key=None if frame.idempotency_key is UNSET else frame.idempotency_key,
    )
