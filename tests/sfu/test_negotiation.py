"""Answers: what a real client's offer gets back, read again by aiortc as the witness."""

from __future__ import annotations

import pytest
from aiortc.sdp import MediaDescription, SessionDescription

from peerbus.sfu.ice_lite import IceCredentials
from peerbus.sfu.negotiation import (
    DEFAULT_CODECS,
    SCTP_PORT,
    AgreedSection,
    Candidate,
    SlotSources,
    Transport,
    agree,
    write_answer,
)
from peerbus.sfu.sdp import Codec, Fingerprint, Section, read_offer
from tests.support.offers import OFFERS, offer

CALLS = ("aiortc_call", "chromium_call", "firefox_call")
FINGERPRINT = Fingerprint("sha-256", ":".join(["AB"] * 32))
TRANSPORT = Transport(
    credentials=IceCredentials("ours", "p" * 24),
    fingerprint=FINGERPRINT,
    candidates=(Candidate("192.0.2.1", 7_900), Candidate("2001:db8::1", 7_901)),
)
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"


def agreed_on(name: str) -> list[AgreedSection]:
    return [agree(section, DEFAULT_CODECS) for section in read_offer(offer(name)).sections]


def slots_of(agreed: list[AgreedSection]) -> dict[str, SlotSources]:
    """Sources for every section that only receives."""
    slots: dict[str, SlotSources] = {}
    numbers = {"audio": 0, "video": 0}
    for one in agreed:
        kind = one.section.kind
        if kind != "application" and one.section.direction == "recvonly":
            primary = 1_000 + 10 * len(slots)
            slots[one.section.mid] = SlotSources(
                primary, primary + 1 if kind == "video" else None, numbers[kind]
            )
            numbers[kind] += 1
    return slots


def answered(name: str) -> tuple[str, dict[str, SlotSources]]:
    agreed = agreed_on(name)
    slots = slots_of(agreed)
    return write_answer(agreed, TRANSPORT, slots, max_message_bytes=65_536), slots


def read_by_aiortc(text: str) -> SessionDescription:
    return SessionDescription.parse(text)


def media_of(text: str) -> dict[str, MediaDescription]:
    return {media.rtp.muxId: media for media in read_by_aiortc(text).media}


def section_texts(text: str) -> list[str]:
    return ["m=" + part for part in text.split("\r\nm=")[1:]]


@pytest.mark.parametrize("name", OFFERS)
def test_the_answer_has_the_sections_of_the_offer_in_their_order(name: str) -> None:
    description = read_offer(offer(name))
    text, _ = answered(name)
    media = read_by_aiortc(text).media
    assert [(one.kind, one.rtp.muxId) for one in media] == [
        (one.kind, one.mid) for one in description.sections
    ]
    taken = [one.mid for one in description.sections if not one.is_rejected]
    assert [group.items for group in read_by_aiortc(text).group if group.semantic == "BUNDLE"] == [taken]
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")


@pytest.mark.parametrize("name", CALLS)
def test_the_transport_is_ice_lite_dtls_server_and_stands_in_every_section(name: str) -> None:
    text, _ = answered(name)
    assert "a=ice-lite\r\n" in text
    for media in read_by_aiortc(text).media:
        assert media.ice is not None
        assert (media.ice.usernameFragment, media.ice.password) == TRANSPORT.credentials
        assert media.ice.iceLite
        assert media.dtls is not None
        assert media.dtls.role == "server"
        assert [(one.algorithm, one.value) for one in media.dtls.fingerprints] == [
            ("sha-256", FINGERPRINT.value)
        ]
        found = [(one.ip, one.port, one.type, one.protocol, one.component) for one in media.ice_candidates]
        assert found == [("192.0.2.1", 7_900, "host", "udp", 1), ("2001:db8::1", 7_901, "host", "udp", 1)]
        assert media.ice_candidates[0].priority > media.ice_candidates[1].priority
        assert media.ice_candidates_complete
    for part in section_texts(text):
        assert "a=rtcp-mux" in part or part.startswith("m=application")


@pytest.mark.parametrize("name", CALLS)
def test_tracks_are_received_and_slots_are_sent_on_declared_sources(name: str) -> None:
    text, slots = answered(name)
    media = media_of(text)
    for section in read_offer(offer(name)).sections[:-1]:
        one = media[section.mid]
        assert one.direction == ("recvonly" if section.direction == "sendonly" else "sendonly")
        sources = slots.get(section.mid)
        numbers = [ssrc.ssrc for ssrc in one.ssrc]
        if sources is None:
            assert numbers == []
            assert one.msid is None
            continue
        # aiortc needs exactly these, the primary first.
        wanted = [sources.primary] if sources.repair is None else [sources.primary, sources.repair]
        assert numbers == wanted
        assert {ssrc.cname for ssrc in one.ssrc} == {sources.canonical_name}
        groups = [(group.semantic, group.items) for group in one.ssrc_group]
        assert groups == ([] if sources.repair is None else [("FID", wanted)])
        assert one.msid == f"{sources.canonical_name} slot-{section.mid}"


