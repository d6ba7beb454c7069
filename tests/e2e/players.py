"""
Members of a group of peers, in a page or in a program, under one interface, for end-to-end tests.

Owns the translation between it and the public names of both SDKs. A page may hold several, one for each channel
(`modes.js`); so may a program of its own (`player_process`).
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Page

from peerbus.client import AgentConnection, PeerbusError
from peerbus.client.webrtc import Peer, WebRTCHelper
from peerbus.protocol.groups import Mode, WantedMode
from tests.e2e.network_path import NetworkPath

PATIENCE_S: Final = 30
MODES_JS: Final = (Path(__file__).parent / "modes.js").read_text("utf-8")
LARGE_BYTES: Final = 1_048_576
LARGE: Final = bytes((at * 7 + (at >> 8)) % 256 for at in range(LARGE_BYTES))
RATE_PER_S: Final = 60


def gist(data: Any) -> Any:
    """What a payload is, and enough of it to compare; as in `modes.js`."""
    if not isinstance(data, bytes):
        return data
    return ["bytes", len(data), sum(byte * (at % 251 + 1) for at, byte in enumerate(data)) % 1_000_003]


class Player(ABC):
    """One member of a group, in a page or in a program."""

    def __init__(self, name: str) -> None:
        self.name: Final = name

    @abstractmethod
    async def reached(self) -> list[str]:
        """The names of those who can be reached."""

    @abstractmethod
    async def send(self, payload: Any, to: str | None = None) -> None:
        """Sends reliably, to everybody else or to one."""

    @abstractmethod
    async def send_large(self) -> None:
        """Sends `LARGE` to everybody else."""

    @abstractmethod
    async def data(self) -> list[Any]:
        """What came, but for numbers: name and gist."""

    @abstractmethod
    async def start(self, rate_per_s: int = RATE_PER_S) -> None:
        """Sends numbers to everybody else, so many a second."""

    @abstractmethod
    async def stop(self) -> int:
        """Ends that; the last number."""

    @abstractmethod
    async def numbers(self, name: str) -> list[int]:
        """The numbers that came from somebody."""

    @abstractmethod
    async def states(self) -> list[tuple[str, str]]:
        """How the others were reached, one after the other: name and state."""

    @abstractmethod
    async def switch(self, mode: Mode) -> str:
        """Asks for a mode; the code of the error, or nothing."""

    @abstractmethod
    async def mode(self) -> str | None:
        """The mode that holds."""

    @abstractmethod
    async def figures(self) -> str:
        """How each of the others is reached, for whoever looks for a fault."""

    @abstractmethod
    async def leave(self) -> None:
        """Leaves the group."""

    async def count(self, name: str) -> int:
        """How many numbers came from somebody."""
        return len(await self.numbers(name))


class PagePlayer(Player):
    """In a browser."""

    def __init__(self, name: str, channel: str, page: Page, path: NetworkPath) -> None:
        super().__init__(name)
        self.page: Final = page
        self.path: Final = path
        self._before: Final = f"window.member = members[{json.dumps(channel)}];"

    async def ask(self, expression: str, given: Any = None) -> Any:
        """What an expression of this member and of what is `given` gives."""
        return await self.page.evaluate(f"(given) => {{ {self._before} return {expression}; }}", given)

    async def reached(self) -> list[str]:
        return list(await self.ask("modes.reached()"))

    async def send(self, payload: Any, to: str | None = None) -> None:
        await self.ask("void member.webrtc.sendData(...given)", [payload, to])

    async def send_large(self) -> None:
        await self.ask("void member.webrtc.broadcast(modes.bytes(given))", LARGE_BYTES)

    async def data(self) -> list[Any]:
        return list(await self.ask("member.data"))

    async def start(self, rate_per_s: int = RATE_PER_S) -> None:
        await self.ask("modes.start(given)", rate_per_s)

    async def stop(self) -> int:
        return int(await self.ask("member.stop()"))

    async def numbers(self, name: str) -> list[int]:
        return list(await self.ask("member.numbers[given] ?? []", name))

    async def states(self) -> list[tuple[str, str]]:
        return [(name, state) for name, state in await self.ask("member.peers")]

    async def switch(self, mode: Mode) -> str:
        return str(await self.ask("modes.switch(given)", mode))

    async def mode(self) -> str | None:
        return str(await self.ask("member.webrtc.mode"))

    async def figures(self) -> str:
        return str(await self.ask("modes.figures()"))

    async def leave(self) -> None:
        await self.ask("member.webrtc.close()")


class ProgramPlayer(Player):
    """`WebRTCHelper` of the Python package, in this process."""

    def __init__(self, name: str, api: str, mode: WantedMode, *, carry: bool = True) -> None:
        super().__init__(name)
        self.agent: Final = AgentConnection(api=api)
        self.webrtc: Final = WebRTCHelper(self.agent, mode=mode, carry=carry)
        self.webrtc.on_data_received = self._heard
        self.webrtc.on_peer_state = lambda peer, state: self._states.append((peer.name, state))
        self._data: Final[list[Any]] = []
        self._numbers: Final[dict[str, list[int]]] = {}
        self._states: Final[list[tuple[str, str]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._sent = 0

    async def join(self, channel: str) -> None:
        """Enters the group."""
        await self.agent.connect(channel, self.name)
        await self.webrtc.connect()

    async def close(self) -> None:
        """Leaves nothing behind."""
        if self._sending is not None:
            self._sending.cancel()
        await self.webrtc.close()
        await self.agent.disconnect()

    async def reached(self) -> list[str]:
        webrtc = self.webrtc
        return sorted(peer.name for peer in webrtc.peers if webrtc.is_connected_to(peer))

    async def send(self, payload: Any, to: str | None = None) -> None:
        await self.webrtc.send_data(payload, to)

    async def send_large(self) -> None:
        await self.webrtc.broadcast(LARGE)

    async def data(self) -> list[Any]:
        return list(self._data)

    async def start(self, rate_per_s: int = RATE_PER_S) -> None:
        self._sending = asyncio.create_task(self._send_numbers(rate_per_s))

    async def stop(self) -> int:
        assert self._sending is not None
        self._sending.cancel()
        await asyncio.wait([self._sending])
        return self._sent

    async def numbers(self, name: str) -> list[int]:
        return list(self._numbers.get(name, []))

    async def states(self) -> list[tuple[str, str]]:
        return list(self._states)

    async def switch(self, mode: Mode) -> str:
        try:
            await self.webrtc.switch_mode(mode)
        except PeerbusError as error:
            return f"{(error.details or {}).get('why', error.code)}: {error}"
        return ""

    async def mode(self) -> str | None:
        return self.webrtc.mode

    async def figures(self) -> str:
        return f"{self._states} {(await self.webrtc.stats()).peers}"

    async def leave(self) -> None:
        await self.webrtc.close()

    async def _send_numbers(self, rate_per_s: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            while self._sent < (loop.time() - began) * rate_per_s:
                self._sent += 1
                self.webrtc.broadcast({"n": self._sent})
            await asyncio.sleep(1 / rate_per_s)

    def _heard(self, data: Any, peer: Peer) -> None:
        if isinstance(data, dict) and "n" in data:
            self._numbers.setdefault(peer.name, []).append(data["n"])
        else:
            self._data.append([peer.name, gist(data)])


async def until(
    what: str, look: Callable[[], Awaitable[Any]], expected: Any, patience_s: float = PATIENCE_S
) -> None:
    """Waits until what is looked at is as expected."""
    seen: Any = None
    try:
        async with asyncio.timeout(patience_s):
            while True:
                seen = await look()
                if seen == expected:
                    return
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"{what}: {str(seen)[:500]}, not {str(expected)[:500]}") from None


async def all_reach_all(*players: Player) -> None:
    """Waits until each of them reaches each."""
    for one in players:
        others = sorted(other.name for other in players if other is not one)
        await until(f"who {one.name} reaches", one.reached, others)
