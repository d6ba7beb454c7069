"""Calls: who serves a channel, and what is passed on to whom, in emulated time with workers that only take notes."""

from __future__ import annotations

import itertools
import random
from typing import Any, Final

import msgspec
import pytest
from msgspec import UNSET

from peerbus.protocol import channel as naming
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, Admission, Operation
from peerbus.protocol.messages import Ack, Connect, Error, Message, Resume, Send
from peerbus.protocol.patterns import EVERY
from peerbus.protocol.secrets import Secret, SecretBytes
from peerbus.protocol.signals import (
    CONTROL_CHANNEL,
    CONTROL_TYPE,
    SERVER_AGENT,
    SFU_AGENT,
    Announce,
    Answer,
    ClientSignal,
    Deliver,
    Forward,
    Gone,
    Leave,
    Load,
    Mute,
    Offer,
    Release,
    Renewed,
    Restart,
    Room,
    Roster,
    ServerToWorker,
    SfuSignal,
    WorkerToServer,
)
from peerbus.signaling.calls import Calls
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.hub import Hub
from peerbus.signaling.joining import Joining
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import ChannelKey, ChannelState
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.membership import Membership
from peerbus.signaling.quota import NO_QUOTA

OFFER: Final = Offer(connection="c1", number=1, sdp="v=0")
TTL_MS: Final = Limits().worker_lease_ms


