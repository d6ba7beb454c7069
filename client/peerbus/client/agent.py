"""
The agent: a named member of a channel, for asyncio programs.

Owns what a user sees: connecting, sending, receiving, events, outcomes. Never decides about the connection; that is
the session machine (`peerbus.protocol.session.client`). For blocking programs see `peerbus.client.sync`.

    async with AgentConnection(api="http://localhost:8080", api_key="pb_…") as agent:
        agent.on_message = lambda message: print(message.sender, message.content)
        await agent.connect("lobby", "player-1", "secret")
        await agent.send_text_message("Hello, World!")
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar, Unpack

from msgspec import UNSET, UnsetType

from peerbus.client import options as asked
from peerbus.client.agent_view import AgentView
from peerbus.client.api import DEFAULT_API, Api, parse_api
from peerbus.client.crypto import new_lineage_secret
from peerbus.client.demo_key import fetch_demo_key
from peerbus.client.errors import ErrorCode, PeerbusError, error_of
from peerbus.client.ice_renewal import IceRenewal
from peerbus.client.inbox import Inbox
from peerbus.client.opening import Opening
from peerbus.client.options import ConnectOptions, GetApiKey, PollSource, SendOptions
from peerbus.client.outcome import Outcome
from peerbus.client.preparation import connect_frame, prepare
from peerbus.client.records import Ack, History, Member, ack_of
from peerbus.client.requests import Requests
from peerbus.client.session_loop import SessionLoop
from peerbus.client.stream import MAX_BUFFERED, MessageStream
from peerbus.client.transport import TransportSettings
from peerbus.protocol import messages as wire
from peerbus.protocol.codec import EncodingName
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.messages import Attributes, ClientFrame, Connect, IceServer
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session import outputs
from peerbus.protocol.session.outputs import State
from peerbus.protocol.session.paths import TransportName
from peerbus.protocol.session.settings import ClientSettings

T = TypeVar("T")


class AgentConnection(AgentView):
    """
    One agent in one channel.

    Methods that talk to the server begin at once and give an outcome to await. Awaiting is optional: calls right after
    an un-awaited `connect()` are queued, and a failure that nobody awaits goes to the `error` event.

    Events, each also as an attribute (`on_message` …): `message(Message)`, `connect()` and `disconnect()` each time the
    connection comes and goes, `state(State)`, `presence(Presence)`, `error(Exception)`, `gap(Gap)` when messages may be
    missing from here on, `channel(is_locked)`, `expiring(milliseconds)`. As events only: `signal(Message)` of a call,
    `ice_servers(list[IceServer])` when there are new ones. Handlers are functions or coroutine functions.
    """

    def __init__(
        self,
        api: str | None = None,
        api_key: str | None = None,
        *,
        api_url: str | None = None,
        get_api_key: GetApiKey | None = None,
        encoding: EncodingName = "msgpack",
        request_timeout: float = 30.0,
        connect_timeout: float | None = 30.0,
        ssl: ssl.SSLContext | bool = True,
    ) -> None:
        """
        `api` (or `api_url`) is the server's address, `http://localhost:8080` if left out.

        `api_key` is a developer key or a token. Without one, or with "demo", the agent fetches short-lived keys of the
        server's demo project. `get_api_key` returns a fresh key, when there is none or it expires.
        `connect_timeout` (seconds; None: for ever) is how long the first connect may take, retries included.
        Reconnecting later never gives up. `ssl=False` accepts any certificate.
        """
        super().__init__()
        asked.check_choice("encoding", encoding, EncodingName)
        self._api_text = api or api_url or DEFAULT_API
        self._api_key = api_key
        self._get_api_key = get_api_key
        self._encoding: Final[EncodingName] = encoding
        self._request_timeout: Final = request_timeout
        self._connect_timeout: Final = connect_timeout
        self._ssl: Final = ssl
        self._lineage_secret: Final = new_lineage_secret()
        self._requests = Requests(encoding, self._tell_error)
        self._api_base = self._api_text
        self._inbox: Final = Inbox(self)
        self._is_named = False
        self._connecting: Outcome[AgentConnection] | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._attributes_session = ""
        self._ice = IceRenewal(
            lambda: self._request(wire.IceServers(id=1), self._ice_told),
            lambda: self.is_connected,
            self._tell_error,
        )

    # --- coming and going -------------------------------------------------------------------------------------

    def connect(
        self,
        channel_name: str,
        agent_name: str = "",
        channel_password: str | None = None,
        **options: Unpack[ConnectOptions],
    ) -> Outcome[AgentConnection]:
        """
        Joins a channel, and stays in it across losses of the network until `disconnect`.

            await agent.connect("lobby", "player-1", "secret")
            await agent.connect(channel_name="lobby", agent_name="bot", api_key="demo", auto_receive=False)

        Without a name the server gives one (`guest-…`). With a `channel_password` the channel is sealed: only who knows
        it comes in, and nobody else can read what is said, the server neither. `sealed=False` makes it a lock only.
        `attributes` are seen by the server, too, `private_attributes` by the members of a sealed channel only.
        `api_key_scope` is "private" (this project) or "public" (all projects). `custom_event_type` ("a,b") or `types`
        choose what is pushed. `use_websocket=False` means long-poll only. `poll_source` and `enable_webrtc_relay` are
        accepted and have no effect; `session_id` neither, since resuming needs no help. `channel_id` is checked by
        the server if given.

        Raises `PeerbusError`: the server's refusal, or `connect_failed` after `connect_timeout`.
        """
        unknown = options.keys() - ConnectOptions.__annotations__.keys()
        if unknown:
            raise TypeError(f"connect() takes no {', '.join(sorted(unknown))}")
        if self._state.name not in ("idle", "closed"):
            raise PeerbusError(ErrorCode.BAD_REQUEST, f"This agent is {self._state.name} already.")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise PeerbusError(
                ErrorCode.BAD_REQUEST,
                "connect() needs a running event loop (asyncio.run); blocking code uses peerbus.client.sync.",
            ) from None
        self._take_keys(options)
        api = parse_api(options.get("api") or options.get("api_url") or self._api_text)
        self._api_base = api.base
        self._media_key = None
        self._inbox.wanted = asked.type_names(options.get("types"), options.get("custom_event_type"))
        self._is_named = bool(agent_name)
        frame = connect_frame(
            channel_name,
            agent_name,
            options,
            api_key=self._api_key,
            lineage_secret=self._lineage_secret,
            wanted=self._inbox.wanted,
        )
        private = asked.plain_attributes(options.get("private_attributes") or {})
        is_sealed = asked.is_sealed(channel_password, options.get("sealed"), private)
        transports: tuple[TransportName, ...] = ("websocket", "longpoll")
        if not options.get("use_websocket", True):
            transports = ("longpoll",)
        self._is_sealed = is_sealed
        self._connecting = Outcome(self._tell_error)
        self._requests.begin()
        self._session = self._sealed = None
        self._opening = Opening(None, self._tell_error)
        self._attributes_session = ""
        self._set_state(State(name="connecting"))
        sealed_with = private if is_sealed else None
        self._preparing = asyncio.create_task(
            self._prepare(api, frame, channel_password, sealed_with, transports), name="peerbus-connect"
        )
        return self._connecting

    def disconnect(self, *, timeout: float = 5.0) -> asyncio.Task[None]:
        """
        Leaves the channel. Waits at most `timeout` seconds for requests that have no outcome yet.

        Begins at once; returns when no connection and no task of this agent is left. Has no effect when not connected.
        """
        return asyncio.create_task(self._disconnect(timeout), name="peerbus-disconnect")

    def set_api_key(self, api_key: str) -> None:
        """Takes a new key, now and for later connects; the session goes on."""
        self._api_key = api_key
        if self._session is not None:
            self._session.renew(Secret(api_key))

    def reconnect_now(self) -> None:
        """Ends the waiting for the next attempt, for example when the network is known to be back."""
        if self._session is not None:
            self._session.reconnect_now()

    async def __aenter__(self) -> AgentConnection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.disconnect()

    # --- messages ---------------------------------------------------------------------------------------------

    def send_text_message(self, text: str) -> Outcome[Ack]:
        """
        Sends text to everyone in the channel, to be kept in its log.

            ack = await agent.send_text_message("Hello, World!")   # stored at ack.offset
        """
        if not isinstance(text, str):
            raise asked.refused("send_text_message takes text; send_message takes any JSON value.")
        return self._send(text, {})

    def send_message(self, content: Any = None, **options: Unpack[SendOptions]) -> Outcome[Ack]:
        """
        Sends a JSON value, text or bytes; to everyone, to names, or to whom a filter matches now.

            await agent.send_message({"x": 1}, type="move", to="bob")
            await agent.send_message({"content": "hi", "filter": "team-.*"})        # the object form
            agent.send_message("typing", filter=Glob("team-*"), ephemeral=True)
            agent.send_message("here?", to_session=message.sender_session)          # one session of that name

        `delivery`: "durable" (default; kept, acknowledged when on disk; a claimed name gets it when it is back), "live"
        (for those present; the default with `to_session`), "lossy" (what
        `ephemeral=True` means; may be dropped). An object with the key `content` and no unknown keys is the object
        form. `timeout` (seconds; None: none) replaces that of the agent. The same `idempotency_key` sent again gives
        the first offset; every durable message has one.

        Raises `PeerbusError`: `unknown_recipient`, `bad_filter`, `too_large`, `forbidden`, `timeout`, `queue_full`, …
        """
        if asked.is_send_object(content):
            content, given = asked.send_object(content)
            options = {**given, **options}
        return self._send(content, options)

    def receive(
        self,
        after: int | None = None,
        before: int | None = None,
        limit: int = 50,
        *,
        types: Sequence[str] | None = None,
        custom_event_type: str | Sequence[str] | None = None,
        poll_source: PollSource | None = None,
    ) -> Outcome[History]:
        """
        Reads stored messages by range; both bounds are exclusive offsets.

            page = await agent.receive(limit=20)                 # the newest 20
            older = await agent.receive(before=page.next)        # going back
            for message in await agent.receive(after=0): ...     # from the beginning

        `poll_source` is accepted and has no effect: there is one source of truth.
        """
        asked.check_poll_source(poll_source)
        frame = asked.receive_frame(after, before, limit, types, custom_event_type)
        return self._request(frame, lambda page: self._opening.history(page))

    def messages(self, *, max_buffered: int = MAX_BUFFERED) -> MessageStream:
        """
        Messages one after the other, from now on, until the agent disconnects.

            async for message in agent.messages():
                await agent.send_message("got it", to=message.sender)
        """
        stream = self._inbox.stream(max_buffered)
        if self._state.name == "closed":
            stream.end()
        return stream

    # --- the channel --------------------------------------------------------------------------------------------

    def fetch_members(self) -> Outcome[list[Member]]:
        """Asks the server who is in the channel; `members` has the same without asking."""
        return self._request(wire.Members(id=1), lambda reply: self._members_of(reply.members))

    def get_ice_servers(self) -> Outcome[list[IceServer]]:
        """The `ice_servers`; asks for new ones first where the credentials have less than half of their time left."""
        return self._ice.get(is_joined=self._session is not None)

    def set_attributes(
        self, attributes: Mapping[str, Any], *, private_attributes: Mapping[str, Any] | None = None
    ) -> Outcome[Ack]:
        """
        Replaces what the others see of this agent.

        `private_attributes` replace what members alone can read, in a sealed channel; left out, those stay.
        """
        if private_attributes is not None:
            private = asked.plain_attributes(private_attributes)
            if self._sealed is None:
                asked.is_sealed(None, None, private)
            else:
                self._sealed.want_attributes(private)
        return self._update_attributes(dict(attributes))

    def kick(
        self, agent: str | None = None, *, session_id: str | None = None, reason: str = ""
    ) -> Outcome[Ack]:
        """Removes a member, by name or session; needs the operation `kick`."""
        if (agent is None) is (session_id is None):
            raise asked.refused("kick takes a name or a session_id, one of the two.")
        frame = wire.Kick(
            id=1,
            agent=UNSET if agent is None else agent,
            session_id=UNSET if session_id is None else session_id,
            reason=reason,
        )
        return self._request(frame, ack_of)

    def lock(self) -> Outcome[Ack]:
        """Closes the channel to newcomers; needs the operation `lock`."""
        return self._request(wire.Lock(id=1, locked=True), ack_of)

    def unlock(self) -> Outcome[Ack]:
        """Opens it again."""
        return self._request(wire.Lock(id=1, locked=False), ack_of)

    # --- inside: connecting -------------------------------------------------------------------------------------

    def _take_keys(self, options: ConnectOptions) -> None:
        if "api_key" in options:
            self._api_key = options["api_key"]
        if "get_api_key" in options:
            self._get_api_key = options["get_api_key"]

    async def _prepare(
        self,
        api: Api,
        frame: Connect,
        password: str | None,
        sealed_with: Attributes | None,
        transports: tuple[TransportName, ...],
    ) -> None:
        """Derives the keys, then starts the session; failures are those of `connect`."""
        try:
            prepared = await prepare(frame, password, sealed_with)
        except ProtocolError as error:
            self._closed(PeerbusError(error.code, error.message, details=error.details))
            return
        frame, self._media_key, self._sealed = prepared
        if self._sealed is not None:
            self._opening = Opening(self._sealed, self._tell_error)
        give_up_ms = None if self._connect_timeout is None else int(self._connect_timeout * 1000)
        settings = TransportSettings(api, self._encoding, self._ssl, frame.client)
        needs_demo_key = self._get_api_key is None and not frame.api_key
        session = SessionLoop(
            ClientSettings(
                connect=frame,
                transports=transports,
                can_renew=needs_demo_key or self._get_api_key is not None,
                request_timeout_ms=int(self._request_timeout * 1000),
                give_up_after_ms=give_up_ms,
            ),
            settings,
            on_event=self._told,
            fetch_key=lambda: self._fetch_key(settings),
            sealer=self._sealed,
        )
        self._session = session
        self._requests.start(session)
        session.start()

    async def _fetch_key(self, settings: TransportSettings) -> Secret:
        if self._get_api_key is None:
            return await fetch_demo_key(settings)
        answer = self._get_api_key()
        api_key = answer if isinstance(answer, str) else await answer
        return Secret(api_key)

    async def _disconnect(self, timeout_s: float) -> None:
        if self._state.name not in ("idle", "closed"):
            if self.pending:
                try:
                    async with asyncio.timeout(timeout_s):
                        await self._requests.wait_idle()
                except TimeoutError:
                    pass  # What is left fails with `closed`.
            if self._session is None and self._preparing is not None:
                self._preparing.cancel()
                self._closed(PeerbusError(ErrorCode.CLOSED, "Disconnected before the session began."))
            elif self._session is not None:
                self._session.close()
        if self._ending is not None:
            await self._ending

    # --- inside: requests ---------------------------------------------------------------------------------------

    def _send(self, content: Any, options: SendOptions) -> Outcome[Ack]:
        frame = asked.send_frame(content, options, new_key=lambda: secrets.token_urlsafe(12))
        if frame.delivery == "lossy":
            return self._send_lossy(frame)
        timeout: int | UnsetType | None = UNSET
        if "timeout" in options:
            seconds = options["timeout"]
            timeout = None if seconds is None else int(seconds * 1000)
        return self._request(frame, ack_of, timeout)

    def _send_lossy(self, frame: wire.Send) -> Outcome[Ack]:
        outcome: Outcome[Ack] = Outcome(self._tell_error)
        try:
            is_sent = self._session is not None and self._session.send_lossy(frame)
        except ProtocolError as error:
            raise PeerbusError(error.code, error.message, details=error.details) from None
        outcome.succeed(Ack(is_dropped=not is_sent))
        return outcome

    def _update_attributes(self, attributes: Attributes) -> Outcome[Ack]:
        def told(reply: wire.Ack) -> Ack:
            if self._sealed is not None:
                self._sealed.attributes_told()
            return ack_of(reply)

        return self._request(wire.Update(id=1, attributes=attributes), told)

    def _request(
        self, frame: ClientFrame, convert: Callable[[Any], T], timeout_ms: int | UnsetType | None = UNSET
    ) -> Outcome[T]:
        # Whether an early one will be sealed is not known yet.
        may_be_sealed = self._sealed is not None or self._session is None
        return self._requests.ask(frame, convert, timeout_ms, may_be_sealed=may_be_sealed)

    def _ice_told(self, told: wire.Connected | wire.IceServersReply) -> list[IceServer]:
        servers = self._ice.told(told)
        self.emit("ice_servers", servers)
        return servers

    # --- inside: events -----------------------------------------------------------------------------------------

    def _told(self, event: outputs.Event) -> None:
        if isinstance(event, outputs.Received):
            assert self._session is not None
            # Not that of the last `connected`: one that claims to have recovered could bring another unnoticed.
            message = self._opening.message(event.message, self._session.session.cursors.epoch)
            if message is not None:
                self._inbox.take(message)
        elif isinstance(event, outputs.Done):
            self._requests.done(event.handle, event.reply)
        elif isinstance(event, outputs.Failed):
            self._requests.failed(event.handle, error_of(event.error))
        elif isinstance(event, State):
            self._state_told(event)
        elif isinstance(event, outputs.Joined):
            self._joined(event)
        elif isinstance(event, outputs.MembersChanged):
            self.emit("presence", self._opening.presence(event.presence))
        elif isinstance(event, outputs.Gap):
            self.emit("gap", event)
        elif isinstance(event, outputs.ChannelChanged):
            self.emit("channel", event.is_locked)
        elif isinstance(event, outputs.Expiring):
            self.emit("expiring", event.expires_in_ms)
        elif isinstance(event, outputs.Trouble):
            self._tell_error(error_of(event.error))

    def _joined(self, event: outputs.Joined) -> None:
        """Private attributes follow the name that they are sealed under, where the server has chosen it."""
        if self._info is not None:
            self._ice_told(self._info)
        sealed, session = self._sealed, self._session
        if sealed is None or session is None:
            return
        # What of the others' attributes cannot be opened is told now, not when somebody happens to look.
        members = self._members_of(session.session.roster.members)
        # Who went while there was no connection is told by nothing else.
        sealed.forget_all_but({member.session_id for member in members})
        is_new = event.session_id != self._attributes_session
        self._attributes_session = event.session_id
        if is_new and not self._is_named and sealed.private_attributes:
            self._update_attributes(session.session.attributes)

    def _state_told(self, state: State) -> None:
        if state.name == "closed":
            self._closed(error_of(state), state)
            return
        self._set_state(state)
        if state.name == "connected" and self._connecting is not None:
            self._connecting.succeed(self)

    def _closed(self, error: PeerbusError, state: State | None = None) -> None:
        """The session is over; only one that this side closed is no error."""
        session, is_own = self._session, error.code is ErrorCode.CLOSED
        self._ice.stop()
        self._requests.end(error)
        self._inbox.end(None if is_own else error)
        was_waiting = self._connecting is not None and not self._connecting.done()
        if self._connecting is not None:
            self._connecting.fail(error, is_expected=is_own)
        if session is not None:
            self._ending = asyncio.create_task(session.wait_closed(), name="peerbus-ending")
        self._set_state(state or State(name="closed", code=error.code.value, why=error.message))
        if not is_own and not was_waiting:
            self._tell_error(error)

    def _set_state(self, state: State) -> None:
        if state == self._state:
            return
        was_connected = self.is_connected
        self._state = state
        self.emit("state", state)
        if self.is_connected and not was_connected:
            self.emit("connect")
        elif was_connected and not self.is_connected:
            self.emit("disconnect")
