"""
Members of a channel of three kinds, Chromium, Firefox and Python, under one interface, for end-to-end tests.

Owns the translation between it and the public names of both SDKs: `AgentConnection` of `/sdk/web-agent.js` in a page
of the server, and `peerbus.client.AgentConnection`. Never reaches behind those names. Each member has a network path
of its own, which a test can cut, and a journal of all it was told.

    alice = await join(Station("firefox", "longpoll"), channel, "alice")
    ack = await alice.send("hi", to="bob")
    seen = await bob.hears("hi")
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import msgspec
from playwright.async_api import Page

from peerbus.client import AgentConnection, ErrorCode, Glob, PeerbusError
from tests.e2e.network_path import NetworkPath

Kind: TypeAlias = Literal["chromium", "firefox", "python"]
Transport: TypeAlias = Literal["websocket", "longpoll"]
GetKey: TypeAlias = Callable[[], Awaitable[str]]

PATIENCE_S: Final = 20.0
"""How long something may take before it counts as not happening."""
_MEMBER_JS: Final = (Path(__file__).parent / "member.js").read_text("utf-8")
_SCRIPT: Final = "/sdk/web-agent.js"


class Station(NamedTuple):
    """Which SDK, over which transport and encoding."""

    kind: Kind
    transport: Transport
    encoding: Literal["msgpack", "json"] = "msgpack"


@dataclass(frozen=True)
class Seen:
    """A message, as every kind of member tells it."""

    content: Any
    type: str
    sender: str
    delivery: str
    message_id: str
    identity: str
    offset: int | None = None
    to: list[str] | None = None
    filter: Any = None
    custom_event_type: str | None = None
    reply_to: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    is_sealed: bool = False

    @classmethod
    def of(cls, record: dict[str, Any]) -> Seen:
        """From the record that an SDK gave."""
        names = cls.__dataclass_fields__
        return cls(**{name: value for name, value in record.items() if name in names})


class Refused(Exception):
    """A call failed with a typed error, in either language."""

    def __init__(self, record: dict[str, Any]) -> None:
        super().__init__(f"{record['code']}: {record['message']}")
        self.code: Final[str] = record["code"]
        self.message: Final[str] = record["message"]
        self.details: Final[dict[str, Any]] = record["details"]
        self.is_retryable: Final[bool] = record["is_retryable"]
        self.retry_after_ms: Final[int | None] = record.get("retry_after_ms")
        self.correlation_id: Final[str] = record["correlation_id"]


class Event(NamedTuple):
    """One thing that a member was told."""

    name: str
    value: dict[str, Any]


class Journal:
    """Everything that a member was told, in order; one can wait for what is still to come."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def note(self, name: str, value: dict[str, Any]) -> None:
        """Adds an event."""
        self._events.append(Event(name, value))
        self._changed.set()

    async def grows(self, length: int) -> None:
        """Waits until there are more than so many events."""
        while len(self._events) <= length:
            self._changed.clear()
            await self._changed.wait()

    def count(self, name: str) -> int:
        """How many events of that name there were."""
        return sum(event.name == name for event in self._events)

    async def until(
        self, name: str, is_it: Callable[[dict[str, Any]], bool], *, after: int = 0
    ) -> dict[str, Any]:
        """The first event of that name, from the `after`-th on, for which `is_it` holds; waits for it."""
        position = after
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    for event in self._events[position:]:
                        position += 1
                        if event.name == name and is_it(event.value):
                            return event.value
                    await self.grows(position)
        except TimeoutError:
            told = "\n  ".join(f"{event.name} {event.value}"[:300] for event in self._events[-40:])
            raise AssertionError(f"no such {name!r} came; what came:\n  {told}") from None


