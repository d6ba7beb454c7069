"""What an offer may ask for, and what stays from offer to offer."""

from __future__ import annotations

import itertools

import pytest

from peerbus.protocol import signals
from peerbus.protocol.grants import ALL_OPERATIONS, Operation
from peerbus.protocol.signals import Offer, OfferedTrack, Source
from peerbus.sfu.engine import LegId, StreamCodec
from peerbus.sfu.negotiation import DEFAULT_CODECS
from peerbus.sfu.participant import (
    SLOTS_MAX,
    TRACKS_MAX,
    Participant,
    Plan,
    Published,
    Refusal,
    operation_of,
    publications_of,
)
from peerbus.sfu.sdp import read_offer
from tests.support.offers import offer as real_offer
from tests.support.room_stage import sdp


def participant(*operations: str) -> Participant:
    who = signals.Participant(
        identity="name:ann", session_id="s", name="Ann", operations=list(operations) or sorted(ALL_OPERATIONS)
    )
    ssrcs = itertools.count(1_000)
    return Participant(who, lambda: next(ssrcs))


def track(
    mid: str,
    publication: str = "cam",
    source: Source = "camera",
    *,
    is_muted: bool = False,
    is_sealed: bool = False,
) -> OfferedTrack:
    return OfferedTrack(
        mid=mid, publication=publication, source=source, is_muted=is_muted, is_sealed=is_sealed
    )


def planned(
    one: Participant, text: str, tracks: list[OfferedTrack] | None = None, slots: list[str] | None = None
) -> Plan:
    offer = Offer(connection="c", number=1, sdp=text, tracks=tracks or [], slots=slots or [])
    return one.plan(offer, read_offer(text), DEFAULT_CODECS)


SENDING = ("0", "video", "sendonly")
SLOT = ("1", "video", "recvonly")


def test_a_plan_changes_nothing_by_itself() -> None:
    one = participant()
    plan = planned(one, sdp(SENDING, SLOT), [track("0")], ["1"])
    assert (one.published, one.slots, one.agreed) == ({}, {}, {})
    assert one.follow(plan) == []
    assert list(one.published) == ["cam"]
    assert list(one.slots) == ["1"]


@pytest.mark.parametrize(
    ("code", "tracks", "slots"),
    [
        ("bad_offer", [track("9")], []),
        ("bad_offer", [track("data")], []),
        ("bad_offer", [track("1")], []),
        ("bad_offer", [track("0", "a"), track("0", "b")], []),
        ("bad_offer", [track("0", "a"), track("2", "a")], []),
        ("bad_offer", [track("0", "")], []),
        ("bad_offer", [track("0", "x" * 65)], []),
        ("bad_offer", [track("0", "a/b")], []),
        ("bad_offer", [], ["0"]),
        ("bad_offer", [], ["9"]),
        ("bad_offer", [], ["data"]),
        ("bad_offer", [], ["1", "1"]),
        ("too_many_tracks", [track("0", str(number)) for number in range(TRACKS_MAX + 1)], []),
        ("too_many_tracks", [], [str(number) for number in range(SLOTS_MAX + 1)]),
        ("codec_not_supported", [track("3")], []),
    ],
)
def test_what_an_offer_may_not_ask_for(code: str, tracks: list[OfferedTrack], slots: list[str]) -> None:
    text = sdp(SENDING, SLOT, ("2", "video", "sendrecv"))
    text += "m=video 9 UDP/TLS/RTP/SAVPF 100\r\na=mid:3\r\na=sendonly\r\na=rtpmap:100 H264/90000\r\n"
    with pytest.raises(Refusal) as caught:
        planned(participant(), text, tracks, slots)
    assert caught.value.code == code
    assert caught.value.message


