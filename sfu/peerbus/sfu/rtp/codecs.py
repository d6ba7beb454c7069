"""
What a payload says about itself: is this the start of a picture that needs no other?

Owns the payload descriptors as far as forwarding looks into them. Never decodes a picture. See RFC 7741 (VP8) and
RFC 6184 (H.264).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_H264_IDR: Final = 5
_H264_SPS: Final = 7
_H264_STAP_A: Final = 24
_H264_FU_A: Final = 28


def is_vp8_keyframe_start(payload: memoryview) -> bool:
    """Whether a VP8 payload begins a keyframe."""
    if len(payload) < 2:
        return False
    first = payload[0]
    is_partition_start = bool(first & 0x10) and first & 0x07 == 0
    if not is_partition_start:
        return False
    position = 1
    if first & 0x80:
        flags = payload[1]
        position = 2
        if flags & 0x80:
            if len(payload) <= position:
                return False
            position += 2 if payload[position] & 0x80 else 1
        if flags & 0x40:
            position += 1
        if flags & 0x30:
            position += 1
    return len(payload) > position and payload[position] & 0x01 == 0


def is_h264_keyframe_start(payload: memoryview) -> bool:
    """Whether an H.264 payload begins with parameter sets or an IDR picture."""
    if len(payload) < 2:
        return False
    kind = payload[0] & 0x1F
    if kind in (_H264_IDR, _H264_SPS):
        return True
    if kind == _H264_STAP_A:
        return len(payload) > 3 and payload[3] & 0x1F in (_H264_IDR, _H264_SPS)
    if kind == _H264_FU_A:
        return bool(payload[1] & 0x80) and payload[1] & 0x1F == _H264_IDR
    return False


KEYFRAME_TESTS: Final[dict[str, Callable[[memoryview], bool]]] = {
    "vp8": is_vp8_keyframe_start,
    "h264": is_h264_keyframe_start,
}
"""By the codec's name in lower case; what is not here cannot be told."""
