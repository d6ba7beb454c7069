"""
What was opened before of each crypto-session: finds messages that are shown twice, or in another order.

Owns the state of receiving in sealed channels, one small window for each (crypto-session, class), and its bounds.
Never looks at a message: it is asked only about those that have authenticated, and notes only those. PROTOCOL.md,
section 13.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Generic, TypeVar

MAX_SESSIONS: Final = 1_024
"""So many crypto-sessions are remembered in each class; the one that spoke least recently goes first."""
DURABLE_POINTS: Final = 2_048
"""So many offsets are remembered of one crypto-session; the lowest go first."""
LOSSY_WINDOW: Final = 1_024

W = TypeVar("W")


class Verdict(StrEnum):
    """What becomes of a message that has authenticated."""

    OK = "ok"
    REPLAYED = "replayed"
    """Refused: it stands at another offset already."""
    REORDERED = "reordered"
    """Refused: its sender did not send it at this place."""
    DROPPED = "dropped"
    """Left out and counted: seen before, or too old to tell. It may be a resend."""


class DurableWindow:
    """
    At which offset each counter stood. Both rise together, or somebody has moved a message.

    Of offsets below the lowest that is remembered only that is known: they have lower counters.
    """

    __slots__ = ("_counters", "_offsets")

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._counters = array("Q")

    def judge(self, offset: int, counter: int) -> Verdict:
        """Whether `counter` may stand at `offset`; notes it if so."""
        offsets, counters = self._offsets, self._counters
        place = bisect_left(counters, counter)
        if place < len(counters) and counters[place] == counter:
            return Verdict.OK if offsets[place] == offset else Verdict.REPLAYED
        at = bisect_left(offsets, offset)
        if at != place or (at < len(offsets) and offsets[at] == offset):
            return Verdict.REORDERED
        offsets.insert(at, offset)
        counters.insert(at, counter)
        if len(offsets) > DURABLE_POINTS:
            del offsets[0], counters[0]
        return Verdict.OK


class LiveWindow:
    """The highest counter; live messages of one sender come in their order."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = -1

    def judge(self, counter: int) -> Verdict:
        """Whether `counter` is new; notes it if so."""
        if counter <= self._last:
            return Verdict.DROPPED
        self._last = counter
        return Verdict.OK


class LossyWindow:
    """The highest counter and which of the 1,024 up to it were seen, as in RFC 4303, section 3.4.3."""

    __slots__ = ("_last", "_seen")

    def __init__(self) -> None:
        self._last = -1
        self._seen = 0
        """Bit n: the counter `_last` - n was seen."""

    def judge(self, counter: int) -> Verdict:
        """Whether `counter` is new and recent; notes it if so."""
        ahead = counter - self._last
        if ahead > 0:
            kept = self._seen << ahead if ahead < LOSSY_WINDOW else 0
            self._seen = kept & ((1 << LOSSY_WINDOW) - 1) | 1
            self._last = counter
            return Verdict.OK
        bit = 1 << -ahead
        if -ahead >= LOSSY_WINDOW or self._seen & bit:
            return Verdict.DROPPED
        self._seen |= bit
        return Verdict.OK


class AttributesWindow:
    """The highest counter; the same again is what others are told when somebody else joins."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = -1

    def judge(self, counter: int) -> Verdict:
        """Whether `counter` is not older than the last; notes it if so."""
        if counter < self._last:
            return Verdict.DROPPED
        self._last = counter
        return Verdict.OK


class SealWindows:
    """The windows of all crypto-sessions of one channel, as one receiver has seen them."""

    def __init__(self) -> None:
        self._durable = _Latest[DurableWindow](DurableWindow)
        self._live = _Latest[LiveWindow](LiveWindow)
        self._lossy = _Latest[LossyWindow](LossyWindow)
        self._attributes = _Latest[AttributesWindow](AttributesWindow)

    def durable(self, crypto_session: bytes, epoch: str, offset: int, counter: int) -> Verdict:
        """A durable message, pushed or read; offsets mean something within their epoch only."""
        return self._durable.of((epoch, crypto_session)).judge(offset, counter)

    def live(self, crypto_session: bytes, counter: int) -> Verdict:
        """A live message."""
        return self._live.of(("", crypto_session)).judge(counter)

    def lossy(self, crypto_session: bytes, counter: int) -> Verdict:
        """A lossy message."""
        return self._lossy.of(("", crypto_session)).judge(counter)

    def attributes(self, crypto_session: bytes, counter: int) -> Verdict:
        """Attributes in a list of members."""
        return self._attributes.of(("", crypto_session)).judge(counter)


class _Latest(Generic[W]):
    """The windows that were asked for last."""

    def __init__(self, make: Callable[[], W]) -> None:
        self._make: Final = make
        self._windows: OrderedDict[tuple[str, bytes], W] = OrderedDict()

    def of(self, key: tuple[str, bytes]) -> W:
        """The window of a crypto-session, empty if it is not known (any more)."""
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = self._make()
            if len(self._windows) > MAX_SESSIONS:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(key)
        return window
