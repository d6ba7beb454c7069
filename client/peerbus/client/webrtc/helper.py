"""
A call in the channel of an agent: what one publishes, what one receives, and data beside it.

Owns what a user sees, and the connections that follow one another. Never negotiates (`connection`, `negotiation`) and
never touches a packet (`peer`). The browser SDK has the same names in camelCase.

    async with WebRTCHelper(agent) as call:
        call.on_track = lambda track: print(track.name, track.kind)
        await call.publish("film.mp4", loop=True)
        await call.send_data({"x": 1})
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args, overload
from urllib.parse import urlsplit

import msgspec

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.events import Callback, Emitter
from peerbus.client.outcome import Outcome
from peerbus.client.records import Message
from peerbus.client.webrtc import negotiation as follows
from peerbus.client.webrtc.connection import Broken, CallConnection, Surroundings, refusal_error
from peerbus.client.webrtc.data_port import DataPort
from peerbus.client.webrtc.delivery import decode_message
from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.ice import IcePolicy, read_servers, setup
from peerbus.client.webrtc.negotiation import FIRST_SLOTS, Negotiation
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.publishing import Publishing
from peerbus.client.webrtc.reception import Reception
from peerbus.client.webrtc.reconnect import Backoff
from peerbus.client.webrtc.records import ActiveSpeaker, CallState, Peer
from peerbus.client.webrtc.remote_track import RemoteTrack
from peerbus.client.webrtc.sources import source_of
from peerbus.client.webrtc.stats import CallStats, Rates
from peerbus.client.webrtc.stats_report import report
from peerbus.protocol.messages import IceServer
from peerbus.protocol.session.outputs import Gap, State
from peerbus.protocol.signals import SFU_AGENT, MediaKind, SfuSignal, Source

Mode: TypeAlias = Literal["sfu", "p2p", "relay", "auto"]
Recipient: TypeAlias = str | Peer
Handler = TypeVar("Handler", bound=Callable[..., Any])

SIGNAL: Final = "signal"
"""The type of messages that carry signals."""
_GOODBYE_S: Final = 2.0


class WebRTCHelper(Emitter):
    """
    One call. Connects by `connect`, or at the first `publish`, `send_data` or handler of `track` or `data`.

    Events, each also as an attribute (`on_track`, …): `track(RemoteTrack)`, `track_ended(RemoteTrack)`,
    `peers(list[Peer])`, `active_speaker(list[ActiveSpeaker])` with the loudest first, `data(data, Peer)` (as an
    attribute: `on_data_received`), `state(CallState)`, `encryption_state(RemoteTrack)` when `RemoteTrack.encryption`
    has changed, `error(Exception)`. Handlers are functions or
    coroutine functions.

    After a loss of the connection it makes another by itself and publishes everything again. A loss of the agent's
    connection alone disturbs nothing.
    """

    on_track = Callback[Callable[[RemoteTrack], Any]]("track")
    on_track_ended = Callback[Callable[[RemoteTrack], Any]]("track_ended")
    on_peers = Callback[Callable[[list[Peer]], Any]]("peers")
    on_active_speaker = Callback[Callable[[list[ActiveSpeaker]], Any]]("active_speaker")
    on_data_received = Callback[Callable[[Any, Peer], Any]]("data")
    on_state = Callback[Callable[[CallState], Any]]("state")
    on_encryption_state = Callback[Callable[[RemoteTrack], Any]]("encryption_state")
    on_error = Callback[Callable[[Exception], Any]]("error")

    def __init__(
        self,
        agent: AgentConnection,
        *,
        mode: Mode = "sfu",
        ice_servers: Sequence[IceServer | Mapping[str, Any]] | None = None,
        ice_transport_policy: IcePolicy = "all",
        e2ee: bool | None = None,
        connect_timeout: float | None = 30.0,
    ) -> None:
        """
        `agent` is connected to the channel of the call, or will be.

        `e2ee`: whether frames are end-to-end encrypted, so that the server can't see or hear them. By default they are
        if the channel is sealed. False switches it off: who has it on is not seen or heard then, and sees and hears
        nothing of this side. True asks for it in an open channel, which has to have a password (else `bad_request`).

        `ice_servers`: STUN and TURN servers, in the form of `RTCPeerConnection`'s `iceServers`; by default those that
        the server hands out. `ice_transport_policy="relay"`: through a TURN server only.

        `connect_timeout` (seconds; None: for ever) is how long joining may take, attempts after a failure that may
        pass included. Reconnecting later never gives up. Raises `PeerbusError` for a mode that there is not.
        """
        super().__init__()
        if mode not in get_args(Mode):
            raise PeerbusError(
                ErrorCode.BAD_REQUEST, f"mode is one of {', '.join(get_args(Mode))}, not {mode!r}."
            )
        if mode != "sfu":
            raise PeerbusError(
                ErrorCode.NOT_SUPPORTED, f"The mode {mode!r} is not supported yet; leave it out."
            )
        if ice_transport_policy not in get_args(IcePolicy):
            raise PeerbusError(ErrorCode.BAD_REQUEST, "ice_transport_policy is all or relay.")
        self._agent: Final = agent
        self._ice_servers: Final = None if ice_servers is None else read_servers(ice_servers)
        self._ice_policy: Final[IcePolicy] = ice_transport_policy
        self._connect_timeout: Final = connect_timeout
        self._state = CallState(name="idle")
        self._negotiation: Final = Negotiation()
        self._publishing: Final = Publishing(
            on_change=self._publications_changed,
            on_end=self._publication_ended,
            on_error=self._tell_error,
        )
        self._encryption: Final = CallEncryption(agent, e2ee=e2ee)
        self._reception: Final = Reception(self.emit, self._encryption)
        self._data: Final = DataPort(self._tell_error)
        self._rates: Final = Rates()
        self._backoff: Final = Backoff()
        self._connection: CallConnection | None = None
        self._connecting: Outcome[WebRTCHelper] | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._slots: dict[MediaKind, int] = dict(FIRST_SLOTS)
        self._is_wanted = False
        self._hurry: Final = asyncio.Event()
        self._ready: asyncio.Event | None = None
        agent.add_listener(SIGNAL, self._signal_came)
        agent.add_listener("state", self._agent_changed)
        agent.add_listener("gap", self._agent_missed)

    # --- what one can look at -----------------------------------------------------------------------------------

    @property
    def state(self) -> CallState:
        """Where the call stands: its `name`, and for people `why` and `code`."""
        return self._state

    @property
    def is_connected(self) -> bool:
        """Whether media and data flow right now."""
        return self._state.name == "connected"

    @property
    def is_encrypted(self) -> bool:
        """Whether what is sent is end-to-end encrypted, and nothing else is shown."""
        return self._encryption.is_on

    @property
    def peers(self) -> list[Peer]:
        """Everybody else in the call, with what they publish."""
        return self._reception.peers(self._negotiation, self._agent.identity)

    @property
    def tracks(self) -> list[RemoteTrack]:
        """What is received now."""
        return list(self._reception.tracks.values())

    @property
    def publications(self) -> list[Publication]:
        """What one publishes oneself."""
        return list(self._publishing.publications)

    # --- coming and going ---------------------------------------------------------------------------------------

    def connect(self) -> Outcome[WebRTCHelper]:
        """
        Joins the call, and stays in it across losses of the connection until `close`.

        Begins at once. Raises `PeerbusError`: why the call can't be joined (`forbidden`, `no_worker`, …).
        """
        if self._state.name == "closed":
            raise PeerbusError(ErrorCode.CLOSED, "This call is over; make another WebRTCHelper.")
        if self._connecting is None:
            self._connecting = Outcome(self._tell_error)
            self._is_wanted = True
            self._begin()
        return self._connecting

    def reconnect_now(self) -> None:
        """Ends the waiting for the next attempt, for example when the network is known to be back."""
        self._hurry.set()

    def close(self) -> asyncio.Task[None]:
        """Leaves the call. Begins at once; done when no connection, task or thread of it is left."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="peerbus-call-close")
        return self._closing

    async def __aenter__(self) -> WebRTCHelper:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def add_listener(self, event: str, f: Handler) -> Handler:
        """See pyee. A handler of what comes in is a reason to join the call."""
        super().add_listener(event, f)
        if event in ("track", "data"):
            self._want()
        return f

    # --- publishing ---------------------------------------------------------------------------------------------

    @overload
    def publish(
        self, source: str | Path, *, loop: bool = False, kind: MediaKind | None = None, is_muted: bool = False
    ) -> Outcome[list[Publication]]: ...

    @overload
    def publish(
        self,
        source: Any,
        *,
        source_kind: Source | None = None,
        name: str | None = None,
        kind: MediaKind | None = None,
        fps: float = 30.0,
        sample_rate: int | None = None,
        channels: int = 1,
        is_muted: bool = False,
    ) -> Outcome[Publication]: ...

    def publish(
        self,
        source: Any,
        *,
        source_kind: Source | None = None,
        name: str | None = None,
        kind: MediaKind | None = None,
        loop: bool = False,
        fps: float = 30.0,
        sample_rate: int | None = None,
        channels: int = 1,
        is_muted: bool = False,
    ) -> Outcome[Any]:
        """
        Sends something to everybody in the call; done when the SFU has taken it.

            camera, microphone = await call.publish("film.mp4", loop=True)       # a file: all that is in it
            await call.publish(pictures(), fps=15)                               # av.VideoFrame or RGB arrays
            await call.publish(sound(), sample_rate=16_000)                      # PCM: bytes, int16 or float32
            await call.publish(track)                                            # of aiortc, or a RemoteTrack

        Generators are asynchronous; they are read when their time has come, and closed when the publication ends.
        `kind` is "audio" or "video": of a file only that, of a generator what it gives where `sample_rate` and
        `source_kind` leave that open. `source_kind` tells the others what it is (by default "microphone" or "camera").
        `name` is the publication's id, unique among the own ones.

        Raises `PeerbusError`: `bad_request`, `not_found` (a file), `forbidden`, `codec_not_supported`, …
        """
        if self._state.name == "closed":
            raise PeerbusError(ErrorCode.CLOSED, "This call is over; make another WebRTCHelper.")
        if isinstance(source, str | Path):
            outcome: Outcome[Any] = self._publishing.add_file(source, loop=loop, kind=kind, is_muted=is_muted)
        else:
            media = source_of(
                source,
                kind=kind,
                source_kind=source_kind,
                fps=fps,
                sample_rate=sample_rate,
                channels=channels,
            )
            outcome = self._publishing.add(media, source_kind=source_kind, name=name, is_muted=is_muted)
        self._want()
        return outcome

    def unpublish(self, publication: Publication) -> Outcome[None]:
        """Ends a publication; done when the SFU was told. Has no effect on one that is over."""
        work = None
        if self._publishing.end(publication) and self._connection is not None:
            work = self._connection.unpublish(publication)
        return self._told(work)

    def mute(self, publication: Publication, muted: bool = True) -> Outcome[None]:
        """Holds a publication back, or lets it go on. Its source keeps running, as a microphone does."""
        publication.feed.is_muted = muted
        connection = self._connection
        return self._told(None if connection is None else connection.mute(publication))

    # --- data ---------------------------------------------------------------------------------------------------

    def send_data(
        self,
        payload: Any,
        to: Recipient | Sequence[Recipient] | None = None,
        *,
        lossy: bool = False,
    ) -> Outcome[bool]:
        """
        Sends anything that MessagePack knows to everybody else in the call, or to some: names, identities or peers.

        Reliable and in order by default; await it to keep pace (it is done when the message went into the connection,
        and True). `lossy=True` never waits long: the outcome is False if the message was dropped, because more was
        sent than goes through in 100 ms. Works before the connection stands; up to 4 MiB wait then.

        Raises `PeerbusError`: `too_large` (64 KiB with the addresses), `unknown_recipient`, `queue_full`, `closed`.
        """
        if self._state.name == "closed":
            raise PeerbusError(ErrorCode.CLOSED, "This call is over; make another WebRTCHelper.")
        outcome = self._data.send(self._identities(to), payload, is_lossy=lossy)
        self._want()
        return outcome

    async def stats(self) -> CallStats:
        """Packets, bytes, losses, delay: everything there is to know about the call at this moment."""
        now_ms = time.time_ns() // 1_000_000
        return await report(
            now_ms,
            self._state.name,
            self._connection,
            self._publishing.publications,
            self._reception,
            self._data.stats,
            self._rates,
        )

    # --- inside: connections ------------------------------------------------------------------------------------

    def _want(self) -> None:
        """Joins as soon as the agent is there; a failure that nobody awaits goes to the `error` event."""
        if self._connecting is None and self._state.name != "closed":
            self._is_wanted = True
            if self._agent.state.name not in ("idle", "closed"):
                self.connect()

    def _begin(self) -> None:
        if self._agent.state.name in ("idle", "closed"):
            self._finish(PeerbusError(ErrorCode.BAD_REQUEST, "Connect the agent to a channel first."))
            return
        self._ready = asyncio.Event()
        if self._agent.is_connected:
            self._ready.set()
        self._set_state(CallState(name="connecting"))
        self._running = asyncio.create_task(self._run(), name="peerbus-call")
        self._running.add_done_callback(self._run_ended)

    async def _run(self) -> None:
        """One connection after the other, until one ends for good."""
        loop = asyncio.get_running_loop()
        gives_up_at = None if self._connect_timeout is None else loop.time() + self._connect_timeout
        attempt = 0
        while True:
            # The ICE servers come with the agent's session.
            await self._wait_ready()
            connection = self._connection = CallConnection(
                self._negotiation,
                self._publishing.publications,
                Surroundings(
                    send=self._send_signal,
                    wait_ready=self._wait_ready,
                    on_up=self._is_up,
                    on_data=self._data_came,
                    on_refused=self._publication_refused,
                ),
                self._encryption,
                slots=self._slots,
                ice=setup(await self._fresh_ice_servers(), self._ice_policy, attempt=attempt, has_stun=False),
                on_loopback=_is_loopback(self._agent.api),
            )
            try:
                broken = await connection.run()
            finally:
                attempt = 0 if connection.was_up else attempt + 1
                self._slots = dict(connection.slots)
                self._connection = None
                self._data.pump(None)
                self._reception.detach()
            is_joining = self._connecting is not None and not self._connecting.done()
            is_late = is_joining and gives_up_at is not None and loop.time() >= gives_up_at
            if broken.is_final or is_late:
                self._finish(broken.error)
                return
            await self._pause(broken)

    def _run_ended(self, running: asyncio.Task[None]) -> None:
        error = None if running.cancelled() else running.exception()
        if error is not None:
            self._finish(
                PeerbusError(ErrorCode.INTERNAL, f"The call failed: {type(error).__name__}: {error}")
            )

    async def _pause(self, broken: Broken) -> None:
        """Before the next connection."""
        delay_ms = 0 if broken.is_at_once else self._backoff.next_delay_ms(random.random())  # noqa: S311 - no secret
        name: Literal["connecting", "reconnecting"] = (
            "reconnecting" if self._state.name in ("connected", "reconnecting") else "connecting"
        )
        code, why = broken.error.code.value, broken.error.message
        self._set_state(CallState(name=name, code=code, why=why, retry_in_ms=delay_ms))
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_ms / 1000):
                await self._hurry.wait()
        self._set_state(CallState(name=name, code=code, why=why))

    async def _fresh_ice_servers(self) -> list[IceServer]:
        if self._ice_servers is not None:
            return self._ice_servers
        try:
            return await self._agent.get_ice_servers()
        except PeerbusError:
            # The agent tries again; what it has may do until then.
            return self._agent.ice_servers

    async def _wait_ready(self) -> None:
        assert self._ready is not None
        await self._ready.wait()

    async def _send_signal(self, content: dict[str, Any]) -> None:
        await self._agent.send_message({"content": content}, type=SIGNAL, to=[SFU_AGENT], delivery="live")

    def _is_up(self) -> None:
        """The connection stands, or has room for data again."""
        connection = self._connection
        if connection is None or not connection.is_up:
            return
        if self._state.name != "connected":
            self._backoff.reset()
            self._set_state(CallState(name="connected"))
            if self._connecting is not None:
                self._connecting.succeed(self)
        self._data.pump(connection.peer)

    def _finish(self, error: PeerbusError) -> None:
        """The call is over, by itself or by `close`."""
        if self._state.name == "closed":
            return
        is_own = error.code is ErrorCode.CLOSED
        was_waiting = self._connecting is not None and not self._connecting.done()
        self._publishing.end_all(error)
        self._data.close()
        self._follow(self._negotiation.finish())
        for event, listener in self._listening():
            if listener in self._agent.listeners(event):
                self._agent.remove_listener(event, listener)
        self._set_state(CallState(name="closed", code=error.code.value, why=error.message))
        if self._connecting is not None:
            self._connecting.fail(error, is_expected=is_own)
        if not is_own and not was_waiting:
            self._tell_error(error)

    def _listening(self) -> list[tuple[str, Callable[..., Any]]]:
        return [(SIGNAL, self._signal_came), ("state", self._agent_changed), ("gap", self._agent_missed)]

    async def _close(self) -> None:
        running, connection = self._running, self._connection
        if connection is not None and self._agent.is_connected and self._state.name != "closed":
            try:
                async with asyncio.timeout(_GOODBYE_S):
                    await connection.leave()
            except (PeerbusError, TimeoutError):
                pass  # The SFU notices by itself.
        feeds = self._publishing.reading
        self._finish(PeerbusError(ErrorCode.CLOSED, "The call was closed."))
        if running is not None:
            running.cancel()
            await asyncio.wait([running])
        if feeds:
            await asyncio.wait(feeds)

    # --- inside: what the agent says ------------------------------------------------------------------------------

    def _agent_changed(self, state: State) -> None:
        if state.name == "closed":
            if self._running is not None:
                self._running.cancel()
            if self._is_wanted:
                self._finish(
                    PeerbusError(ErrorCode.CLOSED, f"The agent left the channel. {state.why}".strip())
                )
            return
        if self._ready is None:
            if self._is_wanted and self._connecting is None:
                self.connect()
        elif state.name == "connected":
            if self._connection is not None and self._encryption.is_renamed():
                self._connection.rename()
            self._ready.set()
        else:
            self._ready.clear()

    def _agent_missed(self, gap: Gap) -> None:
        """Signals may have been lost: an offer without changes has the SFU tell everything again."""
        if gap.live and self._connection is not None:
            self._connection.want_offer()

    def _signal_came(self, message: Message) -> None:
        try:
            signal: SfuSignal = msgspec.convert(message.content, SfuSignal)
        except msgspec.ValidationError:
            return  # Of a newer server.
        self._follow(self._negotiation.receive(signal, self._agent.identity))

    def _follow(self, events: list[follows.Event]) -> None:
        for event in events:
            self._follow_one(event, self._connection)

    def _follow_one(self, event: follows.Event, connection: CallConnection | None) -> None:
        if isinstance(event, follows.SpeakersChanged):
            self.emit("active_speaker", self._reception.speakers(self._negotiation, event.speakers))
        elif isinstance(event, follows.CallersChanged):
            self.emit("peers", self.peers)
        elif isinstance(event, follows.TrackStarted | follows.TrackMoved | follows.TrackEnded):
            self._reception.follow(event, None if connection is None else connection.peer)
        elif isinstance(event, follows.PublicationChanged):
            self._reception.update(event.publication)
        elif connection is None:
            return
        elif isinstance(event, follows.Answered):
            connection.answered(event.sdp)
        elif isinstance(event, follows.Refused):
            if event.is_offer:
                connection.refused(event)
            elif event.code != ErrorCode.NOT_FOUND:
                self._tell_error(refusal_error(event.code, event.message, event.details))
        elif isinstance(event, follows.SlotsWanted):
            connection.grow(event.counts)
        elif isinstance(event, follows.Replace):
            error = PeerbusError(ErrorCode.SERVER_RESTARTING, event.reason)
            connection.break_off(Broken(error=error, is_final=False))
        else:
            connection.break_off(Broken(error=refusal_error(event.code, event.message), is_final=True))

    # --- inside: publications -------------------------------------------------------------------------------------

    def _publications_changed(self) -> None:
        if self._connection is not None:
            self._connection.want_offer()

    def _publication_ended(self, publication: Publication) -> None:
        if self._connection is not None:
            self._told(self._connection.unpublish(publication))

    def _publication_refused(self, publication: Publication, error: PeerbusError) -> None:
        self._publishing.end(publication, error)

    def _told(self, work: Any) -> Outcome[None]:
        """The outcome of telling the SFU something; None is nothing to tell."""
        outcome: Outcome[None] = Outcome(self._tell_error)
        if work is None:
            outcome.succeed(None)
            return outcome

        def done(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if isinstance(error, Exception):
                outcome.fail(error)
            else:
                outcome.succeed(None)

        asyncio.create_task(work, name="peerbus-call-signal").add_done_callback(done)
        return outcome

    # --- inside: data ---------------------------------------------------------------------------------------------

    def _data_came(self, data: bytes) -> None:
        try:
            message = decode_message(data)
        except PeerbusError as error:
            self._tell_error(error)
            return
        if message.sender is None:
            problem = message.payload if isinstance(message.payload, dict) else {}
            details = problem.get("details")
            self._tell_error(
                refusal_error(
                    str(problem.get("code", ErrorCode.INTERNAL)),
                    str(problem.get("message", "")),
                    details if isinstance(details, dict) else None,
                )
            )
            return
        self._data.received()
        peer = self._reception.peer(self._negotiation, message.sender)
        self.emit("data", message.payload, peer)

    def _identities(self, to: Recipient | Sequence[Recipient] | None) -> list[str] | None:
        """Names and peers as identities; what is neither is left to the SFU, which knows who is there."""
        if to is None:
            return None
        given = [to] if isinstance(to, str | Peer) else list(to)
        by_name = {peer.name: peer.identity for peer in self.peers}
        return [one.identity if isinstance(one, Peer) else by_name.get(one, one) for one in given]

    def _set_state(self, state: CallState) -> None:
        if state != self._state:
            self._state = state
            self.emit("state", state)

    def _tell_error(self, error: Exception) -> None:
        self.emit("error", error)


def _is_loopback(api: str) -> bool:
    host = urlsplit(api).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
