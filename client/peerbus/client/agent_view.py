"""
What one can look at of an agent: its state, its channel, who is there.

Owns the state that is shown and the read-only properties, and nothing that acts: that is `agent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from peerbus.client.events import Callback, Emitter
from peerbus.client.ice_renewal import IceRenewal
from peerbus.client.opening import Opening
from peerbus.client.records import Member, Message, Presence
from peerbus.client.requests import Requests
from peerbus.client.sealed_channel import SealedChannel, SealingCounters
from peerbus.client.session_loop import SessionLoop
from peerbus.protocol import messages as wire
from peerbus.protocol.channel import is_name_identity
from peerbus.protocol.messages import ChannelInfo, IceServer
from peerbus.protocol.secrets import SecretBytes
from peerbus.protocol.session import outputs
from peerbus.protocol.session.outputs import State


class AgentView(Emitter):
    """The side of `AgentConnection` that changes nothing, and its events."""

    on_message = Callback[Callable[[Message], Any]]("message")
    on_connect = Callback[Callable[[], Any]]("connect")
    on_disconnect = Callback[Callable[[], Any]]("disconnect")
    on_state = Callback[Callable[[State], Any]]("state")
    on_presence = Callback[Callable[[Presence], Any]]("presence")
    on_error = Callback[Callable[[Exception], Any]]("error")
    on_gap = Callback[Callable[[outputs.Gap], Any]]("gap")
    on_channel = Callback[Callable[[bool], Any]]("channel")
    on_expiring = Callback[Callable[[int], Any]]("expiring")

    _api_base: str
    _ice: IceRenewal
    _requests: Requests

    def __init__(self) -> None:
        super().__init__()
        self._state = State(name="idle")
        self._is_sealed = False
        self._media_key: SecretBytes | None = None
        self._session: SessionLoop | None = None
        self._sealed: SealedChannel | None = None
        self._opening = Opening(None, self._tell_error)

    @property
    def state(self) -> State:
        """Where the connection stands: its `name`, and for people `why`, `code`, `retry_in_ms`, `transport`."""
        return self._state

    @property
    def is_connected(self) -> bool:
        """Whether the session is up right now."""
        return self._state.name == "connected"

    @property
    def api(self) -> str:
        """The address of the server."""
        return self._api_base

    @property
    def agent_name(self) -> str:
        """The own name; what was asked for, or the label that the server chose. Empty before the first connect."""
        return "" if self._info is None else self._info.agent

    @property
    def session_id(self) -> str:
        """The public id of the session; empty before the first connect."""
        return "" if self._info is None else self._info.session_id

    @property
    def identity(self) -> str:
        """Who this agent is beyond its name; empty before the first connect."""
        return "" if self._info is None else self._info.identity

    @property
    def is_claimed(self) -> bool:
        """Whether the own name is claimed: nobody else can bear it here, and mail is kept for it."""
        return is_name_identity(self.identity)

    @property
    def channel(self) -> ChannelInfo | None:
        """
        The channel as the server tells it; None before the first connect.

        Its mode is the one that it was joined in: what the server says of that does not count.
        """
        if self._info is None:
            return None
        return structs.replace(self._info.channel, mode="sealed" if self._is_sealed else "open")

    @property
    def is_sealed(self) -> bool:
        """Whether the channel was joined as a sealed one. Decided by this side: what the server says does not count."""
        return self._is_sealed

    @property
    def media_key(self) -> SecretBytes | None:
        """The key that a call's frames are sealed with; None without a password, and before it is derived."""
        return self._media_key

    @property
    def operations(self) -> list[str]:
        """What this agent's key allows here, for example `send_durable`, `kick`."""
        return [] if self._info is None else list(self._info.operations)

    @property
    def ice_servers(self) -> list[IceServer]:
        """
        STUN and TURN servers for peer connections, with credentials that are renewed before they end.

        Empty before the first connect, and where the server has none. See `webrtc.ice` for aiortc's form of them.
        """
        return self._ice.servers

    @property
    def members(self) -> list[Member]:
        """Who is in the channel, this agent included, by join order; kept up to date by the server."""
        return [] if self._session is None else self._members_of(self._session.session.roster.members)

    @property
    def safety_number(self) -> str:
        """
        Thirty digits in six groups, to be compared by voice; empty in an open channel.

        They are the same for all who have joined the same channel with the same password, and for nobody else.
        """
        return "" if self._sealed is None else self._sealed.safety_number

    @property
    def sealing_counters(self) -> SealingCounters:
        """How many messages were sealed, opened, refused (each was told as an error) and dropped as seen before."""
        return SealingCounters() if self._sealed is None else structs.replace(self._sealed.counters)

    @property
    def pending(self) -> int:
        """How many requests have no outcome yet, the offline queue included."""
        return self._requests.pending

    @property
    def _info(self) -> wire.Connected | None:
        return None if self._session is None else self._session.session.connected

    def _members_of(self, members: Sequence[wire.Member]) -> list[Member]:
        return [self._opening.member(member) for member in members]

    def _tell_error(self, error: Exception) -> None:
        self.emit("error", error)
