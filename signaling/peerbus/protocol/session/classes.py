"""
Which of the three classes a frame of the server belongs to.

Owns the table of PROTOCOL.md, section 4. Never counts.
"""

from __future__ import annotations

from peerbus.protocol.messages import (
    Closing,
    Connected,
    Delivery,
    Message,
    Pong,
    Reset,
    ServerFrame,
)


def class_of(frame: ServerFrame) -> Delivery | None:
    """The class of a frame that is sent on an established session; None for those outside the classes."""
    if isinstance(frame, Message):
        return frame.delivery
    if isinstance(frame, Connected | Reset | Pong | Closing):
        return None
    return "live"