class Stage:
    """A membership with calls, without log and sockets. `terms` is what is on disk, and outlives a restart."""

    def __init__(self, terms: itertools.count[int] | None = None, *, was_serving: bool = False) -> None:
        self.now_ms = 1_000
        self.is_disk_full = False
        self.kept: dict[str, list[Any]] = {}
        """Frames that were taken out and not looked at yet, by session."""
        self.terms = itertools.count(1) if terms is None else terms
        self._ids = itertools.count(1)
        self.membership = Membership(
            Limits(), ack_promise="local-fsync", server="stage", new_epoch=lambda: f"L{next(self._ids)}"
        )
        self.calls = Calls(self.membership, self._next_term, was_serving=was_serving, now_ms=self.now_ms)
        self.hub = Hub(self.membership, self.calls)

    def _next_term(self, lowest: int) -> int:
        if self.is_disk_full:
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE)
        return next(term for term in self.terms if term >= lowest)

    def join(
        self,
        name: str,
        channel: str = "lobby",
        *,
        operations: frozenset[Operation] = ALL_OPERATIONS,
        process: str = "",
        resume: Resume | None = None,
        expires_ms: int | None = None,
        sessions: int = 0,
    ) -> Member:
        """
        A member; `process` tells one that was started again from the same one under the same name.

        With `sessions` it claims its name, for so many of them.
        """
        is_service = channel == CONTROL_CHANNEL
        lineage = naming.lineage((process or name).encode().ljust(16, b".")[:16])
        key = ChannelKey("private:p", naming.channel_id(channel, naming.Mode.OPEN, b""))
        number = next(self._ids)
        member = self.membership.join(
            Joining(
                connect=Connect(
                    id=1,
                    api_key=Secret("k"),
                    channel=channel,
                    lineage_secret=SecretBytes(b"." * 16),
                    resume=resume,
                ),
                version=1,
                name=name,
                admission=Admission(
                    operations=operations,
                    types=EVERY,
                    is_claimed=bool(sessions),
                    sessions=sessions or 1,
                    rate_per_s=None,
                    members=None,
                    expires_ms=expires_ms,
                    is_service=is_service,
                ),
                key=key,
                state=ChannelState(epoch="e", head=0, tail=1, locked=False, name=channel, mode="open"),
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
        member.session.take_connect_id(1)
        return member

    def worker(self, name: str = "peerbus:sfu-1", *rooms: Room, process: str = "") -> Member:
        """A worker that has announced its rooms."""
        worker = self.join(name, CONTROL_CHANNEL, process=process)
        self.says(worker, Announce(rooms=list(rooms)))
        return worker

    def send(self, member: Member, **fields: Any) -> Ack | Error:
        """The reply to one message."""
        self.read(member)
        request_id = member.session.received_id + 2
        self.hub.receive(member, Send(id=request_id, **fields), self.now_ms)
        frames = [out.frame for out in member.session.outbox.take(1 << 30)]
        self.kept.setdefault(member.session.session_id, []).extend(frames)
        (reply,) = [one for one in frames if isinstance(one, Ack | Error) and one.id == request_id]
        return reply

    def signals(self, member: Member, signal: ClientSignal = OFFER) -> Ack | Error:
        """A signal of a client to its worker."""
        content = msgspec.to_builtins(signal)
        return self.send(member, type="signal", to=[SFU_AGENT], delivery="live", content=content)

    def says(self, worker: Member, message: WorkerToServer) -> Ack | Error:
        """A control message of a worker."""
        binary = msgspec.msgpack.encode(message)
        return self.send(worker, type=CONTROL_TYPE, to=[SERVER_AGENT], delivery="live", binary=binary)

    def read(self, member: Member) -> list[Message]:
        """The messages that a member has got since it was last asked."""
        frames = self.kept.setdefault(member.session.session_id, [])
        frames += [out.frame for out in member.session.outbox.take(1 << 30)]
        return [one for one in frames if isinstance(one, Message)]

    def heard(self, worker: Member) -> list[ServerToWorker]:
        """What the server told a worker since it was last asked."""
        messages = self.read(worker)
        self.kept[worker.session.session_id] = []
        assert all((one.sender, one.type) == (SERVER_AGENT, CONTROL_TYPE) for one in messages)
        binaries = [one.binary for one in messages if isinstance(one.binary, bytes)]
        assert len(binaries) == len(messages)
        return [msgspec.msgpack.decode(binary, type=ServerToWorker) for binary in binaries]

    def got(self, member: Member) -> list[SfuSignal]:
        """What a client got from its call."""
        messages = self.read(member)
        self.kept[member.session.session_id] = []
        assert all((one.sender, one.type) == (SFU_AGENT, "signal") for one in messages)
        return [msgspec.convert(one.content, SfuSignal) for one in messages]

    def later(self, ms: int) -> None:
        """Time goes on."""
        for _ in range(0, ms, 500):
            self.now_ms += min(500, ms)
            for member in self.membership.members.values():
                member.session.heard(self.now_ms)
            self.membership.tick(self.now_ms)
            self.calls.tick(self.now_ms)


def forwarded(stage: Stage, worker: Member) -> Forward:
    (forward,) = stage.heard(worker)
    assert isinstance(forward, Forward)
    return forward


def code(reply: Ack | Error) -> str:
    assert isinstance(reply, Error), reply
    return reply.code


# --- clients ----------------------------------------------------------------------------------------------


def test_an_offer_reaches_the_worker_and_the_answer_its_client() -> None:
    stage = Stage()
    worker, ann, bob = stage.worker(), stage.join("ann"), stage.join("bob")
    reply = stage.signals(ann)
    assert isinstance(reply, Ack)
    assert reply.recipients == 1
    forward = forwarded(stage, worker)
    assert forward.signal == OFFER
    assert (forward.participant.identity, forward.participant.name) == (ann.identity, "ann")
    assert "subscribe" in forward.participant.operations
    answer = Answer(connection="c1", number=1, sdp="v=0", term=forward.room.term)
    stage.says(worker, Deliver(room=forward.room, identities=[ann.identity], signal=answer))
    assert stage.got(ann) == [answer]
    assert stage.got(bob) == []


def test_without_a_worker_an_offer_is_refused_for_now() -> None:
    stage = Stage()
    reply = stage.signals(stage.join("ann"))
    assert isinstance(reply, Error)
    assert (reply.code, reply.is_retryable) == ("no_worker", True)
    assert reply.retry_after_ms is not UNSET
    assert "peerbus sfu" in reply.message


def test_a_worker_that_has_not_announced_itself_gets_nothing() -> None:
    stage = Stage()
    silent = stage.join("peerbus:sfu-1", CONTROL_CHANNEL)
    assert code(stage.signals(stage.join("ann"))) == "no_worker"
    assert code(stage.says(silent, Load(rooms=[], participants=0, cpu_share=0))) == "bad_request"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "chat-text", "content": {}},
        {"type": "signal", "content": {"kind": "offer"}},
        {"type": "signal", "content": "offer"},
        {"type": "signal", "binary": b"offer"},
        {
            "type": "signal",
            "content": {"kind": "answer", "connection": "c", "number": 1, "sdp": "", "term": 1},
        },
        {"type": "signal", "content": msgspec.to_builtins(OFFER), "delivery": "durable"},
        {"type": "signal", "content": msgspec.to_builtins(OFFER), "to": [SFU_AGENT, "bob"]},
    ],
)
def test_what_is_no_signal_is_refused_and_goes_nowhere(fields: dict[str, Any]) -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    assert code(stage.send(ann, **{"to": [SFU_AGENT], "delivery": "live", **fields})) == "bad_request"
    assert stage.heard(worker) == []
    assert isinstance(stage.signals(ann), Ack)


