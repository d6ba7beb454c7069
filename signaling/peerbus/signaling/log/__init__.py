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
    Claim,
    Conflict,
    Delivery,
    Entry,
    MailLimits,
    MailRead,
    Page,
    Range,
    Refused,
    Store,
    StoreError,
    TooManyClaimsError,
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
    "Claim",
    "Conflict",
    "Delivery",
    "Entry",
    "LogWriter",
    "MailLimits",
    "MailRead",
    "MemoryStore",
    "Opening",
    "Page",
    "Range",
    "Refused",
    "SqliteStore",
    "Store",
    "StoreError",
    "TooManyClaimsError",
    "UnknownChannelError",
    "WriterLimits",
    "WriterStatus",
    "visible",
]
