"""
A call in the channel of an agent: what one publishes, what one receives, and data beside it.

Owns what a user sees. Never makes a connection: that is `group_call`. The browser SDK has the same names in camelCase.

    async with WebRTCHelper(agent, mode="mesh") as call:
        call.on_data_received = lambda data, peer: print(peer.name, data)
        call.on_track = lambda track: print(track.name, track.kind)
        await call.publish("film.mp4", loop=True)
        await call.send_data({"x": 1})
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeAlias, TypeVar, get_args, overload

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.events import Callback, Emitter
from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.call_parts import CallParts
from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.group_call import GroupCall
from peerbus.client.webrtc.ice import IcePolicy
from peerbus.client.webrtc.ice_choice import IceChoice
from peerbus.client.webrtc.network_simulator import GOOD, Simulation
from peerbus.client.webrtc.peer_group import PeerState
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.publishing import Publishing
from peerbus.client.webrtc.reception import Reception
from peerbus.client.webrtc.records import ActiveSpeaker, CallState, Peer
from peerbus.client.webrtc.remote_track import RemoteTrack
from peerbus.client.webrtc.sources import source_of
from peerbus.client.webrtc.stats import CallStats, Rates
from peerbus.client.webrtc.stats_report import report
from peerbus.protocol.groups import Mode, WantedMode
from peerbus.protocol.messages import IceServer
from peerbus.protocol.session.outputs import State
from peerbus.protocol.signals import MediaKind, Source

Recipient: TypeAlias = str | Peer
Handler = TypeVar("Handler", bound=Callable[..., Any])


class WebRTCHelper(Emitter):
    """
    One call. Connects by `connect`, or at the first `publish`, `send_data` or handler of `track` or `data`.

    Events, each also as an attribute (`on_track`, …): `track(RemoteTrack)`, `track_ended(RemoteTrack)`,
    `peers(list[Peer])`, `active_speaker(list[ActiveSpeaker])` with the loudest first, `data(data, Peer)` (as an
    attribute: `on_data_received`), `state(CallState)`, `encryption_state(RemoteTrack)` when `RemoteTrack.encryption`
    has changed, `mode_change(mode, reason)`, `peer_state(Peer, "connecting" | "connected" | "carried" | "left")`,
    `host_change(Peer, term, state)` in mode `host` (the peer may be this member), `error(Exception)`. Handlers are
    functions or coroutine functions.

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
    on_mode_change = Callback[Callable[[Mode, str], Any]]("mode_change")
    on_host_change = Callback[Callable[[Peer, int, Any], Any]]("host_change")
    on_peer_state = Callback[Callable[[Peer, PeerState], Any]]("peer_state")
    on_error = Callback[Callable[[Exception], Any]]("error")

    def __init__(
        self,
        agent: AgentConnection,
        *,
        mode: WantedMode = "auto",
        carry: bool = True,
        simulate: Simulation = GOOD,
        ice_servers: Sequence[IceServer | Mapping[str, Any]] | None = None,
        ice_transport_policy: IcePolicy = "all",
        e2ee: bool | None = None,
        connect_timeout: float | None = 30.0,
    ) -> None:
        """
        `agent` is connected to the channel of the call, or will be.

        `mode`: how data and media travel, for all who have a helper in the channel; the first one's holds until
        `switch_mode`. `mesh`: a connection between every two. `host`: data through one member, in one order for all.
        `relay`: data over signaling. `datachannel`: data through the SFU. `sfu`: media and data through the SFU.
        `auto`, as by default: what suits the number of members and what they do, chosen by the server.
        `carry`: a peer that the mode's way does not reach is sent its data over signaling meanwhile.
        `simulate`: a worse network than there is, for trying what a program does in it; see the method.

        `e2ee`: whether frames are end-to-end encrypted, so that the server can't see or hear them. By default they are
        if the channel is sealed. False switches it off: who has it on is not seen or heard then, and sees and hears
        nothing of this side. True asks for it in an open channel, which has to have a password (else `bad_request`).

        `ice_servers`: STUN and TURN servers, in the form of `RTCPeerConnection`'s `iceServers`; by default those that
        the server hands out. `ice_transport_policy="relay"`: through a TURN server only.

        `connect_timeout` (seconds; None: for ever) is how long joining may take, attempts after a failure that may
        pass included. Reconnecting later never gives up. Raises `PeerbusError` for a mode that there is not.
        """
        super().__init__()
        if mode not in get_args(Mode) and mode != "auto":
            names = ", ".join((*get_args(Mode), "auto"))
            raise PeerbusError(ErrorCode.BAD_REQUEST, f"mode is one of {names}, not {mode!r}.")
        self._agent: Final = agent
        self._state = CallState(name="idle")
        self._publishing: Final = Publishing(
            on_change=self._publications_changed,
            on_end=self._publication_ended,
            on_error=self._tell_error,
        )
        encryption = CallEncryption(agent, e2ee=e2ee)
        self._encryption: Final = encryption
        self._reception: Final = Reception(self.emit, encryption)
        parts = CallParts(
            agent=agent,
            publishing=self._publishing,
            reception=self._reception,
            encryption=encryption,
            ice=IceChoice(agent, ice_servers, ice_transport_policy),
            connect_timeout=connect_timeout,
            emit=self.emit,
            on_state=self._set_state,
            on_over=self._finish,
            on_error=self._tell_error,
        )
        self._call: Final = GroupCall(parts, mode, carry=carry)
        if simulate != GOOD:
            self._call.simulate(simulate)
        self._negotiation: Final = self._call.sfu.negotiation
        self._rates: Final = Rates()
        self._connecting: Outcome[WebRTCHelper] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._is_wanted = False
        agent.add_listener("state", self._agent_changed)

    # --- what one can look at -----------------------------------------------------------------------------------

    @property
    def state(self) -> CallState:
        """Where the call stands: its `name`, and for people `why` and `code`."""
        return self._state

    @property
    def is_connected(self) -> bool:
        """Whether media and data flow right now; with whom, `is_connected_to` says."""
        return self._state.name == "connected"

    def is_connected_to(self, peer: Recipient) -> bool:
        """Whether data flow to and from a peer right now, by name, identity or as it is in `peers`."""
        return self._call.is_connected_to(peer.identity if isinstance(peer, Peer) else peer)

    @property
    def mode(self) -> Mode | None:
        """How data and media travel now; None while that is not known."""
        return self._call.mode

    @property
    def host(self) -> Peer | None:
        """Who is host, in mode `host`, maybe this member itself; None while there is none."""
        return self._call.host

    @property
    def is_host(self) -> bool:
        """Whether this member is host now: it keeps the state, and messages to `HOST` come to it."""
        return self._call.is_host

    @property
    def is_encrypted(self) -> bool:
        """Whether what is sent is end-to-end encrypted, and nothing else is shown."""
        return self._encryption.is_on

    @property
    def peers(self) -> list[Peer]:
        """Everybody else in the call, with what they publish."""
        return self._call.peers

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
        self._call.reconnect_now()

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
        is_there = self._publishing.end(publication)
        return self._told(self._call.unpublish(publication) if is_there else None)

    def mute(self, publication: Publication, muted: bool = True) -> Outcome[None]:
        """Holds a publication back, or lets it go on. Its source keeps running, as a microphone does."""
        publication.feed.is_muted = muted
        return self._told(self._call.mute(publication))

    # --- data ---------------------------------------------------------------------------------------------------

    def send_data(
        self,
        payload: Any,
        to: Recipient | Sequence[Recipient] | None = None,
        *,
        reliable: bool = True,
        lossy: bool = False,
    ) -> Outcome[bool]:
        """
        Sends JSON, text or bytes to everybody else in the call, or to some: names, identities or peers.

        Reliable and in order by default; await it to keep pace (it is done when the message was handed to a connection,
        and True). `reliable=False` (or `lossy=True`) never waits long: the outcome is False if the message was dropped,
        because more was sent than goes through in 100 ms. Works before the connection stands.

        Raises `PeerbusError`: `too_large` (64 MiB, lossy 16,000 bytes), `unknown_recipient`, `queue_full`, `closed`.
        """
        if self._state.name == "closed":
            raise PeerbusError(ErrorCode.CLOSED, "This call is over; make another WebRTCHelper.")
        names: list[str] | None = None
        if to is not None:
            given = [to] if isinstance(to, str | Peer) else list(to)
            names = [one.identity if isinstance(one, Peer) else one for one in given]
        outcome = self._call.send(names, payload, is_lossy=lossy or not reliable)
        self._want()
        return outcome

    def broadcast(self, payload: Any, *, reliable: bool = True) -> Outcome[bool]:
        """Sends to everybody else in the call; see `send_data`."""
        return self.send_data(payload, reliable=reliable)

    def set_host_state(self, state: Any) -> None:
        """
        The state of the host's application as it is now: JSON, text or bytes, at most 4 MiB.

        Kept by the successor at once, and by the others soon after. Whoever becomes host is given the newest by
        `host_change`, and then once more every message for the host that came after it.
        Raises `PeerbusError`: `forbidden` (this member is not host), `bad_request`, `too_large`.
        """
        self._call.set_host_state(state)

    def switch_mode(self, mode: WantedMode) -> Outcome[None]:
        """
        Has all members go to another mode; done when it holds. Messages flow meanwhile, and none is lost by it.

        Raises `PeerbusError`: `not_supported` (somebody can't or would not: `details`), `timeout`, `no_worker`,
        `proposal_pending`, `stale_term`; then all stay where they were.
        """
        return self._call.switch_mode(mode)

    def simulate(self, simulation: Simulation = GOOD) -> None:
        """
        Has data go as through a network like this from now on, in whatever mode; without an argument as it is.

        Both what is sent and what is received is later by `delay_ms` (up to `jitter_ms` more), so that a round trip
        takes twice that. Lossy messages get lost; reliable ones then come later by the time of a resend, never out of
        order. Picture and sound are as they were.
        """
        self._call.simulate(simulation)

    async def stats(self) -> CallStats:
        """Packets, bytes, losses, delay: everything there is to know about the call at this moment."""
        call = self._call
        return await report(
            time.time_ns() // 1_000_000,
            self._state.name,
            call.sfu.connection,
            self._publishing.publications,
            self._reception,
            self._rates,
            call,
        )

    # --- inside -------------------------------------------------------------------------------------------------

    def _want(self) -> None:
        """Joins as soon as the agent is there; a failure that nobody awaits goes to the `error` event."""
        if self._connecting is None and self._state.name != "closed":
            self._is_wanted = True
            if self._agent.state.name not in ("idle", "closed"):
                self.connect()

    def _begin(self) -> None:
        if self._agent.state.name in ("idle", "closed"):
            self._finish(PeerbusError(ErrorCode.BAD_REQUEST, "Connect the agent to a channel first."))
        else:
            self._call.begin()

    def _finish(self, error: PeerbusError) -> None:
        """The call is over, by itself or by `close`."""
        if self._state.name == "closed":
            return
        is_own = error.code is ErrorCode.CLOSED
        was_waiting = self._connecting is not None and not self._connecting.done()
        self._publishing.end_all(error)
        self._call.end()
        if self._agent_changed in self._agent.listeners("state"):
            self._agent.remove_listener("state", self._agent_changed)
        self._set_state(CallState(name="closed", code=error.code.value, why=error.message))
        if self._connecting is not None:
            self._connecting.fail(error, is_expected=is_own)
        if not is_own and not was_waiting:
            self._tell_error(error)

    async def _close(self) -> None:
        if self._state.name != "closed":
            await self._call.leave()
        feeds = self._publishing.reading
        self._finish(PeerbusError(ErrorCode.CLOSED, "The call was closed."))
        await self._call.close()
        if feeds:
            await asyncio.wait(feeds)

    def _agent_changed(self, state: State) -> None:
        if state.name == "closed":
            if self._is_wanted:
                text = f"The agent left the channel. {state.why}".strip()
                self._finish(PeerbusError(ErrorCode.CLOSED, text))
        elif self._is_wanted and self._connecting is None:
            self.connect()
        else:
            self._call.agent_changed(state)

    def _publications_changed(self) -> None:
        self._call.publications_changed()

    def _publication_ended(self, publication: Publication) -> None:
        self._told(self._call.unpublish(publication))

    def _told(self, work: Any) -> Outcome[None]:
        """The outcome of telling the others something; None is nothing to tell."""
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

    def _set_state(self, state: CallState) -> None:
        if self._state.name == "closed" or state == self._state:
            return
        self._state = state
        if state.name == "connected" and self._connecting is not None:
            self._connecting.succeed(self)
        self.emit("state", state)

    def _tell_error(self, error: Exception) -> None:
        self.emit("error", error)
