"""A membership with groups in emulated time, without log and sockets, and what its members are told."""

from __future__ import annotations

import itertools
from typing import Any, Final

import msgspec
from msgspec import UNSET

from peerbus.protocol import channel as naming
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, Admission, Operation
from peerbus.protocol.groups import (
    GROUP_AGENT,
    Enter,
    Exit,
    GroupRequest,
    GroupSignal,
    GroupState,
    Mode,
    Propose,
    Ready,
    RenewHost,
    Report,
    Seen,
    SeenHost,
    Veto,
)
from peerbus.protocol.messages import Ack, Connect, Error, Message, Resume, Send
from peerbus.protocol.patterns import EVERY
from peerbus.protocol.secrets import Secret, SecretBytes
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.groups import Groups
from peerbus.signaling.hub import Hub
from peerbus.signaling.joining import Joining
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import ChannelKey, ChannelState
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.membership import Membership
from peerbus.signaling.quota import NO_QUOTA

ALL_MODES: Final[list[Mode]] = ["mesh", "host", "relay", "datachannel", "sfu"]
KEY_OF_LOBBY: Final = ChannelKey("private:p", naming.channel_id("lobby", naming.Mode.OPEN, b""))
_TICK_MS: Final = 500


class GroupStage:
    """`terms` is what is on disk, and outlives a restart."""

    def __init__(
        self, terms: itertools.count[int] | None = None, *, now_ms: int = 1_000, limits: Limits | None = None
    ) -> None:
        self.now_ms = now_ms
        self.is_disk_full = False
        self.has_worker = True
        self.told: dict[str, list[GroupSignal]] = {}
        """What a session got and was not looked at yet."""
        self._errors: dict[str, list[Error]] = {}
        self._live_seq: dict[str, int] = {}
        """What a session has got of its live class."""
        self._disk = itertools.count(1) if terms is None else terms
        self._ids = itertools.count(1)
        self.limits = limits or Limits()
        self.membership = Membership(
            self.limits, ack_promise="local-fsync", server="stage", new_epoch=lambda: f"L{next(self._ids)}"
        )
        self.groups = Groups(self.membership, self._next_term, lambda: self.has_worker, now_ms=self.now_ms)
        self.hub = Hub(self.membership, groups=self.groups)

    def _next_term(self, lowest: int) -> int:
        if self.is_disk_full:
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE)
        return next(term for term in self._disk if term >= lowest)

    def restarted(self, after_ms: int = 500) -> GroupStage:
        """The server as it is after a restart: nothing is known but which terms were given."""
        return GroupStage(self._disk, now_ms=self.now_ms + after_ms, limits=self.limits)

    # --- sessions -----------------------------------------------------------------------------------------------

    def join(
        self,
        name: str,
        *,
        operations: frozenset[Operation] = ALL_OPERATIONS,
        client: str = "",
        resume: Resume | None = None,
        sessions: int = 0,
    ) -> Member:
        """A session; `client` tells one client of a name from another. With `sessions` it claims its name."""
        lineage = naming.lineage((client or name).encode().ljust(16, b".")[:16])
        number = next(self._ids)
        return self.membership.join(
            Joining(
                connect=Connect(
                    id=1,
                    api_key=Secret("k"),
                    channel="lobby",
                    lineage_secret=SecretBytes(b"." * 16),
                    resume=resume,
                ),
                version=1,
                name=name,
                admission=self.admission(operations, sessions),
                key=KEY_OF_LOBBY,
                state=ChannelState(epoch="e", head=0, tail=1, locked=False, name="lobby", mode="open"),
                lineage=lineage,
                identity=naming.name_identity(name) if sessions else naming.lineage_identity(lineage),
                credential=CredentialIds("k", "k", frozenset({"k"})),
                project="p",
                quota=NO_QUOTA,
                connection=object(),
                peer=Peer(None, None, "corr"),
                session_id=f"s{number}",
                resume_token=Secret(f"t{number}"),
            ),
            self.now_ms,
        )

    @staticmethod
    def admission(operations: frozenset[Operation], sessions: int = 0) -> Admission:
        return Admission(
            operations=operations,
            types=EVERY,
            is_claimed=bool(sessions),
            sessions=sessions or 1,
            rate_per_s=None,
            members=None,
            expires_ms=None,
            is_service=False,
        )

    def cut(self, member: Member) -> None:
        """The connection of a session is lost."""
        self.read(member)
        self.membership.detached(member, member.connection, self.now_ms)
        self.settle()

    def come_back(self, member: Member) -> None:
        """The session is resumed over another connection, with all of its live class."""
        resume = Resume(
            token=member.session.resume_token,
            epoch="e",
            offset=0,
            live_epoch=member.session.live_epoch,
            live_seq=self._live_seq[member.session.session_id],
        )
        assert self.join(member.name, resume=resume) is member
        self.settle()

    def leave(self, member: Member) -> None:
        """The session ends on purpose."""
        self.membership.remove(member, "left", ErrorCode.CLOSED)
        self.settle()

    # --- requests -----------------------------------------------------------------------------------------------

    def ask(self, member: Member, request: GroupRequest) -> Ack | Error:
        """The reply to a request."""
        return self.send(
            member, to=[GROUP_AGENT], type="signal", delivery="live", content=msgspec.to_builtins(request)
        )

    def send(self, member: Member, **fields: Any) -> Ack | Error:
        """The reply to a message."""
        self.read(member)
        request_id = max(1, member.session.received_id) + 1
        self.hub.receive(member, Send(id=request_id, **fields), self.now_ms)
        self.settle()
        (reply,) = [one for one in self._taken(member) if isinstance(one, Ack | Error)]
        assert reply.id == request_id
        return reply

    def enter(
        self,
        member: Member,
        mode: str = "mesh",
        *modes: Mode,
        has_media: bool = False,
        seen: Seen | None = None,
    ) -> Ack | Error:
        return self.ask(
            member,
            msgspec.convert(
                {
                    "kind": "enter",
                    "mode": mode,
                    "modes": list(modes or ALL_MODES),
                    "has_media": has_media,
                    **({} if seen is None else {"seen": msgspec.to_builtins(seen)}),
                },
                Enter,
            ),
        )

    def exit(self, member: Member) -> Ack | Error:
        return self.ask(member, Exit())

    def propose(self, member: Member, mode: str, term: int | None = None) -> Ack | Error:
        term = self.group(member).term if term is None else term
        return self.ask(member, msgspec.convert({"kind": "propose", "mode": mode, "term": term}, Propose))

    def ready(self, *members: Member) -> None:
        """All of them are ready for what is proposed."""
        for member in members:
            proposal = self.group(member).proposal
            assert proposal is not UNSET
            assert isinstance(self.ask(member, Ready(term=proposal.term)), Ack)

    def veto(self, member: Member, reason: str = "") -> Ack | Error:
        proposal = self.group(member).proposal
        assert proposal is not UNSET
        return self.ask(member, Veto(term=proposal.term, reason=reason))

    def switch(self, mode: str, *members: Member) -> GroupState:
        """Proposed by the first of them, and all are ready."""
        assert isinstance(self.propose(members[0], mode), Ack)
        self.ready(*members)
        return self.group(members[0])

    def report(self, member: Member, peer: Member, *, is_reachable: bool = False) -> Ack | Error:
        return self.ask(member, Report(peer=peer.identity, is_reachable=is_reachable))

    def renew(self, member: Member, term: int) -> None:
        """As a host does: lossy and without an id. What it is refused goes to `refused`."""
        content = msgspec.to_builtins(RenewHost(term=term))
        self.hub.receive(
            member,
            Send(to=[GROUP_AGENT], type="signal", delivery="lossy", content=content),
            self.now_ms,
        )
        self.settle()

    # --- what they are told ----------------------------------------------------------------------------------------

    def _taken(self, member: Member) -> list[object]:
        """The frames that a session has got; signals of its group and errors without an id are put aside."""
        others: list[object] = []
        outbox = member.session.outbox
        if member.connection is None and not member.is_gone:
            return []  # What waits there comes when the session is resumed.
        frames = outbox.take(1 << 30)
        self._live_seq[member.session.session_id] = outbox.live_next_seq - 1
        outbox.acknowledge(outbox.live_next_seq - 1)
        for out in frames:
            frame = out.frame
            if isinstance(frame, Message):
                assert (frame.sender, frame.type, frame.delivery) == (GROUP_AGENT, "signal", "live")
                signal: GroupSignal = msgspec.convert(frame.content, GroupSignal)
                self.told.setdefault(member.session.session_id, []).append(signal)
            elif isinstance(frame, Error) and frame.id is UNSET:
                self._errors.setdefault(member.session.session_id, []).append(frame)
            else:
                others.append(frame)
        return others

    def read(self, member: Member) -> list[GroupSignal]:
        """All that a session was told and that was not read yet, or that `heard` has not emptied."""
        self._taken(member)
        return self.told.setdefault(member.session.session_id, [])

    def refused(self, member: Member) -> list[Error]:
        """What a session was refused without having asked for an answer."""
        self._taken(member)
        return self._errors.get(member.session.session_id, [])

    def heard(self, member: Member) -> list[GroupSignal]:
        """What a session was told since this was last asked."""
        told = self.read(member)
        self.told[member.session.session_id] = []
        return told

    def group(self, member: Member) -> GroupState:
        """The group as the member was told it last."""
        told = [signal for signal in self.read(member) if isinstance(signal, GroupState)]
        assert told, f"{member.name} was told of no group"
        return told[-1]

    def host(self, member: Member) -> str:
        """The name of the host as the member was told."""
        state = self.group(member)
        assert state.host is not UNSET
        names = {one.identity: one.name for one in state.members}
        return names.get(state.host.identity, state.host.identity)

    def host_term(self, member: Member) -> int:
        host = self.group(member).host
        assert host is not UNSET
        return host.term

    def seen(self, member: Member) -> Seen:
        """What a member says after a restart of the server."""
        state = self.group(member)
        (own,) = [one for one in state.members if one.identity == member.identity]
        return Seen(
            term=state.term,
            mode=state.mode,
            is_auto=state.is_auto,
            order=own.order,
            host=UNSET
            if state.host is UNSET
            else SeenHost(identity=state.host.identity, term=state.host.term),
        )

    # --- time --------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """The end of a turn of the server's loop, and of the pause that a group makes between two signals."""
        self.groups.flush(self.now_ms)
        self.now_ms += 2 * len(self.membership.members) + 1
        self.groups.flush(self.now_ms)
        self.membership.dispatch.effects_to_do()

    def later(self, ms: int, *hosts: Member) -> None:
        """Time goes on, as the timer and the tick of a server let it; `hosts` renew all the while."""
        end_ms, tick_ms = self.now_ms + ms, self.now_ms + _TICK_MS
        renew_ms = self.now_ms
        while self.now_ms < end_ms:
            deadline_ms = self.groups.deadline_ms
            times = [end_ms, tick_ms, *([] if deadline_ms is None else [deadline_ms])]
            times += [renew_ms] if hosts else []
            self.now_ms = max(self.now_ms, min(times))
            for member in self.membership.members.values():
                if member.connection is not None:
                    member.session.heard(self.now_ms)
                    self.read(member)
            if self.now_ms >= tick_ms:
                tick_ms += _TICK_MS
                self.membership.tick(self.now_ms)
            if hosts and self.now_ms >= renew_ms:
                renew_ms = self.now_ms + 300
                for host in hosts:
                    self.renew(host, self.host_term(host))
            self.groups.flush(self.now_ms)
            self.membership.dispatch.effects_to_do()


def code(reply: Ack | Error) -> str:
    """The code of a refusal."""
    assert isinstance(reply, Error), reply
    return reply.code
