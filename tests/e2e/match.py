"""
Members of a group in mode `host` that send numbers all the time, in pages whose process a test can kill or stop, and in
this program.

Owns what they note: the order in which numbers came, who was host when, and what the host's application missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from playwright.async_api import Browser, BrowserContext, Page
from playwright.async_api import Error as PlaywrightError

from peerbus.client import AgentConnection
from peerbus.client.webrtc import HOST, Peer, WebRTCHelper

MATCH_JS: Final = (Path(__file__).parent / "match.js").read_text("utf-8")
RATE_PER_S: Final = int(os.environ.get("PEERBUS_HOST_RATE", "8"))
"""Of six members each. At 20 they take about one processor, at 60 more than two."""
BECAME_HOST: Final = ("", 0)
"""Among what came: what is for the host and behind the newest state comes once more."""
_WORKERS: Final = 6
"""More than a page makes for other purposes."""


class HostSeen(Struct, rename="camel"):
    """A host, as a member saw it. Times are milliseconds since 1970."""

    name: str
    term: int
    at_ms: float
    before_ms: float
    """When the last number came before it."""
    after_ms: float | None = None
    """When the first one came that it served."""
    heard: int = 0
    """How many came since."""


class Look(Struct, rename="camel"):
    """How a member stands."""

    reached: list[str]
    host: str
    is_host: bool
    hosts: list[HostSeen]
    sent: int
    to_host: int
    broken: list[tuple[str, int, int]]
    """As host: a sender, its last number that was taken in, and the one that came next and is not the next."""
    errors: list[tuple[str, str]]
    state: dict[str, int]


class Member(ABC):
    """See the module."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.seen: list[tuple[str, int]] = []
        """All that came, in order: sender and number."""
        self.last: Look | None = None

    async def look(self) -> Look:
        """How it stands now; `seen` has all that came until now."""
        self.seen += await self._drain()
        self.last = await self._look()
        return self.last

    @abstractmethod
    async def start(self) -> None:
        """Sends `RATE_PER_S` numbers a second, and one to the host's role."""

    @abstractmethod
    async def stop(self) -> None:
        """Ends that."""

    @abstractmethod
    async def leave(self) -> None:
        """Is gone, on purpose."""

    @abstractmethod
    async def _look(self) -> Look: ...

    @abstractmethod
    async def _drain(self) -> list[tuple[str, int]]: ...


