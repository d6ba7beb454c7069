"""
The agent for blocking programs: the same names as `peerbus.client.agent`, no `await`.

Owns the thread in which the event loop runs, and the thread in which handlers run, so that a handler may call
blocking methods. Never decides anything else; every call is passed on to the asyncio agent.

    from peerbus.client.sync import AgentConnection

    agent = AgentConnection(api_url="http://localhost:8080", api_key="pb_…")
    agent.connect("my-game-lobby", "player-1", "secure-password")
    agent.send_message("Hello, World!")
    agent.disconnect()
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, Unpack, cast

from peerbus.client import agent as asyncio_agent
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.options import ConnectOptions, PollSource, SendOptions
from peerbus.client.records import Ack, History, Member, Message, Presence
from peerbus.client.sealed_channel import SealingCounters
from peerbus.client.stream import MAX_BUFFERED, MessageStream
from peerbus.protocol.messages import ChannelInfo, IceServer
from peerbus.protocol.session.outputs import Gap, State

_log: Final = logging.getLogger("peerbus.client")

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

EVENTS: Final = (
    "message",
    "connect",
    "disconnect",
    "state",
    "presence",
    "error",
    "gap",
    "channel",
    "expiring",
    "ice_servers",
)


class Handler(Generic[F]):
    """An attribute that holds one handler of one event, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._event = name.removeprefix("on_")

    def __get__(self, agent: AgentConnection, owner: type) -> F | None:
        return cast("F | None", agent.assigned_handlers.get(self._event))

    def __set__(self, agent: AgentConnection, handler: F | None) -> None:
        if handler is None:
            agent.assigned_handlers.pop(self._event, None)
        elif callable(handler):
            agent.assigned_handlers[self._event] = handler
        else:
            raise TypeError(f"A handler of {self._event!r} is a function, not {type(handler).__name__}.")


