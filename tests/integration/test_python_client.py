"""The Python client with a real server: chat, history, who sees what, losses of every kind."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from peerbus.client import AgentConnection, Glob, Message, Presence
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.sync import AgentConnection as BlockingAgent
from peerbus.client.token import ParticipantToken
from peerbus.protocol.codec import EncodingName
from peerbus.protocol.credentials import parse_developer_key
from peerbus.protocol.session.outputs import Gap
from tests.support.live_server import LiveServer, StartServer
from tests.support.tcp_proxy import TcpProxy, proxying

WAIT_S = 30.0

Join = Callable[..., Awaitable[AgentConnection]]


@pytest.fixture(params=[("websocket", "msgpack"), ("longpoll", "json")], ids=lambda pair: "-".join(pair))
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How agents connect."""
    transport, encoding = request.param
    return {"use_websocket": transport == "websocket", "encoding": encoding}


@pytest.fixture
async def join(way: dict[str, Any], request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    """Makes agents that have joined the test's own channel, and disconnects them at the end."""
    async with AsyncExitStack() as stack:

        async def join(
            server: LiveServer, name: str, password: str | None = None, *, url: str = "", **options: Any
        ) -> AgentConnection:
            encoding: EncodingName = way["encoding"]
            agent = AgentConnection(url or server.url, server.developer_key, encoding=encoding)
            await stack.enter_async_context(agent)
            options = {"use_websocket": way["use_websocket"]} | options
            await agent.connect(request.node.name, name, password, **options)
            return agent

        yield join


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for all tests that don't change it."""
    server = LiveServer(tmp_path_factory.mktemp("server"), {})
    server.start()
    try:
        yield server
        server.stop()
    finally:
        if server.is_running:
            server.kill()


@pytest.fixture
async def proxy(server: LiveServer) -> AsyncIterator[TcpProxy]:
    async with proxying(server.url) as proxy:
        yield proxy


class Journal:
    """What one agent was told, by its own account."""

    def __init__(self, agent: AgentConnection) -> None:
        self.messages: list[Message] = []
        self.presence: list[Presence] = []
        self.gaps: list[Gap] = []
        self.errors: list[Exception] = []
        self._changed = asyncio.Condition()
        agent.on("message", self.messages.append)
        agent.on("presence", self.presence.append)
        agent.on("gap", self.gaps.append)
        agent.on("error", self.errors.append)

    def contents(self, delivery: str = "durable") -> list[Any]:
        return [message.content for message in self.messages if message.delivery == delivery]


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that is bound to happen."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)


def has_messages(journal: Journal, count: int) -> bool:
    return len(journal.messages) >= count


# --- talking ------------------------------------------------------------------------------------------------------


async def test_a_conversation_and_a_latecomer(server: LiveServer, join: Join) -> None:
    alice, bob = await join(server, "alice", "secret"), await join(server, "bob", "secret")
    at_alice, at_bob = Journal(alice), Journal(bob)
    first = await alice.send_text_message("Hello, Bob!")
    assert first.promise == "local-fsync"
    assert first.recipients == 1
    await until(lambda: at_bob.messages)
    received = at_bob.messages[0]
    assert (received.content, received.sender, received.offset) == ("Hello, Bob!", "alice", first.offset)
    await bob.send_message(
        {"answer": [1, None, "ü"]}, type="data", reply_to=received.message_id, metadata={"a": 1}
    )
    await bob.send_message(b"\x00\xff", type="file", custom_event_type="chunk")
    await until(lambda: len(at_alice.messages) == 2)
    answer, blob = at_alice.messages
    assert (answer.content, answer.type, answer.reply_to) == (
        {"answer": [1, None, "ü"]},
        "data",
        first.message_id,
    )
    assert answer.metadata == {"a": 1}
    assert (blob.content, blob.custom_event_type) == (b"\x00\xff", "chunk")
    carol = await join(server, "carol", "secret")
    page = await carol.receive()
    assert [message.sender for message in page] == ["alice", "bob", "bob"]
    assert page.is_complete
    assert [one.content for one in await carol.receive(custom_event_type="chunk")] == [b"\x00\xff"]
    assert [member.name for member in carol.members] == ["alice", "bob", "carol"]
    assert [member.name for member in await carol.fetch_members()] == ["alice", "bob", "carol"]
    stranger = await join(server, "stranger", "another password")
    assert len(await stranger.receive()) == 0
    assert len(stranger.members) == 1
    assert not at_alice.errors


async def test_history_by_pages_in_both_directions(server: LiveServer, join: Join) -> None:
    alice = await join(server, "alice")
    for number in range(7):
        await alice.send_message(number)
    newest = await alice.receive(limit=3)
    assert [one.content for one in newest] == [4, 5, 6]
    earlier = await alice.receive(before=newest.next, limit=3)
    assert [one.content for one in earlier] == [1, 2, 3]
    first = await alice.receive(before=earlier.next, limit=3)
    assert ([one.content for one in first], first.is_complete) == ([0], True)
    oldest = await alice.receive(after=0, limit=4)
    assert [one.content for one in oldest] == [0, 1, 2, 3]
    rest = await alice.receive(after=oldest.next, limit=4)
    assert ([one.content for one in rest], rest.is_complete) == ([4, 5, 6], True)


async def test_others_do_not_see_what_is_not_for_them(server: LiveServer, join: Join) -> None:
    alice = await join(server, "alice")
    red, blue = await join(server, "team-red"), await join(server, "team-blue")
    eve = await join(server, "eve")
    journals = {agent: Journal(agent) for agent in (red, blue, eve)}
    assert (await alice.send_message("to red", to="team-red")).recipients == 1
    assert (await alice.send_message("to the team", filter="team-.*")).recipients == 2
    assert (await alice.send_message("to the glob", filter=Glob("team-b*"))).recipients == 1
    assert (await alice.send_message("to nobody", filter="nobody")).recipients == 0
    await alice.send_message("live to red", to=["team-red"], delivery="live")
    await alice.send_message("lossy to blue", to=["team-blue"], ephemeral=True)
    await alice.send_message("to all")
    await until(lambda: all("to all" in journal.contents() for journal in journals.values()))
    await until(lambda: journals[blue].contents("lossy"))
    assert journals[red].contents() == ["to red", "to the team", "to all"]
    assert journals[blue].contents() == ["to the team", "to the glob", "to all"]
    assert journals[eve].contents() == ["to all"]
    assert [journals[agent].contents("live") for agent in (red, blue, eve)] == [["live to red"], [], []]
    assert [journals[agent].contents("lossy") for agent in (red, eve)] == [[], []]
    assert [one.content for one in await red.receive()] == ["to red", "to the team", "to all"]
    assert [one.content for one in await eve.receive()] == ["to all"]
    late = await join(server, "team-late")
    assert [one.content for one in await late.receive()] == ["to all"]
    assert len(await alice.receive()) == 5
    for options, code in (
        ({"to": "ghost"}, ErrorCode.UNKNOWN_RECIPIENT),
        ({"filter": "("}, ErrorCode.BAD_FILTER),
        ({"filter": Glob("[")}, ErrorCode.BAD_FILTER),
    ):
        with pytest.raises(PeerbusError) as caught:
            await alice.send_message("x", **options)
        assert caught.value.code is code


async def test_an_idempotency_key_makes_one_message(server: LiveServer, join: Join) -> None:
    alice = await join(server, "alice")
    first = await alice.send_message("once", idempotency_key="k")
    again = await alice.send_message("once", idempotency_key="k")
    assert (again.offset, again.is_duplicate) == (first.offset, True)
    with pytest.raises(PeerbusError) as caught:
        await alice.send_message("twice", idempotency_key="k")
    assert caught.value.code is ErrorCode.IDEMPOTENCY_CONFLICT
    assert len(await alice.receive()) == 1


async def test_only_what_is_wanted_is_pushed(server: LiveServer, join: Join) -> None:
    alice = await join(server, "alice")
    quiet = await join(server, "quiet", auto_receive=False)
    picky = await join(server, "picky", custom_event_type="game,chat")
    at_quiet, at_picky = Journal(quiet), Journal(picky)
    await alice.send_message(1, type="game")
    await alice.send_message(2, custom_event_type="chat")
    await alice.send_message(3)
    await alice.send_message(4, type="game", delivery="live")
    await until(lambda: at_picky.contents("live"))
    await until(lambda: len(at_picky.contents()) == 2)
    assert at_picky.contents() == [1, 2]
    assert [one.content for one in await quiet.receive()] == [1, 2, 3]
    assert not at_quiet.messages


# --- names and rights ---------------------------------------------------------------------------------------------


async def test_a_name_is_taken_or_given(server: LiveServer, join: Join) -> None:
    await join(server, "alice")
    with pytest.raises(PeerbusError) as caught:
        await join(server, "alice")
    assert caught.value.code is ErrorCode.NAME_TAKEN
    assert caught.value.correlation_id
    guest = await join(server, "")
    assert guest.agent_name.startswith("guest-")


async def test_a_wrong_key_is_refused(server: LiveServer, way: dict[str, Any]) -> None:
    agent = AgentConnection(server.url, "pb_abcdefghijkl_wrong", encoding=way["encoding"])
    with pytest.raises(PeerbusError) as caught:
        await agent.connect("lobby", use_websocket=way["use_websocket"])
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    await agent.disconnect()


async def test_kick_and_lock(server: LiveServer, join: Join) -> None:
    alice, mallory = await join(server, "alice"), await join(server, "mallory")
    at_alice, at_mallory = Journal(alice), Journal(mallory)
    locks: list[bool] = []
    mallory.on_channel = locks.append
    await alice.lock()
    await until(lambda: locks)
    assert mallory.channel is not None
    assert mallory.channel.is_locked
    with pytest.raises(PeerbusError) as caught:
        await join(server, "newcomer")
    assert caught.value.code is ErrorCode.CHANNEL_LOCKED
    await alice.unlock()
    await alice.kick("mallory", reason="spam")
    await until(lambda: mallory.state.name == "closed")
    assert mallory.state.code == "kicked"
    await until(lambda: at_mallory.errors)
    assert [getattr(error, "code", None) for error in at_mallory.errors] == [ErrorCode.KICKED]
    await until(lambda: any(left.reason == "kicked" for change in at_alice.presence for left in change.left))
    assert [member.name for member in alice.members] == ["alice"]


async def test_attributes_are_seen_by_others(server: LiveServer, join: Join) -> None:
    alice = await join(server, "alice", attributes={"team": "red"})
    bob = await join(server, "bob")
    assert bob.members[0].attributes == {"team": "red"}
    await alice.set_attributes({"team": "blue"})
    await until(lambda: bob.members[0].attributes == {"team": "blue"})


async def test_keys_of_the_demo_project(start_server: StartServer) -> None:
    server = start_server(demo=True)
    async with AgentConnection(server.url) as one, AgentConnection(server.url, "demo") as other:
        await one.connect("lobby", "one")
        await other.connect("lobby", "other")
        assert len(other.members) == 2
        with pytest.raises(PeerbusError) as caught:
            await one.kick("other")
        assert caught.value.code is ErrorCode.FORBIDDEN


async def test_no_demo_project(start_server: StartServer) -> None:
    agent = AgentConnection(start_server(demo=False).url)
    with pytest.raises(PeerbusError, match="no demo project"):
        await agent.connect("lobby")
    await agent.disconnect()


async def test_a_token_is_renewed_before_it_ends(start_server: StartServer, way: dict[str, Any]) -> None:
    server = start_server(expiry_warning_ms=1_500)
    key = parse_developer_key(server.developer_key)
    assert key is not None
    made: list[str] = []

    def get_api_key() -> str:
        token = ParticipantToken(name="alice", project_id="default", api_key_id=key.key_id)
        token.add_room_grant(room_name="lobby", role="user")
        made.append(token.to_jwt(secret=key.secret.reveal(), ttl_s=2))
        return made[-1]

    states: list[str] = []
    async with AgentConnection(server.url, get_api_key=get_api_key, encoding=way["encoding"]) as agent:
        agent.on_state = lambda state: states.append(state.name)
        await agent.connect("lobby", "alice", use_websocket=way["use_websocket"])
        await until(lambda: len(made) >= 4)
        assert (await agent.send_text_message("still here")).offset == 1
    assert states == ["connecting", "connected", "closed"]


# --- losses -------------------------------------------------------------------------------------------------------


async def test_a_cut_loses_nothing(server: LiveServer, join: Join, proxy: TcpProxy) -> None:
    """Both send while one of them is cut again and again; both classes arrive whole, once, in order."""
    alice = await join(server, "alice", url=proxy.url)
    bob = await join(server, "bob")
    at_alice, at_bob = Journal(alice), Journal(bob)
    outcomes: list[Awaitable[Any]] = []
    for number in range(60):
        for agent in (alice, bob):
            outcomes.append(agent.send_message(["durable", number]))
            outcomes.append(agent.send_message(["live", number], delivery="live"))
        if number % 20 == 10:
            proxy.cut()
        await asyncio.sleep(0.03)
    async with asyncio.timeout(WAIT_S):
        acks = await asyncio.gather(*outcomes)
    for journal in (at_alice, at_bob):
        await until(functools.partial(has_messages, journal, 120))
        assert journal.contents() == [["durable", number] for number in range(60)]
        assert journal.contents("live") == [["live", number] for number in range(60)]
        assert not journal.gaps
        assert not journal.errors
    stored = {ack.offset for ack in acks if ack.offset is not None}
    page = await bob.receive(after=0, limit=500)
    assert [message.offset for message in page] == sorted(stored)
    assert len(stored) == 120
    assert proxy.connections >= 4


async def test_a_half_open_connection_is_given_up(start_server: StartServer, join: Join) -> None:
    server = start_server(ping_interval_ms=200, silence_timeout_ms=1_000)
    async with proxying(server.url) as proxy:
        alice = await join(server, "alice", url=proxy.url)
        bob = await join(server, "bob")
        at_alice = Journal(alice)
        session_id = alice.session_id
        proxy.freeze()
        sending = alice.send_text_message("into the void")
        await bob.send_text_message("while you were frozen")
        async with asyncio.timeout(WAIT_S):
            await sending
        await until(lambda: at_alice.contents() == ["while you were frozen"])
        assert alice.session_id == session_id
        assert not at_alice.gaps
        assert len(await bob.receive()) == 2


async def test_a_ghost_is_replaced_at_once(server: LiveServer, join: Join, proxy: TcpProxy) -> None:
    """The server still believes in the old connection when the client comes back."""
    alice = await join(server, "alice", url=proxy.url)
    bob = await join(server, "bob")
    at_bob = Journal(bob)
    session_id = alice.session_id
    proxy.freeze()
    loop = alice._session
    assert loop is not None
    # What the silence timeout would say in 25 s.
    loop.input(lambda session, now: session.tick(now + 25_000))
    await until(lambda: not alice.is_connected)
    alice.reconnect_now()
    await until(lambda: alice.is_connected)
    assert (alice.agent_name, alice.session_id) == ("alice", session_id)
    await alice.send_text_message("it is me")
    await until(lambda: at_bob.contents() == ["it is me"])
    assert not [left for change in at_bob.presence for left in change.left]


async def test_out_of_reach_beyond_the_resume_window(start_server: StartServer, join: Join) -> None:
    """Durable messages are replayed from the log; that live ones may be missing is told."""
    server = start_server(resume_window_ms=200, ping_interval_ms=200, silence_timeout_ms=1_000)
    async with proxying(server.url) as proxy:
        alice = await join(server, "alice", url=proxy.url)
        bob = await join(server, "bob")
        at_alice, at_bob = Journal(alice), Journal(bob)
        proxy.is_down = True
        proxy.cut()
        await until(lambda: any(change.left for change in at_bob.presence))
        await bob.send_text_message("durable")
        await bob.send_message("live", delivery="live")
        proxy.is_down = False
        alice.reconnect_now()
        await until(lambda: at_alice.messages)
        assert at_alice.contents() == ["durable"]
        assert at_alice.gaps == [Gap(live=True)]
        assert not at_alice.contents("live")


@pytest.mark.parametrize("is_killed", [False, True], ids=["restarted", "killed"])
async def test_a_restart_of_the_server(live_server: LiveServer, join: Join, is_killed: bool) -> None:
    """What was acknowledged is there, what was sent meanwhile gets there, and lost live messages are told."""
    alice, bob = await join(live_server, "alice"), await join(live_server, "bob")
    at_alice, at_bob = Journal(alice), Journal(bob)
    await until(lambda: len(alice.members) == 2)
    orders = [member.order for member in alice.members]
    before = await alice.send_text_message("before")
    pending = [alice.send_text_message(f"during {number}") for number in range(5)]
    if is_killed:
        await asyncio.to_thread(live_server.kill)
        await asyncio.to_thread(live_server.start)
    else:
        await asyncio.to_thread(live_server.restart)
    async with asyncio.timeout(WAIT_S):
        acks = [before, *await asyncio.gather(*pending)]
        await bob.send_text_message("after")
    await until(lambda: len(at_bob.contents()) == 6)
    await until(lambda: at_alice.contents() == ["after"])
    assert at_bob.contents() == ["before", *(f"during {number}" for number in range(5))]
    offsets = [ack.offset or 0 for ack in acks]
    assert offsets == sorted(set(offsets))
    assert at_alice.gaps == at_bob.gaps == [Gap(live=True)]
    await until(lambda: len(alice.members) == len(bob.members) == 2)
    assert [member.order for member in alice.members] == orders
    assert not at_alice.errors


async def test_a_backlog_does_not_run_into_the_rate_limit(
    server: LiveServer, join: Join, proxy: TcpProxy
) -> None:
    alice = await join(server, "alice", url=proxy.url)
    proxy.is_down = True
    proxy.cut()
    await until(lambda: not alice.is_connected)
    outcomes = [alice.send_message(number) for number in range(140)]
    proxy.is_down = False
    async with asyncio.timeout(WAIT_S):
        acks = await asyncio.gather(*outcomes)
    assert [ack.offset for ack in acks] == list(range(1, 141))


# --- blocking -----------------------------------------------------------------------------------------------------


def test_blocking_agents(server: LiveServer) -> None:
    answers: list[str] = []
    heard = threading.Event()
    with (
        BlockingAgent(server.url, server.developer_key) as echo,
        BlockingAgent(
            api_url=f"{server.url}/messaging-platform/api/v1/messaging-service",
            api_key=server.developer_key,
        ) as agent,
    ):
        echo.on_message = lambda message: echo.send_message(f"echo {message.content}", to=message.sender)
        echo.connect("my-game-lobby", "echo", "secure-password")
        agent.connect("my-game-lobby", "player-1", "secure-password")

        def hear(message: Message) -> None:
            answers.append(message.content)
            heard.set()

        agent.on_message = hear
        agent.send_message("Hello, World!")
        assert heard.wait(WAIT_S)
        assert answers == ["echo Hello, World!"]
        stream = agent.messages(timeout=WAIT_S)
        agent.send_message("again")
        for message in stream:
            assert message.content == "echo again"
            break
        else:
            pytest.fail("no answer")