def test_who_may_neither_publish_nor_subscribe_cannot_call() -> None:
    stage = Stage()
    worker = stage.worker()
    reader = stage.join("ann", operations=frozenset({Operation.READ, Operation.SEND_LIVE, Operation.DIRECT}))
    assert code(stage.signals(reader)) == "forbidden"
    viewer = stage.join("bob", operations=reader.admission.operations | {Operation.SUBSCRIBE})
    assert isinstance(stage.signals(viewer), Ack)
    assert "subscribe" in forwarded(stage, worker).participant.operations


def test_signals_outside_of_a_call_reach_nobody() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    for signal in (Leave(connection="c1"), Mute(connection="c1", publication="p", is_muted=True)):
        reply = stage.signals(ann, signal)
        assert isinstance(reply, Ack)
        assert reply.recipients == 0
    assert stage.heard(worker) == []


def test_nobody_else_speaks_for_the_server_or_a_worker() -> None:
    stage = Stage()
    stage.worker()
    ann = stage.join("ann")
    assert code(stage.send(ann, to=[SERVER_AGENT], delivery="live", type=CONTROL_TYPE, binary=b"x")) == (
        "unknown_recipient"
    )


def test_a_term_that_cannot_be_stored_is_an_answer() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    stage.is_disk_full = True
    assert code(stage.signals(ann)) == "storage_unavailable"
    assert stage.heard(worker) == []
    stage.is_disk_full = False
    assert isinstance(stage.signals(ann), Ack)


# --- coming and going -------------------------------------------------------------------------------------


def test_a_channel_stays_where_it_is_and_others_go_elsewhere() -> None:
    stage = Stage()
    workers = [stage.worker(f"peerbus:sfu-{number}") for number in range(2)]
    for channel in ("one", "two"):
        for name in ("ann", "bob"):
            stage.signals(stage.join(name, channel, process=f"{name} of {channel}"))
    heard = [[one.room.channel_id for one in stage.heard(worker)] for worker in workers]
    assert [len(rooms) for rooms in heard] == [2, 2]
    assert all(len(set(rooms)) == 1 for rooms in heard)


@pytest.mark.parametrize("why", [ErrorCode.CLOSED, ErrorCode.KICKED, ErrorCode.REVOKED, ErrorCode.EXPIRED])
def test_who_leaves_is_gone_for_the_worker_too(why: ErrorCode) -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    stage.signals(ann)
    room = forwarded(stage, worker).room
    stage.membership.remove(ann, "closed", why)
    assert stage.heard(worker) == [Gone(room=room, identity=ann.identity, code=why.value)]


