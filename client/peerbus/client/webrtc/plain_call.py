"""
The call through the SFU alone: media and data with everybody who is in the call.

Owns the data messages of that call, as they are sent through the SFU's data channels. Needs no group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.call_ways import CallParts
from peerbus.client.webrtc.connection import refusal_error
from peerbus.client.webrtc.data_port import DataPort
from peerbus.client.webrtc.delivery import Incoming, decode_message
from peerbus.client.webrtc.network_simulator import Simulation
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.records import Peer
from peerbus.client.webrtc.sfu_call import CallEvents, SfuCall
from peerbus.client.webrtc.stats import DataStats, PeerStats
from peerbus.protocol.groups import Mode, WantedMode
from peerbus.protocol.session.outputs import State


class PlainCall:
    """See the module, and `Call`."""

    mode: Final[Mode] = "sfu"
    term: Final = 0

    def __init__(self, parts: CallParts) -> None:
        self._parts: Final = parts
        self._data: Final = DataPort(parts.on_error)
        self.sfu: Final = SfuCall(
            parts.agent,
            parts.publishing,
            parts.reception,
            parts.encryption,
            parts.ice,
            CallEvents(
                emit=self._emit,
                on_state=parts.on_state,
                on_room=self._room_came,
                on_data=self._data_came,
                on_over=parts.on_over,
                on_error=parts.on_error,
            ),
        )

    @property
    def peers(self) -> list[Peer]:
        """See `Call`."""
        return self._parts.reception.peers(self.sfu.negotiation, self._parts.agent.identity)

    @property
    def data_stats(self) -> DataStats:
        """See `Call`."""
        return self._data.stats

    def peer_stats(self) -> list[PeerStats]:
        """See `Call`."""
        return []

    def is_connected_to(self, peer: str) -> bool:
        """See `Call`."""
        is_there = any(peer in (one.name, one.identity) for one in self.peers)
        return is_there and self.sfu.state.name == "connected"

    def begin(self) -> None:
        """See `Call`."""
        self.sfu.begin(self._parts.connect_timeout)

    def send(self, to: Sequence[str] | None, payload: Any, *, is_lossy: bool) -> Outcome[bool]:
        """See `Call`. Whoever is not known is left to the SFU, which knows who is there."""
        by_name = {peer.name: peer.identity for peer in self.peers}
        identities = None if to is None else [by_name.get(one, one) for one in to]
        return self._data.send(identities, payload, is_lossy=is_lossy)

    def switch_mode(self, mode: WantedMode) -> Outcome[None]:
        """See `Call`."""
        outcome: Outcome[None] = Outcome(self._parts.on_error)
        text = "A call that was made without a mode stays with the SFU; make the helper with the mode to begin in."
        outcome.fail(PeerbusError(ErrorCode.NOT_SUPPORTED, text))
        return outcome

    @property
    def host(self) -> Peer | None:
        """See `Call`; only a group has one."""
        return None

    @property
    def is_host(self) -> bool:
        """See `Call`."""
        return False

    def set_host_state(self, state: Any) -> None:
        """See `Call`. Raises `PeerbusError` (`not_supported`)."""
        raise PeerbusError(ErrorCode.NOT_SUPPORTED, "Make the WebRTCHelper with a mode.")

    def simulate(self, simulation: Simulation) -> None:
        """See `Call`. Raises `PeerbusError` (`not_supported`)."""
        raise PeerbusError(ErrorCode.NOT_SUPPORTED, "Make the WebRTCHelper with a mode.")

    def publications_changed(self) -> None:
        """See `Call`."""
        self.sfu.want_offer()

    async def unpublish(self, publication: Publication) -> None:
        """See `Call`."""
        await self.sfu.unpublish(publication)

    async def mute(self, publication: Publication) -> None:
        """See `Call`."""
        await self.sfu.mute(publication)

    def agent_changed(self, state: State) -> None:
        """See `Call`."""
        self.sfu.agent_changed(state)

    def reconnect_now(self) -> None:
        """See `Call`."""
        self.sfu.reconnect_now()

    def end(self) -> None:
        """See `Call`."""
        self._data.close()
        self.sfu.forget()
        self.sfu.close()
        self.sfu.cancel()

    async def leave(self) -> None:
        """See `Call`."""
        await self.sfu.leave()

    async def close(self) -> None:
        """See `Call`."""
        await self.sfu.stop()

    def _emit(self, event: str, *args: Any) -> None:
        self._parts.emit(event, *([self.peers] if event == "peers" else args))

    def _room_came(self) -> None:
        connection = self.sfu.connection
        self._data.pump(None if connection is None else connection.peer)

    def _data_came(self, data: bytes) -> None:
        message = read_data(data, self._parts)
        if message is not None and message.sender is not None:
            self._data.received()
            peer = self._parts.reception.peer(self.sfu.negotiation, message.sender)
            self._parts.emit("data", message.payload, peer)


def read_data(data: bytes, parts: CallParts) -> Incoming | None:
    """A data message of the SFU; what it says of an error is told as one."""
    try:
        message = decode_message(data)
    except PeerbusError as error:
        parts.on_error(error)
        return None
    if message.sender is not None:
        return message
    problem = message.payload if isinstance(message.payload, dict) else {}
    details = problem.get("details")
    parts.on_error(
        refusal_error(
            str(problem.get("code", ErrorCode.INTERNAL)),
            str(problem.get("message", "")),
            details if isinstance(details, dict) else None,
        )
    )
    return None
