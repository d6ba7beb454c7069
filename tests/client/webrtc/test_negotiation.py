"""Signals in, what follows out."""

from __future__ import annotations

import pytest
from msgspec import UNSET, structs

from peerbus.client.webrtc import negotiation as follows
from peerbus.client.webrtc.negotiation import FIRST_SLOTS, MOST_SLOTS, Negotiation, is_final
from peerbus.protocol.signals import (
    Answer,
    Binding,
    Caller,
    Ended,
    MediaKind,
    OfferedTrack,
    Publication,
    Publications,
    Refused,
    Restart,
    SfuSignal,
    Slots,
    Speaker,
    Speakers,
)

OWN = "id-me"


def sdp(*sections: str) -> str:
    """Sections as `kind direction`; mids count from 0."""
    lines = ["v=0", "s=-"]
    for mid, section in enumerate(sections):
        kind, _, direction = section.partition(" ")
        lines += [f"m={kind} 9 UDP/TLS/RTP/SAVPF 97", f"a=mid:{mid}", f"a={direction or 'sendrecv'}"]
    return "\r\n".join(lines) + "\r\n"


SLOTS_ONLY = sdp("video recvonly", "video recvonly", "audio recvonly", "application")


def published(name: str, media: MediaKind = "video", *, is_muted: bool = False) -> Publication:
    who = name.split("/")[0]
    return Publication(
        publication=name, participant=who, name=who.removeprefix("id-"), media=media, is_muted=is_muted
    )


class Client:
    """A negotiation with one connection, whose first offer is answered."""

    def __init__(self, offer: str = SLOTS_ONLY, *, term: int = 1) -> None:
        self.negotiation = Negotiation()
        self.term = term
        self.version = 0
        self.slots_version = 0
        self.connect("c1", offer)

    def connect(self, connection: str, offer: str = SLOTS_ONLY) -> None:
        self.slots_version = 0
        self.negotiation.begin(connection)
        self.negotiation.offer(offer, {})
        answer = Answer(connection=connection, number=1, sdp="answer", term=self.term)
        assert self.take(answer) == [follows.Answered("answer")]

    def take(self, signal: SfuSignal) -> list[follows.Event]:
        return self.negotiation.receive(signal, OWN)

    def publish(self, *entries: Publication, version: int | None = None) -> list[follows.Event]:
        self.version += 1
        number = self.version if version is None else version
        return self.take(Publications(term=self.term, version=number, publications=list(entries)))

    def bind(self, wanting: int = 0, **bindings: str) -> list[follows.Event]:
        """`bind(m0="id-ann/cam")` puts it on the slot 0."""
        self.slots_version += 1
        return self.take(
            Slots(
                connection=self.negotiation.connection,
                version=self.slots_version,
                bindings=[Binding(mid=mid[1:], publication=name or UNSET) for mid, name in bindings.items()],
                wanting=wanting,
            )
        )


def test_an_offer_names_its_tracks_and_slots_in_order() -> None:
    negotiation = Negotiation()
    negotiation.begin("c1")
    tracks = {
        "1": OfferedTrack(mid="1", publication="mic"),
        "0": OfferedTrack(mid="0", publication="cam", source="camera"),
        "7": OfferedTrack(mid="7", publication="elsewhere"),
    }
    offer = negotiation.offer(
        sdp(
            "video sendonly",
            "audio sendonly",
            "video recvonly",
            "audio recvonly",
            "video inactive",
            "application",
        ),
        tracks,
    )
    assert (offer.connection, offer.number) == ("c1", 1)
    assert [track.publication for track in offer.tracks] == ["cam", "mic"]
    assert offer.slots == ["2", "3"]
    assert negotiation.offer(SLOTS_ONLY, {}).number == 2


def test_only_the_answer_to_the_newest_offer_counts_and_only_once() -> None:
    negotiation = Negotiation()
    negotiation.begin("c1")
    negotiation.offer(SLOTS_ONLY, {})
    negotiation.offer(SLOTS_ONLY, {})
    for connection, number in (("c1", 1), ("c0", 2), ("c1", 3)):
        stale = Answer(connection=connection, number=number, sdp="x", term=1)
        assert negotiation.receive(stale, OWN) == []
    answer = Answer(connection="c1", number=2, sdp="x", term=1)
    assert negotiation.receive(answer, OWN) == [follows.Answered("x")]
    assert negotiation.receive(answer, OWN) == []