def test_a_client_that_comes_again_is_not_gone() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    stage.signals(ann)
    stage.heard(worker)
    assert stage.join("ann") is not ann
    stage.calls.tick(stage.now_ms)
    assert [type(one) for one in stage.heard(worker)] == [Renewed]


def test_of_several_devices_of_a_name_the_one_that_offered_is_in_the_call() -> None:
    stage = Stage()
    worker = stage.worker()
    phone = stage.join("ann", process="phone", sessions=2)
    laptop = stage.join("ann", process="laptop", sessions=2)
    stage.signals(laptop)
    (forward,) = stage.heard(worker)
    assert isinstance(forward, Forward)
    answer = Answer(connection="c1", number=1, sdp="v=0", term=forward.room.term)
    stage.says(worker, Deliver(room=forward.room, identities=["name:ann"], signal=answer))
    assert (stage.got(phone), stage.got(laptop)) == ([], [answer])
    stage.membership.remove(phone, "left", ErrorCode.CLOSED)
    assert stage.heard(worker) == []
    phone = stage.join("ann", process="phone", sessions=2)
    stage.signals(phone)
    assert isinstance(stage.heard(worker)[0], Forward)
    stage.membership.remove(laptop, "left", ErrorCode.CLOSED)
    assert stage.heard(worker) == []
    stage.membership.remove(phone, "left", ErrorCode.CLOSED)
    (gone,) = stage.heard(worker)
    assert isinstance(gone, Gone)
    assert gone.identity == "name:ann"


def test_a_device_that_was_replaced_by_another_is_out_of_the_call() -> None:
    stage = Stage()
    worker = stage.worker()
    phone = stage.join("ann", process="phone", sessions=1)
    stage.signals(phone)
    stage.heard(worker)
    stage.join("ann", process="phone", sessions=1)
    stage.calls.tick(stage.now_ms)
    assert [type(one) for one in stage.heard(worker)] == [Renewed]
    stage.join("ann", process="laptop", sessions=1)
    stage.calls.tick(stage.now_ms)
    (gone,) = stage.heard(worker)
    assert isinstance(gone, Gone)
    assert (gone.identity, gone.code) == ("name:ann", "replaced")


def test_who_comes_again_keeps_nothing_of_the_credential_before() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann", expires_ms=None)
    stage.signals(ann)
    stage.heard(worker)
    # Not resumed: it begins anew, as the same client. Its connection to the worker may go on.
    expires_ms = stage.now_ms + 60_000
    stage.join("ann", operations=frozenset({Operation.SUBSCRIBE}), expires_ms=expires_ms)
    (renewed,) = stage.heard(worker)
    assert isinstance(renewed, Renewed)
    assert renewed.participant.operations == ["subscribe"]
    assert renewed.participant.expires_ms == expires_ms


@pytest.mark.parametrize("was_claimed", [True, False])
def test_who_comes_again_as_somebody_else_is_out_of_the_call(was_claimed: bool) -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann", process="phone", sessions=int(was_claimed))
    stage.signals(ann)
    stage.heard(worker)
    # Nobody is here any more by the credential that its media were admitted by: no revocation would end them.
    stage.join("someone", process="phone", sessions=int(not was_claimed))
    stage.calls.tick(stage.now_ms)
    gone = [one for one in stage.heard(worker) if isinstance(one, Gone)]
    assert [(one.identity, one.code) for one in gone] == [(ann.identity, "replaced")]


def test_a_new_credential_is_told() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    stage.signals(ann)
    stage.heard(worker)
    admission = msgspec.structs.replace(ann.admission, expires_ms=stage.now_ms + 60_000)
    stage.membership.readmit(ann, admission, CredentialIds("k2", "k2", frozenset({"k2"})), stage.now_ms)
    (renewed,) = stage.heard(worker)
    assert isinstance(renewed, Renewed)
    assert renewed.participant.expires_ms == stage.now_ms + 60_000


