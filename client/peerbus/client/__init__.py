"""
The Python client of peerbus and the `peerbus` command.

    from peerbus.client import AgentConnection            # asyncio
    from peerbus.client.sync import AgentConnection       # blocking
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peerbus.client.agent import AgentConnection
    from peerbus.client.errors import ErrorCode, PeerbusError, SealingError
    from peerbus.client.records import Ack, Glob, History, Member, Message, Presence

__all__ = [
    "Ack",
    "AgentConnection",
    "ErrorCode",
    "Glob",
    "History",
    "Member",
    "Message",
    "PeerbusError",
    "Presence",
    "SealingError",
]

_HOMES = {
    "AgentConnection": "agent",
    "ErrorCode": "errors",
    "PeerbusError": "errors",
    "SealingError": "errors",
    "Ack": "records",
    "Glob": "records",
    "History": "records",
    "Member": "records",
    "Presence": "records",
    "Message": "records",
}


def __getattr__(name: str) -> Any:
    """Imports on first use, so that the `peerbus` command starts without loading an HTTP client."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
