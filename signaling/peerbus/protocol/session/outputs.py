"""
What the client's session machine gives out beside frames: actions for its shell, events for its user.

Owns their shapes. Every one can be written as JSON, with the tag `do` (actions) or `event` (events).
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from peerbus.protocol.messages import (
    Ack,
    Error,
    History,
    IceServersReply,
    MembersReply,
    Message,
    Presence,
)
from peerbus.protocol.session.paths import TransportName

Reply: TypeAlias = Ack | History | MembersReply | IceServersReply
"""What a request may get, besides an error."""


# --- actions ----------------------------------------------------------------------------------------------


class OpenTransport(Struct, frozen=True, tag="open_transport", tag_field="do"):
    """Open this transport; then `transport_opened`, or `transport_lost`."""

    transport: TransportName


class CloseTransport(Struct, frozen=True, tag="close_transport", tag_field="do"):
    """Close it, after the frames that are to be sent. Nothing more is reported of it, not even its end."""

    close_code: int
    reason: str


class FetchCredential(Struct, frozen=True, tag="fetch_credential", tag_field="do"):
    """Get a new key; then `renew`, or `renew_failed`."""


Action: TypeAlias = OpenTransport | CloseTransport | FetchCredential


# --- events -----------------------------------------------------------------------------------------------

StateName: TypeAlias = Literal["idle", "connecting", "connected", "reconnecting", "closed"]


class State(Struct, frozen=True, tag="state", tag_field="event", omit_defaults=True, kw_only=True):
    """Where the session stands, for people too: `why` is a sentence, `code` an error code."""

    name: StateName
    code: str = ""
    why: str = ""
    retry_in_ms: int = 0
    """For `reconnecting`: when the next attempt begins, from this event; 0 while it runs."""
    transport: TransportName | None = None
    """What it is connected by."""
    correlation_id: str = ""
    """Stands in the server's log beside the cause."""
    details: dict[str, Any] = {}


class Joined(Struct, frozen=True, tag="joined", tag_field="event", omit_defaults=True, kw_only=True):
    """The server took the client; the machine's `connected` holds all it said."""

    agent: str
    session_id: str
    is_first: bool = False
    """Not a reconnect."""
    recovered: bool = False
    live_recovered: bool = False


class Gap(Struct, frozen=True, tag="gap", tag_field="event", omit_defaults=True, kw_only=True):
    """Messages of these classes may be missing from here on; durable ones can be read with `receive`."""

    durable: bool = False
    live: bool = False


class Received(Struct, frozen=True, tag="message", tag_field="event"):
    """A message was pushed."""

    message: Message


class MembersChanged(Struct, frozen=True, tag="presence", tag_field="event"):
    """Others came, changed or went."""

    presence: Presence


class ChannelChanged(Struct, frozen=True, tag="channel", tag_field="event"):
    """The channel was locked or unlocked."""

    is_locked: bool


class Done(Struct, frozen=True, tag="done", tag_field="event"):
    """A request was answered."""

    handle: int
    reply: Reply


class Failed(Struct, frozen=True, tag="failed", tag_field="event"):
    """A request was refused, ran out of time, or the session ended before it was answered."""

    handle: int
    error: Error


class Trouble(Struct, frozen=True, tag="trouble", tag_field="event"):
    """Something went wrong that belongs to no request."""

    error: Error


class Expiring(Struct, frozen=True, tag="expiring", tag_field="event"):
    """The credential ends soon, and there is no way to renew it by itself."""

    expires_in_ms: int


Event: TypeAlias = (
    State | Joined | Gap | Received | MembersChanged | ChannelChanged | Done | Failed | Trouble | Expiring
)
