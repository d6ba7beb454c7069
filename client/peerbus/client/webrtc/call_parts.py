"""
What the parts of a call share: the agent, what is published and received, how it is sealed, and whom to tell.

Owns nothing of them but where they are found. Never makes a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.ice_choice import IceChoice
from peerbus.client.webrtc.publishing import Publishing
from peerbus.client.webrtc.reception import Reception
from peerbus.client.webrtc.records import CallState


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
