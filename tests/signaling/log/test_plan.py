"""What a group comes to before it is stored: the limits that no test reaches by appending."""

from collections.abc import Callable, Sequence

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log import Append, Appended, ChannelKey, MailLimits, Refused
from peerbus.signaling.log.plan import Filling, Mailbox, Plan, plan_group
from peerbus.signaling.log.rows import OFFSET_MAX, ChannelRow
from peerbus.signaling.log.schema import CHANNELS_MAX, OFFSET_BITS
from tests.support.log_entries import CHANNEL, OTHER, entry

FULL = Refused(ErrorCode.QUOTA_EXCEEDED, "the log has no more numbers to give")


def channel(no: int = 1, head: int = 0, key: ChannelKey = CHANNEL) -> ChannelRow:
    row = ChannelRow(no, key, "lobby", "open", 0)
    row.head = head
    return row


def planned(
    group: Sequence[Append],
    find: Callable[[ChannelKey], ChannelRow | None],
    messages_max: int = 10,
    *,
    before: dict[Mailbox, Filling] | None = None,
    limits: MailLimits | None = None,
) -> Plan:
    fillings = before or {}
    return plan_group(
        group, find, {}, messages_max, lambda box: fillings.get(box, (0, 0)), limits or MailLimits()
    )


def test_the_last_offset_of_a_channel() -> None:
    rows = {CHANNEL: channel(1, OFFSET_MAX - 1), OTHER: channel(2, key=OTHER)}
    group = [entry("a", key="k"), entry("b", key="l"), entry("c", channel=OTHER), entry("a", key="k")]
    plan = planned(group, rows.get, OFFSET_MAX)
    assert plan.results == [
        Appended(OFFSET_MAX, 1_000),
        FULL,
        Appended(1, 1_000),
        Appended(OFFSET_MAX, 1_000, duplicate=True),
    ]
    assert [row[0] for row in plan.entries] == [(1 << OFFSET_BITS) + OFFSET_MAX, (2 << OFFSET_BITS) + 1]
    assert [row[2] for row in plan.retries] == ["k"]


def test_the_last_channel() -> None:
    last, beyond = channel(CHANNELS_MAX - 1), channel(CHANNELS_MAX)
    assert planned([entry()], lambda _: last).results == [Appended(1, 1_000)]
    assert last.id_of(OFFSET_MAX) == (1 << 63) - 1  # the greatest integer of a row
    assert planned([entry()], lambda _: beyond).results == [FULL]


def test_mail_counts_within_a_group_and_a_full_mailbox_refuses_the_whole_message() -> None:
    row = channel(7)
    for identity in ("name:ann", "name:bob", "name:cid"):
        row.note_claim(identity, 0)
    to_all = ("name:bob", "name:cid", "lineage:x")
    group = [
        entry("1234", recipients=to_all, needs_room=True),
        entry("12345", recipients=to_all, needs_room=True),
        entry("12345", recipients=to_all),
        entry("x", recipients=("name:ann", "lineage:x"), needs_room=True),
        entry("1", recipients=("name:bob",), needs_room=True),
    ]
    plan = planned(
        group, lambda _: row, before={(7, "name:cid"): (1, 3)}, limits=MailLimits(messages=3, bytes=11)
    )
    full = Refused(ErrorCode.MAILBOX_FULL, "a recipient has no room for it", ("name:cid",))
    assert plan.results == [Appended(1, 1_000), full, *(Appended(offset, 1_000) for offset in (2, 3, 4))]
    assert [(row[1], row[2], row[4]) for row in plan.mail] == [
        ("name:bob", 1, 4),
        ("name:cid", 1, 4),
        ("name:bob", 2, 5),  # the one without room may see it all the same
        ("name:bob", 4, 1),  # and nobody writes mail to oneself
    ]
    assert plan.fillings == {(7, "name:bob"): (3, 10), (7, "name:cid"): (2, 7)}
