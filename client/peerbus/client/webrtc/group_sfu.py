"""
What a group needs of the SFU: a call through it as long as data or media go that way.

Owns when that call begins and ends, the ways of the modes `datachannel` and `sfu` on it, and what becomes of the group
when it can't be made. Never decides which mode holds (`group_call` says it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final, Literal

from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.call_parts import CallParts
from peerbus.client.webrtc.connection import refusal_error
from peerbus.client.webrtc.delivery import Incoming, decode_message
from peerbus.client.webrtc.records import CallState
from peerbus.client.webrtc.sfu_call import CallEvents, SfuCall
from peerbus.client.webrtc.sfu_way import SfuWay
from peerbus.client.webrtc.ways import WayEvents

_LINGER_S: Final = 1.0
_NO_WORKER_S: Final = 4.0
"""Who comes into a mode through a worker waits so long for one: to be started anew takes less."""
_AGAIN_S: Final = 2.0
"""After so long a call that is needed, and could not be made, is tried again."""


class SfuEvents(Struct, frozen=True, kw_only=True):
    """What this asks and tells."""

    members: Callable[[], Collection[str]]
    """The identities of the others in the group."""
    is_wanted: Callable[[], bool]
    """Whether media go through the SFU, whatever data do."""
    is_asked_for: Callable[[], bool]
    """Whether a mode holds that needs it, and that nobody but a member can change."""
    on_frame: Callable[[str, bytes], None]
    on_plain_data: Callable[[str, Any], None]
    """A message of somebody who is in the call without a group."""
    on_peers: Callable[[], None]
    on_change: Callable[[], None]
    """It stands otherwise than before."""


class GroupSfu:
    """See the module."""

    def __init__(self, parts: CallParts, events: SfuEvents) -> None:
        self._parts: Final = parts
        self._events: Final = events
        self.call: Final = SfuCall(
            parts.agent,
            parts.publishing,
            parts.reception,
            parts.encryption,
            parts.ice,
            CallEvents(
                emit=self._emits,
                on_state=self._changed,
                on_room=self._room_came,
                on_data=self._data_came,
                on_over=self._over,
                on_error=parts.on_error,
            ),
        )
        self._ways: Final[list[tuple[SfuWay, WayEvents]]] = []
        self._stopping: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._hopeless: asyncio.TimerHandle | None = None
        self._was_up = False
        self._is_over = False
        self._connection_id = ""

    def make_way(self, mode: Literal["datachannel", "sfu"], events: WayEvents) -> SfuWay:
        """The way of a mode; the call is there as long as it is not closed."""
        way = SfuWay(mode, self.call, events, lambda: self._way_closed(way))
        self._ways.append((way, events))
        self.look()
        return way

    @property
    def is_up(self) -> bool:
        """Whether the call stands."""
        return self.call.state.name == "connected"

    def look(self) -> None:
        """Begins or ends the call, if that is due."""
        if self._is_over or self._stopping is not None:
            return
        if self._is_needed and not self.call.is_running and self._again is None:
            self.call.begin(None)
        elif not self._is_needed and self.call.is_running:
            self._stopping = asyncio.create_task(self._stop_later(), name="peerbus-call-stop")

    def end(self) -> None:
        """Nothing is sent any more, and nothing listened to; what is left is ended by `close`."""
        self._is_over = True
        for timer in (self._again, self._hopeless):
            if timer is not None:
                timer.cancel()
        self.call.forget()
        self.call.close()
        self.call.cancel()

    async def close(self) -> None:
        """No connection or task of it is left."""
        await self.call.stop()
        if self._stopping is not None:
            await asyncio.wait([self._stopping])

    # --- inside -------------------------------------------------------------------------------------------------

    @property
    def _is_needed(self) -> bool:
        return not self._is_over and (bool(self._ways) or self._events.is_wanted())

    async def _stop_later(self) -> None:
        """Not before pictures that come another way now have had the time for their first keyframe."""
        await asyncio.sleep(_LINGER_S)
        if not self._is_needed:
            await self.call.leave()
            await self.call.stop()
        self._stopping = None
        self._tell()

    async def _way_closed(self, way: SfuWay) -> None:
        self._ways[:] = [one for one in self._ways if one[0] is not way]
        self._tell()

    def _tell(self) -> None:
        if not self._is_over:
            self.look()
            self._events.on_change()

    def _room_came(self) -> None:
        connection = self.call.connection
        if connection is not None and connection.is_up and connection.id != self._connection_id:
            # What was under way to the connection before is lost.
            self._connection_id = connection.id
            for _, events in list(self._ways):
                events.on_lost(list(self._events.members()))
        for _, events in list(self._ways):
            events.on_change()

    def _changed(self, state: CallState) -> None:
        """The connections of the call came or went."""
        if state.name == "connected":
            self._was_up = True
        elif state.code == ErrorCode.NO_WORKER and self._hopeless is None and not self._was_up:
            self._hopeless = asyncio.get_running_loop().call_later(_NO_WORKER_S, self._give_up)
        self._tell()

    def _give_up(self) -> None:
        """A mode through a worker was asked for, and there is none: only `auto` goes another way then."""
        self._hopeless = None
        if self._was_up or self._is_over or not self._events.is_asked_for():
            return
        if self.call.state.code == ErrorCode.NO_WORKER:
            self._parts.on_over(PeerbusError(ErrorCode.NO_WORKER, self.call.state.why))

    def _over(self, error: PeerbusError) -> None:
        """The call can't be made, for now: media and data through it wait, unless it was all that was asked for."""
        if self._events.is_asked_for() and (not self._was_up or error.code is ErrorCode.KICKED):
            self._parts.on_over(error)
            return
        for way, events in list(self._ways):
            way.failure = error
            events.on_change()
        self._parts.publishing.end_all(error)
        self._parts.on_error(error)
        if self._is_needed:
            self._again = asyncio.get_running_loop().call_later(_AGAIN_S, self._begin_again)

    def _begin_again(self) -> None:
        self._again = None
        for way, _ in self._ways:
            way.failure = None
        self._tell()

    def _emits(self, event: str, *args: Any) -> None:
        if event == "peers":
            # Who is in the call can be reached by it now.
            self._room_came()
            self._events.on_peers()
        else:
            self._parts.emit(event, *args)

    def _data_came(self, data: bytes) -> None:
        message = read_data(data, self._parts)
        if message is None or message.sender is None:
            return
        if isinstance(message.payload, bytes):
            self._events.on_frame(message.sender, message.payload)
        elif message.sender not in self._events.members():
            self._events.on_plain_data(message.sender, message.payload)


def read_data(data: bytes, parts: CallParts) -> Incoming | None:
    """A data message of the SFU; what it says of an error is told as one."""
    try:
        message = decode_message(data)
    except PeerbusError as error:
        parts.on_error(error)
        return None
    if message.sender is not None:
        return message
    problem = message.payload if isinstance(message.payload, dict) else {}
    if problem.get("code") == ErrorCode.UNKNOWN_RECIPIENT:
        return None  # Who has just left, or comes back in a moment; the group knows.
    details = problem.get("details")
    parts.on_error(
        refusal_error(
            str(problem.get("code", ErrorCode.INTERNAL)),
            str(problem.get("message", "")),
            details if isinstance(details, dict) else None,
        )
    )
    return None
