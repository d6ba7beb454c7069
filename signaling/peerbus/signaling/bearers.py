"""
Who bears a name: what becomes of those who have it when somebody joins by it.

Owns the rule of PROTOCOL.md, section 3, "Names". Never admits or removes anybody: it says who would have to go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from peerbus.protocol.channel import name_identity
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.signaling.channel import Channel
from peerbus.signaling.member import Member

if TYPE_CHECKING:
    from peerbus.signaling.joining import Joining


class Takeover(NamedTuple):
    """What a newcomer changes."""

    previous: Member | None
    """The session that it goes on with, or takes the place of."""
    leaving: list[tuple[Member, ErrorCode]]
    """Others who have to go, and what they are told."""
    is_known: bool
    """Whether whoever it is is in the channel already."""


def takeover(channel: Channel, joining: Joining) -> Takeover:
    """What becomes of the others when this one joins. Raises `ProtocolError` (`name_taken`)."""
    bearers = channel.by_name.get(joining.name, [])
    own = channel.by_lineage.get(joining.lineage)
    if joining.admission.is_claimed:
        return _claimed(bearers, own, joining)
    if name_identity(joining.name) in channel.claims:
        raise ProtocolError(ErrorCode.NAME_TAKEN, f"The name {joining.name!r} is claimed in this channel.")
    holder = bearers[0] if bearers else None
    # Of a service that was started again the old process is gone, whether that was noticed here or not.
    if holder is not None and not joining.admission.is_service and not _is_same_client(holder, joining):
        raise ProtocolError(ErrorCode.NAME_TAKEN, f"Somebody here is called {joining.name!r} already.")
    previous = holder or own
    leaving = [] if own is None or own is previous else [(own, ErrorCode.REPLACED)]
    return Takeover(previous, leaving, previous is not None)


def _claimed(bearers: list[Member], own: Member | None, joining: Joining) -> Takeover:
    same = [bearer for bearer in bearers if bearer.identity == joining.identity]
    previous = own if own in same else next((one for one in same if _is_same_client(one, joining)), None)
    others = [bearer for bearer in same if bearer is not previous]
    # The oldest go first.
    too_many = others[: max(0, len(others) + 1 - joining.admission.sessions)]
    leaving = [(one, ErrorCode.REPLACED) for one in too_many]
    leaving += [(one, ErrorCode.NAME_TAKEN) for one in bearers if one not in same and one is not own]
    if own is not None and own is not previous:
        leaving.append((own, ErrorCode.REPLACED))
    return Takeover(previous, leaving, bool(same) or own is not None)


def _is_same_client(bearer: Member, joining: Joining) -> bool:
    resume = joining.connect.resume
    is_resuming = resume is not None and bearer.session.resume_token == resume.token
    return bearer.lineage == joining.lineage or is_resuming
