"""What a group comes to before it is stored: the limits that no test reaches by appending."""

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log import Appended, ChannelKey, Refused
from peerbus.signaling.log.plan import plan_group
from peerbus.signaling.log.rows import OFFSET_MAX, ChannelRow
from peerbus.signaling.log.schema import CHANNELS_MAX, OFFSET_BITS
from tests.support.log_entries import CHANNEL, OTHER, entry

FULL = Refused(ErrorCode.QUOTA_EXCEEDED, "the log has no more numbers to give")


def channel(no: int = 1, head: int = 0, key: ChannelKey = CHANNEL) -> ChannelRow:
    row = ChannelRow(no, key, "lobby", "open", 0)
    row.head = head
    return row


def test_the_last_offset_of_a_channel() -> None:
    rows = {CHANNEL: channel(1, OFFSET_MAX - 1), OTHER: channel(2, key=OTHER)}
    group = [entry("a", key="k"), entry("b", key="l"), entry("c", channel=OTHER), entry("a", key="k")]
    plan = plan_group(group, rows.get, {}, OFFSET_MAX)
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
    assert plan_group([entry()], lambda _: last, {}, 10).results == [Appended(1, 1_000)]
    assert last.id_of(OFFSET_MAX) == (1 << 63) - 1  # the greatest integer of a row
    assert plan_group([entry()], lambda _: beyond, {}, 10).results == [FULL]
