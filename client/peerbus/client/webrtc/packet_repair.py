"""
Lost packets, beyond what aiortc does about them.

Owns when to ask again for what is missing, when to go on without it, and that no delay stays behind. aiortc 1.16 asks
once for each packet of a video, waits for up to 512 packets (16 of audio), and then hands on one frame for each packet
that comes, so that the wait stays as delay for ever. It drops the retransmissions themselves as soon as there are two
receivers of a kind, since it knows them by their payload type only. Written against the names listed here; a test fails
when one is gone. See RFC 4585 (section 6.2.1) and RFC 4588.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterFrame

from peerbus.protocol.signals import MediaKind

ASK_AGAIN_MS: Final = 100
GIVE_UP_MS: Final[dict[MediaKind, int]] = {"video": 1_000, "audio": 100}
"""What waits for a packet for so long goes on without it: a picture with the next keyframe, sound with a gap."""

_NACKS: Final = "_RTCRtpReceiver__nack_generator"
_BUFFER: Final = "_RTCRtpReceiver__jitter_buffer"
_CODECS: Final = "_RTCRtpReceiver__codecs"
_MAPPER: Final = "_RTCRtpReceiver__timestamp_mapper"
_SEQUENCE_NUMBERS: Final = 1 << 16


def route_repairs(receiver: RTCRtpReceiver, ssrc: int) -> None:
    """Leads the retransmissions of this source to the receiver that they are for."""
    receiver.transport._rtp_router.ssrc_table[ssrc] = receiver  # noqa: SLF001 - see the module


class PacketRepair:
    """
    One receiver. `tick` is called every `ASK_AGAIN_MS`.

    `decode` takes complete frames, as aiortc's decoder thread would get them. `on_skip` hears that pictures were left
    out, so that only a keyframe helps.
    """

    def __init__(
        self,
        receiver: RTCRtpReceiver,
        kind: MediaKind,
        *,
        decode: Callable[[Any], None],
        on_skip: Callable[[], None],
    ) -> None:
        self._nacks: Final[Any] = getattr(receiver, _NACKS)
        self._buffer: Final[Any] = getattr(receiver, _BUFFER)
        self._codecs: Final[dict[int, Any]] = getattr(receiver, _CODECS)
        self._mapper: Final[Any] = getattr(receiver, _MAPPER)
        self._kind: Final[MediaKind] = kind
        self._decode: Final = decode
        self._on_skip: Final = on_skip
        self._hole: int | None = None
        self._since_ms = 0

    def tick(self, now_ms: int) -> list[int]:
        """The sequence numbers to ask for again; of audio none."""
        if self._buffer._origin is None:  # noqa: SLF001 - see the module
            return []
        self._drain()
        before, missing = self._first_hole()
        if not missing:
            self._hole = None
            return []
        hole = (self._buffer._origin + before) % _SEQUENCE_NUMBERS  # noqa: SLF001 - see the module
        if hole != self._hole:
            self._hole, self._since_ms = hole, now_ms
        elif now_ms - self._since_ms >= GIVE_UP_MS[self._kind]:
            self._hole = None
            self._skip(before, missing)
            return []
        return [] if self._nacks is None else sorted(self._nacks.missing)

    def _drain(self) -> None:
        """Hands on all that is complete, but for what the buffer keeps in any case."""
        buffer = self._buffer
        while True:
            first = buffer._packets[buffer._origin % buffer.capacity]  # noqa: SLF001 - see the module
            frame = buffer._remove_frame(0)  # noqa: SLF001 - see the module
            if frame is None:
                return
            self._decode_one(first, frame)

    def _decode_one(self, packet: Any, frame: JitterFrame) -> None:
        frame.timestamp = self._mapper.map(frame.timestamp)
        self._decode((self._codecs[packet.payload_type], frame))

    def _first_hole(self) -> tuple[int, int]:
        """How many packets wait before the first that is missing, and how many are missing there; 0: none is."""
        buffer = self._buffer
        before = missing = 0
        for count in range(buffer.capacity):
            if buffer._packets[(buffer._origin + count) % buffer.capacity] is None:  # noqa: SLF001 - see the module
                missing += 1
            elif missing:
                return before, missing
            else:
                before += 1
        return before, 0

    def _skip(self, before: int, missing: int) -> None:
        """Goes on behind the hole."""
        buffer = self._buffer
        if self._kind == "audio":
            for _ in range(before):
                packet = buffer._packets[buffer._origin % buffer.capacity]  # noqa: SLF001 - see the module
                buffer.remove(1)
                self._decode_one(packet, JitterFrame(packet._data, packet.timestamp))  # noqa: SLF001 - see the module
            buffer.remove(missing)
            self._drain()
            return
        # The rest of the picture that has the hole goes with it.
        buffer.smart_remove(before + missing)
        # What lies behind the new beginning is not waited for any more.
        self._nacks.missing = {
            number
            for number in self._nacks.missing
            if (number - buffer._origin) % _SEQUENCE_NUMBERS < _SEQUENCE_NUMBERS // 2  # noqa: SLF001 - see the module
        }
        self._on_skip()
