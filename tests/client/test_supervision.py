"""What a supervisor decides, in emulated time."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.client.supervision import (
    Action,
    Finish,
    Kill,
    Notice,
    RestartPolicy,
    Start,
    Supervision,
    Terminate,
    describe_exit,
)

POLICY = RestartPolicy(first_delay_ms=100, longest_delay_ms=1000, steady_ms=10_000)
GRACE_MS = 5_000


def supervision(*names: str) -> Supervision:
    return Supervision(dict.fromkeys(names or ("signaling",), POLICY), GRACE_MS)


def running(*names: str) -> Supervision:
    machine = supervision(*names)
    machine.tick(0)
    return machine


def working(*names: str) -> tuple[Supervision, int]:
    """Children that have run long enough to be known to work, and the time."""
    machine = running(*names)
    for name in names or ("signaling",):
        machine.exited(name, -signal.SIGKILL, 20_000)
        machine.tick(20_100)
    return machine, 20_100


def delay_said(actions: list[Action]) -> str:
    (notice,) = actions
    assert isinstance(notice, Notice)
    return notice.text


def test_all_children_are_started_at_once() -> None:
    machine = supervision("signaling", "sfu-1")
    assert machine.deadline() == 0
    assert machine.tick(7) == [Start("signaling"), Start("sfu-1")]
    assert machine.deadline() is None
    assert machine.tick(8) == []


def test_nothing_to_supervise_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Supervision({}, GRACE_MS)


def test_a_crash_is_started_again_after_a_delay() -> None:
    machine = running()
    said = delay_said(machine.exited("signaling", 1, 10_000))
    assert said == "signaling ended with code 1; starting it again in 0.1 s"
    assert machine.deadline() == 10_100
    assert machine.tick(10_099) == []
    assert machine.tick(10_100) == [Start("signaling")]


def test_a_child_that_never_worked_and_gives_up_is_not_started_again() -> None:
    machine = running("signaling", "sfu-1")
    assert machine.exited("signaling", 1, 9_999) == [Terminate("sfu-1")]
    assert machine.exited("sfu-1", 0, 10_100) == [Finish(1)]


def test_a_child_that_was_killed_at_once_is_started_again() -> None:
    machine = running()
    machine.exited("signaling", -signal.SIGKILL, 1)
    assert machine.tick(101) == [Start("signaling")]
    assert machine.exited("signaling", 1, 102) == [Finish(1)]


def test_a_child_that_has_worked_is_started_again_however_soon_it_gives_up() -> None:
    machine, now = working()
    machine.exited("signaling", 1, now + 1)
    assert machine.tick(now + 1 + 200) == [Start("signaling")]


def test_the_delay_doubles_up_to_a_bound() -> None:
    machine = running()
    delays, now = [], 0
    for _ in range(7):
        machine.exited("signaling", -signal.SIGSEGV, now)
        due = machine.deadline()
        assert due is not None
        delays.append(due - now)
        now = due
        machine.tick(now)
    assert delays == [100, 200, 400, 800, 1000, 1000, 1000]


def test_after_a_steady_run_a_crash_is_the_first_again() -> None:
    machine = running()
    machine.exited("signaling", -signal.SIGSEGV, 0)
    machine.tick(100)
    machine.exited("signaling", -signal.SIGSEGV, 10_099)
    assert machine.deadline() == 10_099 + 200
    machine.tick(10_299)
    machine.exited("signaling", 1, 20_299)
    assert machine.deadline() == 20_299 + 100


def test_the_delay_stays_bounded_after_any_number_of_crashes() -> None:
    assert POLICY.delay_ms(10**9) == POLICY.longest_delay_ms


@pytest.mark.parametrize("code", [0, 2])
def test_a_final_code_ends_the_whole_with_it(code: int) -> None:
    machine = running("signaling", "sfu-1")
    assert machine.exited("signaling", code, 10) == [Terminate("sfu-1")]
    assert machine.exited("sfu-1", 0, 20) == [Finish(code)]
    assert machine.deadline() is None


def test_a_final_code_does_not_wait_for_a_crashed_child() -> None:
    machine = running("signaling", "sfu-1")
    machine.exited("sfu-1", -signal.SIGKILL, 10)
    assert machine.exited("signaling", 2, 20) == [Finish(2)]
    assert machine.deadline() is None


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_others_go_on_without_one_that_is_not_essential(code: int) -> None:
    optional = RestartPolicy(is_essential=False)
    machine = Supervision({"signaling": POLICY, "sfu-1": optional}, GRACE_MS)
    machine.tick(0)
    assert "going on without it" in delay_said(machine.exited("sfu-1", code, 100))
    assert machine.deadline() is None
    assert machine.stop(200) == [Terminate("signaling")]
    assert machine.exited("signaling", 0, 300) == [Finish(0)]


def test_one_that_is_not_essential_is_started_again_after_a_crash() -> None:
    machine = Supervision({"signaling": POLICY, "sfu-1": RestartPolicy(is_essential=False)}, GRACE_MS)
    machine.tick(0)
    assert "starting it again" in delay_said(machine.exited("sfu-1", -signal.SIGKILL, 100))
    assert machine.tick(350) == [Start("sfu-1")]


def test_the_whole_ends_with_what_is_essential() -> None:
    machine = Supervision({"signaling": POLICY, "sfu-1": RestartPolicy(is_essential=False)}, GRACE_MS)
    machine.tick(0)
    assert machine.exited("signaling", 2, 100) == [Terminate("sfu-1")]
    assert machine.exited("sfu-1", 0, 200) == [Finish(2)]


def test_stop_asks_and_waits() -> None:
    machine = running("signaling", "sfu-1")
    assert machine.stop(1000) == [Terminate("signaling"), Terminate("sfu-1")]
    assert machine.deadline() == 1000 + GRACE_MS
    assert machine.exited("sfu-1", 0, 1100) == []
    assert machine.exited("signaling", 0, 1200) == [Finish(0)]


def test_a_crash_while_stopping_is_not_started_again_and_told_by_the_code() -> None:
    machine = running()
    machine.stop(0)
    assert machine.exited("signaling", 70, 1) == [Finish(70)]


def test_sigterm_that_came_before_its_handler_is_a_normal_end() -> None:
    machine = running()
    machine.stop(0)
    assert machine.exited("signaling", -signal.SIGTERM, 1) == [Finish(0)]


def test_stop_while_waiting_to_start_again_ends_at_once() -> None:
    machine = running()
    machine.exited("signaling", -signal.SIGKILL, 0)
    assert machine.stop(50) == [Finish(0)]


def test_stop_before_the_first_start_ends_at_once() -> None:
    assert supervision().stop(0) == [Finish(0)]


def test_who_does_not_end_in_time_is_killed() -> None:
    machine = running("signaling", "sfu-1")
    machine.stop(0)
    machine.exited("sfu-1", 0, 10)
    assert machine.tick(GRACE_MS - 1) == []
    notice, kill = machine.tick(GRACE_MS)
    assert isinstance(notice, Notice)
    assert kill == Kill("signaling")
    assert machine.deadline() is None
    assert machine.exited("signaling", -signal.SIGKILL, GRACE_MS + 5) == [Finish(1)]


def test_the_second_stop_kills_at_once() -> None:
    machine = running()
    machine.stop(0)
    assert Kill("signaling") in machine.stop(100)
    assert machine.deadline() is None


def test_what_cannot_be_started_is_tried_again() -> None:
    machine = running()
    said = delay_said(machine.not_started("signaling", "Cannot allocate memory", 0))
    assert said == "signaling could not be started (Cannot allocate memory); starting it again in 0.1 s"
    assert machine.tick(100) == [Start("signaling")]
    machine.stop(100)
    assert machine.not_started("signaling", "Cannot allocate memory", 100) == [Finish(0)]


def test_an_end_nobody_expected_is_refused() -> None:
    machine = supervision()
    with pytest.raises(ValueError, match="was not running"):
        machine.exited("signaling", 0, 0)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "ended with code 1"),
        (-9, "was ended by SIGKILL"),
        (-11, "was ended by SIGSEGV"),
        (-4000, "was ended by signal 4000"),
    ],
)
def test_an_end_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words


events = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 3000)),
        st.tuples(st.just("exit"), st.sampled_from([0, 1, 2, 3, -9, -15])),
        st.tuples(st.just("stop"), st.just(0)),
    ),
    max_size=40,
)


@given(events, st.data())
def test_whatever_happens_only_a_childless_whole_ends(
    sequence: list[tuple[str, int]], data: st.DataObject
) -> None:
    names = ("signaling", "sfu-1", "sfu-2")
    machine = supervision(*names)
    alive: set[str] = set()
    now = 0
    codes: list[int] = []

    def carry_out(actions: list[Action]) -> None:
        for action in actions:
            assert not codes
            if isinstance(action, Start):
                assert action.name not in alive
                alive.add(action.name)
            elif isinstance(action, Terminate | Kill):
                assert action.name in alive
            elif isinstance(action, Finish):
                assert not alive
                codes.append(action.code)

    for kind, value in sequence:
        if codes:
            break
        now += 1
        if kind == "wait":
            now += value
            carry_out(machine.tick(now))
        elif kind == "stop":
            carry_out(machine.stop(now))
        elif alive:
            name = data.draw(st.sampled_from(sorted(alive)))
            alive.remove(name)
            carry_out(machine.exited(name, value, now))
        if not codes and not alive:
            # Somebody has to be started some time, or it would hang for ever.
            assert machine.deadline() is not None