def test_signals_of_an_older_term_are_refused() -> None:
    client = Client(term=5)
    client.term = 4
    assert client.publish(published("id-ann/cam")) == []
    assert client.take(Restart(term=4, reason="late")) == []
    client.negotiation.offer(SLOTS_ONLY, {})
    assert client.take(Answer(connection="c1", number=2, sdp="x", term=4)) == []
    assert client.take(Restart(term=6, reason="moved")) == [follows.Replace("moved")]


def test_versions_of_a_term_rise_and_begin_anew_with_the_next() -> None:
    client = Client()
    assert client.publish(published("id-ann/cam"), version=9) == [follows.CallersChanged()]
    assert client.publish(version=9) == []
    client.term = 2
    assert client.publish(version=1) == [follows.CallersChanged()]
    assert client.negotiation.publications == {}


def test_a_binding_is_a_track_once_its_publication_is_known() -> None:
    client = Client()
    camera = published("id-ann/cam")
    assert client.bind(m0="id-ann/cam") == []
    assert client.publish(camera) == [follows.CallersChanged(), follows.TrackStarted(camera, "0")]
    assert client.bind(m0="id-ann/cam") == []


def test_a_track_ends_before_another_takes_its_slot() -> None:
    client = Client()
    one, two = published("id-ann/cam"), published("id-bob/cam")
    client.publish(one, two)
    assert client.bind(m0="id-ann/cam") == [follows.TrackStarted(one, "0")]
    assert client.bind(m0="id-bob/cam") == [follows.TrackEnded("id-ann/cam"), follows.TrackStarted(two, "0")]
    assert client.bind(m0="") == [follows.TrackEnded("id-bob/cam")]


def test_a_track_that_changes_its_slot_stays() -> None:
    client = Client()
    client.publish(published("id-ann/cam"))
    client.bind(m0="id-ann/cam")
    assert client.bind(m1="id-ann/cam") == [follows.TrackMoved("id-ann/cam", "1")]


def test_older_bindings_and_those_of_other_connections_are_ignored() -> None:
    client = Client()
    client.publish(published("id-ann/cam"))
    client.slots_version = 5
    client.bind(m0="id-ann/cam")
    client.slots_version = 3
    assert client.bind() == []
    assert client.take(Slots(connection="other", version=99, bindings=[])) == []


def test_a_track_ends_with_its_publication() -> None:
    client = Client()
    client.publish(published("id-ann/cam"))
    client.bind(m0="id-ann/cam")
    assert client.publish() == [follows.CallersChanged(), follows.TrackEnded("id-ann/cam")]


def test_tracks_outlive_a_connection_if_the_next_one_carries_them() -> None:
    client = Client()
    client.publish(published("id-ann/cam"), published("id-bob/cam"))
    client.bind(m0="id-ann/cam", m1="id-bob/cam")
    client.connect("c2")
    assert client.publish(published("id-ann/cam"), published("id-bob/cam")) == [follows.CallersChanged()]
    assert client.bind(m1="id-ann/cam") == [
        follows.TrackEnded("id-bob/cam"),
        follows.TrackMoved("id-ann/cam", "1"),
    ]


def test_a_change_of_a_received_publication_is_told() -> None:
    client = Client()
    client.publish(published("id-ann/cam"), published("id-bob/cam"))
    client.bind(m0="id-ann/cam")
    muted = published("id-ann/cam", is_muted=True)
    events = client.publish(muted, published("id-bob/cam", is_muted=True))
    assert events == [follows.CallersChanged(), follows.PublicationChanged(muted)]


def test_publications_bear_the_names_that_they_are_shown_under() -> None:
    client = Client()
    ann, bob = (Caller(identity=f"id-{name}", name=name) for name in ("ann", "bob"))
    as_ann = {"participant": "id-ann", "name": "ann"}
    entries = [
        published("id-ann/cam"),
        structs.replace(published("id-ann/screen"), name="bob"),
        structs.replace(published("id-bob/cam"), **as_ann),
        structs.replace(published("id-bob/screen"), participant="id-ann"),
        structs.replace(published("id-eve/cam"), name="e"),
        structs.replace(published("id-eve/screen"), name="f"),
    ]
    client.take(Publications(term=1, version=1, publications=entries, callers=[ann, bob]))
    assert list(client.negotiation.publications) == ["id-ann/cam", "id-eve/cam"]
    assert list(client.negotiation.callers.values()) == [ann, bob, Caller(identity="id-eve", name="e")]