class PageMember(Member):
    """In a page, in a process of its own."""

    def __init__(self, name: str, context: BrowserContext, page: Page) -> None:
        super().__init__(name)
        self._context: Final = context
        self._page: Final = page
        self._pid = 0
        self.faults: Final[list[str]] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on(
            "console", lambda message: self.faults.append(message.text) if message.type == "error" else None
        )

    @classmethod
    async def join(cls, browser: Browser, url: str, channel: str, name: str) -> PageMember:
        """One that is in the group."""
        context = await browser.new_context()
        page = await context.new_page()
        member = cls(name, context, page)
        await page.goto(url)
        for script in ("web-agent.js", "web-agent.webrtc.js"):
            await page.add_script_tag(url=f"/sdk/{script}")
        await page.evaluate(MATCH_JS)
        member._pid = await member._find_process()
        await page.evaluate("(given) => match.join(...given)", [channel, name])
        return member

    async def _find_process(self) -> int:
        """The one that gets more workers when the page makes some."""
        before = dict(_workers_of_renderers())
        await self._page.evaluate(f"match.makeWorkers({_WORKERS})")
        for _ in range(100):
            more = [pid for pid, count in _workers_of_renderers() if count >= before.get(pid, 0) + _WORKERS]
            if more:
                (pid,) = more
                await self._page.evaluate("match.endWorkers()")
                return pid
            await asyncio.sleep(0.05)
        raise AssertionError("no process got more workers")

    async def start(self) -> None:
        await self._page.evaluate(f"match.start({RATE_PER_S})")

    async def stop(self) -> None:
        await self._page.evaluate("match.stop()")

    async def leave(self) -> None:
        await self._context.close()

    async def crash(self) -> None:
        """The page's process ends at once, by the debugging protocol; in Chromium only."""
        session = await self._context.new_cdp_session(self._page)
        crashing = asyncio.ensure_future(session.send("Page.crash"))
        crashing.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def clear(self) -> None:
        """What is left of a page that crashed."""
        with contextlib.suppress(PlaywrightError):
            await self._context.close()

    def freeze(self) -> None:
        """The page's process stands still, with its connections open."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)

    async def _look(self) -> Look:
        return msgspec.convert(await self._page.evaluate("match.look()"), Look)

    async def _drain(self) -> list[tuple[str, int]]:
        flat = await self._page.evaluate("match.drain()")
        return list(zip(flat[::2], flat[1::2], strict=True))


class ProgramMember(Member):
    """`WebRTCHelper` of the Python package, in this program."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name)
        self._agent: Final = AgentConnection(api=url)
        self._webrtc: Final = WebRTCHelper(self._agent, mode="host", carry=False)
        self._log: list[tuple[str, int]] = []
        self._hosts: Final[list[HostSeen]] = []
        self._broken: Final[list[tuple[str, int, int]]] = []
        self._errors: Final[list[tuple[str, str]]] = []
        self._state: dict[str, int] = {}
        self._sent = self._to_host = 0
        self._before_ms = _now_ms()
        self._sending: asyncio.Task[None] | None = None
        self._webrtc.on_data_received = self._came
        self._webrtc.on_host_change = self._host_changed
        self._webrtc.on_error = lambda error: self._errors.append((type(error).__name__, str(error)))

    async def join(self, channel: str) -> ProgramMember:
        """It is in the group then."""
        await self._agent.connect(channel, self.name)
        await self._webrtc.connect()
        return self

    async def start(self) -> None:
        self._sending = asyncio.create_task(self._send())

    async def stop(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def leave(self) -> None:
        await self.stop()
        await self._webrtc.close()
        await self._agent.disconnect()

    async def _look(self) -> Look:
        webrtc, host = self._webrtc, self._webrtc.host
        return Look(
            reached=sorted(peer.name for peer in webrtc.peers if webrtc.is_connected_to(peer)),
            host="" if host is None else host.name,
            is_host=webrtc.is_host,
            hosts=list(self._hosts),
            sent=self._sent,
            to_host=self._to_host,
            broken=self._broken,
            errors=self._errors,
            state=self._state,
        )

    async def _drain(self) -> list[tuple[str, int]]:
        log, self._log = self._log, []
        return log

    async def _send(self) -> None:
        due_s = time.monotonic()
        while True:
            due_s = max(due_s, time.monotonic() - 0.1)
            while due_s <= time.monotonic():
                due_s += 1 / RATE_PER_S
                self._sent += 1
                self._webrtc.broadcast({"n": self._sent, "where": "0123456789" * 5})
                if self._sent % RATE_PER_S == 0:
                    self._to_host += 1
                    self._webrtc.send_data({"forHost": self._to_host}, HOST)
            await asyncio.sleep(1 / RATE_PER_S)

    def _came(self, data: Any, peer: Peer) -> None:
        if "forHost" in data:
            known, number = self._state.get(peer.name, 0), data["forHost"]
            if number != known + 1:
                self._broken.append((peer.name, known, number))
            self._state[peer.name] = number
            self._webrtc.set_host_state(self._state)
            return
        self._before_ms = _now_ms()
        self._log.append((peer.name, data["n"]))
        if self._hosts:
            host = self._hosts[-1]
            host.after_ms = host.after_ms or self._before_ms
            host.heard += 1

    def _host_changed(self, host: Peer, term: int, state: Any) -> None:
        self._hosts.append(HostSeen(host.name, term, _now_ms(), self._before_ms))
        if host.name == self.name:
            self._log.append(BECAME_HOST)
            self._state = dict(state or {})
            self._webrtc.set_host_state(self._state)


def _now_ms() -> float:
    return time.time() * 1000


def _workers_of_renderers() -> Iterator[tuple[int, int]]:
    """How many web workers run in each process below this one that runs pages."""
    parents: dict[int, int] = {}
    renderers: list[Path] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parents[int(folder.name)] = int(
                (folder / "stat").read_text("ascii").rpartition(")")[2].split()[1]
            )
            command = (folder / "cmdline").read_bytes()
            if b"--type=renderer" in command or b"-contentproc" in command:
                renderers.append(folder)
    for folder in renderers:
        above = parents[int(folder.name)]
        while above not in (0, os.getpid()):
            above = parents.get(above, 0)
        if above:
            yield int(folder.name), sum(_is_worker(thread) for thread in folder.glob("task/*/comm"))


def _is_worker(thread: Path) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return thread.read_text("ascii").startswith(("DedicatedWorker", "DOM Worker"))
    return False
