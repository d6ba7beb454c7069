"""What the tests of the message log append, and the stores they append to."""

import itertools
from pathlib import Path
from typing import Protocol

from peerbus.signaling.log import Append, ChannelKey, MailLimits, MemoryStore, Store
from peerbus.signaling.log.interface import IDEMPOTENCY_RETENTION_MS, MESSAGES_MAX_PER_CHANNEL
from peerbus.signaling.log.sqlite import SqliteStore

CHANNEL = ChannelKey("private:test", b"c" * 32)
OTHER = ChannelKey("private:test", b"o" * 32)
PAGE_BYTES = 1 << 20


class StoreMaker(Protocol):
    """Opens a store, in a folder if it needs one."""

    def __call__(
        self,
        folder: Path,
        /,
        *,
        messages_max_per_channel: int = ...,
        idempotency_retention_ms: int = ...,
        mail_limits: MailLimits | None = ...,
    ) -> Store:
        """The open store."""
        ...


_epochs = itertools.count(1)


def new_epoch() -> str:
    """`epoch-1`, `epoch-2`, …: a new one each time, whoever asks."""
    return f"epoch-{next(_epochs)}"


def memory_store(
    _: Path,
    *,
    messages_max_per_channel: int = MESSAGES_MAX_PER_CHANNEL,
    idempotency_retention_ms: int = IDEMPOTENCY_RETENTION_MS,
    mail_limits: MailLimits | None = None,
) -> Store:
    """A `StoreMaker` of the store in memory."""
    return MemoryStore(
        new_epoch,
        messages_max_per_channel=messages_max_per_channel,
        idempotency_retention_ms=idempotency_retention_ms,
        mail_limits=mail_limits,
    )


def sqlite_store(
    folder: Path,
    *,
    messages_max_per_channel: int = MESSAGES_MAX_PER_CHANNEL,
    idempotency_retention_ms: int = IDEMPOTENCY_RETENTION_MS,
    mail_limits: MailLimits | None = None,
) -> Store:
    """A `StoreMaker` of the store in SQLite."""
    return SqliteStore(
        folder,
        new_epoch,
        messages_max_per_channel=messages_max_per_channel,
        idempotency_retention_ms=idempotency_retention_ms,
        mail_limits=mail_limits,
    )


def entry(
    body: str = "hello",
    *,
    channel: ChannelKey = CHANNEL,
    identity: str = "name:ann",
    recipients: tuple[str, ...] | None = None,
    type: str = "chat-text",  # noqa: A002 - the field's name
    custom_event_type: str | None = None,
    time_ms: int = 1_000,
    key: str | None = None,
    fingerprint: bytes | None = None,
    is_retry: bool = False,
    author: str | None = None,
    needs_room: bool = False,
) -> Append:
    """An append; its fingerprint is its body unless another is given."""
    return Append(
        channel=channel,
        identity=identity,
        sender=identity.partition(":")[2],
        recipients=recipients,
        type=type,
        custom_event_type=custom_event_type,
        body=body.encode(),
        time_ms=time_ms,
        idempotency_key=key,
        fingerprint=body.encode() if fingerprint is None else fingerprint,
        is_retry=is_retry,
        author=author,
        needs_room=needs_room,
    )