def test_who_leaves_while_the_lease_has_run_out_is_told_all_the_same() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    stage.signals(ann)
    (forward,) = stage.heard(worker)
    # As after a pause of the server, before it reads what the worker has said meanwhile.
    stage.now_ms += 2 * TTL_MS
    stage.membership.remove(ann, "closed", ErrorCode.REVOKED)
    assert stage.heard(worker) == [Gone(room=forward.room, identity=ann.identity, code="revoked")]


@pytest.mark.parametrize("code", [ErrorCode.CLOSED, ErrorCode.REVOKED])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "after a restart"])
def test_one_device_that_leaves_does_not_end_the_call_of_another(code: ErrorCode, is_known: bool) -> None:
    stage = Stage()
    worker = stage.worker()
    phone, laptop = (stage.join("ann", sessions=2, process=device) for device in ("phone", "laptop"))
    stage.signals(laptop)
    (forward,) = stage.heard(worker)
    if not is_known:
        stage = Stage(stage.terms, was_serving=True)
        worker = stage.worker("peerbus:sfu-1", forward.room)
        phone, laptop = (stage.join("ann", sessions=2, process=device) for device in ("phone", "laptop"))
    gone = Gone(room=forward.room, identity=laptop.identity, code=code.value)
    stage.membership.remove(phone, "left", code)
    # Where it may have been the one in the call, a lost credential counts; the other one offers anew.
    assert stage.heard(worker) == ([gone] if code is ErrorCode.REVOKED and not is_known else [])
    stage.membership.remove(laptop, "left", code)
    assert stage.heard(worker) == [gone]


def test_who_comes_back_with_another_credential_is_told() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann", expires_ms=stage.now_ms + 60_000)
    stage.signals(ann)
    (forward,) = stage.heard(worker)
    # The server was started again, and everybody comes back; the worker has gone on meanwhile.
    after = Stage(stage.terms, was_serving=True)
    worker = after.worker("peerbus:sfu-1", forward.room)
    resume = Resume(token=Secret("t"), epoch="e", offset=0, live_epoch="l", live_seq=0, order=1)
    expires_ms = after.now_ms + 3_600_000
    after.join("ann", resume=resume, expires_ms=expires_ms)
    (renewed,) = after.heard(worker)
    assert isinstance(renewed, Renewed)
    assert renewed.participant.expires_ms == expires_ms


# --- workers that go --------------------------------------------------------------------------------------


def test_a_lost_worker_s_room_is_placed_anew_under_a_higher_term() -> None:
    stage = Stage()
    first, ann = stage.worker("peerbus:sfu-1"), stage.join("ann")
    stage.signals(ann)
    term = forwarded(stage, first).room.term
    second = stage.worker("peerbus:sfu-2")
    stage.membership.remove(first, "left", ErrorCode.CLOSED)
    (restart,) = stage.got(ann)
    assert isinstance(restart, Restart)
    assert restart.term > term
    stage.signals(ann, Offer(connection="c2", number=1, sdp="v=0"))
    assert forwarded(stage, second).room.term == restart.term


def test_a_worker_that_goes_while_the_disk_is_full_is_gone() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    stage.signals(ann)
    stage.worker("peerbus:sfu-2")
    stage.is_disk_full = True
    stage.membership.remove(worker, "left", ErrorCode.CLOSED)
    assert stage.calls.worker_states()["ready"] == 1
    assert stage.got(ann) == []
    stage.is_disk_full = False
    assert isinstance(stage.signals(ann), Ack)


def test_a_worker_that_was_started_again_takes_its_name_but_not_its_rooms() -> None:
    stage = Stage()
    first, ann = stage.worker(process="pid 1"), stage.join("ann")
    stage.signals(ann)
    room = forwarded(stage, first).room
    second = stage.worker(process="pid 2")
    assert first.is_gone
    (restart,) = stage.got(ann)
    assert isinstance(restart, Restart)
    reply = stage.says(second, Deliver(room=room, identities=[], signal=Restart(term=9, reason="")))
    assert isinstance(reply, Ack)
    assert stage.got(ann) == []
    assert stage.heard(second) == [Release(room=room)]
    stage.signals(ann)
    assert forwarded(stage, second).room.term >= restart.term


