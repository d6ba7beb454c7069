"""
The messages between this member and the others, whichever ways there are at the moment.

Owns the delivery layer's clock, the outcomes of those who wait, which peer is reached by which way, and the network
that is simulated between delivery and ways. Never opens a connection and never decides about modes (`peer_group`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.network_simulator import LANE_BYTES, NetworkSimulator, Simulation
from peerbus.client.webrtc.peer_delivery import Bad, Delivered, Delivery, Event, Flushed, Outgoing
from peerbus.client.webrtc.peer_frames import is_lossy_frame
from peerbus.client.webrtc.stats import DataStats
from peerbus.client.webrtc.ways import NO_ROOM, Way

_SOONEST_MS: Final = 5
"""What is due while its path has no room is looked at no sooner than that."""


class PeerPort:
    """See the module. `on_data` hears (identity, payload); `on_flushed` (way, identity)."""

    def __init__(
        self,
        stream: int,
        *,
        on_data: Callable[[str, Any], None],
        on_flushed: Callable[[str], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._delivery: Final = Delivery("", stream)
        self._on_data: Final = on_data
        self._on_flushed: Final = on_flushed
        self._on_error: Final = on_error
        self._outcomes: Final[dict[int, Outcome[bool]]] = {}
        self._numbers: Final = count(1)
        self._ways: dict[str, Way] = {}
        """Of each peer."""
        self._paths: dict[str, str | None] = {}
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._sent = self._received = self._dropped = self._refused = 0
        self._bytes: Final[dict[str, tuple[int, int]]] = {}
        """Sent to and received from each peer."""
        self._outbound: Final[NetworkSimulator[Outgoing]] = NetworkSimulator(stream)
        """By path."""
        self._inbound: Final[NetworkSimulator[tuple[bytes, bool]]] = NetworkSimulator(~stream)
        """By sender: frames, and whether they are known."""
        self._lane_ways: Final[dict[str, Way]] = {}
        """Of each path on which something is under way."""

    @property
    def stats(self) -> DataStats:
        """The figures so far."""
        return DataStats(
            messages_sent=self._sent,
            messages_received=self._received,
            messages_dropped=self._dropped,
            waiting_bytes=self._delivery.kept_bytes,
        )

    @property
    def frames_refused(self) -> int:
        """How many frames of others could not be read."""
        return self._refused

    def unacknowledged(self, peer: str) -> int:
        """How many frames a peer has not acknowledged."""
        return self._delivery.unacknowledged(peer)

    def bytes_of(self, peer: str) -> tuple[int, int]:
        """How much was sent to a peer and came from it, in frames."""
        return self._bytes.get(peer, (0, 0))

    def way_of(self, peer: str) -> Way | None:
        """By which way a peer is reached; None: it is not."""
        return self._ways.get(peer) if self._paths.get(peer) is not None else None

    def simulate(self, simulation: Simulation) -> None:
        """The network between the peers is like this from now on."""
        self._outbound.simulation = self._inbound.simulation = simulation

    # --- messages -----------------------------------------------------------------------------------------------

    def send(self, to: Sequence[str], payload: Any, *, is_lossy: bool) -> Outcome[bool]:
        """Takes a message. Raises `PeerbusError`: `too_large`, `bad_request`; the outcome also `queue_full`."""
        outcome: Outcome[bool] = Outcome(self._on_error)
        number = next(self._numbers)
        try:
            self._delivery.send(number, to, payload, is_lossy=is_lossy, now_ms=now_ms())
        except PeerbusError as error:
            if error.code is not ErrorCode.QUEUE_FULL:
                raise
            outcome.fail(error)
            return outcome
        self._outcomes[number] = outcome
        self.wake()
        return outcome

    def receive(self, sender: str, frame: bytes, *, is_known: bool = False) -> None:
        """A frame came, by whichever way. What is known already is acknowledged, and not told."""
        if self._is_closed:
            return
        self._count(sender, 0, len(frame))
        if self._inbound.is_clear(sender):
            self._arrived(sender, frame, is_known=is_known)
        else:
            self._inbound.put(sender, [((frame, is_known), len(frame), is_lossy_frame(frame))], now_ms())
        self.wake()

    # --- peers and their ways -----------------------------------------------------------------------------------

    def become(self, identity: str) -> None:
        """The own identity, under which others address frames."""
        self._delivery.identity = identity

    def assign(self, peer: str, way: Way | None, path: str | None) -> None:
        """The peer is reached so from now on."""
        if self._paths.get(peer, "") != path or self._ways.get(peer) is not way:
            self._paths[peer] = path
            self._ways.pop(peer, None)
            if way is not None:
                self._ways[peer] = way
            self._delivery.set_path(peer, None if way is None else path)
            self.wake()

    def left(self, peer: str) -> None:
        """The peer is gone."""
        self._paths.pop(peer, None)
        self._ways.pop(peer, None)
        self._bytes.pop(peer, None)
        self._inbound.forget(peer)
        self._delivery.left(peer)
        self.wake()

    def left_as_recipient(self, peer: str) -> None:
        """The peer is gone, and what it sent may still come by others."""
        self._paths.pop(peer, None)
        self._ways.pop(peer, None)
        self._delivery.left_as_recipient(peer)
        self.wake()

    def left_as_sender(self, peer: str) -> None:
        """Nothing more comes of the peer, which is gone."""
        self._inbound.forget(peer)
        self._delivery.left_as_sender(peer)

    def ask(self, peer: str) -> None:
        """What the peer has sent may be lost."""
        self._delivery.ask(peer)
        self.wake()

    def flush(self, way: Way, peers: Sequence[str]) -> None:
        """Tells the peers that nothing more comes by this way, as far as it still reaches them."""
        for peer in peers:
            path = way.path_of(peer)
            if path is not None and way.rooms(path).reliable is not None:
                self._hand_over(
                    way, path, [Outgoing((peer,), self._delivery.flush(), is_lossy=False)], now_ms()
                )
        self.wake()

    def wake(self) -> None:
        """Something may go out, in the next turn of the loop."""
        if self._soon is None and not self._is_closed:
            self._soon = asyncio.get_running_loop().call_soon(self._pump)

    def close(self) -> None:
        """Nothing is sent any more; whoever waits hears `closed`."""
        self._is_closed = True
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        for outcome in self._outcomes.values():
            outcome.fail(PeerbusError(ErrorCode.CLOSED, "The call is over."), is_expected=True)
        self._outcomes.clear()

    # --- inside -------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._soon = None
        now = now_ms()
        for sender in self._inbound.lanes:
            for frame, is_known in self._inbound.take(
                sender, now, reliable_room=LANE_BYTES, lossy_room=LANE_BYTES
            ):
                self._arrived(sender, frame, is_known=is_known)
        self._delivery.tick(now)
        ways = {path: self._ways[peer] for peer, path in self._paths.items() if path and peer in self._ways}
        for path, way in ways.items():
            rooms = way.rooms(path) if self._outbound.room_bytes(path) > 0 else NO_ROOM
            frames = self._delivery.take(path, now, reliable_room=rooms.reliable, lossy_room=rooms.lossy)
            for one in frames:
                for recipient in one.to:
                    self._count(recipient, len(one.frame), 0)
            self._hand_over(way, path, frames, now)
        self._send_arrived(ways, now)
        self._settle()
        self._set_timer(now)

    def _hand_over(self, way: Way, path: str, frames: Sequence[Outgoing], now: int) -> None:
        """Onto its way, or into what is simulated before it."""
        if not frames:
            return
        if self._outbound.is_clear(path):
            way.send(path, frames)
        else:
            self._lane_ways[path] = way
            self._outbound.put(path, [(one, len(one.frame), one.is_lossy) for one in frames], now)

    def _send_arrived(self, ways: Mapping[str, Way], now: int) -> None:
        """What has been under way for as long as is simulated goes onto its way."""
        for path in self._outbound.lanes:
            way = self._lane_ways[path]
            rooms = way.rooms(path)
            frames = self._outbound.take(path, now, reliable_room=rooms.reliable, lossy_room=rooms.lossy)
            if frames:
                way.send(path, frames)
            elif path not in ways and rooms == NO_ROOM:
                # There is no such path any more; what was on it goes by another.
                self._outbound.forget(path)
        for path in [path for path in self._lane_ways if path not in self._outbound.lanes]:
            del self._lane_ways[path]

    def _arrived(self, sender: str, frame: bytes, *, is_known: bool) -> None:
        events = self._delivery.receive(sender, frame, now_ms())
        self._follow([one for one in events if not (is_known and isinstance(one, Delivered))])

    def _follow(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Delivered):
                self._received += 1
                self._on_data(event.sender, event.payload)
            elif isinstance(event, Flushed):
                self._on_flushed(event.sender)
            elif isinstance(event, Bad):
                self._refused += 1
                self._on_error(event.error)

    def _count(self, peer: str, sent: int, received: int) -> None:
        so_far = self._bytes.get(peer, (0, 0))
        self._bytes[peer] = (so_far[0] + sent, so_far[1] + received)

    def _settle(self) -> None:
        handed, dropped = self._delivery.take_settled()
        self._sent += len(handed)
        self._dropped += len(dropped)
        for numbers, is_sent in ((handed, True), (dropped, False)):
            for number in numbers:
                self._outcomes.pop(number).succeed(is_sent)

    def _set_timer(self, now: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadlines = (self._delivery.deadline_ms, self._inbound.deadline_ms, self._outbound.deadline_ms)
        deadline = min((one for one in deadlines if one is not None), default=None)
        if deadline is not None:
            at_ms = max(deadline, now + _SOONEST_MS)
            self._timer = asyncio.get_running_loop().call_at(at_ms / 1000, self.wake)


def now_ms() -> int:
    """The clock of the running loop."""
    return int(asyncio.get_running_loop().time() * 1000)
