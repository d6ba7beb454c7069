"""The guard against unmasked frames, beside an oracle that reads the same stream as a whole (RFC 6455, section 5.2)."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from peerbus.signaling.mask_guard import MaskGuard

BAD_FRAME = b"\xf0\x80"


class Reader:
    """Takes down what the guard hands on."""

    def __init__(self) -> None:
        self.data = b""
        self.has_ended = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        self.has_ended = True


def frame(size: int, *, is_masked: bool = True, length_bytes: int = 0) -> bytes:
    """A frame whose length is written with no fewer bytes than asked for."""
    mask_bit = 0x80 if is_masked else 0
    if size < 126 and length_bytes == 0:
        head = bytes((0x82, mask_bit | size))
    elif size < 65_536 and length_bytes <= 2:
        head = bytes((0x82, mask_bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x82, mask_bit | 127)) + size.to_bytes(8, "big")
    return head + (b"mask" if is_masked else b"") + b"\x00" * size


def handed_on(data: bytes, cuts: list[int]) -> bytes:
    reader = Reader()
    guard = MaskGuard(reader)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        assert guard.feed_data(data[start:end]) == (False, b"")
    return reader.data


sizes = st.sampled_from([0, 1, 2, 5, 125, 126, 127, 300, 65_535, 65_536, 70_000])
frames = st.builds(frame, sizes, length_bytes=st.sampled_from([0, 2, 8]))
cuts = st.lists(st.integers(0, 200_000), max_size=12) | st.just(list(range(400)))


@given(st.lists(frames, min_size=1, max_size=6), cuts)
def test_masked_frames_pass_unchanged(masked: list[bytes], places: list[int]) -> None:
    data = b"".join(masked)
    assert handed_on(data, places) == data


@given(st.lists(frames, max_size=4), sizes, st.sampled_from([0, 2, 8]), st.binary(max_size=50), cuts)
def test_from_the_first_unmasked_frame_on_nothing_passes(
    masked: list[bytes], size: int, length_bytes: int, rest: bytes, places: list[int]
) -> None:
    good = b"".join(masked)
    bad = frame(size, is_masked=False, length_bytes=length_bytes)
    got = handed_on(good + bad + rest, places)
    assert got.startswith(good + BAD_FRAME)
    # What the reader gets behind a frame that it refuses does not matter, as long as that frame comes first.
    assert handed_on(good + bad, []) == good + BAD_FRAME


def test_half_a_head_is_held_back_until_it_can_be_judged() -> None:
    reader = Reader()
    guard = MaskGuard(reader)
    guard.feed_data(b"\x82")
    assert reader.data == b""
    guard.feed_data(b"\x05")
    assert reader.data == BAD_FRAME


def test_the_end_is_handed_on() -> None:
    reader = Reader()
    MaskGuard(reader).feed_eof()
    assert reader.has_ended