class AgentConnection:
    """
    One agent in one channel, for code without an event loop. May be used from several threads.

    Takes the arguments of the asyncio agent. Handlers (`agent.on_message = f`, `agent.on("message", f)`) run one after
    the other in a thread of their own. Methods raise `PeerbusError`.
    """

    on_message = Handler[Callable[[Message], Any]]()
    on_connect = Handler[Callable[[], Any]]()
    on_disconnect = Handler[Callable[[], Any]]()
    on_state = Handler[Callable[[State], Any]]()
    on_presence = Handler[Callable[[Presence], Any]]()
    on_error = Handler[Callable[[Exception], Any]]()
    on_gap = Handler[Callable[[Gap], Any]]()
    on_channel = Handler[Callable[[bool], Any]]()
    on_expiring = Handler[Callable[[int], Any]]()
    on_ice_servers = Handler[Callable[[list[IceServer]], Any]]()

    def __init__(self, api: str | None = None, api_key: str | None = None, **options: Any) -> None:
        """See the asyncio agent: `api` or `api_url`, `api_key`, `get_api_key`, `encoding`, `request_timeout`, …"""
        self.assigned_handlers: dict[str, Callable[..., Any]] = {}
        self._handlers: dict[str, list[Callable[..., Any]]] = {event: [] for event in EVENTS}
        self._agent: Final = asyncio_agent.AgentConnection(api, api_key, **options)
        for event in EVENTS:
            self._agent.add_listener(event, self._handler_of(event))
        self._threads: _Threads | None = None
        self._lock: Final = threading.Lock()

    # --- what one can look at -----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._agent.state

    @property
    def is_connected(self) -> bool:
        """Whether the session is up right now."""
        return self._agent.is_connected

    @property
    def agent_name(self) -> str:
        """The own name."""
        return self._agent.agent_name

    @property
    def session_id(self) -> str:
        """The public id of the session."""
        return self._agent.session_id

    @property
    def identity(self) -> str:
        """Who this agent is beyond its name."""
        return self._agent.identity

    @property
    def is_claimed(self) -> bool:
        """Whether the own name is claimed: nobody else can bear it here, and mail is kept for it."""
        return self._agent.is_claimed

    @property
    def channel(self) -> ChannelInfo | None:
        """The channel as the server tells it."""
        return self._agent.channel

    @property
    def operations(self) -> list[str]:
        """What this agent's key allows here."""
        return self._agent.operations

    @property
    def members(self) -> list[Member]:
        """Who is in the channel."""
        return self._agent.members

    @property
    def is_sealed(self) -> bool:
        """Whether the channel was joined as a sealed one: the server cannot read what is said."""
        return self._agent.is_sealed

    @property
    def safety_number(self) -> str:
        """Thirty digits in six groups, to be compared by voice; empty in an open channel."""
        return self._agent.safety_number

    @property
    def sealing_counters(self) -> SealingCounters:
        """How many messages were sealed, opened, refused and dropped."""
        return self._agent.sealing_counters

    @property
    def ice_servers(self) -> list[IceServer]:
        """The STUN and TURN servers that the server told of, with credentials that end and are renewed in time."""
        return self._agent.ice_servers

    # --- coming and going ---------------------------------------------------------------------------------------

    def connect(
        self,
        channel_name: str,
        agent_name: str = "",
        channel_password: str | None = None,
        **options: Unpack[ConnectOptions],
    ) -> AgentConnection:
        """Joins a channel; returns once connected."""
        with self._lock:
            if self._threads is None:
                self._threads = _Threads()
                atexit.register(self.disconnect)
        try:
            self._call(lambda: self._agent.connect(channel_name, agent_name, channel_password, **options))
        except BaseException:
            if self._agent.state.name in ("idle", "closed"):
                self.disconnect()
            raise
        return self

    def disconnect(self, *, timeout: float = 5.0) -> None:
        """Leaves the channel and ends both threads; waits at most `timeout` seconds for what has no outcome yet."""
        with self._lock:
            threads = self._threads
            if threads is None or threads.is_stopping:
                return
            threads.is_stopping = True
        atexit.unregister(self.disconnect)
        try:
            threads.call(lambda: self._agent.disconnect(timeout=timeout))
        finally:
            self._threads = None
            threads.stop()

    def set_api_key(self, api_key: str) -> None:
        """Takes a new key, now and for later connects."""

        async def take() -> None:
            self._agent.set_api_key(api_key)

        self._call(take)

    def reconnect_now(self) -> None:
        """Ends the waiting for the next attempt."""

        async def hurry() -> None:
            self._agent.reconnect_now()

        self._call(hurry)

    def __enter__(self) -> AgentConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    # --- messages -----------------------------------------------------------------------------------------------

    def send_text_message(self, text: str) -> Ack:
        """Sends text to everyone in the channel; returns once it is stored."""
        return self._call(lambda: self._agent.send_text_message(text))

    def send_message(self, content: Any = None, **options: Unpack[SendOptions]) -> Ack:
        """Sends a JSON value, text or bytes; see the asyncio agent for the options."""
        return self._call(lambda: self._agent.send_message(content, **options))

    def receive(
        self,
        after: int | None = None,
        before: int | None = None,
        limit: int = 50,
        *,
        types: Sequence[str] | None = None,
        custom_event_type: str | Sequence[str] | None = None,
        poll_source: PollSource | None = None,
    ) -> History:
        """Reads stored messages by range; both bounds are exclusive offsets."""
        return self._call(
            lambda: self._agent.receive(
                after,
                before,
                limit,
                types=types,
                custom_event_type=custom_event_type,
                poll_source=poll_source,
            )
        )

    def messages(
        self, *, timeout: float | None = None, max_buffered: int = MAX_BUFFERED
    ) -> Iterator[Message]:
        """
        Messages one after the other, from this call on; ends when the agent disconnects.

            for message in agent.messages(timeout=5):   # ends after 5 s without a message, too
                print(message.sender, message.content)

        Raises `PeerbusError` when the session ended for another reason.
        """

        async def begin() -> MessageStream:
            return self._agent.messages(max_buffered=max_buffered)

        stream = self._call(begin)

        async def next_message() -> Message | None:
            try:
                async with asyncio.timeout(timeout):
                    return await anext(stream, None)
            except TimeoutError:
                return None

        def read() -> Iterator[Message]:
            try:
                while self._threads is not None and (message := self._call(next_message)) is not None:
                    yield message
            finally:
                stream.close()

        return read()

    # --- the channel ----------------------------------------------------------------------------------------------

    def fetch_members(self) -> list[Member]:
        """Asks the server who is in the channel."""
        return self._call(self._agent.fetch_members)

    def get_ice_servers(self) -> list[IceServer]:
        """The `ice_servers`; asks for new ones first where the credentials have less than half of their time left."""
        return self._call(self._agent.get_ice_servers)

    def set_attributes(
        self, attributes: Mapping[str, Any], *, private_attributes: Mapping[str, Any] | None = None
    ) -> Ack:
        """Replaces what the others see of this agent, and what members alone see."""
        return self._call(
            lambda: self._agent.set_attributes(attributes, private_attributes=private_attributes)
        )

    def kick(self, agent: str | None = None, *, session_id: str | None = None, reason: str = "") -> Ack:
        """Removes a member, by name or session."""
        return self._call(lambda: self._agent.kick(agent, session_id=session_id, reason=reason))

    def lock(self) -> Ack:
        """Closes the channel to newcomers."""
        return self._call(self._agent.lock)

    def unlock(self) -> Ack:
        """Opens it again."""
        return self._call(self._agent.unlock)

    # --- events ---------------------------------------------------------------------------------------------------

    def on(self, event: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Adds a handler of an event; gives it back."""
        self._handlers_of(event).append(handler)
        return handler

    def remove_listener(self, event: str, handler: Callable[..., Any]) -> None:
        """Takes a handler away that `on` added. Raises `ValueError` if there is no such handler."""
        self._handlers_of(event).remove(handler)

    def _handlers_of(self, event: str) -> list[Callable[..., Any]]:
        if event not in self._handlers:
            raise ValueError(f"no such event: {event!r}; there are {', '.join(EVENTS)}")
        return self._handlers[event]

    # --- inside ---------------------------------------------------------------------------------------------------

    def _call(self, begin: Callable[[], Awaitable[T]]) -> T:
        threads = self._threads
        if threads is None:
            raise PeerbusError(ErrorCode.CLOSED, "Not connected: call connect() first.")
        return threads.call(begin)

    def _handler_of(self, event: str) -> Callable[..., None]:
        def hand_over(*arguments: Any) -> None:
            threads = self._threads
            handlers = [*self._handlers[event]]
            if event in self.assigned_handlers:
                handlers.insert(0, self.assigned_handlers[event])
            if event == "error" and not handlers:
                _log.error("%s", arguments[0])
            if threads is not None:
                for handler in handlers:
                    threads.hand_over(self._guarded(event, handler, arguments))

        return hand_over

    def _guarded(
        self, event: str, handler: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Callable[[], None]:
        def run() -> None:
            try:
                handler(*arguments)
            except Exception as error:  # noqa: BLE001 - the user's own code
                on_error = self.on_error
                if event == "error" or on_error is None:
                    _log.exception("a handler of %r failed", event)
                else:
                    self._guarded("error", on_error, (error,))()

        return run


class _Threads:
    """An event loop in one thread, handlers in another."""

    def __init__(self) -> None:
        self.is_stopping = False
        self._loop: Final = asyncio.new_event_loop()
        self._jobs: Final[queue.SimpleQueue[Callable[[], None] | None]] = queue.SimpleQueue()
        self._loop_thread: Final = threading.Thread(target=self._run_loop, name="peerbus-loop", daemon=True)
        self._worker: Final = threading.Thread(target=self._run_jobs, name="peerbus-handlers", daemon=True)
        self._loop_thread.start()
        self._worker.start()

    def call(self, begin: Callable[[], Awaitable[T]]) -> T:
        """Begins something in the loop's thread and waits for its outcome."""
        if threading.current_thread() is self._loop_thread:
            raise PeerbusError(
                ErrorCode.BAD_REQUEST, "A blocking call from the event loop's own thread would wait for ever."
            )

        async def run() -> T:
            return await begin()

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C; no effect on one that is over.
            raise

    def hand_over(self, job: Callable[[], None]) -> None:
        """Runs a handler, after those before it."""
        self._jobs.put(job)

    def stop(self) -> None:
        """Ends both threads; handlers that were told something still hear it."""
        self._jobs.put(None)
        if threading.current_thread() is not self._worker:
            self._worker.join()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()

    def _run_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
