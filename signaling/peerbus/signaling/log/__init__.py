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
from peerbus.signaling.log.sqlite import Opening, SqliteStore
from peerbus.signaling.log.writer import AppendCallback, LogWriter, WriterLimits, WriterStatus

__all__ = [
    "Append",
    "AppendCallback",
    "AppendResult",
    "Appended",
    "ChannelKey",
    "ChannelState",
    "Conflict",
    "Delivery",
    "Entry",
    "LogWriter",
    "MemoryStore",
    "Opening",
    "Page",
    "Range",
    "Refused",
    "SqliteStore",
    "Store",
    "StoreError",
    "UnknownChannelError",
    "WriterLimits",
    "WriterStatus",
    "visible",
]
