"""The outbox of a session: order, numbers and bounds of the three classes. See PROTOCOL.md, sections 4 and 5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.session.outbox import Outbox, OutboxLimits

ALL = 1 << 30


@dataclass(frozen=True)
class Parcel:
    """A frame, as far as the outbox is concerned."""

    label: Any
    size_bytes: int = 10


def outbox(*, durable_cursor: int = 0, **limits: int) -> Outbox[Parcel]:
    defaults = {
        "live_kept_bytes": 100,
        "live_kept_frames": 8,
        "live_kept_ms": 30_000,
        "durable_pending_bytes": 50,
        "durable_pending_frames": 4,
        "lossy_pending_bytes": 30,
        "lossy_pending_frames": 3,
    }
    return Outbox(OutboxLimits(**{**defaults, **limits}), durable_cursor=durable_cursor)


def waits(box: Outbox[Parcel]) -> bool:
    return not box.is_empty


def catches_up(box: Outbox[Parcel]) -> bool:
    return box.is_catching_up


def taken(box: Outbox[Parcel], room: int = ALL) -> list[Any]:
    return [parcel.label for parcel in box.take(room)]


def fill_live(box: Outbox[Parcel], count: int, *, start: int = 1, at_ms: int = 0) -> None:
    for number in range(start, start + count):
        assert box.push_live(Parcel(number), at_ms)


# --- order -----------------------------------------------------------------------------------------------------


def test_control_comes_first_then_live_then_durable_then_lossy() -> None:
    box = outbox()
    box.push_lossy(Parcel("lossy"))
    box.push_durable(1, Parcel("durable"))
    box.push_live(Parcel("live"), 0)
    box.push_pong(Parcel("pong"))
    box.push_reset(Parcel("reset"))
    box.push_control(Parcel("connected"))
    assert waits(box)
    assert taken(box) == ["connected", "reset", "pong", "live", "durable", "lossy"]
    assert not waits(box)
    assert taken(box) == []


@pytest.mark.parametrize("kind", ["control", "reset", "pong", "live", "durable", "lossy"])
def test_one_frame_of_any_kind_is_given_out_once(kind: str) -> None:
    box = outbox()
    pushes: dict[str, Callable[[], object]] = {
        "control": lambda: box.push_control(Parcel("x")),
        "reset": lambda: box.push_reset(Parcel("x")),
        "pong": lambda: box.push_pong(Parcel("x")),
        "live": lambda: box.push_live(Parcel("x"), 0),
        "durable": lambda: box.push_durable(1, Parcel("x")),
        "lossy": lambda: box.push_lossy(Parcel("x")),
    }
    for _ in range(2):
        pushes[kind]()
        if kind == "durable":
            pushes["durable"] = lambda: box.push_durable(2, Parcel("x"))
        before = box.progress
        assert waits(box)
        assert taken(box) == ["x"]
        assert not waits(box)
        assert box.progress != before


def test_take_stops_when_the_room_is_used_up_and_goes_on_there() -> None:
    box = outbox()
    fill_live(box, 3)
    box.push_durable(1, Parcel("d1"))
    assert taken(box, 15) == [1, 2]
    assert taken(box, 1) == [3]
    assert taken(box, 1) == ["d1"]


def test_two_pongs_and_two_resets_that_wait_are_one() -> None:
    box = outbox()
    for number in (1, 2):
        box.push_pong(Parcel(f"pong {number}"))
        box.push_reset(Parcel(f"reset {number}"))
    assert taken(box) == ["reset 2", "pong 2"]


# --- live ------------------------------------------------------------------------------------------------------


def test_live_frames_are_kept_until_acknowledged_and_written_again_after_a_resume() -> None:
    box = outbox()
    fill_live(box, 4)
    assert taken(box) == [1, 2, 3, 4]
    box.acknowledge(1)
    box.detach()
    fill_live(box, 1, start=5)
    assert box.can_resume_live(2)
    box.resume(2, 0, is_catching_up=False)
    assert taken(box) == [3, 4, 5]
    assert box.live_next_seq == 6


def test_an_acknowledgement_beyond_what_was_written_counts_as_all_of_it() -> None:
    box = outbox()
    fill_live(box, 2)
    assert taken(box, 1) == [1]
    box.acknowledge(1_000)
    assert taken(box) == [2]


def test_a_resume_is_possible_from_the_last_kept_frame_on_and_not_before_or_beyond() -> None:
    box = outbox()
    fill_live(box, 4)
    taken(box)
    box.acknowledge(2)
    assert [seq for seq in range(-1, 8) if box.can_resume_live(seq)] == [2, 3, 4]


def test_written_frames_make_room_before_the_class_overflows() -> None:
    box = outbox()
    fill_live(box, 8)
    assert taken(box, 25) == [1, 2, 3]
    fill_live(box, 3, start=9)
    assert taken(box) == [4, 5, 6, 7, 8, 9, 10, 11]
    assert not box.can_resume_live(2)
    assert box.can_resume_live(3)


@pytest.mark.parametrize("limits", [{"live_kept_frames": 3}, {"live_kept_bytes": 30}])
def test_overflow_loses_what_is_kept_and_the_frame_until_a_new_epoch(limits: dict[str, int]) -> None:
    box = outbox(**limits)
    fill_live(box, 3)
    assert not box.push_live(Parcel(4), 0)
    assert box.live_is_lost
    assert not box.push_live(Parcel(5), 0)
    assert taken(box) == []
    assert not box.can_resume_live(0)
    box.begin_live_epoch()
    fill_live(box, 1, start=6)
    assert taken(box) == [6]
    assert (box.live_first_seq, box.live_next_seq) == (1, 2)


def test_a_frame_larger_than_the_bound_overflows_by_itself() -> None:
    box = outbox()
    assert not box.push_live(Parcel("huge", 101), 0)


def test_the_room_for_live_frames_is_what_unwritten_ones_leave() -> None:
    box = outbox()
    fill_live(box, 4)
    assert box.live_room_bytes == 60
    taken(box, 25)
    assert box.live_room_bytes == 90
    assert box.push_live(Parcel("fits", 90), 0)


def test_live_frames_are_kept_for_the_window_and_not_much_longer() -> None:
    box = outbox()
    for second in range(5):
        fill_live(box, 1, start=second + 1, at_ms=second * 1_000)
    taken(box)
    assert box.expire(30_999)
    assert box.can_resume_live(0)
    assert box.expire(32_000)
    assert not box.can_resume_live(0)
    assert box.can_resume_live(2)
    assert box.expire(36_000)
    assert not box.can_resume_live(3)
    assert box.can_resume_live(5)


@given(st.lists(st.integers(0, 3_000), max_size=30), st.integers(0, 60_000))
def test_no_live_frame_goes_before_its_time_and_none_stays_two_seconds_over(
    waits: list[int], rest: int
) -> None:
    box = outbox(live_kept_frames=100, live_kept_bytes=10_000)
    now = 0
    times = []
    for wait in waits:
        now += wait
        box.push_live(Parcel(now), now)
        box.take(ALL)
        times.append(now)
        box.expire(now)
    now += rest
    assert box.expire(now)
    kept = times[box.live_first_seq - 1 :]
    assert [time for time in times if now - time <= 30_000] == kept[
        len(kept) - len([t for t in times if now - t <= 30_000]) :
    ]
    assert all(now - time <= 32_000 for time in kept)


def test_an_unwritten_frame_whose_time_is_over_loses_the_class() -> None:
    box = outbox()
    fill_live(box, 2)
    taken(box, 1)
    assert not box.expire(40_000)
    assert box.live_is_lost


def test_nothing_to_expire_is_nothing_lost() -> None:
    box = outbox()
    assert box.expire(100_000)
    fill_live(box, 1, at_ms=100_000)
    taken(box)
    box.acknowledge(1)
    assert box.expire(200_000)
    assert not box.live_is_lost


def test_live_frames_for_an_absent_client_are_kept_and_bounded() -> None:
    box = outbox()
    fill_live(box, 2)
    taken(box)
    box.detach()
    fill_live(box, 6, start=3)
    assert box.can_resume_live(2)
    assert box.push_live(Parcel(9), 0)
    assert not box.can_resume_live(0)
    assert box.can_resume_live(1)
    assert box.push_live(Parcel(10), 0)
    assert not box.push_live(Parcel(11), 0)
    assert not any(box.can_resume_live(seq) for seq in range(12))


def test_a_resume_without_the_live_class_begins_a_new_count() -> None:
    box = outbox()
    fill_live(box, 3)
    taken(box)
    box.detach()
    box.resume(None, 0, is_catching_up=False)
    assert taken(box) == []
    fill_live(box, 1)
    assert taken(box) == [1]
    assert box.live_next_seq == 2


# --- durable ---------------------------------------------------------------------------------------------------


def test_durable_frames_move_the_cursor_when_they_are_written() -> None:
    box = outbox(durable_cursor=7)
    box.push_durable(9, Parcel("nine"))
    box.push_durable(12, Parcel("twelve"))
    assert box.durable_cursor == 7
    assert taken(box, 1) == ["nine"]
    assert box.durable_cursor == 9
    assert taken(box) == ["twelve"]
    assert box.durable_cursor == 12


@pytest.mark.parametrize("limits", [{"durable_pending_frames": 2}, {"durable_pending_bytes": 20}])
def test_durable_overflow_goes_back_to_the_log_where_the_connection_is(limits: dict[str, int]) -> None:
    box = outbox(**limits)
    box.push_durable(1, Parcel(1))
    assert taken(box) == [1]
    for offset in (2, 3, 4):
        box.push_durable(offset, Parcel(offset))
    assert catches_up(box)
    assert not waits(box)
    box.push_durable(5, Parcel("pushed while catching up"))
    ticket = box.ask_page()
    assert ticket is not None
    assert box.durable_cursor == 1
    assert box.ask_page() is None
    box.push_page(ticket, [(2, Parcel(2)), (3, Parcel(3))], 3, 5)
    assert catches_up(box)
    assert box.ask_page() is None, "what was read has to be written first"
    assert taken(box) == [2, 3]
    ticket = box.ask_page()
    assert ticket is not None
    box.push_page(ticket, [(4, Parcel(4)), (5, Parcel(5))], 5, 5)
    assert not catches_up(box)
    assert taken(box, 1) == [4]
    box.push_durable(6, Parcel(6))
    assert taken(box) == [5, 6]


def test_what_a_page_has_brought_is_not_pushed_again() -> None:
    box = outbox()
    box.resume(None, 3, is_catching_up=True)
    ticket = box.ask_page()
    assert ticket is not None
    # The page was read after the commit of 5, whose announcement comes only now.
    box.push_page(ticket, [(4, Parcel(4)), (5, Parcel(5))], 5, 4)
    assert not catches_up(box)
    box.push_durable(5, Parcel("once more"))
    box.push_durable(6, Parcel(6))
    assert taken(box) == [4, 5, 6]


def test_what_a_page_has_looked_at_in_vain_is_not_pushed_either() -> None:
    box = outbox()
    box.resume(None, 3, is_catching_up=True)
    ticket = box.ask_page()
    assert ticket is not None
    box.push_page(ticket, [], 8, 8)
    assert box.durable_cursor == 8
    box.push_durable(8, Parcel("not for it"))
    assert not waits(box)


def test_the_rest_of_a_page_counts_when_its_last_frame_is_written() -> None:
    box = outbox()
    box.resume(None, 0, is_catching_up=True)
    ticket = box.ask_page()
    assert ticket is not None
    box.push_page(ticket, [(2, Parcel(2)), (5, Parcel(5))], 9, 20)
    assert taken(box, 1) == [2]
    assert box.durable_cursor == 2
    assert taken(box, 1) == [5]
    assert box.durable_cursor == 9


def test_a_page_for_an_earlier_connection_is_dropped() -> None:
    box = outbox()
    box.resume(None, 0, is_catching_up=True)
    late = box.ask_page()
    assert late is not None
    box.resume(None, 4, is_catching_up=True)
    assert not box.awaits_page(late)
    box.push_page(late, [(1, Parcel(1))], 1, 9)
    ticket = box.ask_page()
    assert ticket is not None
    box.push_page(late, [(1, Parcel(1))], 1, 9)
    assert not waits(box)
    assert box.awaits_page(ticket)
    box.push_page(ticket, [(5, Parcel(5))], 9, 9)
    assert taken(box) == [5]


def test_an_absent_client_gets_no_durable_and_no_lossy_frames_kept() -> None:
    box = outbox()
    box.push_durable(1, Parcel(1))
    box.push_lossy(Parcel("a"))
    box.push_control(Parcel("c"))
    box.push_pong(Parcel("p"))
    box.detach()
    box.push_durable(2, Parcel(2))
    box.push_lossy(Parcel("b"))
    assert not waits(box)
    assert box.ask_page() is None
    box.resume(None, 0, is_catching_up=False)
    assert not waits(box)


def test_to_catch_up_later_starts_where_the_connection_is() -> None:
    box = outbox()
    box.push_durable(1, Parcel(1))
    taken(box)
    box.push_durable(2, Parcel(2))
    box.catch_up(0)
    assert not catches_up(box)
    assert not waits(box)
    box.catch_up(6)
    assert catches_up(box)
    assert box.ask_page() is not None
    assert box.durable_cursor == 1


# --- lossy -----------------------------------------------------------------------------------------------------


def test_of_lossy_frames_the_oldest_make_room() -> None:
    box = outbox()
    for number in range(5):
        box.push_lossy(Parcel(number))
    assert box.lossy_dropped == 2
    assert taken(box) == [2, 3, 4]


def test_lossy_frames_are_bounded_by_bytes_but_one_always_passes() -> None:
    box = outbox()
    box.push_lossy(Parcel("small"))
    box.push_lossy(Parcel("large", 1_000))
    assert taken(box) == ["large"]
    assert box.lossy_dropped == 1


# --- all together ----------------------------------------------------------------------------------------------

_OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(1, 40)),
        st.tuples(st.just("durable"), st.integers(1, 30)),
        st.tuples(st.just("lossy"), st.integers(1, 20)),
        st.tuples(st.just("others"), st.integers(0, 2)),
        st.tuples(st.just("take"), st.integers(1, 200)),
        st.tuples(st.just("page"), st.integers(1, 5)),
        st.tuples(st.just("cut"), st.integers(0, 3)),
        st.tuples(st.just("ping"), st.integers(0, 3)),
    ),
    max_size=80,
)


@given(_OPERATIONS)
def test_a_reader_gets_every_class_as_promised(operations: list[tuple[str, int]]) -> None:
    """Against a log and a client of a few lines: no gap and no repeat, but what a new epoch tells."""
    box = outbox()
    log: list[int] = []
    live: list[int] = []
    live_got: list[int] = []
    got: list[int] = []
    announced = 0
    ticket: int | None = None

    def begin_epoch() -> None:
        live.clear()
        live_got.clear()

    for what, amount in operations:
        if what == "live":
            announced += 1
            if box.push_live(Parcel(("live", announced), amount), 0):
                live.append(announced)
            else:
                box.begin_live_epoch()
                begin_epoch()
        elif what == "durable":
            log.append(amount)
            box.push_durable(len(log), Parcel(("durable", len(log)), amount))
        elif what == "lossy":
            box.push_lossy(Parcel(("lossy", 0), amount))
        elif what == "others":
            [box.push_control, box.push_reset, box.push_pong][amount](Parcel(("other", 0)))
        elif what == "take":
            for kind, number in taken(box, amount):
                if kind == "live":
                    live_got.append(number)
                elif kind == "durable":
                    got.append(number)
        elif what == "page":
            ticket = box.ask_page() if ticket is None else ticket
            if ticket is not None and amount > 1:
                first = box.durable_cursor + 1
                offsets = range(first, min(len(log), first + amount) + 1)
                frames = [(offset, Parcel(("durable", offset), log[offset - 1])) for offset in offsets]
                box.push_page(ticket, frames, offsets[-1] if offsets else len(log), len(log))
                ticket = None
        elif what == "ping":
            box.acknowledge(max(0, len(live_got) - amount))
        else:
            lost = min(amount, len(live_got))
            seq = len(live_got) - lost
            kept = got[: len(got) - lost]
            got[:] = kept
            cursor = kept[-1] if kept else 0
            ticket = None
            if box.can_resume_live(seq):
                del live_got[seq:]
                box.resume(seq, cursor, is_catching_up=cursor < len(log))
            else:
                begin_epoch()
                box.resume(None, cursor, is_catching_up=cursor < len(log))
        assert live_got == live[: len(live_got)]
        assert got == list(range(1, len(got) + 1))
        assert box.is_empty is not bool(
            box._control or box._reset or box._pong or box._durable or box._lossy or len(live) > len(live_got)
        )
    while box.is_catching_up or not box.is_empty:
        for kind, number in taken(box):
            if kind == "durable":
                got.append(number)
        ticket = box.ask_page() if ticket is None else ticket
        if ticket is not None:
            first = box.durable_cursor + 1
            frames = [(n, Parcel(("durable", n), log[n - 1])) for n in range(first, len(log) + 1)]
            box.push_page(ticket, frames, len(log), len(log))
            ticket = None
    assert got == list(range(1, len(log) + 1))


# --- the only frame ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["control", "reset", "pong", "live", "durable", "lossy"])
def test_the_only_frame_is_taken_as_take_would(kind: str) -> None:
    one, other = outbox(), outbox()
    for box in (one, other):
        if kind == "live":
            fill_live(box, 1)
        elif kind == "durable":
            box.push_durable(1, Parcel("only"))
        else:
            getattr(box, f"push_{kind}")(Parcel("only"))
    before = one.progress
    frame = one.take_only()
    assert frame is not None
    assert one.progress != before
    assert [frame] == other.take(ALL)
    assert one.is_empty
    assert (one.durable_cursor, one.live_next_seq) == (other.durable_cursor, other.live_next_seq)
    assert one.take_only() is None


def test_several_frames_are_not_the_only_one() -> None:
    box = outbox()
    assert box.take_only() is None
    fill_live(box, 2)
    assert box.take_only() is None
    assert taken(box) == [1, 2]
    box.push_lossy(Parcel("lossy"))
    fill_live(box, 1, start=3)
    assert box.take_only() is None
    assert taken(box) == [3, "lossy"]
    # What was written is kept for a resume, but does not wait.
    box.push_pong(Parcel("pong"))
    only = box.take_only()
    assert only is not None
    assert only.label == "pong"
