"""Groups on a real server: over every transport, in a sealed channel, after a restart, with a member that means ill."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from peerbus.client import AgentConnection, Message
from peerbus.client.errors import PeerbusError
from peerbus.protocol.groups import (
    GROUP_AGENT,
    HOST_RENEW_MS,
    HOST_TTL_MS,
    GroupRequest,
    GroupSignal,
    GroupState,
    RenewHost,
)
from peerbus.protocol.session.outputs import Gap
from tests.support.live_server import LiveServer, StartServer

WAIT_S = 30.0
MODES = ["mesh", "host", "relay"]
WAYS: list[dict[str, Any]] = [
    {"use_websocket": True, "encoding": "msgpack"},
    {"use_websocket": True, "encoding": "json"},
    {"use_websocket": False, "encoding": "json"},
]


class GroupAgent:
    """An agent that follows its group, enters again where it has to, and renews while it is host and not frozen."""

    def __init__(self, agent: AgentConnection) -> None:
        self.agent = agent
        self.state: GroupState | None = None
        self.others: list[GroupSignal] = []
        self.hosts: list[tuple[int, str]] = []
        self.is_frozen = False
        self.entered = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        agent.add_listener("signal", self._heard)
        agent.add_listener("gap", self._missed)

    def _heard(self, message: Message) -> None:
        signal: GroupSignal = msgspec.convert(message.content, GroupSignal)
        if not isinstance(signal, GroupState):
            self.others.append(signal)
        elif self.state is None or signal.version >= self.state.version:
            self.state = signal
            if signal.host is not UNSET:
                self.hosts.append((signal.host.term, signal.host.identity))
        self._changed.set()

    def _missed(self, gap: Gap) -> None:
        if gap.live:
            self._spawn(self.enter())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ask(self, content: dict[str, Any]) -> None:
        await self.agent.send_message({"content": content}, type="signal", to=[GROUP_AGENT], delivery="live")

    async def say(self, request: GroupRequest) -> None:
        await self.ask(msgspec.to_builtins(request))

    async def enter(self) -> None:
        """As a helper does after every connect that has lost the live class."""
        content: dict[str, Any] = {"kind": "enter", "mode": "host", "modes": MODES}
        state = self.state
        if state is not None:
            (order,) = [one.order for one in state.members if one.identity == self.agent.identity]
            seen: dict[str, Any] = {"term": state.term, "mode": state.mode, "order": order}
            if state.host is not UNSET:
                seen["host"] = {"identity": state.host.identity, "term": state.host.term}
            content["seen"] = seen
        await self.ask(content)
        self.entered += 1
        self._changed.set()

    async def work(self) -> None:
        """The work loop of a host."""
        while True:
            await asyncio.sleep(HOST_RENEW_MS / 1000)
            if self.is_host and not self.is_frozen:
                assert self.state is not None
                assert self.state.host is not UNSET
                content = msgspec.to_builtins(RenewHost(term=self.state.host.term))
                with contextlib.suppress(PeerbusError):
                    self.agent.send_message(
                        {"content": content}, type="signal", to=[GROUP_AGENT], delivery="lossy"
                    )

    @property
    def is_host(self) -> bool:
        return self.host == self.agent.identity

    @property
    def host(self) -> str:
        state = self.state
        return "" if state is None or state.host is UNSET else state.host.identity

    async def until(self, is_so: Callable[[GroupAgent], bool]) -> None:
        """Waits until what it was told is so."""
        async with asyncio.timeout(WAIT_S):
            while not is_so(self):
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def group_of(
    server: LiveServer, channel: str, password: str | None, *names: str
) -> AsyncIterator[list[GroupAgent]]:
    """Members of one group, each over another transport."""
    async with contextlib.AsyncExitStack() as stack:
        agents = []
        loops: list[asyncio.Task[None]] = []
        for name, way in zip(names, WAYS, strict=False):
            agent = AgentConnection(server.url, server.developer_key, encoding=way["encoding"])
            await stack.enter_async_context(agent)
            await agent.connect(channel, name, password, use_websocket=way["use_websocket"])
            agents.append(GroupAgent(agent))
            await agents[-1].enter()
            loops.append(asyncio.create_task(agents[-1].work()))
        try:
            yield agents
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)


def page(server: LiveServer, path: str) -> str:
    with urllib.request.urlopen(server.url + path, timeout=WAIT_S) as response:
        text: str = response.read().decode()
    return text


def names(one: GroupAgent) -> list[str]:
    return [] if one.state is None else [member.name for member in one.state.members]


async def test_a_group_and_its_host_go_on_over_a_restart(start_server: StartServer) -> None:
    server = start_server()
    # Sealed, so that it is seen that the server reads what is for it there, too.
    async with group_of(server, "arena", "swordfish", "ann", "bob", "cyd") as (ann, bob, cyd):
        for one in (ann, bob, cyd):
            await one.until(lambda one: names(one) == ["ann", "bob", "cyd"])
        assert ann.state is not None
        before = ann.state
        assert ann.is_host
        told = await asyncio.to_thread(page, server, "/metrics")
        assert 'peerbus_groups{mode="host"} 1.0' in told
        assert "peerbus_group_members 3.0" in told
        assert '"groups": 1' in await asyncio.to_thread(page, server, "/v1/status")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        for one in (ann, bob, cyd):
            one.agent.reconnect_now()
        for one in (ann, bob, cyd):
            await one.until(
                lambda one: one.entered == 2 and one.state is not None and one.state.version > before.version
            )
            await one.until(lambda one: names(one) == ["ann", "bob", "cyd"])
            assert one.state is not None
            assert (one.state.mode, one.state.term, one.state.host) == (
                before.mode,
                before.term,
                before.host,
            )
        # It works still, and so it stays host.
        await asyncio.sleep(2 * HOST_TTL_MS / 1000)
        assert cyd.host == ann.agent.identity
        # It freezes, though its connection answers: the next one follows.
        ann.is_frozen = True
        frozen_at = time.monotonic()
        await cyd.until(lambda one: one.host == bob.agent.identity)
        print(f"another host {1000 * (time.monotonic() - frozen_at):.0f} ms after the last one froze")
        await bob.until(lambda one: one.is_host)
        # Its process is gone: the connection ends, and nobody says goodbye.
        left_at = time.monotonic()
        await bob.agent.disconnect()
        await cyd.until(lambda one: one.is_host or one.host == ann.agent.identity)
        print(f"another host {1000 * (time.monotonic() - left_at):.0f} ms after the last one left")
        for one in (ann, cyd):
            assert len(dict(one.hosts)) == len(set(one.hosts)), "two hosts of one term"
            assert [term for term, _ in one.hosts] == sorted(term for term, _ in one.hosts)


async def test_a_member_that_means_ill_disturbs_nobody(attacked: LiveServer) -> None:
    server = attacked
    async with (
        group_of(server, "arena", None, "ann", "bob") as (ann, bob),
        AgentConnection(server.url, server.developer_key) as mallory,
    ):
        await ann.until(lambda one: names(one) == ["ann", "bob"])
        await mallory.connect("arena", "mallory")
        evil = GroupAgent(mallory)
        expected: list[tuple[dict[str, Any], str]] = [
            ({"kind": "renew", "term": 1}, "not_found"),
            ({"kind": "dance"}, "bad_request"),
            ({"kind": "enter", "mode": "auto", "modes": ["auto"]}, "bad_request"),
            ({"kind": "enter", "mode": "host", "modes": []}, "not_supported"),
            ({"kind": "enter", "mode": "host", "modes": ["host"] * 20}, "bad_request"),
            ({"kind": "veto", "term": 1, "reason": "x" * 10_000}, "too_large"),
        ]
        for content, code in expected:
            with pytest.raises(PeerbusError) as caught:
                await evil.ask(content)
            assert caught.value.code.value == code, content
        before = ann.state
        await evil.enter()
        await ann.until(lambda one: "mallory" in names(one))
        expected = [
            ({"kind": "propose", "mode": "mesh", "term": 0}, "stale_term"),
            ({"kind": "propose", "mode": "mesh", "term": 2**53 - 1}, "stale_term"),
            ({"kind": "ready", "term": 2**53 - 1}, "stale_term"),
            ({"kind": "renew", "term": ann.hosts[-1][0]}, "stale_term"),
            ({"kind": "report", "peer": mallory.identity, "is_reachable": False}, "not_found"),
        ]
        for content, code in expected:
            with pytest.raises(PeerbusError) as caught:
                await evil.ask(content)
            assert caught.value.code.value == code, content
        codes = set()
        for _ in range(300):
            try:
                await evil.enter()
            except PeerbusError as error:
                codes.add(error.code.value)
        assert codes == {"rate_limited"}
        assert ann.state is not None
        assert before is not None
        assert (ann.state.mode, ann.state.term, ann.host) == (before.mode, before.term, ann.agent.identity)
        assert bob.host == ann.agent.identity
