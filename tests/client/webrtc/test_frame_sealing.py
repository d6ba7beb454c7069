"""Sealed frames: the golden vectors, every changed bit, windows against a model, key ids that are used up."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.client.webrtc import frame_sealing
from peerbus.client.webrtc.frame_sealing import (
    COUNTER_LIMIT,
    OVERHEAD_BYTES,
    WINDOW,
    EncryptionWatch,
    FrameOpener,
    FrameRefused,
    FrameSealer,
    Window,
    clear_bytes,
    codec_of,
)
from peerbus.protocol.secrets import SecretBytes
from tests.support.vectors import load_vectors

FRAMES, REFUSED, SEQUENCES, STATES = (
    load_vectors(f"media/{name}") for name in ("frames", "refused", "sequences", "states")
)
KEY = SecretBytes(bytes(range(32)))
PICTURE = bytes.fromhex("504200 9d012a 4001 f000") + bytes(range(40))


def why(case: dict[str, Any]) -> str:
    return str(case["why"])


def media_key(vectors: dict[str, Any]) -> SecretBytes:
    return SecretBytes(bytes.fromhex(vectors["media_key_hex"]))


def sealer(key_id: bytes = b"k" * 8, **changes: Any) -> FrameSealer:
    return FrameSealer(KEY, lambda: key_id, **{"sender": "ann", "publication": "id/cam", **changes})


@pytest.mark.parametrize("case", FRAMES["cases"], ids=why)
def test_frames(case: dict[str, Any]) -> None:
    key, key_id = media_key(FRAMES), bytes.fromhex(case["key_id_hex"])
    who = {"sender": case["sender"], "publication": case["publication"]}
    frame, sealed = bytes.fromhex(case["frame_hex"]), bytes.fromhex(case["sealed_hex"])
    assert frame_sealing.frame_key(key, key_id).hex() == case["frame_key_hex"]
    assert clear_bytes(case["codec"], frame) == case["clear_bytes"]
    one = FrameSealer(key, lambda: key_id, counter=case["counter"], **who)
    assert one.seal(case["codec"], frame).hex() == case["sealed_hex"]
    assert len(sealed) == len(frame) + OVERHEAD_BYTES
    assert FrameOpener(key).open(case["codec"], sealed, **who) == frame


@pytest.mark.parametrize("case", REFUSED["cases"], ids=why)
def test_refused(case: dict[str, Any]) -> None:
    with pytest.raises(FrameRefused) as caught:
        FrameOpener(media_key(REFUSED)).open(
            case["codec"],
            bytes.fromhex(case["sealed_hex"]),
            sender=case["sender"],
            publication=case["publication"],
        )
    assert caught.value.reason == "undecryptable"


@pytest.mark.parametrize("case", SEQUENCES["cases"], ids=why)
def test_sequences(case: dict[str, Any]) -> None:
    opener = FrameOpener(media_key(SEQUENCES))
    outcomes: list[str] = []
    for step in case["steps"]:
        try:
            opener.open(
                SEQUENCES["codec"],
                bytes.fromhex(step["sealed_hex"]),
                sender=SEQUENCES["sender"],
                publication=step["publication"],
            )
        except FrameRefused as refusal:
            outcomes.append(refusal.reason)
        else:
            outcomes.append("opened")
    assert outcomes == [step["outcome"] for step in case["steps"]]


@pytest.mark.parametrize("case", STATES["cases"], ids=why)
def test_states(case: dict[str, Any]) -> None:
    watch = EncryptionWatch(is_sealed=case["is_sealed"], is_on=case["is_on"])
    states = [watch.state]
    for outcome in case["outcomes"]:
        changed = watch.frame_opened() if outcome == "opened" else watch.frame_refused(outcome)
        states.append(watch.state)
        assert changed is (states[-1] != states[-2])
    assert (states[0], states[-1]) == (case["begins"], case["ends"])
    assert (watch.opened, watch.refused) == (case["opened"], case["refused"])
    assert watch.replayed == case["outcomes"].count("replayed")


@given(codec=st.sampled_from(("vp8", "opus")), data=st.data())
def test_every_changed_bit_and_every_cut_is_refused(codec: frame_sealing.FrameCodec, data: Any) -> None:
    sealed = sealer().seal(codec, PICTURE[: data.draw(st.integers(0, len(PICTURE)))])
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for wrong in (bytes(changed), sealed[:cut], sealed[cut + 1 :], sealed + b"\0"):
        with pytest.raises(FrameRefused):
            FrameOpener(KEY).open(codec, wrong, sender="ann", publication="id/cam")


@given(st.lists(st.integers(0, 5_000) | st.integers(1_000, 1_100), max_size=60))
def test_the_window_takes_what_is_new_and_not_too_old(counters: list[int]) -> None:
    window, seen = Window(), set[int]()
    for counter in counters:
        is_new = counter not in seen and counter > max(seen, default=counter) - WINDOW
        assert window.takes(counter) is is_new
        if is_new:
            seen.add(counter)


def test_a_key_id_that_is_used_up_is_followed_by_another() -> None:
    key_ids = (number.to_bytes(8, "big") for number in itertools.count())
    one = FrameSealer(
        KEY, lambda: next(key_ids), sender="ann", publication="id/cam", counter=COUNTER_LIMIT - 1
    )
    opener = FrameOpener(KEY)
    trailers = []
    for _ in range(3):
        sealed = one.seal("vp8", PICTURE)
        assert opener.open("vp8", sealed, sender="ann", publication="id/cam") == PICTURE
        trailers.append(sealed[-12:])
    assert trailers == [
        (COUNTER_LIMIT - 1).to_bytes(4, "big") + bytes(8),
        bytes(4) + bytes(7) + b"\x01",
        bytes(3) + b"\x01" + bytes(7) + b"\x01",
    ]


def test_the_memory_of_publications_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_sealing, "_STREAMS_MAX", 2)
    opener = FrameOpener(KEY)
    frames = {name: sealer(name * 8, publication=name.decode()) for name in (b"a", b"b", b"c")}
    for name, one in frames.items():
        assert opener.open("opus", one.seal("opus", b"1"), sender="ann", publication=name.decode()) == b"1"
    with pytest.raises(FrameRefused, match="replayed"):
        opener.open("opus", frames[b"a"].seal("opus", b"2"), sender="ann", publication="a")
    for name in (b"b", b"c"):
        sealed = frames[name].seal("opus", b"2")
        assert opener.open("opus", sealed, sender="ann", publication=name.decode()) == b"2"


def test_the_memory_of_what_ended_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_sealing, "_RETIRED_MAX", 2)
    opener = FrameOpener(KEY)
    frames = [sealer(bytes([number]) * 8).seal("opus", b"sound") for number in range(4)]
    for frame in frames:
        opener.open("opus", frame, sender="ann", publication="id/cam")
    for frame in frames[1:3]:
        with pytest.raises(FrameRefused, match="replayed"):
            opener.open("opus", frame, sender="ann", publication="id/cam")
    assert opener.open("opus", frames[0], sender="ann", publication="id/cam") == b"sound"


def test_codecs_by_name() -> None:
    assert [codec_of(name) for name in ("VP8", "opus", "OPUS", "H264", "VP9", "")] == [
        "vp8",
        "opus",
        "opus",
        None,
        None,
        None,
    ]
