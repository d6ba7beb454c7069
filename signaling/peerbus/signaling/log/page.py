"""How one page of a log is filled: which offsets to look at, when to stop, and the cursor to go on with.

Owns the bounds of one read (entries, rows, bytes) and the one place where `visible` is applied to what is
stored. Never fetches anything: a backend gives the entries in the order of the scan. Pure.
"""

from collections.abc import Iterable

from peerbus.signaling.log.interface import SCAN_ROWS_MAX, ChannelState, Entry, Page, Range, visible


def scan_bounds(wanted: Range, state: ChannelState) -> tuple[int, int]:
    """The lowest and the highest kept offset of the range, both included; the first is the greater if there
    is none.
    """
    low = state.tail if wanted.after is None else max(state.tail, wanted.after + 1)
    high = state.head if wanted.before is None else min(state.head, wanted.before - 1)
    return low, high


def fill_page(
    entries: Iterable[Entry], identity: str, wanted: Range, limit_bytes: int, state: ChannelState
) -> Page:
    """A page for `identity` from the kept `entries` of the range, which come upwards or, newest first,
    downwards.

    Takes no more from `entries` than it needs to know whether the range goes on.
    """
    taken: list[Entry] = []
    scanned_bytes = 0
    scanned_to = 0
    limit = wanted.limit
    for rows, entry in enumerate(entries):
        scanned_bytes += len(entry.body)
        if rows and (len(taken) >= limit or rows >= SCAN_ROWS_MAX or scanned_bytes > limit_bytes):
            break
        scanned_to = entry.offset
        if wanted.wants(entry) and visible(entry, identity):
            taken.append(entry)
    else:
        return Page(_ascending(taken, wanted), _end_of_range(wanted, state), complete=True, state=state)
    return Page(_ascending(taken, wanted), scanned_to, complete=False, state=state)


def _ascending(taken: list[Entry], wanted: Range) -> tuple[Entry, ...]:
    if wanted.newest_first:
        taken.reverse()
    return tuple(taken)


def _end_of_range(wanted: Range, state: ChannelState) -> int:
    """The cursor after everything in the range was looked at."""
    low, high = scan_bounds(wanted, state)
    if wanted.newest_first:
        return low if wanted.before is None else min(low, wanted.before)
    return high if wanted.after is None else max(high, wanted.after)