def test_callers_are_all_who_are_there() -> None:
    client = Client()
    ann = Caller(identity="id-ann", name="ann")
    client.take(
        Publications(term=1, version=1, publications=[published("id-bob/mic", "audio")], callers=[ann])
    )
    assert list(client.negotiation.callers.values()) == [ann, Caller(identity="id-bob", name="bob")]


@pytest.mark.parametrize(
    ("others", "expected"),
    [(3, {"video": 4, "audio": 1}), (5, {"video": 8, "audio": 1}), (40, {"video": 32, "audio": 1})],
)
def test_slots_double_until_everything_has_one(others: int, expected: dict[MediaKind, int]) -> None:
    client = Client()
    entries = [published(f"id-{number}/cam") for number in range(others)]
    client.publish(*entries, *(published(f"{OWN}/cam-{number}") for number in range(9)))
    assert client.bind(wanting=1)[-1] == follows.SlotsWanted(expected)


def test_nothing_is_wanted_while_an_offer_is_under_way_or_nothing_is_missing() -> None:
    client = Client()
    entries = [published(f"id-{number}/cam") for number in range(5)]
    client.publish(*entries)
    assert client.bind(wanting=0) == []
    client.negotiation.offer(SLOTS_ONLY, {})
    assert client.bind(wanting=3) == []
    events = client.take(Answer(connection="c1", number=2, sdp="x", term=1))
    assert events == [follows.Answered("x"), follows.SlotsWanted({"video": 8, "audio": 1})]


def test_no_more_slots_than_there_may_be() -> None:
    sections = [f"{kind} recvonly" for kind, most in MOST_SLOTS.items() for _ in range(most)]
    client = Client(sdp(*sections, "application"))
    client.publish(*(published(f"id-{number}/cam") for number in range(50)))
    assert client.bind(wanting=18) == []
    assert all(FIRST_SLOTS[kind] < MOST_SLOTS[kind] for kind in FIRST_SLOTS)


def test_refusals_are_of_the_newest_offer_or_of_something_else() -> None:
    client = Client()
    client.negotiation.offer(SLOTS_ONLY, {})
    assert client.take(Refused(connection="c1", number=1, code="forbidden", message="old")) == []
    assert client.take(Refused(connection="c0", code="forbidden", message="other")) == []
    (about_offer,) = client.take(Refused(connection="c1", number=2, code="forbidden", message="no"))
    assert about_offer == follows.Refused(
        code="forbidden", message="no", details={}, is_offer=True, is_first=False
    )
    (other,) = client.take(Refused(connection="c1", code="not_found", message="what?"))
    assert isinstance(other, follows.Refused)
    assert not other.is_offer
    # The offer is settled: a late answer to it does not count.
    assert client.take(Answer(connection="c1", number=2, sdp="x", term=1)) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("kicked", follows.Finished("kicked", "bye")),
        ("replaced", follows.Finished("replaced", "bye")),
        ("overloaded", follows.Replace("overloaded: bye")),
        ("silent", follows.Replace("silent: bye")),
    ],
)
def test_an_end_is_final_if_the_next_one_would_be_the_same(code: str, expected: follows.Event) -> None:
    client = Client()
    assert client.take(Ended(connection="c0", code=code, message="bye")) == []
    assert client.take(Ended(connection="c1", code=code, message="bye")) == [expected]
    assert is_final(code) is isinstance(expected, follows.Finished)


def test_speakers_are_passed_on() -> None:
    speakers = [Speaker(participant="id-ann", level=0.5)]
    assert Client().take(Speakers(speakers=speakers)) == [follows.SpeakersChanged(speakers)]


def test_a_restart_without_a_connection_is_nothing() -> None:
    assert Negotiation().receive(Restart(term=1, reason="x"), OWN) == []


def test_the_end_of_the_call_ends_all_tracks() -> None:
    client = Client()
    client.publish(published("id-ann/cam"), published("id-bob/cam"))
    client.bind(m0="id-ann/cam", m1="id-bob/cam")
    assert client.negotiation.finish() == [follows.TrackEnded("id-ann/cam"), follows.TrackEnded("id-bob/cam")]
    assert client.negotiation.callers == {}
    assert client.bind(m0="id-ann/cam") == []
