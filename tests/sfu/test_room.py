"""A room: what each of its participants is told, and what the engine is made to do."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerbus.protocol import signals
from peerbus.protocol.grants import ALL_OPERATIONS, Operation
from peerbus.protocol.signals import (
    Answer,
    Leave,
    Mute,
    Offer,
    OfferedTrack,
    Publications,
    Slots,
    Source,
    Speakers,
    Unpublish,
)
from peerbus.sfu.data_queue import RELIABLE_BYTES_MAX
from peerbus.sfu.dtls import MESSAGE_BYTES_MAX
from peerbus.sfu.room import PARTICIPANTS_MAX
from tests.support.examples import examples
from tests.support.room_stage import ROOM, Member, Stage, sdp

CAMERA: dict[str, tuple[str, Source]] = {"cam": ("video", "camera")}
BOTH: dict[str, tuple[str, Source]] = {"mic": ("audio", "microphone"), "cam": ("video", "camera")}


def narrowed(member: Member, *without: Operation, expires_ms: int | None = None) -> signals.Participant:
    operations: list[str] = sorted(ALL_OPERATIONS - set(without))
    more: dict[str, Any] = {} if expires_ms is None else {"expires_ms": expires_ms}
    return signals.Participant(
        identity=member.identity, session_id="s", name=member.who.name, operations=operations, **more
    )


# --- offers -------------------------------------------------------------------------------------------------------


def test_an_offer_is_answered_with_the_term_and_opens_data() -> None:
    stage = Stage()
    ann = stage.member("ann")
    ann.offer(BOTH, videos=1)
    (answer,) = ann.answers
    assert (answer.connection, answer.number, answer.term) == ("ann-1", 1, ROOM.term)
    assert "a=recvonly" in answer.sdp
    assert f"a=max-message-size:{MESSAGE_BYTES_MAX}" in answer.sdp
    assert ann.link is not None
    assert ann.link.data == [(5_000, MESSAGE_BYTES_MAX)]
    assert len(ann.told) == 1
    ann.connect()
    assert ann.publications == ["name:ann/mic", "name:ann/cam"]
    assert [one.identity for one in ann.heard(Publications)[-1].callers] == ["name:ann"]


def test_nobody_hears_of_somebody_who_is_not_connected_yet() -> None:
    stage = Stage()
    ann = stage.join("ann")
    ann.told.clear()
    stage.member("ben").offer(CAMERA)
    assert ann.told == []
    assert stage.room.participants == 2


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "bad_offer"),
        ("", "bad_offer"),
        (sdp().replace("actpass", "passive"), "bad_offer"),
        (sdp().replace("actpass", "holdconn"), "bad_offer"),
    ],
)
def test_an_offer_that_cannot_be_followed_is_refused_and_opens_nothing(text: str, code: str) -> None:
    stage = Stage()
    ann = stage.member("ann")
    ann.say(Offer(connection="c", number=4, sdp=text))
    (refused,) = ann.told
    assert isinstance(refused, signals.Refused)
    assert (refused.connection, refused.number, refused.code) == ("c", 4, code)
    assert stage.room.is_empty
    assert stage.connections == {}


def test_a_bad_offer_leaves_the_connection_as_it_was() -> None:
    stage = Stage()
    ann, ben = stage.join("ann", CAMERA), stage.join("ben")
    ben.told.clear()
    ann.say(Offer(connection="ann-1", number=2, sdp="nonsense"))
    ann.say(Offer(connection="ann-2", number=1, sdp="nonsense"))
    assert ann.refusals == ["bad_offer", "bad_offer"]
    assert ben.told == []
    assert ben.slots == {}
    assert len(stage.engine.bound) == 1
    ann.number = 1
    ann.offer(CAMERA, videos=1)
    assert len(ann.answers) == 2


def test_the_same_offer_once_more_is_not_answered_again() -> None:
    stage = Stage()
    ann = stage.member("ann")
    ann.offer(CAMERA)
    for _ in range(3):
        ann.number = 0
        ann.offer(CAMERA)
    assert len(ann.answers) == 1


def test_another_connection_of_the_same_participant_replaces_the_older_one() -> None:
    stage = Stage()
    ann, ben = stage.join("ann", CAMERA), stage.join("ben")
    former = ann.link
    ann.connection, ann.number = "ann-2", 0
    ann.offer(CAMERA)
    assert former is not None
    assert former.is_closed
    assert ben.publications == []
    ann.connect()
    assert ben.publications == ["name:ann/cam"]
    assert stage.room.participants == 2
    # What the older one says now is nobody's.
    former.owner.ended("connection_lost", "late")
    former.owner.progressed()
    assert stage.room.participants == 2
    assert ann.ended == []


def test_a_room_has_an_end() -> None:
    stage = Stage()
    for number in range(PARTICIPANTS_MAX):
        stage.member(f"m{number}").offer()
    late = stage.member("late")
    late.offer()
    assert late.refusals == ["room_full"]
    first = stage.members["name:m0"]
    first.connection, first.number = "other", 0
    first.offer()
    assert first.refusals == []


def test_more_slots_leave_the_running_ones_alone() -> None:
    stage = Stage()
    for name in ("ann", "ben", "cleo"):
        stage.join(name, CAMERA)
    zoe = stage.join("zoe", videos=1, audios=0)
    assert zoe.slots == {"v0": "name:ann/cam"}
    assert zoe.heard(Slots)[-1].wanting == 2
    first = zoe.answers[-1].sdp
    bound = dict(stage.engine.bound)
    zoe.offer({}, videos=3)
    assert bound.items() <= stage.engine.bound.items()
    assert set(zoe.slots.values()) == {"name:ann/cam", "name:ben/cam", "name:cleo/cam"}
    assert zoe.heard(Slots)[-1].wanting == 0
    sources = [line for line in first.split("\r\n") if line.startswith("a=ssrc")]
    assert set(sources) < set(zoe.answers[-1].sdp.split("\r\n"))


def test_slots_that_come_and_go_leave_nothing_in_the_engine() -> None:
    stage = Stage()
    stage.join("ann", CAMERA)
    zoe = stage.join("zoe", videos=1, audios=0)
    for turn in range(20):
        zoe.number += 1
        sections = [(f"x{turn}-{number}", "video", "recvonly") for number in range(10)]
        slots = [mid for mid, _, _ in sections]
        zoe.say(Offer(connection=zoe.connection, number=zoe.number, sdp=sdp(*sections), slots=slots))
    assert zoe.refusals == []
    assert (
        len([owner for owner, _ in stage.engine.legs.values() if zoe.link and owner == zoe.link.peer]) == 10
    )
    assert list(zoe.slots.values()) == ["name:ann/cam"]


def test_somebody_with_a_slash_in_the_name_cannot_be_imitated() -> None:
    stage = Stage()
    stage.join("ann/x", {"cam": ("video", "camera")})
    ann = stage.member("ann")
    ann.offer({"x/cam": ("video", "camera")})
    assert ann.refusals == ["bad_offer"]


# --- publications -------------------------------------------------------------------------------------------------


def test_everybody_gets_everybody_else_and_nobody_themselves() -> None:
    stage = Stage()
    members = [stage.join(name, BOTH) for name in ("ann", "ben", "cleo")]
    for one in members:
        others = {f"{other.identity}/{track}" for other in members if other is not one for track in BOTH}
        assert set(one.slots.values()) == others
        by_number = {mid[1:]: publication.split("/")[0] for mid, publication in one.slots.items()}
        assert all(one.slots[mid].startswith(by_number[mid[1:]]) for mid in one.slots)


def test_mute_is_told_once_and_only_of_what_there_is() -> None:
    stage = Stage()
    ann, ben = stage.join("ann", CAMERA), stage.join("ben")
    ben.told.clear()
    ann.say(Mute(connection="ann-1", publication="cam", is_muted=True))
    ann.say(Mute(connection="ann-1", publication="cam", is_muted=True))
    (told,) = ben.heard(Publications)
    assert [one.is_muted for one in told.publications] == [True]
    ann.say(Mute(connection="ann-1", publication="screen", is_muted=True))
    ann.say(Mute(connection="gone", publication="cam", is_muted=True))
    assert ann.refusals == ["not_found", "not_found"]


def test_unpublish_frees_the_slot_and_its_line_may_be_used_again() -> None:
    stage = Stage()
    ann, ben = stage.join("ann", CAMERA), stage.join("ben")
    ann.say(Unpublish(connection="ann-1", publication="cam"))
    assert (ben.slots, ben.publications, stage.engine.streams) == ({}, [], {})
    ann.say(Unpublish(connection="ann-1", publication="cam"))
    assert ann.refusals == ["not_found"]
    ann.offer({"screen": ("video", "screen")})
    assert ben.publications == ["name:ann/screen"]
    assert list(ben.slots.values()) == ["name:ann/screen"]


def test_versions_rise_and_terms_are_told() -> None:
    stage = Stage()
    ann = stage.join("ann", CAMERA)
    for name in ("ben", "cleo"):
        stage.join(name, BOTH)
    for kind in (Publications, Slots):
        versions = [one.version for one in ann.heard(kind)]
        assert versions == sorted(set(versions))
        assert len(versions) > 2
    assert {one.term for one in ann.heard(Publications)} == {ROOM.term}


def test_what_a_subscriber_cannot_take_is_not_in_its_slots_and_not_wanted() -> None:
    stage = Stage()
    stage.engine.is_fit = lambda stream, leg: leg.mid != "v0"
    stage.join("ann", CAMERA)
    ben = stage.join("ben", videos=2)
    assert ben.slots == {"v1": "name:ann/cam"}
    stage.engine.is_fit = lambda stream, leg: False
    cleo = stage.join("cleo", videos=2)
    assert cleo.slots == {}
    assert cleo.heard(Slots)[-1].wanting == 0


# --- comings and goings -------------------------------------------------------------------------------------------


def test_leave_ends_the_connection_without_a_word() -> None:
    stage = Stage()
    ann, ben = stage.join("ann", CAMERA), stage.join("ben")
    ann.told.clear()
    ann.say(Leave(connection="other"))
    assert stage.room.participants == 2
    ann.say(Leave(connection="ann-1"))
    ann.say(Leave(connection="ann-1"))
    assert ann.told == []
    assert ann.link is not None
    assert ann.link.is_closed
    assert (ben.slots, ben.publications) == ({}, [])
    assert [one.identity for one in ben.heard(Publications)[-1].callers] == ["name:ben"]
    ben.say(Leave(connection="ben-1"))
    assert stage.room.is_empty
    assert (stage.engine.peers, stage.engine.streams, stage.engine.legs) == (set(), {}, {})


def test_a_connection_that_is_lost_is_told_to_its_client() -> None:
    stage = Stage()
    ann = stage.join("ann", CAMERA)
    assert ann.link is not None
    ann.link.owner.ended("connection_lost", "silent")
    assert ann.ended == ["connection_lost"]
    assert stage.room.is_empty


def test_one_who_is_removed_is_told_why() -> None:
    stage = Stage()
    ann, ben = stage.join("ann", CAMERA), stage.join("ben")
    stage.room.remove("name:ann", "kicked", "You were removed.")
    stage.room.remove("name:nobody", "kicked", "You were removed.")
    assert ann.ended == ["kicked"]
    assert ben.publications == []


def test_a_roster_ends_all_others() -> None:
    stage = Stage()
    for name in ("ann", "ben", "cleo"):
        stage.join(name, CAMERA)
    stage.room.keep_only(["name:ben", "name:nobody"])
    assert stage.room.participants == 1
    assert stage.members["name:ben"].publications == ["name:ben/cam"]


def test_closing_ends_everybody() -> None:
    stage = Stage()
    members = [stage.join(name, CAMERA) for name in ("ann", "ben")]
    stage.room.close()
    # Whoever holds the room from now on tells them.
    assert [one.ended for one in members] == [[], []]
    assert stage.room.is_empty


def test_a_credential_that_ends_takes_its_connection_along() -> None:
    stage = Stage()
    ann = stage.join("ann", CAMERA)
    stage.room.renew(narrowed(ann, expires_ms=5_000))
    stage.room.expire(4_999)
    assert ann.ended == []
    stage.room.expire(5_000)
    assert ann.ended == ["expired"]


def test_a_narrower_credential_ends_what_it_does_not_allow() -> None:
    stage = Stage()
    ann, ben = stage.join("ann", BOTH), stage.join("ben", BOTH)
    stage.room.renew(narrowed(ann, Operation.PUBLISH_VIDEO, Operation.SUBSCRIBE))
    assert ann.refusals == ["forbidden"]
    assert ben.publications == ["name:ann/mic", "name:ben/mic", "name:ben/cam"]
    assert list(ben.slots.values()) == ["name:ann/mic"]
    assert ann.slots == {}
    assert ann.link is not None
    assert [leg for leg in stage.engine.bound if stage.engine.legs[leg][0] == ann.link.peer] == []
    stage.room.renew(narrowed(ann))
    assert set(ann.slots.values()) == {"name:ben/mic", "name:ben/cam"}
    stage.room.renew(narrowed(stage.member("stranger")))


def test_a_credential_renewed_before_the_handshake_is_done_disturbs_nobody() -> None:
    stage = Stage()
    ann, ben = stage.member("ann"), stage.member("ben")
    ann.offer(CAMERA, videos=1)
    ben.offer(CAMERA, videos=1)
    stage.room.renew(narrowed(ann, Operation.PUBLISH_VIDEO))
    ben.connect()
    assert ben.publications == ["name:ben/cam"]
    ann.connect()
    assert (ann.slots, ben.slots) == ({"v0": "name:ben/cam"}, {})


# --- data ---------------------------------------------------------------------------------------------------------


def sent(member: Member, label: str = "reliable") -> list[Any]:
    return member.channels[label].sent


def test_data_goes_to_everybody_else_or_to_those_who_are_named() -> None:
    stage = Stage()
    ann, ben, cleo = (stage.join(name) for name in ("ann", "ben", "cleo"))
    ann.send(None, "all")
    ann.send(["name:ben"], {"x": 1})
    ann.send(["name:cleo", "name:cleo", "name:ann"], b"bytes", "lossy")
    ann.send([], "nobody")
    assert sent(ben) == [["name:ann", "all"], ["name:ann", {"x": 1}]]
    assert sent(cleo) == [["name:ann", "all"]]
    assert sent(cleo, "lossy") == [["name:ann", b"bytes"]]
    assert sent(ann, "lossy") == [["name:ann", b"bytes"]]
    assert sent(ann) == []


def problems(member: Member) -> list[str]:
    assert all(sender is None for sender, _ in sent(member))
    return [problem["code"] for _, problem in sent(member)]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("text", "bad_request"),
        (b"\xc1", "bad_request"),
        (b"\x92\x91\xa2\xff\xfe\xc0", "bad_request"),
        (msgpack.packb([["name:x"], 1]), "unknown_recipient"),
        (msgpack.packb([["name:ben", "name:x"], 1]), "unknown_recipient"),
        (msgpack.packb([["name:quiet"], 1]), "unknown_recipient"),
        (msgpack.packb([None, bytes(MESSAGE_BYTES_MAX)]), "too_large"),
        (msgpack.packb([None, bytes(MESSAGE_BYTES_MAX - 8)]), "too_large"),
    ],
)
def test_what_is_wrong_with_a_message_is_told_to_its_sender_only(message: bytes | str, code: str) -> None:
    stage = Stage()
    ann, ben = stage.join("ann"), stage.join("ben")
    quiet = stage.member("quiet")
    quiet.offer()
    quiet.connect()
    ann.send_raw(message)
    assert problems(ann) == [code]
    assert sent(ben) == []
    ann.send(None, "go on")
    assert sent(ben) == [["name:ann", "go on"]]


def test_a_problem_is_never_larger_than_a_message() -> None:
    stage = Stage()
    ann = stage.join("ann")
    ann.send(["x" * 65_000, "y" * 500], 1)
    ann.send(["x" * 1_000], 1)
    (_, large), (_, small) = sent(ann)
    assert large["code"] == small["code"] == "unknown_recipient"
    assert "details" not in large
    assert small["details"] == {"missing": ["x" * 1_000]}


def test_who_may_not_send_or_not_receive_does_not() -> None:
    stage = Stage()
    ann, ben, cleo = (stage.join(name) for name in ("ann", "ben", "cleo"))
    stage.room.renew(narrowed(ann, Operation.PUBLISH_DATA))
    stage.room.renew(narrowed(cleo, Operation.SUBSCRIBE))
    ann.send(None, 1)
    assert problems(ann) == ["forbidden"]
    ben.send(None, 2)
    ben.send(["name:cleo"], 3)
    assert (sent(cleo), len(sent(ann))) == ([], 2)


def test_a_slow_receiver_is_named_and_the_others_get_the_message() -> None:
    stage = Stage()
    ann, ben, cleo = (stage.join(name) for name in ("ann", "ben", "cleo"))
    assert ben.link is not None
    ben.link.data_in_flight_bytes = 10**6
    count = RELIABLE_BYTES_MAX // 60_000 + 2
    for _ in range(count):
        ann.send(None, bytes(60_000))
    assert sent(ben) == []
    assert len(sent(cleo)) == count
    assert problems(ann)[-1] == "overloaded"
    assert sent(ann)[-1][1]["details"] == {"missing": ["name:ben"]}
    ben.link.data_in_flight_bytes = 0
    before = -1
    while len(sent(ben)) != before:
        before = len(sent(ben))
        ben.link.owner.progressed()
    assert len(sent(ben)) == count - len(problems(ann))


def test_lossy_data_for_a_slow_receiver_is_dropped_without_a_word() -> None:
    stage = Stage()
    ann, ben = stage.join("ann"), stage.join("ben")
    assert ben.link is not None
    ben.link.data_in_flight_bytes = 10**6
    ann.send(None, "old", "lossy")
    stage.clock_ms += 101
    ann.send(None, "new", "lossy")
    ben.link.data_in_flight_bytes = 0
    ben.link.owner.progressed()
    assert sent(ben, "lossy") == [["name:ann", "new"]]
    assert sent(ann) == []


def test_other_channels_and_second_ones_carry_nothing() -> None:
    stage = Stage()
    ann = stage.join("ann")
    first = dict(ann.channels)
    ann.open_channels()
    assert [channel.receive for channel in ann.channels.values()] == [None, None]
    assert all(channel.receive is not None for channel in first.values())


def test_what_somebody_sends_after_being_removed_goes_nowhere() -> None:
    stage = Stage()
    ann, ben = stage.join("ann"), stage.join("ben")
    stage.room.remove("name:ann", "kicked", "You were removed.")
    ann.send(None, "one last word")
    ann.send(["name:x"], "and another")
    assert sent(ben) == []
    assert sent(ann) == []


def test_problems_without_a_channel_to_tell_them_do_no_harm() -> None:
    stage = Stage()
    ann = stage.join("ann")
    del ann.stage.room._participants["name:ann"].channels["reliable"]
    ann.send(["name:x"], 1, "lossy")
    assert sent(ann) == []


# --- speakers -----------------------------------------------------------------------------------------------------


def test_those_who_speak_are_told_to_everybody_but_the_muted() -> None:
    stage = Stage()
    ann, ben = stage.join("ann", BOTH), stage.join("ben", BOTH)
    levels = {stream: 20 for stream, (_, one) in stage.engine.streams.items() if not one.is_video}
    ben.say(Mute(connection="ben-1", publication="mic", is_muted=True))
    for step in range(10):
        stage.room.hear(levels, 2_000 + 100 * step)
    (told,) = ann.heard(Speakers)
    assert [one.participant for one in told.speakers] == ["name:ann"]
    assert ben.heard(Speakers) == [told]
    ann.say(Leave(connection="ann-1"))
    stage.room.hear({}, 3_100)
    assert ben.heard(Speakers)[-1].speakers == []


# --- driven at random ---------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["ann", "ben", "cleo"])
TRACKS = st.dictionaries(
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from([("audio", "microphone"), ("video", "camera"), ("video", "screen")]),
    max_size=3,
)
LIMITS = st.sets(
    st.sampled_from(
        [Operation.PUBLISH_AUDIO, Operation.PUBLISH_VIDEO, Operation.PUBLISH_SCREEN, Operation.SUBSCRIBE]
    )
)


class RoomMachine(RuleBasedStateMachine):
    """Offers, handshakes, losses and grants in any order; what is told is what the engine does."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.stage.engine.is_fit = lambda stream, leg: not (stream.mid == "m3" and leg.mid == "v1")
        for name in ("ann", "ben", "cleo"):
            self.stage.member(name)

    def member(self, name: str) -> Member:
        return self.stage.members[f"name:{name}"]

    @rule(name=NAMES, tracks=TRACKS, videos=st.integers(0, 3), audios=st.integers(0, 2), is_new=st.booleans())
    def offer(
        self, name: str, tracks: dict[str, tuple[str, Source]], videos: int, audios: int, is_new: bool
    ) -> None:
        one = self.member(name)
        if is_new or self.stage.room.participants == 0:
            one.connection, one.number = f"{one.connection}+", 0
        one.number += 1
        sections = [(f"m{number}-{kind}", kind, "sendonly") for number, (kind, _) in tracks.items()]
        slots = [(f"v{number}", "video", "recvonly") for number in range(videos)]
        slots += [(f"a{number}", "audio", "recvonly") for number in range(audios)]
        offered = [
            OfferedTrack(mid=f"m{number}-{kind}", publication=number, source=source)
            for number, (kind, source) in tracks.items()
        ]
        before = len(one.answers) + len(one.refusals)
        one.say(
            Offer(
                connection=one.connection,
                number=one.number,
                sdp=sdp(*sections, *slots),
                tracks=offered,
                slots=[mid for mid, _, _ in slots],
            )
        )
        assert len(one.answers) + len(one.refusals) == before + 1
        one.link = self.stage.connections.get(one.identity)

    @rule(name=NAMES)
    def finish_handshake(self, name: str) -> None:
        link = self.member(name).link
        if link is not None and link.peer is None and not link.is_closed:
            link.finish_handshake()

    @rule(name=NAMES)
    def lose(self, name: str) -> None:
        link = self.member(name).link
        if link is not None:
            link.owner.ended("connection_lost", "lost")

    @rule(name=NAMES, number=st.sampled_from("123"), is_muted=st.booleans())
    def mute(self, name: str, number: str, is_muted: bool) -> None:
        one = self.member(name)
        one.say(Mute(connection=one.connection, publication=number, is_muted=is_muted))

    @rule(name=NAMES, number=st.sampled_from("123"))
    def unpublish(self, name: str, number: str) -> None:
        one = self.member(name)
        one.say(Unpublish(connection=one.connection, publication=number))

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        one = self.member(name)
        one.say(Leave(connection=one.connection))

    @rule(name=NAMES, without=LIMITS)
    def renew(self, name: str, without: set[Operation]) -> None:
        one = self.member(name)
        one.who = narrowed(one, *without)
        self.stage.room.renew(one.who)

    @rule(names=st.sets(NAMES))
    def roster(self, names: set[str]) -> None:
        self.stage.room.keep_only([f"name:{name}" for name in names])

    @precondition(lambda self: self.stage.room.participants > 2)
    @rule()
    def close(self) -> None:
        self.stage.room.close()

    @invariant()
    def the_engine_has_what_there_is_and_nothing_more(self) -> None:
        engine, everyone = self.stage.engine, self.stage.room._participants.values()
        connected = [one for one in everyone if one.is_connected]
        assert len(engine.peers) == len(connected)
        assert set(engine.streams) == {
            published.stream for one in connected for published in one.published.values()
        }
        assert set(engine.legs) == {slot.leg for one in connected for slot in one.slots.values()}

    @invariant()
    def everybody_knows_what_is_published(self) -> None:
        there = [one for one in self.stage.room._participants.values() if one.is_connected]
        published = {one.id for participant in there for one in participant.published.values()}
        for participant in there:
            assert set(self.stage.members[participant.identity].publications) == published

    @invariant()
    def what_is_told_of_slots_is_what_the_engine_sends(self) -> None:
        engine = self.stage.engine
        names = {
            published.stream: published.id
            for one in self.stage.room._participants.values()
            for published in one.published.values()
        }
        for participant in self.stage.room._participants.values():
            if not participant.is_connected:
                continue
            sends = {
                slot.mid: names[engine.bound[slot.leg]]
                for slot in participant.slots.values()
                if slot.leg in engine.bound
            }
            member = self.stage.members[participant.identity]
            assert member.slots == sends
            assert not any(publication.startswith(f"{member.identity}/") for publication in sends.values())
            assert len(set(sends.values())) == len(sends)
            assert Operation.SUBSCRIBE in participant.who.operations or not sends
            told = member.heard(Slots)[-1]
            assert told.connection == participant.connection_id
            others = [one for one in names.values() if not one.startswith(f"{member.identity}/")]
            assert told.wanting <= len(others) - len(sends)

    @invariant()
    def answers_are_to_the_last_offers(self) -> None:
        for member in self.stage.members.values():
            assert all(isinstance(one, Answer) for one in member.answers)
            numbers = [(one.connection, one.number) for one in member.answers]
            assert len(set(numbers)) == len(numbers)


TestRoomAtRandom = RoomMachine.TestCase
TestRoomAtRandom.settings = settings(max_examples=examples(0.4), stateful_step_count=30)
