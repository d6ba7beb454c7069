"""
The call through the SFU: connections that follow one another, what is received on them, and the signals about both.

Owns the present connection, the waiting between two, and which ICE servers each gets. Begins when it is asked to, and
can be begun again after it ended. Never publishes by itself (`publishing`) and never reads data messages (`on_data`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
from collections.abc import Callable
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.records import Message
from peerbus.client.webrtc import negotiation as follows
from peerbus.client.webrtc.connection import Broken, CallConnection, Surroundings, refusal_error
from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.ice_choice import IceChoice
from peerbus.client.webrtc.negotiation import FIRST_SLOTS, Negotiation
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.publishing import Publishing
from peerbus.client.webrtc.reception import Reception
from peerbus.client.webrtc.reconnect import Backoff
from peerbus.client.webrtc.records import CallState
from peerbus.protocol.messages import SIGNAL_TYPE
from peerbus.protocol.session.outputs import Gap, State
from peerbus.protocol.signals import SFU_AGENT, MediaKind, SfuSignal

_GOODBYE_S: Final = 2.0


class CallEvents(Struct, frozen=True, kw_only=True):
    """What a call tells."""

    emit: Callable[..., Any]
    """Events of users: `active_speaker`, `peers`."""
    on_state: Callable[[CallState], None]
    """Of the connections; `closed` is told by `on_over`."""
    on_room: Callable[[], None]
    """The data channels have room, or there are none any more."""
    on_data: Callable[[bytes], None]
    on_over: Callable[[PeerbusError], None]
    """It has ended for good, and why."""
    on_error: Callable[[Exception], None]


class SfuCall:
    """See the module."""

    def __init__(
        self,
        agent: AgentConnection,
        publishing: Publishing,
        reception: Reception,
        encryption: CallEncryption,
        ice: IceChoice,
        events: CallEvents,
    ) -> None:
        self.negotiation: Final = Negotiation()
        self.state = CallState(name="idle")
        self.connection: CallConnection | None = None
        self._agent: Final = agent
        self._publishing: Final = publishing
        self._reception: Final = reception
        self._encryption: Final = encryption
        self._ice: Final = ice
        self._events: Final = events
        self._backoff: Final = Backoff()
        self._running: asyncio.Task[None] | None = None
        self._slots: dict[MediaKind, int] = dict(FIRST_SLOTS)
        self._hurry: Final = asyncio.Event()
        self._ready: asyncio.Event | None = None
        self._was_up = False
        agent.add_listener("signal", self._signal_came)
        agent.add_listener("gap", self._agent_missed)

    @property
    def is_running(self) -> bool:
        """Whether it was begun, and is not over."""
        return self._running is not None

    # --- coming and going ---------------------------------------------------------------------------------------

    def begin(self, connect_timeout: float | None) -> None:
        """Joins; gives up after so many seconds, unless it was up by then."""
        self._ready = asyncio.Event()
        if self._agent.is_connected:
            self._ready.set()
        self._was_up = False
        self._running = asyncio.create_task(self._run(connect_timeout), name="peerbus-call")
        self._running.add_done_callback(self._run_ended)
        self._set_state(CallState(name="connecting"))

    def reconnect_now(self) -> None:
        """Ends the waiting for the next attempt."""
        self._hurry.set()

    def cancel(self) -> None:
        """Ends without a word to the SFU; `stop` waits for that."""
        if self._running is not None:
            self._running.cancel()

    async def leave(self) -> None:
        """Tells the SFU that this is the end."""
        if self.connection is not None and self._agent.is_connected:
            try:
                async with asyncio.timeout(_GOODBYE_S):
                    await self.connection.leave()
            except (PeerbusError, TimeoutError):
                pass  # The SFU notices by itself.

    async def stop(self) -> None:
        """Ends; it may begin again afterwards."""
        running = self._running
        if running is not None:
            running.cancel()
            await asyncio.wait([running])
        self._running = None
        self.forget()
        self.state = CallState(name="idle")

    def forget(self) -> None:
        """Nothing is received any more."""
        self._follow(self.negotiation.finish())

    def close(self) -> None:
        """Does not listen to the agent any more."""
        for event, listener in (("signal", self._signal_came), ("gap", self._agent_missed)):
            if listener in self._agent.listeners(event):
                self._agent.remove_listener(event, listener)

    def agent_changed(self, state: State) -> None:
        """The agent's connection came or went."""
        if self._ready is None:
            return
        if state.name == "connected":
            if self.connection is not None and self._encryption.is_renamed():
                self.connection.rename()
            self._ready.set()
        else:
            self._ready.clear()

    # --- connections --------------------------------------------------------------------------------------------

    async def _run(self, connect_timeout: float | None) -> None:
        """One connection after the other, until one ends for good."""
        loop = asyncio.get_running_loop()
        gives_up_at = None if connect_timeout is None else loop.time() + connect_timeout
        attempt = 0
        while True:
            # The ICE servers come with the agent's session.
            await self._wait_ready()
            connection = self.connection = CallConnection(
                self.negotiation,
                self._publishing.publications,
                Surroundings(
                    send=self._send_signal,
                    wait_ready=self._wait_ready,
                    on_up=self._is_up,
                    on_data=self._events.on_data,
                    on_refused=self._publication_refused,
                ),
                self._encryption,
                slots=self._slots,
                ice=await self._ice.setup(attempt=attempt, has_stun=False),
                on_loopback=is_loopback(self._agent.api),
            )
            try:
                broken = await connection.run()
            finally:
                attempt = 0 if connection.was_up else attempt + 1
                self._slots = dict(connection.slots)
                self.connection = None
                self._events.on_room()
                self._reception.detach()
            is_late = not self._was_up and gives_up_at is not None and loop.time() >= gives_up_at
            if broken.is_final or is_late:
                self._running = None
                self._events.on_over(broken.error)
                return
            await self._pause(broken)

    def _run_ended(self, running: asyncio.Task[None]) -> None:
        error = None if running.cancelled() else running.exception()
        if error is not None:
            self._running = None
            text = f"The call failed: {type(error).__name__}: {error}"
            self._events.on_over(PeerbusError(ErrorCode.INTERNAL, text))

    async def _pause(self, broken: Broken) -> None:
        """Before the next connection."""
        delay_ms = 0 if broken.is_at_once else self._backoff.next_delay_ms(random.random())  # noqa: S311 - no secret
        name: Literal["connecting", "reconnecting"] = (
            "reconnecting" if self.state.name in ("connected", "reconnecting") else "connecting"
        )
        code, why = broken.error.code.value, broken.error.message
        self._set_state(CallState(name=name, code=code, why=why, retry_in_ms=delay_ms))
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_ms / 1000):
                await self._hurry.wait()
        self._set_state(CallState(name=name, code=code, why=why))

    async def _wait_ready(self) -> None:
        assert self._ready is not None
        await self._ready.wait()

    async def _send_signal(self, content: dict[str, Any]) -> None:
        await self._agent.send_message(
            {"content": content}, type=SIGNAL_TYPE, to=[SFU_AGENT], delivery="live"
        )

    def _is_up(self) -> None:
        """The connection stands, or has room for data again."""
        if self.connection is None or not self.connection.is_up:
            return
        if self.state.name != "connected":
            self._backoff.reset()
            self._was_up = True
            self._set_state(CallState(name="connected"))
        self._events.on_room()

    def _set_state(self, state: CallState) -> None:
        self.state = state
        self._events.on_state(state)

    # --- publications -------------------------------------------------------------------------------------------

    def want_offer(self) -> None:
        """What is published has changed."""
        if self.connection is not None:
            self.connection.want_offer()

    def _publication_refused(self, publication: Publication, error: PeerbusError) -> None:
        self._publishing.end(publication, error)

    async def unpublish(self, publication: Publication) -> None:
        """Takes a publication off its line. Raises `PeerbusError`."""
        if self.connection is not None:
            await self.connection.unpublish(publication)

    async def mute(self, publication: Publication) -> None:
        """Tells whether it is muted. Raises `PeerbusError`."""
        if self.connection is not None:
            await self.connection.mute(publication)

    # --- signals ------------------------------------------------------------------------------------------------

    def _agent_missed(self, gap: Gap) -> None:
        """Signals may have been lost: an offer without changes has the SFU tell everything again."""
        if gap.live:
            self.want_offer()

    def _signal_came(self, message: Message) -> None:
        if message.sender != SFU_AGENT:
            return
        try:
            signal: SfuSignal = msgspec.convert(message.content, SfuSignal)
        except msgspec.ValidationError:
            return  # Of a newer server.
        self._follow(self.negotiation.receive(signal, self._agent.identity))

    def _follow(self, events: list[follows.Event]) -> None:
        for event in events:
            self._follow_one(event, self.connection)

    def _follow_one(self, event: follows.Event, connection: CallConnection | None) -> None:
        if isinstance(event, follows.SpeakersChanged):
            self._events.emit("active_speaker", self._reception.speakers(self.negotiation, event.speakers))
        elif isinstance(event, follows.CallersChanged):
            self._events.emit("peers")
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
                self._events.on_error(refusal_error(event.code, event.message, event.details))
        elif isinstance(event, follows.SlotsWanted):
            connection.grow(event.counts)
        elif isinstance(event, follows.Replace):
            error = PeerbusError(ErrorCode.SERVER_RESTARTING, event.reason)
            connection.break_off(Broken(error=error, is_final=False))
        else:
            connection.break_off(Broken(error=refusal_error(event.code, event.message), is_final=True))


def is_loopback(api: str) -> bool:
    """Whether the server is on this machine."""
    host = urlsplit(api).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
