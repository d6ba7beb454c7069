"""
The worker's line to signaling: control messages in and out, over the wire protocol everybody speaks.

Owns the agent that joins the channel of workers, and what waits while there is no connection. The first message after
each connect announces the rooms; only then follows the rest. Media does not depend on any of it. See
`peerbus.protocol.signals` for what is said and PROTOCOL.md, section 12.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from peerbus.client import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.records import Message
from peerbus.protocol.session.outputs import State
from peerbus.protocol.signals import (
    CONTROL_CHANNEL,
    CONTROL_TYPE,
    SERVER_AGENT,
    Announce,
    ServerToWorker,
    WorkerToServer,
)

logger = logging.getLogger(__name__)

_WAITING_MAX: Final = 10_000
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ServerToWorker)


class ControlLine:
    """`receive` gets what the server says; `announce` makes the first message after each connect."""

    def __init__(self, receive: Callable[[ServerToWorker], None], announce: Callable[[], Announce]) -> None:
        self._receive = receive
        self._announce = announce
        self._agent: AgentConnection | None = None
        self._waiting: deque[bytes] = deque(maxlen=_WAITING_MAX)
        self._has_announced = False
        self._closed: asyncio.Future[PeerbusError] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the server hears this worker now."""
        return self._agent is not None and self._agent.is_connected

    async def connect(self, url: str, token: str, name: str) -> None:
        """
        Joins the workers, and stays among them until `close`; a server that is away is waited for.

        Raises `PeerbusError` if the server refuses this worker.
        """
        agent = AgentConnection(url, token, connect_timeout=None)
        self._closed = asyncio.get_running_loop().create_future()
        agent.on("state", self._state_changed)
        self._agent = agent
        agent.on("connect", self._connected)
        agent.on("disconnect", self._disconnected)
        agent.on("message", self._received)
        agent.on("error", self._troubled)
        await agent.connect(CONTROL_CHANNEL, name, types=[CONTROL_TYPE])

    async def wait_closed(self) -> PeerbusError:
        """Returns, with the reason, when the server has turned this worker away for good."""
        assert self._closed is not None
        return await self._closed

    def send(self, message: WorkerToServer) -> None:
        """Sends, or keeps it until there is a connection."""
        data = _ENCODER.encode(message)
        if self.is_connected and self._has_announced:
            self._send(data)
        else:
            self._waiting.append(data)

    async def close(self) -> None:
        """Leaves."""
        if self._agent is not None:
            await self._agent.disconnect(timeout=1.0)

    def _send(self, data: bytes) -> None:
        assert self._agent is not None
        self._agent.send_message(data, type=CONTROL_TYPE, to=SERVER_AGENT, delivery="live")

    def _connected(self) -> None:
        self._send(_ENCODER.encode(self._announce()))
        self._has_announced = True
        while self._waiting:
            self._send(self._waiting.popleft())

    def _state_changed(self, state: State) -> None:
        if state.name == "closed" and self._closed is not None and not self._closed.done():
            self._closed.set_result(PeerbusError(ErrorCode(state.code or ErrorCode.CLOSED), state.why))

    def _disconnected(self) -> None:
        self._has_announced = False

    def _received(self, message: Message) -> None:
        if message.sender != SERVER_AGENT or not isinstance(message.content, bytes):
            return
        try:
            control = _DECODER.decode(message.content)
        except msgspec.DecodeError as error:
            logger.warning("A control message cannot be read: %s", error)
            return
        self._receive(control)

    def _troubled(self, error: Exception) -> None:
        logger.warning("Signaling: %s", error)
