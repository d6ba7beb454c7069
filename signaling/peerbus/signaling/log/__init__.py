"""The message log: what a channel keeps, in order, and never loses once acknowledged.

`interface` is the contract and its values, `memory` and `sqlite` are the backends, `writer` is the shell that
an event loop uses them through.
"""

from peerbus.signaling.log.interface import (
    Append,
    Appended,
    AppendResult,
    ChannelKey,
    ChannelState,
    Conflict,
    Delivery,
    Entry,
    Page,
    Range,
    Refused,
    Store,
    StoreError,
    UnknownChannelError,
    visible,
)
from peerbus.signaling.log.memory import MemoryStore

__all__ = [
    "Append",
    "AppendResult",
    "Appended",
    "ChannelKey",
    "ChannelState",
    "Conflict",
    "Delivery",
    "Entry",
    "MemoryStore",
    "Page",
    "Range",
    "Refused",
    "Store",
    "StoreError",
    "UnknownChannelError",
    "visible",
]
