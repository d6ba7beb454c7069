"""
The way over signaling: frames as messages of the channel, sealed where it is.

Owns the bundling of frames into messages, and keeping to the server's rates. Never reads a frame beyond its kind. What
a message carried that was refused is sent again by whoever sends, since the path has another name then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.records import Ack, Message
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.client.webrtc.peer_frames import ACK
from peerbus.client.webrtc.ways import NO_ROOM, Rooms, WayEvents
from peerbus.protocol.groups import PEER_DATA_TYPE, GroupMember, Mode

BUNDLE_BYTES: Final = 65_536
WINDOW_BYTES: Final = 262_144
"""How much may be under way to the server."""
RELIABLE_EVERY_MS: Final = 25
LOSSY_EVERY_MS: Final = 10
"""A message each at most so often, well below what the server takes of one session."""
_AGAIN_MS: Final = 500
_MARK: Final = 0x93
"""The first byte of an array of three, as which all acknowledgements begin."""


class _Bundle(Struct):
    to: tuple[str, ...]
    frames: list[bytes]
    size_bytes: int = 0


class RelayWay:
    """See the module."""

    mode: Final[Mode] = "relay"

    def __init__(self, agent: AgentConnection, events: WayEvents) -> None:
        self.failure: PeerbusError | None = None
        self._agent: Final = agent
        self._events: Final = events
        self._names: dict[str, str] = {}
        self._generation = 1
        self._waiting_bytes = 0
        self._away: Final[dict[str, int]] = {}
        """Who was not found, and when to try again (ms)."""
        self._reliable_from_ms = 0
        self._lossy_from_ms = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        agent.add_listener("peer_data", self._message_came)
        agent.add_listener("gap", self._gap_came)

    def follow(self, members: Mapping[str, GroupMember], order: int) -> None:
        """See `Way`."""
        self._names = {identity: member.name for identity, member in members.items()}
        for identity in [identity for identity in self._away if identity not in members]:
            del self._away[identity]

    def path_of(self, peer: str) -> str | None:
        """See `Way`."""
        is_here = peer in self._names and peer not in self._away
        return f"relay {self._generation}" if is_here and self.failure is None else None

    def can_carry(self, peer: str) -> bool:
        """See `Way`."""
        return True

    def rooms(self, path: str) -> Rooms:
        """See `Way`."""
        if self._is_closed or path != f"relay {self._generation}" or not self._agent.is_connected:
            return NO_ROOM
        now = _now_ms()
        room = WINDOW_BYTES - self._waiting_bytes
        reliable = room if now >= self._reliable_from_ms and room > 0 else None
        lossy = BUNDLE_BYTES // 2 if now >= self._lossy_from_ms else None
        later = [at for at in (self._reliable_from_ms, self._lossy_from_ms) if at > now]
        if later:
            self._wake_at(min(later))
        return Rooms(reliable=None if reliable is None else min(reliable, BUNDLE_BYTES), lossy=lossy)

    def send(self, path: str, frames: Sequence[Outgoing]) -> None:
        """See `Way`."""
        now = _now_ms()
        reliable = _bundled([one for one in frames if not one.is_lossy])
        lossy = _bundled([one for one in frames if one.is_lossy])
        for bundle in reliable:
            self._send_reliable(bundle)
        for bundle in lossy:
            self._send_lossy(bundle)
        if reliable:
            self._reliable_from_ms = max(now, self._reliable_from_ms) + RELIABLE_EVERY_MS * len(reliable)
        if lossy:
            self._lossy_from_ms = max(now, self._lossy_from_ms) + LOSSY_EVERY_MS * len(lossy)

    async def round_trip_ms(self, peer: str) -> float | None:
        """See `Way`; there are no links."""
        return None

    def retire(self) -> None:
        """See `Way`; there is nothing to make."""

    def revive(self) -> None:
        """See `Way`; there was nothing to stop."""

    async def close(self) -> None:
        """See `Way`."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._agent.remove_listener("peer_data", self._message_came)
        self._agent.remove_listener("gap", self._gap_came)

    # --- out ----------------------------------------------------------------------------------------------------

    def _send_reliable(self, bundle: _Bundle) -> None:
        generation = self._generation
        self._waiting_bytes += bundle.size_bytes

        def settled(outcome: asyncio.Future[Ack]) -> None:
            self._waiting_bytes -= bundle.size_bytes
            error = None if outcome.cancelled() else outcome.exception()
            if isinstance(error, PeerbusError) and generation == self._generation and not self._is_closed:
                self._refused(error)
            self._events.on_change()

        try:
            outcome = self._agent.send_message(
                _data_of(bundle), type=PEER_DATA_TYPE, to=self._to(bundle), delivery="live"
            )
        except PeerbusError as error:
            self._waiting_bytes -= bundle.size_bytes
            self._refused(error)
            return
        outcome.add_done_callback(settled)

    def _send_lossy(self, bundle: _Bundle) -> None:
        try:
            self._agent.send_message(
                _data_of(bundle), type=PEER_DATA_TYPE, to=self._to(bundle), delivery="lossy"
            )
        except PeerbusError as error:
            if error.code is not ErrorCode.UNKNOWN_RECIPIENT:
                self._events.on_error(error)

    def _to(self, bundle: _Bundle) -> list[str]:
        return [self._names.get(identity, identity) for identity in bundle.to]

    def _refused(self, error: PeerbusError) -> None:
        """Nothing of a message was sent: everything that is not acknowledged goes out again."""
        self._generation += 1
        wait_ms = error.retry_after_ms or _AGAIN_MS
        if error.code is ErrorCode.UNKNOWN_RECIPIENT:
            missing = error.details.get("missing") if error.details else None
            for identity, name in self._names.items():
                if not isinstance(missing, list) or name in missing:
                    self._away[identity] = _now_ms() + wait_ms
            self._wake_at(_now_ms() + wait_ms)
            return
        if not error.is_retryable and error.code is not ErrorCode.CLOSED:
            self.failure = error
            self._events.on_error(error)
            return
        self._reliable_from_ms = _now_ms() + wait_ms
        self._wake_at(self._reliable_from_ms)

    def _wake_at(self, at_ms: int) -> None:
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer.when() * 1000 <= at_ms:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at((at_ms + 1) / 1000, self._woken)

    def _woken(self) -> None:
        self._timer = None
        now = _now_ms()
        for identity in [identity for identity, at_ms in self._away.items() if now >= at_ms]:
            del self._away[identity]
        if self._away:
            self._wake_at(min(self._away.values()))
        self._events.on_change()

    # --- in -----------------------------------------------------------------------------------------------------

    def _message_came(self, message: Message) -> None:
        if message.identity not in self._names or not isinstance(message.content, bytes):
            return
        for frame in _frames_of(message.content):
            self._events.on_frame(message.identity, frame)

    def _gap_came(self, gap: Any) -> None:
        """The session began anew: what was under way in both directions may be lost."""
        if gap.live:
            self._generation += 1
            self._events.on_lost(list(self._names))