def test_a_sealed_track_is_taken_in_a_codec_that_can_be_sealed_only() -> None:
    policy = {"audio": ("opus", "pcmu"), "video": ("h264", "vp8")}
    h264 = "H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42e01f"
    in_h264 = sdp(SENDING, codecs={"video": h264})
    in_pcmu = sdp(("0", "audio", "sendonly"), codecs={"audio": "PCMU/8000"})
    for text in (in_h264, in_pcmu):
        one = participant()
        open_offer, sealed_offer = (
            Offer(connection="c", number=1, sdp=text, tracks=[track("0", is_sealed=is_sealed)])
            for is_sealed in (False, True)
        )
        assert one.plan(open_offer, read_offer(text), policy).tracks
        with pytest.raises(Refusal) as caught:
            one.plan(sealed_offer, read_offer(text), policy)
        assert caught.value.code == "e2ee_codec"
    assert planned(participant(), sdp(SENDING), [track("0", is_sealed=True)]).tracks


@pytest.mark.parametrize(
    ("kind", "source", "needed"),
    [
        ("video", "camera", Operation.PUBLISH_VIDEO),
        ("video", "other", Operation.PUBLISH_VIDEO),
        ("video", "screen", Operation.PUBLISH_SCREEN),
        ("audio", "microphone", Operation.PUBLISH_AUDIO),
        ("audio", "camera", Operation.PUBLISH_AUDIO),
        ("audio", "screen_audio", Operation.PUBLISH_SCREEN),
    ],
)
def test_each_source_needs_its_own_grant(kind: str, source: Source, needed: Operation) -> None:
    assert operation_of(source, kind) is needed
    text, tracks = sdp(("0", kind, "sendonly")), [track("0", "x", source)]
    planned(participant(needed), text, tracks)
    with pytest.raises(Refusal) as caught:
        planned(participant(*(ALL_OPERATIONS - {needed})), text, tracks)
    assert caught.value.code == "forbidden"
    assert needed in caught.value.message


def test_slots_of_a_codec_that_is_not_taken_are_left_out() -> None:
    text = sdp(("0", "video", "recvonly"), ("1", "audio", "recvonly"), codecs={"video": "H264/90000"})
    assert planned(participant(), text, [], ["0", "1"]).slots == ["1"]


def test_slots_keep_their_sources_and_new_ones_get_new_ones() -> None:
    one = participant()
    one.follow(planned(one, sdp(SLOT, ("2", "audio", "recvonly")), [], ["1", "2"]))
    first = {mid: slot.sources for mid, slot in one.slots.items()}
    assert first["1"].repair is not None
    assert first["2"].repair is None
    assert (first["1"].canonical_name, first["2"].canonical_name) == ("peerbus-0", "peerbus-0")
    one.follow(
        planned(one, sdp(SLOT, ("2", "audio", "recvonly"), ("3", "video", "recvonly")), [], ["1", "2", "3"])
    )
    again = {mid: slot.sources for mid, slot in one.slots.items()}
    assert {mid: again[mid] for mid in first} == first
    numbers = [number for sources in again.values() for number in (sources.primary, sources.repair) if number]
    assert len(set(numbers)) == 5
    assert again["3"].canonical_name == "peerbus-1"


def test_a_slot_that_is_named_no_more_gives_its_leg_back() -> None:
    one = participant()
    one.follow(planned(one, sdp(SLOT), [], ["1"]))
    one.slots["1"].leg = LegId(5)
    one.follow(planned(one, sdp(SLOT), [], []))
    assert one.retired == [5]
    assert one.slots == {}


def test_a_publication_goes_on_through_offers_until_it_is_not_named() -> None:
    one = participant()
    one.follow(planned(one, sdp(SENDING), [track("0")]))
    known = one.published["cam"]
    assert (known.id, known.media, known.source) == ("name:ann/cam", "video", "camera")
    assert one.follow(planned(one, sdp(SENDING, SLOT), [track("0", is_muted=True)], ["1"])) == []
    assert one.published == {"cam": known}
    assert known.is_muted
    assert one.follow(planned(one, sdp(SENDING), [])) == [known]
    assert one.published == {}


def test_another_publication_on_the_same_line_replaces_the_one_before() -> None:
    one = participant()
    one.follow(planned(one, sdp(SENDING), [track("0", "cam")]))
    former = one.published["cam"]
    assert one.follow(planned(one, sdp(SENDING), [track("0", "screen", "screen")])) == [former]
    assert list(one.published) == ["screen"]


