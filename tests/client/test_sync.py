"""The blocking agent: the same names, threads of its own. The server runs in a thread of the test's."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Iterator
from queue import Queue
from typing import Any

import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.records import Message
from peerbus.client.sync import EVENTS, AgentConnection
from peerbus.protocol.messages import Bye, Closing, Kick, Lock, Members, Receive, Send, Update
from peerbus.protocol.session.outputs import State
from tests.support.fake_server import FakeServer, running
from tests.support.fake_transport import message

WAIT_S = 10.0


class ThreadedServer:
    """A fake server and the loop it runs in."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.fake = FakeServer()
        self._running = running(self.fake)
        self.call(self._running.__aenter__())

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def push(self, *frames: Any) -> None:
        self.call(self.fake.push(*frames))

    def stop(self) -> None:
        self.call(self._running.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(WAIT_S)
        self.loop.close()


@pytest.fixture
def server() -> Iterator[ThreadedServer]:
    threaded = ThreadedServer()
    yield threaded
    threaded.stop()


@pytest.fixture
def agent(server: ThreadedServer) -> Iterator[AgentConnection]:
    with AgentConnection(api_url=server.fake.url, api_key="k") as agent:
        assert agent.connect("my-game-lobby", "player-1") is agent
        yield agent
    assert agent.state.name == "closed"
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("peerbus-")]


def test_the_snippet_of_old(server: ThreadedServer) -> None:
    agent = AgentConnection(
        api_url=f"{server.fake.url}/messaging-platform/api/v1/messaging-service", api_key="your-api-key"
    )
    agent.connect("my-game-lobby", "player-1", "secure-password")
    ack = agent.send_message("Hello, World!")
    agent.disconnect()
    agent.disconnect()
    assert ack.offset == 1
    sent = [frame for frame in server.fake.received if isinstance(frame, Send | Bye)]
    assert [type(frame) for frame in sent] == [Send, Bye]


def test_what_one_can_look_at(agent: AgentConnection) -> None:
    assert agent.is_connected
    assert (agent.agent_name, agent.session_id, agent.identity) == ("player-1", "s1", "lineage:alice")
    assert not agent.is_claimed
    assert agent.channel is not None
    assert agent.operations == ["read"]
    assert [member.name for member in agent.members] == ["alice"]


def test_handlers_may_call_blocking_methods(agent: AgentConnection, server: ThreadedServer) -> None:
    answered: Queue[tuple[str, Any]] = Queue()

    def echo(received: Message) -> None:
        ack = agent.send_message(f"echo {received.content}", to=received.sender)
        answered.put((threading.current_thread().name, ack.offset))

    agent.on_message = echo
    server.push(message("hi", 1))
    assert answered.get(timeout=WAIT_S) == ("peerbus-handlers", 1)
    agent.on_message = None
    assert agent.on_message is None
    later: Queue[Message] = Queue()
    agent.on("message", later.put)
    server.push(message("more", 2))
    assert later.get(timeout=WAIT_S).content == "more"
    agent.remove_listener("message", later.put)
    assert answered.empty()


def test_messages_one_by_one(agent: AgentConnection, server: ThreadedServer) -> None:
    stream = agent.messages(timeout=WAIT_S)
    server.push(message("a", 1), message("b", 2))
    assert [next(stream).content, next(stream).content] == ["a", "b"]
    assert list(agent.messages(timeout=0.01)) == []


def test_a_stream_ends_with_the_agent(server: ThreadedServer) -> None:
    agent = AgentConnection(server.fake.url, "k")
    agent.connect("lobby")
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(agent.messages()))
    stream = agent.messages()
    reader.start()
    server.push(message("a", 1))
    assert next(stream).content == "a"
    agent.disconnect()
    reader.join(WAIT_S)
    assert not reader.is_alive()
    assert list(stream) == []


def test_refusals_are_raised(agent: AgentConnection, server: ThreadedServer) -> None:
    with pytest.raises(PeerbusError, match="not both"):
        agent.send_message("x", to="bob", filter="b.*")
    with pytest.raises(PeerbusError, match="connected already"):
        agent.connect("elsewhere")
    assert agent.is_connected


def test_a_connect_that_fails_leaves_no_thread(unused_tcp_port: int) -> None:
    agent = AgentConnection(f"http://127.0.0.1:{unused_tcp_port}", "k", connect_timeout=0.05)
    with pytest.raises(PeerbusError) as caught:
        agent.connect("lobby")
    assert caught.value.code is ErrorCode.CONNECT_FAILED
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("peerbus-")]
    with pytest.raises(PeerbusError, match="call connect"):
        agent.send_text_message("x")


def test_the_other_requests_reach_the_server(agent: AgentConnection, server: ThreadedServer) -> None:
    assert agent.set_attributes({"a": 1}).offset is None
    assert agent.kick("bob", reason="spam").promise is None
    assert agent.lock() == agent.unlock()
    assert [member.name for member in agent.fetch_members()] == ["bob"]
    assert [one.content for one in agent.receive(limit=1)] == ["kept"]
    kinds = [type(frame) for frame in server.fake.received[1:]]
    assert kinds == [Update, Kick, Lock, Lock, Members, Receive]


def test_the_end_is_told(server: ThreadedServer) -> None:
    agent = AgentConnection(server.fake.url, "k")
    events: Queue[Any] = Queue()
    agent.on_state = lambda state: events.put(state.name)
    agent.on_disconnect = lambda: events.put("disconnect")
    agent.on_error = events.put
    agent.connect("lobby")
    server.push(Closing(close_code=3512, code="kicked", reason="spam"))
    told = [events.get(timeout=WAIT_S) for _ in range(5)]
    assert told[:4] == ["connecting", "connected", "closed", "disconnect"]
    assert told[4].code is ErrorCode.KICKED
    agent.reconnect_now()
    agent.set_api_key("another")
    agent.disconnect()


def test_a_handler_may_disconnect(server: ThreadedServer) -> None:
    agent = AgentConnection(server.fake.url, "k")
    done: Queue[State] = Queue()

    def leave(received: Message) -> None:
        agent.disconnect()
        done.put(agent.state)

    agent.on_message = leave
    agent.connect("lobby")
    server.push(message("go", 1))
    assert done.get(timeout=WAIT_S).name == "closed"


def test_a_failing_handler_hurts_nobody(
    agent: AgentConnection, server: ThreadedServer, caplog: pytest.LogCaptureFixture
) -> None:
    got: Queue[Any] = Queue()

    def fails(received: Any) -> None:
        raise ValueError(f"no {received.content if isinstance(received, Message) else received}")

    agent.on("message", fails)
    agent.on("message", got.put)
    with caplog.at_level(logging.ERROR, "peerbus.client"):
        server.push(message("a", 1))
        got.get(timeout=WAIT_S)
    assert "a handler of 'message' failed" in caplog.text
    agent.on_error = got.put
    server.push(message("b", 2))
    assert {str(getattr(got.get(timeout=WAIT_S), "content", "no b")) for _ in range(2)} == {"b", "no b"}


def test_what_is_no_handler_or_no_event() -> None:
    agent = AgentConnection(api_key="k")
    with pytest.raises(TypeError, match="'state'"):
        agent.on_state = "print"  # type: ignore[assignment]  # what is tested
    with pytest.raises(ValueError, match="message"):
        agent.on("mesage", print)
    assert {name.removeprefix("on_") for name in vars(AgentConnection) if name.startswith("on_")} == set(
        EVENTS
    )