def _bundled(frames: Sequence[Outgoing]) -> list[_Bundle]:
    """As few messages as can be; acknowledgements go with what goes to their recipient, who knows them by stream."""
    bundles: list[_Bundle] = []
    marks: list[Outgoing] = []
    for one in frames:
        if one.frame[0] == _MARK and one.frame[1] == ACK:
            marks.append(one)
            continue
        if not bundles or bundles[-1].to != one.to or bundles[-1].size_bytes + len(one.frame) > BUNDLE_BYTES:
            bundles.append(_Bundle(one.to, []))
        bundles[-1].frames.append(one.frame)
        bundles[-1].size_bytes += len(one.frame)
    left: list[Outgoing] = []
    for mark in marks:
        fitting = next((bundle for bundle in bundles if mark.to[0] in bundle.to), None)
        if fitting is None:
            left.append(mark)
        else:
            fitting.frames.append(mark.frame)
    if left:
        to = tuple(dict.fromkeys(mark.to[0] for mark in left))
        bundles.append(_Bundle(to, [mark.frame for mark in left]))
    return bundles


def _data_of(bundle: _Bundle) -> bytes:
    return msgspec.msgpack.encode(bundle.frames)


def _frames_of(data: bytes) -> list[bytes]:
    """The frames of a message; what is no array of them is told of as one that can't be read."""
    try:
        return msgspec.msgpack.decode(data, type=list[bytes])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return [data]


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