class Member(ABC):
    """One agent. The methods take snake_case names, and give records with such names."""

    def __init__(self, station: Station, path: NetworkPath) -> None:
        self.station: Final = station
        self.path: Final = path
        self.journal: Final = Journal()
        self.name = ""

    def __repr__(self) -> str:
        return f"<{self.name} in {self.station.kind} by {self.station.transport}>"

    # --- what a member can be asked to do -----------------------------------------------------------------------

    async def connect(
        self,
        channel: str,
        name: str = "",
        password: str = "",
        *,
        get_key: GetKey | None = None,
        **options: Any,
    ) -> None:
        """Joins; raises `Refused`."""
        self.name = name
        options.setdefault("use_websocket", self.station.transport == "websocket")
        await self._connect(channel, name, password, get_key, options)

    async def send(self, content: Any, **options: Any) -> dict[str, Any]:
        """Sends a message; gives the ack, raises `Refused`."""
        ack: dict[str, Any] = await self.call("send_message", content=content, **options)
        return ack

    async def history(self, **range_: Any) -> list[Seen]:
        """Stored messages, as `receive` gives them."""
        page = await self.call("receive", **range_)
        return [Seen.of(record) for record in page["messages"]]

    @abstractmethod
    async def _connect(
        self, channel: str, name: str, password: str, get_key: GetKey | None, options: dict[str, Any]
    ) -> None: ...

    @abstractmethod
    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of the agent; raises `Refused`."""

    @abstractmethod
    async def kick(self, name: str, reason: str) -> None:
        """Removes a member; raises `Refused`."""

    @abstractmethod
    async def look(self) -> dict[str, Any]:
        """
        What its properties say now: state, agent_name, session_id, identity, members, channel, queued, is_sealed,
        safety_number, sealing_counters.
        """

    @abstractmethod
    async def close(self) -> None:
        """Leaves nothing behind."""

    # --- what it was told ---------------------------------------------------------------------------------------

    @property
    def heard(self) -> list[Seen]:
        """The messages that were pushed so far."""
        return [Seen.of(event.value) for event in self.journal if event.name == "message"]

    @property
    def contents(self) -> list[Any]:
        """Of the messages that were pushed so far."""
        return [message.content for message in self.heard]

    async def hears(self, content: Any) -> Seen:
        """The first pushed message with this content; waits for it."""
        return Seen.of(await self.journal.until("message", lambda value: value["content"] == content))

    async def state(self, name: str, *, after: int = 0) -> dict[str, Any]:
        """The first state of this name that was told from the `after`-th event on; waits for it."""
        return await self.journal.until("state", lambda value: value["name"] == name, after=after)

    async def is_lost(self) -> dict[str, Any]:
        """The state `closed`, once it is reached: the end, after which nothing is tried any more."""
        return await self.state("closed")

    async def gap(self, *, after: int = 0) -> dict[str, Any]:
        """The first announcement of a gap from the `after`-th event on; waits for it."""
        return await self.journal.until("gap", lambda value: True, after=after)

    async def sees(self, name: str, state: str = "present") -> None:
        """Waits until this member's own view of the channel has `name` in `state`; `gone` means not at all."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                mark = len(self.journal)
                now = {member["name"]: member["state"] for member in (await self.look())["members"]}
                if now.get(name, "gone") == state:
                    return
                await self.journal.grows(mark)


class PythonMember(Member):
    """`peerbus.client.AgentConnection` in the process of the tests."""

    def __init__(self, station: Station, path: NetworkPath) -> None:
        super().__init__(station, path)
        self.agent: Final = AgentConnection(api=path.url, encoding=station.encoding)
        for event in ("message", "state", "presence", "error", "gap", "connect", "disconnect"):
            self.agent.on(event, self._noter(event))
        self.agent.on("channel", lambda is_locked: self.journal.note("channel", {"is_locked": is_locked}))
        self.agent.on("expiring", lambda ms: self.journal.note("expiring", {"expires_in_ms": ms}))

    async def _connect(
        self, channel: str, name: str, password: str, get_key: GetKey | None, options: dict[str, Any]
    ) -> None:
        if get_key is not None:
            options["get_api_key"] = get_key
        try:
            await self.agent.connect(channel, name, password, **options)
        except PeerbusError as error:
            raise Refused(_record_of_error(error)) from None

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        if isinstance(glob := options.get("filter"), dict):
            options["filter"] = Glob(glob["glob"])
        try:
            return _plain(await getattr(self.agent, method)(*arguments, **options))
        except PeerbusError as error:
            raise Refused(_record_of_error(error)) from None

    async def kick(self, name: str, reason: str) -> None:
        await self.call("kick", name, reason=reason)

    async def look(self) -> dict[str, Any]:
        agent = self.agent
        return {
            "state": _plain(agent.state),
            "agent_name": agent.agent_name,
            "session_id": agent.session_id,
            "identity": agent.identity,
            "members": _plain(agent.members),
            "channel": _plain(agent.channel),
            "queued": agent.pending,
            "is_sealed": agent.is_sealed,
            "safety_number": agent.safety_number,
            "sealing_counters": _plain(agent.sealing_counters),
        }

    async def close(self) -> None:
        await self.agent.disconnect(timeout=0)

    def _noter(self, event: str) -> Callable[..., None]:
        def note(value: Any = None) -> None:
            record = _record_of_error(value) if isinstance(value, PeerbusError) else _plain(value)
            self.journal.note(event, record or {})

        return note


