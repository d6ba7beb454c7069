"""What a group of appends comes to in the SQLite log: offsets, duplicates, the rows to insert, and what to remove.

Owns the decisions of one transaction, made before it begins. Never touches the database: what is known of channels
and of earlier appends is given in.
"""

from collections.abc import Callable, Sequence
from typing import Any

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log.interface import (
    NOT_A_RETRY,
    Append,
    Appended,
    AppendResult,
    ChannelKey,
    Conflict,
    MailLimits,
    Refused,
    trimmed_tail,
)
from peerbus.signaling.log.rows import OFFSET_MAX, ChannelRow, entry_row
from peerbus.signaling.log.schema import CHANNELS_MAX

# Under what an append is remembered, (channel number, identity, key); and what stands there, (offset, time_ms,
# fingerprint). Together they are a row of `retries`.
Retry = tuple[int, str, str]
First = tuple[int, int, bytes]
# A mailbox, (channel number, identity); and what is in it, (messages, bytes).
Mailbox = tuple[int, str]
Filling = tuple[int, int]


class Plan:
    """The results of one group, the rows to insert, and heads, tails and mailboxes afterwards."""

    __slots__ = ("entries", "fillings", "heads", "mail", "results", "retries", "tails")

    def __init__(self) -> None:
        self.results: list[AppendResult] = []
        self.entries: list[tuple[Any, ...]] = []
        self.retries: list[tuple[Any, ...]] = []
        self.mail: list[tuple[Any, ...]] = []
        self.fillings: dict[Mailbox, Filling] = {}
        self.heads: dict[ChannelRow, int] = {}
        self.tails: dict[ChannelRow, int] = {}


def plan_group(
    group: Sequence[Append],
    find: Callable[[ChannelKey], ChannelRow | None],
    first: dict[Retry, First],
    messages_max: int,
    filling_of: Callable[[Mailbox], Filling],
    mail_limits: MailLimits,
) -> Plan:
    """What the group comes to when `first` stands under its keys; the group's own keys are added to it.

    `filling_of` says what was in a mailbox before.
    """
    plan = Plan()
    results, heads = plan.results, plan.heads
    for append in group:
        channel = find(append.channel)
        if channel is None:
            results.append(Refused(ErrorCode.NOT_FOUND, "the channel was never opened"))
            continue
        retry = retry_of(channel, append)
        earlier = first.get(retry) if retry is not None else None
        if earlier is not None:
            results.append(_as_before(append, *earlier))
            continue
        if append.is_retry:
            results.append(NOT_A_RETRY)
            continue
        offset = heads.get(channel, channel.head) + 1
        if offset > OFFSET_MAX or channel.no >= CHANNELS_MAX:
            results.append(Refused(ErrorCode.QUOTA_EXCEEDED, "the log has no more numbers to give"))
            continue
        boxes, full = _mailboxes(plan, append, channel, filling_of, mail_limits)
        if full and append.needs_room:
            results.append(Refused(ErrorCode.MAILBOX_FULL, "a recipient has no room for it", full))
            continue
        for box, (messages, size_bytes) in boxes.items():
            plan.fillings[box] = (messages + 1, size_bytes + len(append.body))
            plan.mail.append((*box, offset, append.time_ms, len(append.body)))
        if retry is not None:
            first[retry] = record = (offset, append.time_ms, append.fingerprint)
            plan.retries.append(retry + record)
        heads[channel] = offset
        plan.entries.append(entry_row(channel.id_of(offset), append))
        results.append(Appended(offset, append.time_ms))
    for channel, head in heads.items():
        tail = trimmed_tail(channel.tail, head, messages_max)
        if tail > channel.tail:
            plan.tails[channel] = tail
    return plan


def _mailboxes(
    plan: Plan,
    append: Append,
    channel: ChannelRow,
    filling_of: Callable[[Mailbox], Filling],
    limits: MailLimits,
) -> tuple[dict[Mailbox, Filling], tuple[str, ...]]:
    """The mailboxes that an entry goes to, as filled as they are before it; and the recipients without room."""
    boxes: dict[Mailbox, Filling] = {}
    full = []
    for identity in append.recipients or ():
        # What somebody sends to itself it has already.
        if identity not in channel.claims or identity == append.identity:
            continue
        box = (channel.no, identity)
        filling = plan.fillings.get(box) or filling_of(box)
        if filling[0] >= limits.messages or filling[1] + len(append.body) > limits.bytes:
            full.append(identity)
        else:
            boxes[box] = filling
    return boxes, tuple(full)


def retry_of(channel: ChannelRow, append: Append) -> Retry | None:
    """Under what an append is remembered, if it is."""
    key = append.idempotency_key
    return None if key is None else (channel.no, append.identity, key)


def _as_before(append: Append, offset: int, time_ms: int, fingerprint: bytes) -> AppendResult:
    """The answer to an append under whose key something stands."""
    if fingerprint != append.fingerprint:
        return Conflict(offset)
    return Appended(offset, time_ms, duplicate=True)
