"""
Transports without a network: a test sees what an agent sends, and says what the server answers.

    async def test_it(network: FakeNetwork) -> None:
        agent = AgentConnection(api_key="k")
        joining = agent.connect("lobby", "alice")
        await network.join()
        await joining
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from peerbus.client import session_loop
from peerbus.client.transport import Sink, TransportSettings
from peerbus.protocol.codec import Rejected
from peerbus.protocol.messages import (
    Ack,
    ChannelInfo,
    ClientFrame,
    Connect,
    Connected,
    Member,
    Message,
    ServerFrame,
)
from peerbus.protocol.secrets import Secret
from tests.support.model_server import LIMITS


class FakeTransport:
    """One attempt; `sent` is what the agent has written on it."""

    def __init__(self, network: FakeNetwork, name: str, settings: TransportSettings, sink: Sink) -> None:
        self.network = network
        self.name = name
        self.settings = settings
        self.sink = sink
        self.sent: list[ClientFrame] = []
        self.closed_with: tuple[int, str] | None = None

    def start(self) -> None:
        self.network.transports.append(self)
        if self.network.is_down:
            asyncio.get_running_loop().call_soon(self.sink.lost, None, "connection refused")
        else:
            asyncio.get_running_loop().call_soon(self.sink.opened)
        self.network.changed()

    def send(self, frames: list[ClientFrame], max_batch_bytes: int) -> None:
        assert max_batch_bytes > 0
        self.sent += frames
        self.network.changed()

    def close(self, close_code: int, reason: str) -> None:
        self.closed_with = (close_code, reason)
        self.network.changed()

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""


class FakeNetwork:
    """Every transport that was opened, and the way to speak on the latest."""

    def __init__(self) -> None:
        self.transports: list[FakeTransport] = []
        self.is_down = False
        self._changed = asyncio.Event()
        self._joins = 0

    def changed(self) -> None:
        self._changed.set()

    @property
    def now(self) -> FakeTransport:
        """The latest transport."""
        return self.transports[-1]

    async def sees(self, count: int, kind: type[Any] = object, *, transports: int = 1) -> list[Any]:
        """Waits until the agent has written `count` frames of a kind, in all, over at least so many transports."""
        while True:
            found = [f for transport in self.transports for f in transport.sent if isinstance(f, kind)]
            if len(found) >= count and len(self.transports) >= transports:
                return found
            self._changed.clear()
            async with asyncio.timeout(10):
                await self._changed.wait()

    async def join(self, **changes: Any) -> Connect:
        """Waits for the next `connect` and answers it."""
        self._joins += 1
        connect: Connect = (await self.sees(self._joins, Connect))[-1]
        self.say(connected(connect.id, **changes))
        await settle()
        return connect

    def say(self, *frames: ServerFrame | Rejected) -> None:
        """The server says this on the latest transport."""
        self.now.sink.received(list(frames))

    def ack(self, frame: Any, **fields: Any) -> None:
        """The server acknowledges a request."""
        self.say(Ack(id=frame.id, **fields))

    def cut(self, close_code: int | None = None, reason: str = "") -> None:
        """The latest transport ends."""
        self.now.sink.lost(close_code, reason)


async def settle() -> None:
    """Lets everything happen that needs no more than a few turns of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> FakeNetwork:
    """Takes the place of both transports."""
    fake = FakeNetwork()
    for name in ("websocket", "longpoll"):
        make = functools.partial(FakeTransport, fake, name)
        monkeypatch.setitem(session_loop.TRANSPORTS, name, make)
    monkeypatch.setattr("peerbus.protocol.session.backoff.FIRST_DELAY_MS", 1)
    return fake


def member(session_id: str, name: str, order: int = 1, **fields: Any) -> Member:
    """A member as the server tells it."""
    return Member(session_id=session_id, name=name, order=order, identity=f"lineage:{name}", **fields)


def connected(request_id: int, **changes: Any) -> Connected:
    """What a server says to a first connect."""
    fields: dict[str, Any] = {
        "id": request_id,
        "version": 1,
        "session_id": "s1",
        "resume_token": Secret("t1"),
        "agent": "alice",
        "identity": "lineage:alice",
        "order": 1,
        "channel": ChannelInfo(id=bytes(32), name="lobby", mode="open", scope="private:default"),
        "epoch": "e1",
        "head": 0,
        "live_epoch": "L1",
        "live_seq": 0,
        "members": [member("s1", "alice")],
        "operations": ["read"],
        "limits": LIMITS,
        "ack_promise": "local-fsync",
        "ping_interval_ms": 10_000,
        "silence_timeout_ms": 25_000,
        "resume_window_ms": 30_000,
        "server": "fake",
        "correlation_id": "c1",
    }
    return Connected(**(fields | changes))


def message(content: Any, offset: int | None = None, **fields: Any) -> Message:
    """A message of bob's: durable with an offset, else live."""
    values: dict[str, Any] = {
        "delivery": "live" if offset is None else "durable",
        "message_id": f"m{offset}",
        "time_ms": 1_700_000_000_000,
        "sender": "bob",
        "identity": "lineage:bob",
        "type": "chat-text",
    }
    values |= {"binary": content} if isinstance(content, bytes) else {"content": content}
    if offset is not None:
        values["offset"] = offset
    return Message(**(values | fields))