def test_a_silent_worker_loses_its_room_to_another() -> None:
    stage = Stage()
    first, ann = stage.worker("peerbus:sfu-1"), stage.join("ann")
    stage.signals(ann)
    room = forwarded(stage, first).room
    second = stage.worker("peerbus:sfu-2")
    stage.later(TTL_MS + 500)
    assert [type(one) for one in stage.got(ann)] == [Restart]
    stage.signals(ann)
    assert forwarded(stage, second).room.term > room.term
    # It wakes up, and hears that the room is not its own any more.
    stage.says(first, Load(rooms=[room], participants=1, cpu_share=0.1))
    assert stage.heard(first) == [Release(room=room)]
    stage.says(first, Deliver(room=room, identities=[ann.identity], signal=Restart(term=99, reason="")))
    assert stage.got(ann) == []
    assert any("does not hold" in note for note in stage.calls.notes_to_log())


def test_a_silent_worker_goes_on_where_nobody_else_could() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    stage.signals(ann)
    room = forwarded(stage, worker).room
    stage.later(3 * TTL_MS)
    assert stage.got(ann) == []
    assert code(stage.signals(ann)) == "no_worker"
    stage.says(worker, Announce(rooms=[room]))
    assert stage.heard(worker) == []
    assert isinstance(stage.signals(ann), Ack)
    assert forwarded(stage, worker).room == room


def test_loads_keep_a_room_and_a_room_nobody_is_in_ends() -> None:
    stage = Stage()
    worker, ann = stage.worker(), stage.join("ann")
    stage.signals(ann)
    room = forwarded(stage, worker).room
    for _ in range(10):
        stage.later(1_000)
        stage.says(worker, Load(rooms=[room], participants=1, cpu_share=0.1))
    assert stage.calls.rooms == 1
    stage.says(worker, Load(rooms=[], participants=0, cpu_share=0.0))
    assert stage.calls.rooms == 0
    assert stage.got(ann) == []


def test_a_draining_worker_gives_its_rooms_away() -> None:
    stage = Stage()
    first, ann = stage.worker("peerbus:sfu-1"), stage.join("ann")
    stage.signals(ann)
    room = forwarded(stage, first).room
    second = stage.worker("peerbus:sfu-2")
    stage.says(first, Load(rooms=[room], participants=1, cpu_share=0.1, is_draining=True))
    assert [type(one) for one in stage.got(ann)] == [Restart]
    assert stage.calls.worker_states() == {"ready": 1, "draining": 1, "away": 0}
    stage.signals(ann)
    assert forwarded(stage, second).room.term > room.term


# --- the server was started again -------------------------------------------------------------------------


def test_a_room_stays_with_its_worker_over_a_restart_of_the_server() -> None:
    before = Stage()
    worker, ann = before.worker(), before.join("ann")
    before.signals(ann)
    room = forwarded(before, worker).room

    stage = Stage(before.terms, was_serving=True)
    ann = stage.join("ann")
    other = stage.worker("peerbus:sfu-2")
    assert code(stage.signals(ann)) == "no_worker"
    worker = stage.worker("peerbus:sfu-1", room)
    assert stage.heard(worker) == []
    assert isinstance(stage.signals(ann), Ack)
    assert forwarded(stage, worker).room == room
    assert stage.heard(other) == []
    assert stage.got(ann) == []


def test_for_one_lease_only() -> None:
    before = Stage()
    before.worker()
    stage = Stage(before.terms, was_serving=True)
    worker, ann = stage.worker(), stage.join("ann")
    stage.later(TTL_MS)
    assert isinstance(stage.signals(ann), Ack)
    assert forwarded(stage, worker).signal == OFFER


