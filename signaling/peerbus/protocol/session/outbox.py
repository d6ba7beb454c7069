"""
What waits to be written to one session, bounded per delivery class.

Owns the order and the bounds: control frames first, then the live class (numbered, kept for a resume), the
durable class (a window on the log: beyond its bound the session goes back to reading the log), and the lossy
class (the oldest go first). Never encodes, never writes, never reads a clock. See PROTOCOL.md, sections 4, 5.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

import msgspec


class Sized(Protocol):
    """An encoded frame: all that the outbox knows of it is its size."""

    @property
    def size_bytes(self) -> int:
        """About how many bytes it takes on the wire."""


T = TypeVar("T", bound=Sized)

_MARK_EVERY_MS: Final = 1_000


class OutboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one outbox."""

    live_kept_bytes: int
    live_kept_frames: int
    live_kept_ms: int
    durable_pending_bytes: int
    durable_pending_frames: int
    lossy_pending_bytes: int
    lossy_pending_frames: int


class Outbox(Generic[T]):
    """
    The frames for one session, for as long as it lives; connections come and go.

    `push_*` puts in, `take` drains what fits into one write. `acknowledge` forgets live frames that the client has;
    `detach` and `resume` say that the connection went and came back. While `is_catching_up`, durable frames come
    from pages of the log (`push_page`), and those pushed are ignored since a page will bring them.
    """

    __slots__ = (
        "_control",
        "_durable",
        "_durable_bytes",
        "_durable_end",
        "_limits",
        "_live",
        "_live_bytes",
        "_live_mark_due_ms",
        "_live_marks",
        "_lossy",
        "_lossy_bytes",
        "_others",
        "_page_is_asked",
        "_page_ticket",
        "_pong",
        "_reset",
        "_taken",
        "durable_cursor",
        "is_attached",
        "is_catching_up",
        "live_first_seq",
        "live_is_lost",
        "live_next_seq",
        "lossy_dropped",
    )

    def __init__(self, limits: OutboxLimits, *, durable_cursor: int = 0) -> None:
        self._limits: Final = limits
        self._control: deque[T] = deque()
        self._reset: T | None = None
        self._pong: T | None = None
        # How many frames wait besides those of the live class.
        self._others = 0
        self._page_ticket = 0
        self._page_is_asked = False
        self._live: deque[T] = deque()
        # When live frames came, in marks of (time, number of the first frame since) about a second apart.
        self._live_marks: deque[tuple[int, int]] = deque()
        self._live_mark_due_ms = 0
        self._live_bytes = 0
        self._durable: deque[tuple[int, T]] = deque()
        self._durable_bytes = 0
        # The highest offset that was put into `_durable` or looked at for it.
        self._durable_end = durable_cursor
        self._lossy: deque[T] = deque()
        self._lossy_bytes = 0
        self.live_first_seq = 1
        """The number of the oldest live frame that is kept; one beyond the newest where none is."""
        self.live_next_seq = 1
        """The number of the next live frame to be written."""
        self.live_is_lost = False
        """Live frames were dropped that this client has not got; only a new live epoch mends it."""
        self.durable_cursor = durable_cursor
        """The highest offset that was written, or that was looked at and is not for this session."""
        self.is_catching_up = False
        self.is_attached = True
        self.lossy_dropped = 0
        self._taken = 0

    # --- in ---------------------------------------------------------------------------------------------

    def push_control(self, frame: T) -> None:
        """A frame outside the classes; written before all others."""
        self._control.append(frame)
        self._others += 1

    def push_reset(self, frame: T) -> None:
        """Tells of a new live epoch; one that is not yet written is replaced."""
        self._reset = frame
        self._count_others()

    def push_pong(self, frame: T) -> None:
        """Answers a ping; two that wait are one."""
        self._pong = frame
        self._count_others()

    def push_live(self, frame: T, now_ms: int) -> bool:
        """
        A frame of the live class. False when the class overflowed: everything kept is gone, the frame too.

        The owner then starts a new live epoch (`begin_live_epoch`), at once if a connection is open.
        """
        if self.live_is_lost:
            return False
        live = self._live
        if now_ms >= self._live_mark_due_ms:
            self._live_marks.append((now_ms, self.live_first_seq + len(live)))
            self._live_mark_due_ms = now_ms + _MARK_EVERY_MS
        live.append(frame)
        self._live_bytes += frame.size_bytes
        limits = self._limits
        if self._live_bytes > limits.live_kept_bytes or len(live) > limits.live_kept_frames:
            self._forget_written(limits.live_kept_bytes, limits.live_kept_frames)
            if self._live_bytes > limits.live_kept_bytes or len(live) > limits.live_kept_frames:
                self._lose_live()
                return False
        return True

    def push_durable(self, offset: int, frame: T) -> None:
        """A committed message; offsets rise. Beyond the bound the session goes back to reading the log."""
        if self.is_catching_up or not self.is_attached or offset <= self._durable_end:
            # Pages bring it: now, or after the resume. Or one has, that was read after this commit.
            return
        self._durable_end = offset
        self._durable.append((offset, frame))
        self._others += 1
        self._durable_bytes += frame.size_bytes
        limits = self._limits
        if (
            self._durable_bytes > limits.durable_pending_bytes
            or len(self._durable) > limits.durable_pending_frames
        ):
            self._drop_durable()
            self.is_catching_up = True
            self._count_others()

    def catch_up(self, head: int) -> None:
        """Durable frames come from the log again until `head`, since for a while none were pushed."""
        self._drop_durable()
        self._page_is_asked = False
        self.is_catching_up = self.durable_cursor < head
        self._count_others()

    def push_lossy(self, frame: T) -> None:
        """A lossy message; the oldest make room."""
        if not self.is_attached:
            return
        lossy = self._lossy
        lossy.append(frame)
        self._others += 1
        self._lossy_bytes += frame.size_bytes
        limits = self._limits
        while len(lossy) > 1 and (
            self._lossy_bytes > limits.lossy_pending_bytes or len(lossy) > limits.lossy_pending_frames
        ):
            self._lossy_bytes -= lossy.popleft().size_bytes
            self._others -= 1
            self.lossy_dropped += 1

    def ask_page(self) -> int | None:
        """A ticket for the page beyond `durable_cursor` if one is needed and none is under way."""
        if self._page_is_asked or not self.is_catching_up or not self.is_attached or self._durable:
            return None
        self._page_is_asked = True
        self._page_ticket += 1
        return self._page_ticket

    def awaits_page(self, ticket: int) -> bool:
        """Whether the page of this ticket is still of use; one asked for an earlier connection is not."""
        return self._page_is_asked and ticket == self._page_ticket

    def push_page(self, ticket: int, frames: list[tuple[int, T]], scanned_to: int, head: int) -> None:
        """
        What a read of the log gave beyond `durable_cursor`; ends the catching up once it reached `head`.

        `head` is the channel's last committed offset as of now, not as of the read. A page that was asked for an
        earlier connection is dropped.
        """
        if not self.awaits_page(ticket):
            return
        self._page_is_asked = False
        self._durable_end = max(self._durable_end, scanned_to)
        for offset, frame in frames:
            self._durable.append((offset, frame))
            self._durable_bytes += frame.size_bytes
        self._others += len(frames)
        if not frames:
            self.durable_cursor = max(self.durable_cursor, scanned_to)
        elif scanned_to > frames[-1][0]:
            # The rest of the page is not for this session; said once its last frame is written.
            _, frame = self._durable.pop()
            self._durable.append((scanned_to, frame))
        if scanned_to >= head:
            self.is_catching_up = False

    # --- out --------------------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Nothing to write."""
        return not self._others and self.live_first_seq + len(self._live) == self.live_next_seq

    @property
    def progress(self) -> tuple[int, int]:
        """Another value whenever `take` has given something out."""
        return self.live_next_seq, self._taken

    @property
    def live_room_bytes(self) -> int:
        """How large a live frame may be for the class not to overflow by it."""
        unsent = self._live_end() - self.live_next_seq
        waiting = sum(frame.size_bytes for frame in islice(reversed(self._live), unsent))
        return self._limits.live_kept_bytes - waiting

    def take(self, max_bytes: int) -> list[T]:
        """
        What to write next, in order, about `max_bytes` of it (at least one frame if there is any).

        What is given out counts as written; live frames stay kept until acknowledged.
        """
        unsent = self.live_first_seq + len(self._live) - self.live_next_seq
        taken: list[T] = []
        room = max_bytes
        control = self._control
        while control and room > 0:
            frame = control.popleft()
            taken.append(frame)
            room -= frame.size_bytes
        if self._reset is not None:
            taken.append(self._reset)
            self._reset = None
        if self._pong is not None:
            taken.append(self._pong)
            self._pong = None
        if unsent and room > 0:
            room = self._take_live(taken, unsent, room)
        durable = self._durable
        while durable and room > 0:
            self.durable_cursor, frame = durable.popleft()
            size = frame.size_bytes
            self._durable_bytes -= size
            taken.append(frame)
            room -= size
        lossy = self._lossy
        while lossy and room > 0:
            frame = lossy.popleft()
            size = frame.size_bytes
            self._lossy_bytes -= size
            taken.append(frame)
            room -= size
        self._count_others()
        self._taken += len(taken)
        return taken

    def take_only(self) -> T | None:
        """
        The frame to write next if it is the only one that waits, by far the most frequent case; else None.

        It counts as written, as with `take`.
        """
        unsent = self.live_first_seq + len(self._live) - self.live_next_seq
        if self._others == 0:
            if unsent != 1:
                return None
            self.live_next_seq += 1
            return self._live[-1]
        if self._others != 1 or unsent:
            return None
        self._others = 0
        self._taken += 1
        if self._durable:
            self.durable_cursor, frame = self._durable.popleft()
            self._durable_bytes = 0
        elif self._lossy:
            frame = self._lossy.popleft()
            self._lossy_bytes = 0
        elif self._control:
            frame = self._control.popleft()
        else:
            only = self._reset or self._pong
            assert only is not None
            frame = only
            self._reset = self._pong = None
        return frame

    def _take_live(self, taken: list[T], unsent: int, room: int) -> int:
        live = self._live
        # The unsent frames are at the right end; walk there from the nearer side.
        fresh = [live[-1]] if unsent == 1 else list(islice(reversed(live), unsent))[::-1]
        for frame in fresh:
            if room <= 0:
                break
            size = frame.size_bytes
            taken.append(frame)
            self.live_next_seq += 1
            room -= size
        return room

    # --- live: acknowledge, expire, resume -----------------------------------------------------------------

    def acknowledge(self, live_seq: int) -> None:
        """The client has every live frame up to this number (one beyond what was written is ignored)."""
        last = min(live_seq, self.live_next_seq - 1)
        while self.live_first_seq <= last:
            self._forget_first()

    def expire(self, now_ms: int) -> bool:
        """Drops live frames older than the window. False when the class overflowed by that (unwritten ones)."""
        # A mark stands for the frames of the second that follows it; none of them goes early.
        oldest_ms = now_ms - self._limits.live_kept_ms - _MARK_EVERY_MS
        marks = self._live_marks
        while len(marks) > 1 and marks[1][0] <= oldest_ms:
            marks.popleft()
        if not marks or marks[0][0] > oldest_ms:
            return True
        # Everything before the next mark is older than that mark's time at the latest.
        expired_below = marks[1][1] if len(marks) > 1 else self._live_end()
        while self.live_first_seq < expired_below and self._live:
            if self.live_first_seq >= self.live_next_seq:
                self._lose_live()
                return False
            self._forget_first()
        return True

    def begin_live_epoch(self) -> None:
        """Starts the count anew, with nothing kept."""
        self._lose_live()
        self.live_first_seq = self.live_next_seq = 1
        self.live_is_lost = False

    def detach(self) -> None:
        """The connection is gone; what was written may or may not have arrived."""
        self.is_attached = False
        self._control.clear()
        self._reset = None
        self._pong = None
        self._page_is_asked = False
        self._drop_durable()
        self._lossy.clear()
        self._lossy_bytes = 0
        self._others = 0

    def can_resume_live(self, live_seq: int) -> bool:
        """Whether every live frame beyond `live_seq` is still kept."""
        return not self.live_is_lost and self.live_first_seq - 1 <= live_seq <= self._live_end() - 1

    def resume(self, live_seq: int | None, durable_cursor: int, *, is_catching_up: bool) -> None:
        """
        A new connection: live frames beyond `live_seq` are written again (None: the count starts anew).

        Durable frames follow `durable_cursor`, from the log where `is_catching_up`.
        """
        self.detach()
        self.is_attached = True
        if live_seq is None:
            self.begin_live_epoch()
        else:
            self.live_next_seq = live_seq + 1
            self.acknowledge(live_seq)
        self.durable_cursor = self._durable_end = durable_cursor
        self.is_catching_up = is_catching_up

    # --- inside -----------------------------------------------------------------------------------------

    def _live_end(self) -> int:
        return self.live_first_seq + len(self._live)

    def _forget_first(self) -> None:
        self._live_bytes -= self._live.popleft().size_bytes
        self.live_first_seq += 1

    def _forget_written(self, max_bytes: int, max_frames: int) -> None:
        while self.live_first_seq < self.live_next_seq and (
            self._live_bytes > max_bytes or len(self._live) > max_frames
        ):
            self._forget_first()

    def _lose_live(self) -> None:
        self._live.clear()
        self._live_marks.clear()
        self._live_mark_due_ms = 0
        self._live_bytes = 0
        self.live_first_seq = self.live_next_seq
        self.live_is_lost = True

    def _count_others(self) -> None:
        self._others = (
            len(self._control)
            + len(self._durable)
            + len(self._lossy)
            + (self._reset is not None)
            + (self._pong is not None)
        )

    def _drop_durable(self) -> None:
        self._durable.clear()
        self._durable_bytes = 0
        self._durable_end = self.durable_cursor
