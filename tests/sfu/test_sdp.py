"""Offers of real clients are read whole; anything else is one typed error."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.sdp import Codec, Description, SdpError, Section, read_offer
from tests.support.offers import OFFERS, offer
from tests.support.parsers import PARSERS, accept_sdp, damaged
from tests.support.vectors import load_vectors

CALLS = ("aiortc_call", "chromium_call", "firefox_call")
BROWSERS = ("chromium", "firefox")
SMALL = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
    "a=ice-ufrag:abcd\r\na=ice-pwd:" + "p" * 22 + "\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n"
)


def codec(section: Section, name: str) -> Codec:
    return next(one for one in section.codecs if one.name == name)


def extensions(section: Section) -> set[str]:
    return {uri.rpartition(":")[2] for _, uri in section.extensions}


@pytest.mark.parametrize("name", OFFERS)
def test_every_offer_of_a_real_client_is_read(name: str) -> None:
    text = offer(name)
    description = read_offer(text)
    assert description.setup == "actpass"
    assert f"a=ice-ufrag:{description.fragment}\r\n" in text
    assert f"a=ice-pwd:{description.password}\r\n" in text
    assert "sha-256" in {one.algorithm for one in description.fingerprints}
    assert [f"a=mid:{section.mid}" for section in description.sections] == [
        line for line in text.split("\r\n") if line.startswith("a=mid:")
    ]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_has_tracks_slots_and_data(name: str) -> None:
    sections = read_offer(offer(name)).sections
    kinds = [section.kind for section in sections]
    assert kinds == ["audio", "video", *["video"] * 4, *["audio"] * 2, "application"]
    assert [section.direction for section in sections[:-1]] == ["sendonly"] * 2 + ["recvonly"] * 6
    assert not any(section.is_rejected for section in sections)
    sound, picture, *_, data = sections
    opus, vp8 = codec(sound, "opus"), codec(picture, "vp8")
    assert (opus.clock_rate_hz, opus.channels) == (48_000, 2)
    assert (vp8.clock_rate_hz, vp8.channels) == (90_000, 1)
    assert {"nack", "nack pli"} <= set(vp8.feedback)
    assert f"apt={vp8.payload_type}" in {one.parameters for one in picture.codecs if one.name == "rtx"}
    assert "mid" in extensions(sound) & extensions(picture)
    assert "ssrc-audio-level" in extensions(sound)
    assert (len(sound.ssrcs), len(picture.ssrcs)) == (1, 2)
    assert data.sctp_port == 5_000
    assert data.max_message_bytes >= 65_536


@pytest.mark.parametrize("browser", BROWSERS)
def test_simulcast_keeps_its_layers_and_begins_with_the_first_pair_of_sources(browser: str) -> None:
    text = offer(f"{browser}_simulcast")
    (section,) = read_offer(text).sections
    assert section.rids == ("q", "h", "f")
    assert {"mid", "rtp-stream-id", "repaired-rtp-stream-id"} <= extensions(section)
    pairs = [line.split(" ")[1:] for line in text.split("\r\n") if line.startswith("a=ssrc-group:FID")]
    if pairs:
        assert list(section.ssrcs[:2]) == [int(number) for number in pairs[0]]
        assert len(section.ssrcs) == 2 * len(pairs)


@pytest.mark.parametrize("browser", BROWSERS)
def test_credentials_are_those_of_the_first_section_that_was_not_stopped(browser: str) -> None:
    text = offer(f"{browser}_first_stopped")
    description = read_offer(text)
    assert [section.is_rejected for section in description.sections] == [True, False, False]
    second = text.split("\r\nm=")[2]
    assert f"a=ice-ufrag:{description.fragment}\r\n" in second
    assert f"a=ice-pwd:{description.password}\r\n" in second


def test_bundle_only_sections_are_offered_though_their_port_is_0() -> None:
    assert "a=bundle-only" in offer("firefox_bundled")
    assert not any(section.is_rejected for section in read_offer(offer("firefox_bundled")).sections)


def test_lines_may_end_without_a_carriage_return() -> None:
    assert read_offer(SMALL.replace("\r\n", "\n")) == read_offer(SMALL)


def edited(*edits: tuple[str, str]) -> Description:
    text = SMALL
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return read_offer(text)


def test_what_stands_in_the_section_counts_more_than_what_stands_above() -> None:
    assert edited(("a=mid:0\r\n", "a=mid:0\r\na=ice-ufrag:wxyz\r\n")).fragment == "wxyz"


def test_static_payload_types_without_a_map_are_left_out() -> None:
    (section,) = edited(("SAVPF 111", "SAVPF 0 111 8")).sections
    assert [one.payload_type for one in section.codecs] == [111]


def test_feedback_for_all_payload_types_counts_for_each() -> None:
    (section,) = edited(("a=mid:0", "a=rtcp-fb:* nack\r\na=rtcp-fb:111 ccm fir\r\na=mid:0")).sections
    assert section.codecs[0].feedback == ("nack", "ccm fir")


def test_sources_stand_in_the_order_of_their_group() -> None:
    lines = "a=ssrc:5 cname:x\r\na=ssrc:6 cname:x\r\na=ssrc:5 msid:y z\r\na=ssrc-group:FID 6 5\r\n"
    assert edited(("a=mid:0\r\n", "a=mid:0\r\n" + lines)).sections[0].ssrcs == (6, 5)


def test_a_group_of_sources_that_are_not_declared_says_nothing() -> None:
    lines = "a=ssrc:5 cname:x\r\na=ssrc-group:FID 6 7\r\na=ssrc-group:FID 5\r\na=ssrc-group:SIM 1 2\r\n"
    assert edited(("a=mid:0\r\n", "a=mid:0\r\n" + lines)).sections[0].ssrcs == (5,)


BAD_EDITS = {
    "no version": ("v=0\r\n", ""),
    "another version": ("v=0", "v=1"),
    "not a line": ("s=-", "hello"),
    "a line of one character": ("s=-", "s"),
    "a carriage return inside a line": ("opus/48000/2", "opus/48000/2\rm=audio 9 X 0"),
    "a NUL": ("opus", "o\0pus"),
    "no fragment": ("a=ice-ufrag:abcd\r\n", ""),
    "a short fragment": ("ufrag:abcd", "ufrag:abc"),
    "a colon in the fragment": ("ufrag:abcd", "ufrag:ab:cd"),
    "a short password": ("pwd:" + "p" * 22, "pwd:" + "p" * 21),
    "a long password": ("pwd:" + "p" * 22, "pwd:" + "p" * 257),
    "no fingerprint": ("a=fingerprint:sha-256", "a=x:sha-256"),
    "an empty fingerprint": (":".join(["AB"] * 32), ""),
    "a fingerprint that is not hexadecimal": (":".join(["AB"] * 32), ":".join(["XY"] * 32)),
    "a fingerprint that is no hash": (":".join(["AB"] * 32), "AB:CD"),
    "no media": ("m=audio", "x=audio"),
    "an empty media line": ("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m="),
    "a media line without payload types": ("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio 9 UDP/TLS/RTP/SAVPF"),
    "media of an unknown kind": ("m=audio", "m=smell"),
    "a port that is no number": ("m=audio 9", "m=audio nine"),
    "a port that is too large": ("m=audio 9", "m=audio 65536"),
    "a port in other digits": ("m=audio 9", "m=audio ٩"),
    "a negative port": ("m=audio 9", "m=audio -1"),
    "no mid": ("a=mid:0\r\n", ""),
    "an empty mid": ("a=mid:0", "a=mid:"),
    "a mid with a space": ("a=mid:0", "a=mid:0 1"),
    "a long mid": ("a=mid:0", "a=mid:" + "0" * 65),
    "a payload type that is too large": ("SAVPF 111", "SAVPF 128"),
    "a payload type that is no number": ("SAVPF 111", "SAVPF 111 x"),
    "two spaces": ("SAVPF 111", "SAVPF  111"),
    "no clock rate": ("opus/48000/2", "opus"),
    "a clock rate that is no number": ("opus/48000/2", "opus/x/2"),
    "a clock rate that is too large": ("opus/48000/2", "opus/1000001"),
    "channels that are no number": ("opus/48000/2", "opus/48000/two"),
    "an extension without a name": ("a=mid:0", "a=mid:0\r\na=extmap:1"),
    "an extension without an id": ("a=mid:0", "a=mid:0\r\na=extmap: urn:x"),
    "an extension with the id 0": ("a=mid:0", "a=mid:0\r\na=extmap:0 urn:x"),
    "an extension with the id 256": ("a=mid:0", "a=mid:0\r\na=extmap:256 urn:x"),
    "a source that is no number": ("a=mid:0", "a=mid:0\r\na=ssrc:x cname:y"),
    "a source that is too large": ("a=mid:0", "a=mid:0\r\na=ssrc:4294967296 cname:y"),
    "a group of what is no number": ("a=mid:0", "a=mid:0\r\na=ssrc-group:FID a b"),
    "a rid without a direction": ("a=mid:0", "a=mid:0\r\na=rid:q"),
    "a rid that is no token": ("a=mid:0", "a=mid:0\r\na=rid:q,h send"),
}


@pytest.mark.parametrize("edit", BAD_EDITS.values(), ids=BAD_EDITS)
def test_what_cannot_be_followed_is_an_sdp_error(edit: tuple[str, str]) -> None:
    with pytest.raises(SdpError):
        edited(edit)


def repeated(line: str, count: int) -> str:
    return SMALL + "".join(line.format(number) + "\r\n" for number in range(1, count + 1))


@pytest.mark.parametrize(
    ("line", "most"),
    [
        ("m=audio 9 X 111\r\na=mid:m{0}", 63),
        ("a=extmap:{0} urn:x", 32),
        ("a=ssrc:{0} cname:x", 32),
        ("a=rid:r{0} send", 8),
    ],
    ids=["sections", "extensions", "sources", "rids"],
)
def test_there_is_a_most_of_everything(line: str, most: int) -> None:
    read_offer(repeated(line, most))
    with pytest.raises(SdpError, match="more than"):
        read_offer(repeated(line, most + 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\r\n" * 11_000,
        SMALL + "a=x\r\n" * 10_000,
        SMALL + "a=" + "x" * 5_000,
        SMALL + "a=candidate:x\r\n" * 60_000,
        SMALL.replace("SAVPF 111", "SAVPF" + " 111" * 65),
        SMALL + SMALL[SMALL.index("m=") :],
    ],
    ids=["empty", "lines", "attributes", "a long line", "candidates", "payload types", "the same mid twice"],
)
def test_too_much_is_refused(text: str) -> None:
    with pytest.raises(SdpError):
        read_offer(text)


@given(seed=st.integers(0, 2**32))
def test_damaged_offers_raise_nothing_else(seed: int) -> None:
    accept_sdp(damaged(PARSERS["sdp"], random.Random(seed)))


@given(text=st.text(max_size=300), place=st.integers(0, len(SMALL)))
def test_text_anywhere_raises_nothing_else(text: str, place: int) -> None:
    accept_sdp(text.encode("utf-8", "replace"))
    accept_sdp((SMALL[:place] + text + SMALL[place:]).encode("utf-8", "replace"))


@pytest.mark.parametrize("text", load_vectors("sdp/crashes"))
def test_what_once_went_wrong(text: str) -> None:
    accept_sdp(text.encode())
