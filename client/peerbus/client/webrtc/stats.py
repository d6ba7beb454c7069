"""
The figures of a call in one object.

Owns its shape and the reckoning of rates. The shape is that of the browser SDK, without what only a browser knows and
with `frames` and `packets` counted here in every case. What is unknown is None; rates are those since the stats
before, and 0 at first. Never asks anybody for a figure.
"""

from __future__ import annotations

from msgspec import Struct

from peerbus.client.webrtc.frame_sealing import EncryptionState
from peerbus.client.webrtc.records import CallStateName
from peerbus.protocol.signals import MediaKind, Source


class ConnectionStats(Struct, frozen=True, kw_only=True):
    """How the connection to the SFU goes."""

    state: CallStateName
    local_address: str | None = None
    remote_address: str | None = None
    round_trip_ms: float | None = None
    """From the SFU's reports; None while nothing is sent, and before the first report."""
    packets_sent: int = 0
    packets_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    send_bits_per_s: float = 0.0
    receive_bits_per_s: float = 0.0


class StreamStats(Struct, frozen=True, kw_only=True):
    """What streams of both directions have. Counted since the stream is on its connection."""

    publication: str
    """The id of the publication."""
    media: MediaKind
    source: Source
    is_muted: bool
    codec: str | None
    bytes: int
    """Payloads, without headers."""
    packets: int
    bits_per_s: float
    packets_lost: int | None
    jitter_ms: float | None
    frames: int
    """Handed to the encoder, or arrived complete (whether decoded or not); of audio: blocks of 20 ms."""
    frames_per_s: float


class SentStats(StreamStats, frozen=True, kw_only=True):
    """One own publication, with what the SFU reports of it."""

    round_trip_ms: float | None
    frames_sealed: int
    """Those that were end-to-end encrypted; none is sent otherwise where that is on."""


class ReceivedStats(StreamStats, frozen=True, kw_only=True):
    """One publication of somebody else."""

    identity: str
    name: str
    width: int | None
    """Of the picture; known without decoding it."""
    height: int | None
    frames_decoded: int
    """Those that were decoded, because somebody reads the track."""
    frames_dropped: int
    """Decoded ones that a reader did not fetch in time."""
    encryption: EncryptionState
    """As `RemoteTrack.encryption`."""
    frames_opened: int
    frames_refused: int
    """Dropped ones: they could not be opened, were replayed, or were not sealed although this side encrypts."""


class DataStats(Struct, frozen=True, kw_only=True):
    """Data messages since the helper began."""

    messages_sent: int = 0
    messages_received: int = 0
    messages_dropped: int = 0
    """Lossy ones that were never sent."""
    waiting_bytes: int = 0
    """What waits to be sent."""


class PeerStats(Struct, frozen=True, kw_only=True):
    """How one peer of the group is reached."""

    identity: str
    name: str
    state: str
    """`connecting`, `connected` or `carried`, as in `on_peer_state`."""
    path: str | None
    """The mode whose way the data take; None while there is none."""
    round_trip_ms: float | None
    """Of the link to it, measured when it is asked for; None where the server carries, and between guests of a host."""
    frames_waiting: int
    """Reliable frames that it has not acknowledged."""
    bytes_sent: int
    bytes_received: int
    """Frames of data, without what carries them."""


class CallStats(Struct, frozen=True, kw_only=True):
    """What `stats()` gives."""

    time_ms: int
    """Milliseconds since 1970."""
    connection: ConnectionStats
    sent: list[SentStats]
    received: list[ReceivedStats]
    data: DataStats
    mode: str | None = None
    """The mode that holds; None while that is not known."""
    term: int = 0
    """Of the mode; 0 outside of a group."""
    peers: list[PeerStats] = []
    """The others in the group."""


class Rates:
    """Rates from counters, each since the time before that it was asked for."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    def per_s(self, name: str, now_ms: int, count: int) -> float:
        """The rate of the counter `name`, whose value is `count` now; 0 at first, and when it began anew."""
        self._seen[name] = (now_ms, count)
        before_ms, before = self._before.get(name, (now_ms, count))
        if now_ms <= before_ms or count < before:
            return 0.0
        return (count - before) * 1000 / (now_ms - before_ms)

    def finish(self) -> None:
        """All counters were asked for; those that were not are forgotten."""
        self._before, self._seen = self._seen, {}
