"""
What agents are promised holds through restarts, cuts, half-open sockets and slow reading, by an independent account.

Every scenario has a stream of durable and live messages running in both directions, over WebSocket and long-poll alike,
while something breaks. See PROTOCOL.md, sections 4, 5, 7 and 8. Each has a server of its own, and they run at once,
since they wait for most of their time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

import pytest
import pytest_asyncio

from peerbus.client import AgentConnection
from tests.support.journal import Journal, Ledger, until
from tests.support.live_server import LiveServer
from tests.support.tcp_proxy import TcpProxy, proxying

CHANNEL: Final = "stream"
PACE_S: Final = 0.03
KEEPALIVE: Final[dict[str, Any]] = {"ping_interval_ms": 300, "silence_timeout_ms": 1_500}
"""Short enough that a silent connection is given up while somebody waits for it."""


class Streams:
    """Agents that send to each other all the time; each has a proxy of its own."""

    def __init__(self, server: LiveServer, stack: AsyncExitStack) -> None:
        self.server: Final = server
        self.ledger: Final = Ledger(server, CHANNEL)
        self.proxies: Final[list[TcpProxy]] = []
        self._stack: Final = stack
        self._sending: asyncio.Task[None] | None = None

    async def add(self, name: str, *, use_websocket: bool) -> Journal:
        proxy = await self._stack.enter_async_context(proxying(self.server.url))
        agent = AgentConnection(proxy.url, self.server.developer_key)
        await self._stack.enter_async_context(agent)
        journal = Journal(agent, name)
        await agent.connect(CHANNEL, name, use_websocket=use_websocket)
        self.proxies.append(proxy)
        self.ledger.journals.append(journal)
        return journal

    def start(self) -> None:
        """Begins to send: durable and live in turn, everyone at the same pace."""
        self._sending = asyncio.create_task(self._send())

    async def stop(self) -> None:
        """Sends no more, and waits until everything has its outcome."""
        assert self._sending is not None
        self._sending.cancel()
        for journal in self.ledger.journals:
            await journal.settle()
        await self.ledger.read_log()

    async def run_for(self, messages: int) -> None:
        """Returns when everyone has sent so many more, acknowledged or not."""
        for _ in range(messages):
            await asyncio.sleep(PACE_S)

    async def until_all(self, condition: Callable[[Journal], object]) -> None:
        """Waits until it holds for every agent."""
        await until(lambda: all(condition(journal) for journal in self.ledger.journals))

    async def _send(self) -> None:
        for kind in itertools.cycle(("durable", "live")):
            await asyncio.sleep(PACE_S)
            for journal in self.ledger.journals:
                journal.send("durable" if kind == "durable" else "live")


@asynccontextmanager
async def streaming(server: LiveServer) -> AsyncIterator[Streams]:
    """Three agents, one of them by long-poll, that have begun to send."""
    async with AsyncExitStack() as stack:
        streams = Streams(server, stack)
        await streams.add("ann", use_websocket=True)
        await streams.add("ben", use_websocket=False)
        await streams.add("cho", use_websocket=True)
        streams.start()
        await streams.run_for(15)
        yield streams


async def settle(streams: Streams, *, is_live_complete: bool) -> None:
    """Everything is accounted for."""
    await streams.run_for(15)
    await streams.stop()
    ledger = streams.ledger
    ledger.check_log()
    ledger.check_all_sent_is_acked()
    await ledger.check_durable_received()
    await ledger.check_live_received(is_complete=is_live_complete)


# --- the network ------------------------------------------------------------------------------------------------


async def a_cut_within_the_resume_window_loses_nothing(server: LiveServer, cut_s: float = 1.0) -> None:
    async with streaming(server) as streams:
        for proxy in streams.proxies:
            proxy.is_down = True
            proxy.cut()
        await asyncio.sleep(cut_s)
        for proxy in streams.proxies:
            proxy.is_down = False
        if cut_s > 5:
            # As a browser does when the network is back; the next attempt may be seconds away otherwise.
            for journal in streams.ledger.journals:
                journal.agent.reconnect_now()
        await settle(streams, is_live_complete=True)


async def a_long_cut_within_the_resume_window_loses_nothing(server: LiveServer) -> None:
    await a_cut_within_the_resume_window_loses_nothing(server, 10.0)


async def cuts_again_and_again_lose_nothing(server: LiveServer) -> None:
    async with streaming(server) as streams:
        for round_ in range(12):
            streams.proxies[round_ % 3].cut()
            await streams.run_for(5)
        await settle(streams, is_live_complete=True)
        assert all(proxy.connections >= 4 for proxy in streams.proxies)


async def half_open_connections_lose_nothing(server: LiveServer) -> None:
    async with streaming(server) as streams:
        before = [proxy.connections for proxy in streams.proxies]
        for proxy in streams.proxies:
            proxy.freeze()
        numbered = list(zip(streams.proxies, before, strict=True))
        await until(lambda: all(proxy.connections > count for proxy, count in numbered))
        await streams.until_all(lambda journal: journal.agent.is_connected)
        await settle(streams, is_live_complete=True)


async def beyond_the_resume_window_everyone_hears_of_the_gap(server: LiveServer) -> None:
    async with streaming(server) as streams:
        for proxy in streams.proxies:
            proxy.is_down = True
            proxy.cut()
        await asyncio.sleep(2)
        for proxy in streams.proxies:
            proxy.is_down = False
        await streams.until_all(lambda journal: journal.gaps)
        await settle(streams, is_live_complete=False)
        assert all(gap.live and not gap.durable for one in streams.ledger.journals for gap in one.gaps)


# --- the server -------------------------------------------------------------------------------------------------


async def stop_and_start(server: LiveServer) -> None:
    await asyncio.to_thread(server.restart)


async def kill_and_start(server: LiveServer) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def after_a_restart_nothing_durable_is_missing(
    server: LiveServer, restart: Callable[[LiveServer], Awaitable[None]] = stop_and_start
) -> None:
    """And everyone hears of the gap."""
    async with streaming(server) as streams:
        await restart(server)
        await streams.until_all(lambda journal: journal.gaps)
        await settle(streams, is_live_complete=False)
        for journal in streams.ledger.journals:
            assert [(gap.live, gap.durable) for gap in journal.gaps] == [(True, False)]


async def after_a_crash_nothing_durable_is_missing(server: LiveServer) -> None:
    await after_a_restart_nothing_durable_is_missing(server, kill_and_start)


# --- slow readers -----------------------------------------------------------------------------------------------

SMALL: Final[dict[str, Any]] = {
    "live_kept_bytes": 65_536,
    "durable_pending_bytes": 65_536,
    "lossy_pending_bytes": 16_384,
    "socket_buffer_bytes": 16_384,
    # A page of history is a live frame.
    "history_page_bytes": 40_000,
    "send_rate_per_s": 1_000,
    "lossy_rate_per_s": 1_000,
    "request_rate_per_s": 1_000,
}
"""Outboxes that are soon full."""


async def a_slow_reader_gets_all_that_is_durable_and_hears_of_the_rest(
    server: LiveServer, *, use_websocket: bool = True
) -> None:
    async with AsyncExitStack() as stack:
        streams = Streams(server, stack)
        slow = await streams.add("slow", use_websocket=use_websocket)
        fast = await streams.add("fast", use_websocket=True)
        streams.proxies[0].bytes_per_s = 10_000
        before = await asyncio.to_thread(lambda: server.rss_bytes)
        padding = "x" * 20_000
        for _ in range(150):
            fast.send("durable", padding=padding)
            fast.send("live", padding=padding)
            fast.send("lossy", padding=padding)
            await asyncio.sleep(0.005)
        await fast.settle()
        # Nine megabytes were sent, of which the server keeps a fraction.
        assert server.rss_bytes - before < 40_000_000
        streams.proxies[0].bytes_per_s = None
        # What comes last is received again, whatever was dropped before.
        last = fast.send("live")
        await streams.until_all(lambda one: one is fast or last in one.numbers_of("fast", "live"))
        await streams.ledger.read_log()
        streams.ledger.check_log()
        await streams.ledger.check_durable_received()
        live, lossy = (slow.numbers_of("fast", kind) for kind in ("live", "lossy"))
        assert live == sorted(set(live))
        assert lossy == sorted(set(lossy))
        assert len(lossy) < 150
        # Live messages are missing, and that was told as often as it happened.
        assert len(live) < 151
        assert slow.gaps
        assert all(gap.live and not gap.durable for gap in slow.gaps)
        assert slow.failed == fast.failed == []
        assert fast.gaps == []


async def a_slow_reader_by_longpoll_does_so_too(server: LiveServer) -> None:
    await a_slow_reader_gets_all_that_is_durable_and_hears_of_the_rest(server, use_websocket=False)


async def what_overflows_while_somebody_is_away_is_told(server: LiveServer) -> None:
    async with AsyncExitStack() as stack:
        streams = Streams(server, stack)
        away = await streams.add("away", use_websocket=True)
        fast = await streams.add("fast", use_websocket=True)
        streams.proxies[0].is_down = True
        streams.proxies[0].cut()
        for _ in range(20):
            fast.send("durable", padding="x" * 20_000)
            fast.send("live", padding="x" * 20_000)
        await fast.settle()
        streams.proxies[0].is_down = False
        await streams.until_all(lambda one: one is fast or one.gaps)
        last = fast.send("live")
        await streams.until_all(lambda one: one is fast or last in one.numbers_of("fast", "live"))
        await streams.ledger.read_log()
        streams.ledger.check_log()
        await streams.ledger.check_durable_received()
        assert [(gap.live, gap.durable) for gap in away.gaps] == [(True, False)]


# --- all of them at once ----------------------------------------------------------------------------------------

Scenario: TypeAlias = Callable[[LiveServer], Awaitable[None]]
SCENARIOS: Final[dict[Scenario, dict[str, Any]]] = {
    # The longest first.
    a_long_cut_within_the_resume_window_loses_nothing: {},
    beyond_the_resume_window_everyone_hears_of_the_gap: {"resume_window_ms": 300, **KEEPALIVE},
    half_open_connections_lose_nothing: KEEPALIVE,
    cuts_again_and_again_lose_nothing: {},
    after_a_restart_nothing_durable_is_missing: {},
    after_a_crash_nothing_durable_is_missing: {},
    a_cut_within_the_resume_window_loses_nothing: {},
    a_slow_reader_gets_all_that_is_durable_and_hears_of_the_rest: SMALL,
    a_slow_reader_by_longpoll_does_so_too: SMALL,
    what_overflows_while_somebody_is_away_is_told: SMALL,
}
"""What breaks, and the settings of its server."""
AT_ONCE: Final = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def under_way(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[Scenario, asyncio.Task[None]]]:
    """Those that were chosen, begun."""
    places = asyncio.Semaphore(AT_ONCE)

    async def run(scenario: Scenario) -> None:
        async with places:
            server = LiveServer(tmp_path_factory.mktemp("server"), SCENARIOS[scenario])
            try:
                await asyncio.to_thread(server.start)
                await scenario(server)
                await asyncio.to_thread(server.stop)
            finally:
                if server.is_running:
                    await asyncio.to_thread(server.kill)

    chosen = {
        item.callspec.params["scenario"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    }
    tasks = {scenario: asyncio.create_task(run(scenario)) for scenario in SCENARIOS if scenario in chosen}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_what_is_promised_holds(
    under_way: dict[Scenario, asyncio.Task[None]], scenario: Scenario
) -> None:
    await under_way[scenario]
