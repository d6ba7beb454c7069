"""
The ICE servers of one helper: those it was given, or those that the server hands out, fresh for each connection.

Owns asking for them. Never chooses among them (`ice`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.ice import IcePolicy, IceSetup, read_servers, setup
from peerbus.protocol.messages import IceServer


class IceChoice:
    """See the module."""

    def __init__(
        self,
        agent: AgentConnection,
        servers: Sequence[IceServer | Mapping[str, Any]] | None,
        policy: IcePolicy,
    ) -> None:
        """Raises `PeerbusError` (`bad_request`)."""
        if policy not in get_args(IcePolicy):
            raise PeerbusError(ErrorCode.BAD_REQUEST, "ice_transport_policy is all or relay.")
        self._agent: Final = agent
        self._servers: Final = None if servers is None else read_servers(servers)
        self._policy: Final[IcePolicy] = policy

    async def setup(self, *, attempt: int, has_stun: bool) -> IceSetup:
        """What the next connection is made with; `attempt` counts those in a row that were not up."""
        return setup(await self._fresh(), self._policy, attempt=attempt, has_stun=has_stun)

    async def _fresh(self) -> list[IceServer]:
        if self._servers is not None:
            return self._servers
        try:
            return await self._agent.get_ice_servers()
        except PeerbusError:
            # The agent tries again; what it has may do until then.
            return self._agent.ice_servers