class BrowserMember(Member):
    """`AgentConnection` of `/sdk/web-agent.js` in a page of the server, with its content security policy."""

    def __init__(self, station: Station, path: NetworkPath, page: Page) -> None:
        super().__init__(station, path)
        self.page: Final = page
        self._get_key: GetKey | None = None

    async def open(self) -> None:
        """Loads the page; the agent in it is new."""
        page = self.page
        if page not in _HOLDERS:
            # A page may serve several members, one after the other, and functions stay exposed.
            await page.expose_function("tellTest", lambda event, value: _HOLDERS[page].told(event, value))
            await page.expose_function("keyFromTest", lambda: _HOLDERS[page].key())
        _HOLDERS[page] = self
        await page.goto(f"{self.path.url}/")
        await self.load()

    async def load(self) -> None:
        """Puts the SDK and a new agent into the page, as after a reload."""
        await self.page.add_script_tag(url=_SCRIPT)
        await self.page.evaluate(_MEMBER_JS)

    async def _connect(
        self, channel: str, name: str, password: str, get_key: GetKey | None, options: dict[str, Any]
    ) -> None:
        self._get_key = get_key
        said = {"channel_name": channel, "agent_name": name, "channel_password": password}
        said |= {"encoding": self.station.encoding, **options}
        answer = await self.page.evaluate(
            "([options, asksForKey]) => member.connect(options, asksForKey)",
            [_to_json(_camel(said)), get_key is not None],
        )
        _answer(answer)

    async def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        given = [*arguments, _camel(options)] if options else list(arguments)
        answer = await self.page.evaluate(
            "([method, given]) => member.call(method, given)", [_camel_name(method), _to_json(given)]
        )
        return _answer(answer)

    async def kick(self, name: str, reason: str) -> None:
        await self.call("kick", name, reason)

    async def look(self) -> dict[str, Any]:
        seen: dict[str, Any] = _from_json(await self.page.evaluate("member.look()"))
        return seen

    async def close(self) -> None:
        """The page is closed with its context."""

    def told(self, event: str, value: str) -> None:
        """The page was told something."""
        self.journal.note(event, _from_json(value) or {})

    async def key(self) -> str:
        """The page asks for a key."""
        assert self._get_key is not None
        return await self._get_key()


_HOLDERS: Final[WeakKeyDictionary[Page, BrowserMember]] = WeakKeyDictionary()
"""Whom a page belongs to now."""


# --- values between the languages -------------------------------------------------------------------------------

_UNTOUCHED: Final = frozenset({"content", "metadata", "attributes", "privateAttributes", "details"})
"""What belongs to users: names in it stay as they are."""


def _plain(value: Any) -> Any:
    """Records of the Python SDK as dicts, with what is absent or default in its place."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _record_of_error(error: PeerbusError) -> dict[str, Any]:
    return {
        "code": ErrorCode(error.code).value,
        "message": error.message,
        "details": error.details,
        "is_retryable": error.is_retryable,
        "retry_after_ms": error.retry_after_ms,
        "correlation_id": error.correlation_id,
    }


def _answer(text: str) -> Any:
    answer = _from_json(text)
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer.get("ok")


def _camel(options: dict[str, Any]) -> dict[str, Any]:
    return {_camel_name(name): value for name, value in options.items()}


def _camel_name(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


def _snake(value: Any) -> Any:
    if isinstance(value, list):
        return [_snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name): item
        if name in _UNTOUCHED
        else _snake(item)
        for name, item in value.items()
    }


def _to_json(value: Any) -> str:
    return json.dumps(value, default=lambda raw: {"$bytes": base64.b64encode(raw).decode("ascii")})


def _from_json(text: str) -> Any:
    def with_bytes(item: dict[str, Any]) -> Any:
        return base64.b64decode(item["$bytes"]) if "$bytes" in item else item

    return _snake(json.loads(text, object_hook=with_bytes))
