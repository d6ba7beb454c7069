"""
The two kinds of a call behind `WebRTCHelper`: the one through the SFU alone, and the one of a group in whatever mode.

Owns what both have in common: what they are made of, and what the helper asks of them. Never makes a connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.ice_choice import IceChoice
from peerbus.client.webrtc.network_simulator import Simulation
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.publishing import Publishing
from peerbus.client.webrtc.reception import Reception
from peerbus.client.webrtc.records import CallState, Peer
from peerbus.client.webrtc.sfu_call import SfuCall
from peerbus.client.webrtc.stats import DataStats, PeerStats
from peerbus.protocol.groups import Mode, WantedMode
from peerbus.protocol.session.outputs import State


class CallParts(Struct, frozen=True, kw_only=True):
    """What a call is made of, and whom it tells."""

    agent: AgentConnection
    publishing: Publishing
    reception: Reception
    encryption: CallEncryption
    ice: IceChoice
    connect_timeout: float | None
    emit: Callable[..., Any]
    """Events of users."""
    on_state: Callable[[CallState], None]
    on_over: Callable[[PeerbusError], None]
    """The call has ended for good, and why."""
    on_error: Callable[[Exception], None]


class Call(Protocol):
    """See the module."""

    @property
    def sfu(self) -> SfuCall:
        """The part through the SFU."""

    @property
    def mode(self) -> Mode | None:
        """The mode that holds; None while that is not known."""

    @property
    def term(self) -> int:
        """Its term; 0 outside of a group."""

    @property
    def peers(self) -> list[Peer]:
        """Everybody else."""

    @property
    def data_stats(self) -> DataStats:
        """The figures of data."""

    def peer_stats(self) -> list[PeerStats]:
        """How each peer is reached."""

    def is_connected_to(self, peer: str) -> bool:
        """Whether data flow to a peer (name or identity) now."""

    def begin(self) -> None:
        """Joins."""

    def send(self, to: Sequence[str] | None, payload: Any, *, is_lossy: bool) -> Outcome[bool]:
        """Takes a message; `to` are names or identities."""

    def switch_mode(self, mode: WantedMode) -> Outcome[None]:
        """Proposes another mode."""

    @property
    def host(self) -> Peer | None:
        """Who is host, in mode `host`."""

    @property
    def is_host(self) -> bool:
        """Whether this member is host, and serves."""

    def set_host_state(self, state: Any) -> None:
        """The state of the host's application."""

    def simulate(self, simulation: Simulation) -> None:
        """The network between the peers is like this from now on."""

    def publications_changed(self) -> None:
        """What is published has changed."""

    async def unpublish(self, publication: Publication) -> None:
        """A publication ended."""

    async def mute(self, publication: Publication) -> None:
        """A publication was muted, or goes on."""

    def agent_changed(self, state: State) -> None:
        """The agent's connection came or went."""

    def reconnect_now(self) -> None:
        """Ends the waiting for the next attempt."""

    def end(self) -> None:
        """Nothing is sent any more, and nothing listened to; what is left is ended by `close`."""

    async def leave(self) -> None:
        """Tells the others that this is the end."""

    async def close(self) -> None:
        """No connection or task of it is left."""