@pytest.mark.parametrize("name", CALLS)
def test_payload_types_and_extension_ids_are_those_of_the_offer(name: str) -> None:
    text, _ = answered(name)
    media = media_of(text)
    for section in read_offer(offer(name)).sections[:-1]:
        one = media[section.mid]
        offered = {codec.payload_type: codec for codec in section.codecs}
        names = []
        for codec in one.rtp.codecs:
            assert codec.payloadType is not None
            theirs = offered[codec.payloadType]
            assert codec.name.lower() == theirs.name
            assert codec.clockRate == theirs.clock_rate_hz
            names.append(theirs.name)
        wanted = ["opus"] if section.kind == "audio" else ["vp8", "rtx"]
        assert names == wanted
        assert one.fmt == [codec.payloadType for codec in one.rtp.codecs]
        if section.kind == "video":
            primary, repair = one.rtp.codecs
            assert repair.parameters["apt"] == primary.payloadType
            feedback = {f"{entry.type} {entry.parameter or ''}".strip() for entry in primary.rtcpFeedback}
            assert {"nack", "nack pli"} <= feedback <= {"nack", "nack pli", "ccm fir", "goog-remb"}
        else:
            assert one.rtp.codecs[0].channels == 2
        theirs_by_uri = {uri: number for number, uri in section.extensions}
        ours = {entry.uri: entry.id for entry in one.rtp.headerExtensions}
        assert ours == {uri: theirs_by_uri[uri] for uri in (MID, LEVEL) if uri in theirs_by_uri}
        assert MID in ours


@pytest.mark.parametrize("name", CALLS)
def test_the_data_section_names_our_port_and_the_largest_message(name: str) -> None:
    text, _ = answered(name)
    data = read_by_aiortc(text).media[-1]
    assert data.kind == "application"
    assert data.sctp_port == SCTP_PORT
    assert data.sctpCapabilities is not None
    assert data.sctpCapabilities.maxMessageSize == 65_536


def test_the_clients_own_sctp_port_is_not_ours() -> None:
    section = Section(kind="application", mid="0", sctp_port=6_000)
    text = write_answer([agree(section, DEFAULT_CODECS)], TRANSPORT, {}, max_message_bytes=1)
    assert f"a=sctp-port:{SCTP_PORT}\r\n" in text


def test_stopped_sections_are_rejected_and_out_of_the_bundle() -> None:
    text, _ = answered("firefox_first_stopped")
    first = section_texts(text)[0]
    assert first.startswith("m=video 0 ")
    assert "a=inactive" in first
    assert "candidate" not in first
    assert "a=group:BUNDLE 1 2\r\n" in text


OPUS = Codec(payload_type=111, name="opus", clock_rate_hz=48_000, channels=2)
VP8 = Codec(payload_type=96, name="vp8", clock_rate_hz=90_000, feedback=("nack", "transport-cc"))
H264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"


def h264(parameters: str) -> Codec:
    return Codec(payload_type=100, name="h264", clock_rate_hz=90_000, parameters=parameters)


def video(*codecs: Codec, **more: object) -> Section:
    return Section(kind="video", mid="v", codecs=codecs, **more)  # type: ignore[arg-type]  # any field of it


def test_a_codec_that_the_room_does_not_take_is_refused_with_a_reason() -> None:
    one = agree(video(h264(H264)), DEFAULT_CODECS)
    assert one.is_rejected
    assert "vp8" in one.reason
    assert "h264" in one.reason
    assert agree(video(), DEFAULT_CODECS).reason.endswith("none")
    assert agree(video(VP8, is_rejected=True), DEFAULT_CODECS).is_rejected


@pytest.mark.parametrize(
    ("parameters", "is_taken"),
    [
        (H264, True),
        (H264.upper(), True),
        (" packetization-mode=1 ; profile-level-id=42e034 ;", True),
        ("profile-level-id=42e01f", False),
        ("packetization-mode=0;profile-level-id=42e01f", False),
        ("packetization-mode=1;profile-level-id=640c1f", False),
        ("", False),
        (";;=;", False),
    ],
)
def test_h264_is_taken_in_the_form_that_all_decoders_share(parameters: str, is_taken: bool) -> None:
    one = agree(video(h264(parameters)), {"video": ("h264",), "audio": ("opus",)})
    assert one.is_rejected is not is_taken


@pytest.mark.parametrize(
    ("parameters", "expected"), [("apt=96", 97), ("apt=96;rtx-time=3000", 97), ("apt=9", None)]
)
def test_retransmissions_belong_to_the_payload_type_they_name(parameters: str, expected: int | None) -> None:
    rtx = Codec(payload_type=97, name="rtx", clock_rate_hz=90_000, parameters=parameters)
    one = agree(video(VP8, rtx), DEFAULT_CODECS)
    assert [taken.repair_payload_type for taken in one.codecs] == [expected]


@pytest.mark.parametrize(
    ("offered", "has_sources", "expected"),
    [
        ("sendonly", False, "recvonly"),
        ("sendrecv", False, "recvonly"),
        ("recvonly", False, "inactive"),
        ("recvonly", True, "sendonly"),
        ("inactive", False, "inactive"),
    ],
)
def test_nothing_is_promised_that_is_not_sent(offered: str, has_sources: bool, expected: str) -> None:
    agreed = agree(video(VP8, direction=offered), DEFAULT_CODECS)
    slots = {"v": SlotSources(1, None)} if has_sources else {}
    (part,) = section_texts(write_answer([agreed], TRANSPORT, slots, max_message_bytes=1))
    assert f"a={expected}\r\n" in part
    assert ("a=ssrc:" in part) is has_sources


def test_an_offer_of_which_nothing_is_taken_gets_an_answer_without_a_bundle() -> None:
    text = write_answer([agree(video(h264("")), DEFAULT_CODECS)], TRANSPORT, {}, max_message_bytes=1)
    assert "BUNDLE" not in text
    (media,) = read_by_aiortc(text).media
    assert media.port == 0


def test_sound_and_picture_of_one_number_are_one_stream() -> None:
    assert SlotSources(1, None, 3).canonical_name == SlotSources(7, 8, 3).canonical_name
    assert SlotSources(1, None, 3).canonical_name != SlotSources(1, None, 4).canonical_name
