"""Keyframes are told from the payload descriptor."""

import pytest

from peerbus.sfu.rtp.codecs import is_h264_keyframe_start, is_vp8_keyframe_start


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("10 00", True),
        ("10 01", False),
        ("00 00", False),
        ("11 00", False),
        ("90 80 05 00", True),
        ("90 80 85 21 00", True),
        ("90 80 85 21 01", False),
        ("90 f0 85 21 07 20 00", True),
        ("90 f0 85 21 07 20 01", False),
        ("90 80", False),
        ("90", False),
        ("", False),
    ],
)
def test_vp8(payload: str, expected: bool) -> None:
    assert is_vp8_keyframe_start(memoryview(bytes.fromhex(payload))) is expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("67 42", True),
        ("65 88", True),
        ("41 9a", False),
        ("78 00 05 67 42", True),
        ("78 00 05 41 9a", False),
        ("7c 85", True),
        ("7c 05", False),
        ("7c 81", False),
        ("78 00", False),
        ("", False),
    ],
)
def test_h264(payload: str, expected: bool) -> None:
    assert is_h264_keyframe_start(memoryview(bytes.fromhex(payload))) is expected
