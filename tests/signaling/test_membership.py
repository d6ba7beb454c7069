"""Joining and resuming: where a session begins to be shown what is stored."""

from __future__ import annotations

import itertools
from typing import Final

import msgspec
import pytest

from peerbus.protocol import channel as naming
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, Admission, Operation
from peerbus.protocol.messages import Connect, Connected, Receive, Resume
from peerbus.protocol.patterns import EVERY
from peerbus.protocol.secrets import Secret, SecretBytes
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.effects import ReadEffect
from peerbus.signaling.hub import Hub
from peerbus.signaling.joining import Joining
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import ChannelKey, ChannelState, Entry, Page, Range
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.membership import Membership
from peerbus.signaling.parting import Parting
from peerbus.signaling.quota import NO_QUOTA, Quota

LINEAGE: Final = naming.lineage(b"0" * 16)
WITHOUT_HISTORY: Final = ALL_OPERATIONS - {Operation.HISTORY}


class Lobby:
    """One channel whose log has `head` messages."""

    def __init__(self, head: int, *, scope: str = "private:p", quota: Quota = NO_QUOTA) -> None:
        self.head = head
        self.quota = quota
        self.key = ChannelKey(scope, naming.channel_id("lobby", naming.Mode.OPEN, b""))
        self.membership = Membership(Limits(), ack_promise="memory", server="lobby", new_epoch=lambda: "L")
        self._numbers = itertools.count(1)

    def join(
        self,
        operations: frozenset[Operation],
        *,
        offset: int | None = None,
        token: Secret | None = None,
        mail_until: int = 0,
        claims: bool = False,
        unread: tuple[int, ...] = (),
    ) -> Member:
        """Somebody who goes on behind `offset`, if it is said."""
        number = next(self._numbers)
        resume = Resume(token=token or Secret("?"), epoch="e", offset=offset or 0, mail_until=mail_until)
        return self.membership.join(
            Joining(
                connect=Connect(
                    id=1,
                    api_key=Secret("k"),
                    channel="lobby",
                    lineage_secret=SecretBytes(b"0" * 16),
                    resume=None if offset is None else resume,
                ),
                version=1,
                name="ann",
                admission=Admission(
                    operations=operations,
                    types=EVERY,
                    is_claimed=claims,
                    rate_per_s=None,
                    members=None,
                    expires_ms=None,
                ),
                key=self.key,
                state=ChannelState(
                    epoch="e", head=self.head, tail=1, locked=False, name="lobby", mode="open"
                ),
                unread=unread,
                lineage=LINEAGE,
                identity=naming.name_identity("ann") if claims else naming.lineage_identity(LINEAGE),
                credential=CredentialIds("k", "k", frozenset({"k"})),
                project="p",
                quota=self.quota,
                connection=object(),
                peer=Peer(None, None, f"c{number}"),
                session_id=f"s{number}",
                resume_token=Secret(f"t{number}"),
            ),
            0,
        )

    def read(self) -> Range | None:
        """What of the log is asked for."""
        effects = [one for one in self.membership.dispatch.effects_to_do() if isinstance(one, ReadEffect)]
        return effects[-1].wanted if effects else None


def connected(member: Member) -> Connected:
    frames = [out.frame for out in member.session.outbox.take(1 << 20)]
    return next(one for one in reversed(frames) if isinstance(one, Connected))


@pytest.mark.parametrize("offset", [0, 5, 9, 10])
def test_who_is_not_allowed_history_does_not_get_it_by_a_cursor(offset: int) -> None:
    lobby = Lobby(10)
    member = lobby.join(WITHOUT_HISTORY, offset=offset)
    assert not connected(member).recovered
    assert lobby.read() is None
    # Nor by that of a session that began later.
    again = lobby.join(WITHOUT_HISTORY, offset=min(offset, 9), token=member.session.resume_token)
    assert again is member
    assert not connected(again).recovered
    assert lobby.read() is None
    allowed = lobby.join(ALL_OPERATIONS, offset=offset)
    assert connected(allowed).recovered
    wanted = lobby.read()
    assert (wanted is None) if offset == 10 else (wanted is not None and wanted.after == offset)