def test_a_publication_on_another_line_is_a_new_one() -> None:
    one = participant()
    one.follow(planned(one, sdp(SENDING), [track("0")]))
    former = one.published["cam"]
    text = sdp(SENDING, ("2", "video", "sendonly"))
    assert one.follow(planned(one, text, [track("2")])) == [former]
    assert one.published["cam"] is not former
    assert one.published["cam"].mid == "2"


@pytest.mark.parametrize("name", ["aiortc_call", "chromium_call", "firefox_call"])
def test_the_engine_learns_what_a_real_offer_says(name: str) -> None:
    one = participant()
    text = real_offer(name)
    sound, picture, *slots, _ = read_offer(text).sections
    mids = [section.mid for section in slots]
    tracks = [track(sound.mid, "mic", "microphone"), track(picture.mid, "cam")]
    one.follow(planned(one, text, tracks, mids))
    spec = one.stream_spec(one.published["cam"])
    (codec,) = spec.codecs
    assert (codec.name, codec.clock_rate_hz, spec.is_video) == ("vp8", 90_000, True)
    assert codec.repair_payload_type is not None
    assert spec.ssrcs == picture.ssrcs
    numbers = {uri.rpartition(":")[2]: number for number, uri in picture.extensions}
    assert spec.mid_extension == numbers["mid"]
    sounding = one.stream_spec(one.published["mic"])
    assert (
        sounding.level_extension
        == {uri.rpartition(":")[2]: n for n, uri in sound.extensions}["ssrc-audio-level"]
    )
    assert (sounding.is_video, [codec.name for codec in sounding.codecs]) == (False, ["opus"])
    assert [media for _, media in one.media_slots()] == ["video"] * 4 + ["audio"] * 2
    leg = one.leg_spec(one.slots[mids[0]])
    assert leg.codecs == (
        StreamCodec(
            payload_type=codec.payload_type,
            name="vp8",
            clock_rate_hz=90_000,
            repair_payload_type=codec.repair_payload_type,
        ),
    )
    assert (leg.primary_ssrc, leg.repair_ssrc) == (1_000, 1_001)


def test_who_may_not_receive_has_no_slots() -> None:
    one = participant(Operation.PUBLISH_VIDEO)
    one.follow(planned(one, sdp(SLOT), [], ["1"]))
    assert one.media_slots() == []


def test_a_credential_ends_at_its_time() -> None:
    one = participant()
    assert not one.has_expired(10**15)
    one.who = signals.Participant(identity="x", session_id="s", name="x", operations=[], expires_ms=5_000)
    assert not one.has_expired(4_999)
    assert one.has_expired(5_000)


def test_what_a_narrower_grant_does_not_allow_is_named() -> None:
    one = participant()
    text = sdp(SENDING, ("2", "video", "sendonly"), ("3", "audio", "sendonly"))
    tracks = [track("0", "cam"), track("2", "screen", "screen"), track("3", "mic", "microphone")]
    one.follow(planned(one, text, tracks))
    operations = [Operation.PUBLISH_AUDIO, Operation.PUBLISH_SCREEN]
    one.who = signals.Participant(
        identity="name:ann", session_id="s", name="Ann", operations=list(operations)
    )
    assert [published.id for published in one.forbidden()] == ["name:ann/cam"]


def test_only_those_who_are_connected_publish() -> None:
    one = participant()
    one.follow(planned(one, sdp(SENDING), [track("0", is_muted=True, is_sealed=True)]))
    assert publications_of([one]) == []
    one.is_connected = True
    (publication,) = publications_of([one])
    assert publication == signals.Publication(
        publication="name:ann/cam",
        participant="name:ann",
        name="Ann",
        media="video",
        source="camera",
        is_muted=True,
        is_sealed=True,
    )
    one.follow(planned(one, sdp(SENDING), [track("0")]))
    assert not publications_of([one])[0].is_sealed
    assert isinstance(one.published["cam"], Published)