def test_some_time_after_an_announcement_the_worker_hears_who_is_there() -> None:
    stage = Stage(itertools.count(10))
    room = Room(scope="private:p", channel_id=naming.channel_id("lobby", naming.Mode.OPEN, b""), term=7)
    worker, ann = stage.worker("peerbus:sfu-1", room), stage.join("ann")
    for _ in range(31):
        stage.says(worker, Load(rooms=[room], participants=1, cpu_share=0.1))
        stage.later(1_000)
    assert stage.heard(worker) == [Roster(room=room, identities=[ann.identity])]


@pytest.mark.parametrize("is_old_first", [True, False])
def test_of_two_workers_with_one_room_the_later_term_counts(is_old_first: bool) -> None:
    stage = Stage(itertools.count(10))
    channel_id = naming.channel_id("lobby", naming.Mode.OPEN, b"")
    old = Room(scope="private:p", channel_id=channel_id, term=3)
    new = Room(scope="private:p", channel_id=channel_id, term=4)
    workers = {}
    for name in ("old", "new") if is_old_first else ("new", "old"):
        workers[name] = stage.worker(f"peerbus:sfu-{name}", old if name == "old" else new)
    assert stage.heard(workers["old"]) == [Release(room=old)]
    assert stage.heard(workers["new"]) == []
    stage.signals(stage.join("ann"))
    assert forwarded(stage, workers["new"]).room == new


# --- all of it, at random ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_no_two_workers_are_ever_heard_for_one_room_and_term(seed: int) -> None:
    rng = random.Random(seed)
    stage, processes = Stage(), itertools.count(1)
    workers: dict[str, Member] = {}
    rooms: dict[str, set[Room]] = {}
    heard_for: dict[int, str] = {}
    highest = 0
    ann = stage.join("ann")
    for _ in range(120):
        process = rng.choice(list(workers)) if workers else ""
        what = rng.choice(["start", "offer", "load", "stop", "cut", "speak", "speak", "time", "restart"])
        if what == "start" and len(workers) < 3:
            process = f"process {next(processes)}"
            workers[process] = stage.worker(f"peerbus:sfu-{process[-1]}", process=process)
            rooms[process] = set()
        elif what == "offer":
            stage.signals(ann)
        elif what == "time":
            stage.later(rng.choice([500, 2_000, TTL_MS]))
        elif what == "restart" and rng.random() < 0.2:
            stage = Stage(stage.terms, was_serving=True)
            ann = stage.join("ann")
            order = list(workers)
            rng.shuffle(order)
            for one in order:
                name = workers[one].name
                workers[one] = stage.worker(name, *rooms[one], process=one)
        elif process and what == "load":
            stage.says(workers[process], Load(rooms=list(rooms[process]), participants=1, cpu_share=0.0))
        elif process and what == "stop":
            stage.membership.remove(workers.pop(process), "left", ErrorCode.CLOSED)
            del rooms[process]
        elif process and what == "cut":
            stage.membership.detached(workers[process], workers[process].connection, stage.now_ms)
        elif process and rooms[process]:
            room = rng.choice(sorted(rooms[process], key=lambda one: one.term))
            stage.got(ann)
            stage.says(
                workers[process],
                Deliver(room=room, identities=[], signal=Restart(term=room.term, reason="?")),
            )
            for signal in stage.got(ann):
                assert isinstance(signal, Restart)
                if signal.reason == "?":
                    assert heard_for.setdefault(signal.term, process) == process
                    assert signal.term >= highest
                    highest = signal.term
        for one in [one for one, member in workers.items() if member.is_gone]:
            del workers[one], rooms[one]
        for one, member in workers.items():
            for message in stage.heard(member):
                if isinstance(message, Forward):
                    rooms[one] = {message.room}
                elif isinstance(message, Release):
                    rooms[one].discard(message.room)
