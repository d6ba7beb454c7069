"""
Lost packets of video, beyond what aiortc does about them.

Owns when to ask again for what is missing, and when to go on without it. aiortc 1.16 asks once for each packet, waits
for it for up to 512 packets, and drops the retransmissions themselves as soon as there are two receivers of a kind,
since it knows the sources of retransmissions by their payload type only. Written against the names listed here; a test
fails when one is gone. See RFC 4585 (section 6.2.1) and RFC 4588.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiortc import RTCRtpReceiver

ASK_AGAIN_MS: Final = 100
GIVE_UP_MS: Final = 1_000
"""A picture that waits for a packet for so long goes on with the next keyframe."""

_NACKS: Final = "_RTCRtpReceiver__nack_generator"
_BUFFER: Final = "_RTCRtpReceiver__jitter_buffer"
_SEQUENCE_NUMBERS: Final = 1 << 16


def route_repairs(receiver: RTCRtpReceiver, ssrc: int) -> None:
    """Leads the retransmissions of this source to the receiver that they are for."""
    receiver.transport._rtp_router.ssrc_table[ssrc] = receiver  # noqa: SLF001 - see the module


class PacketRepair:
    """
    One receiver of video. `tick` is called every `ASK_AGAIN_MS`.

    `on_skip` hears that pictures were left out, so that only a keyframe helps.
    """

    def __init__(self, receiver: RTCRtpReceiver, on_skip: Callable[[], None]) -> None:
        self._nacks: Final[Any] = getattr(receiver, _NACKS)
        self._buffer: Final[Any] = getattr(receiver, _BUFFER)
        self._on_skip: Final = on_skip
        self._hole: int | None = None
        self._since_ms = 0

    def tick(self, now_ms: int) -> list[int]:
        """The sequence numbers to ask for again."""
        length = self._first_hole()
        if length is None:
            self._hole = None
            return []
        hole = (self._buffer._origin + length) % _SEQUENCE_NUMBERS  # noqa: SLF001 - see the module
        if hole != self._hole:
            self._hole, self._since_ms = hole, now_ms
        elif now_ms - self._since_ms >= GIVE_UP_MS:
            self._skip(length + 1)
            return []
        return sorted(self._nacks.missing)

    def _first_hole(self) -> int | None:
        """How many packets wait before the first one that is missing; None if none is."""
        buffer = self._buffer
        if buffer._origin is None:  # noqa: SLF001 - see the module
            return None
        gap: int | None = None
        for count in range(buffer.capacity):
            packet = buffer._packets[(buffer._origin + count) % buffer.capacity]  # noqa: SLF001 - see the module
            if packet is None:
                gap = count if gap is None else gap
            elif gap is not None:
                return gap
        return None

    def _skip(self, count: int) -> None:
        """Goes on behind the hole; the rest of its picture goes with it."""
        buffer = self._buffer
        buffer.smart_remove(count)
        self._hole = None
        # What lies behind the new beginning is not waited for any more.
        self._nacks.missing = {
            number
            for number in self._nacks.missing
            if (number - buffer._origin) % _SEQUENCE_NUMBERS < _SEQUENCE_NUMBERS // 2  # noqa: SLF001 - see the module
        }
        self._on_skip()