def test_without_history_a_session_goes_on_where_it_was_cut_off() -> None:
    lobby = Lobby(10)
    member = lobby.join(WITHOUT_HISTORY)
    lobby.membership.detached(member, member.connection, 0)
    member.channel.head = 15
    again = lobby.join(WITHOUT_HISTORY, offset=12, token=member.session.resume_token)
    assert again is member
    assert connected(again).recovered
    wanted = lobby.read()
    assert wanted is not None
    assert wanted.after == 12


def test_without_history_only_mail_is_older_than_the_session() -> None:
    lobby = Lobby(10)
    member = lobby.join(WITHOUT_HISTORY, claims=True, unread=(4, 7))
    assert connected(member).mail_after == 3
    member.channel.head = 15
    lobby.read()
    # It does not say that it was reading mail, and would be shown everything behind its cursor.
    again = lobby.join(WITHOUT_HISTORY, offset=4, token=member.session.resume_token, claims=True, unread=(7,))
    assert again is member
    assert connected(again).recovered
    wanted = lobby.read()
    assert wanted is not None
    assert (wanted.only, wanted.before) == ((7,), 11)


@pytest.mark.parametrize(("scope", "trims"), [("private:p", True), (naming.PUBLIC_SCOPE, False)])
def test_what_all_projects_share_is_not_trimmed_to_the_quota_of_one(scope: str, trims: bool) -> None:
    lobby = Lobby(1_000, scope=scope, quota=Quota(messages_per_channel=10))
    member = lobby.join(ALL_OPERATIONS)
    assert member.channel.trim_below() == (991 if trims else None)


def test_who_is_gone_gets_nothing_that_was_being_read() -> None:
    lobby = Lobby(10)
    hub = Hub(lobby.membership)
    member = lobby.join(ALL_OPERATIONS, offset=0)
    hub.receive(member, Receive(id=2), 0)
    asked = [one for one in lobby.membership.dispatch.effects_to_do() if isinstance(one, ReadEffect)]
    assert len(asked) == 2
    member.session.outbox.take(1 << 20)
    lobby.membership.revoke(frozenset({"k"}), ErrorCode.REVOKED)
    body = msgspec.msgpack.encode({"content": "secret"})
    entry = Entry(1, 0, "lineage:x", "x", None, "chat-text", None, body)
    state = ChannelState(epoch="e", head=10, tail=1, locked=False, name="lobby", mode="open")
    for effect in asked:
        hub.history.page_read(effect, Page((entry,), 1, False, state), 0)
    # What is left in it would be the last answer to a poll.
    assert member.session.outbox.take(1 << 20) == []


def test_a_page_that_goes_ends_its_session_at_once_or_soon() -> None:
    lobby = Lobby(0)
    membership = lobby.membership
    parted: list[Member] = []
    membership.on_part.append(parted.append)
    member = lobby.join(ALL_OPERATIONS)
    for session_id, token in (("s1", "?"), ("s2", "t1")):
        with pytest.raises(ProtocolError) as caught:
            membership.part(parting(session_id, token, "c1"), 10)
        assert caught.value.code is ErrorCode.SESSION_UNKNOWN
    assert member.session.is_attached

    membership.part(parting("s1", "t1", "c1", may_return=True), 10)
    assert (member.connection, parted) == (None, [member])
    # The next page goes on with it; a word of the former one that comes late ends nothing.
    again = lobby.join(ALL_OPERATIONS, offset=0, token=Secret("t1"))
    assert again is member
    membership.part(parting("s1", "t1", "c1", may_return=True), 20)
    assert (member.session.is_attached, parted) == (True, [member])

    membership.part(parting("s1", "t1", "c2", may_return=True), 1_000)
    window_ms = membership.limits.page_return_ms
    membership.tick(999 + window_ms)
    assert list(membership.members) == ["s1"]
    membership.tick(1_000 + window_ms)
    assert list(membership.members) == []

    member = lobby.join(ALL_OPERATIONS)
    membership.part(parting("s3", "t3", "c3"), 2_000)
    assert list(membership.members) == []
    assert parted == [again, again]


def parting(session_id: str, token: str, correlation_id: str, *, may_return: bool = False) -> Parting:
    return Parting(
        session_id=session_id,
        resume_token=Secret(token),
        correlation_id=correlation_id,
        may_return=may_return,
    )
