"""Which worker gets a channel, and what becomes of those it has."""

from __future__ import annotations

import math

import pytest

from peerbus.signaling.log.interface import ChannelKey
from peerbus.signaling.placement import Placement, WorkerLoad


def key(number: int) -> ChannelKey:
    return ChannelKey("private:p", bytes([number]) * 32)


def placement(*workers: str) -> Placement:
    made = Placement()
    for worker in workers:
        made.add(worker, f"peerbus:sfu-{worker}")
    return made


def test_nobody_is_chosen_where_nobody_can_be_reached() -> None:
    assert placement().choose({"a"}) is None
    assert placement("a").choose(set()) is None
    assert placement("a", "b").choose({"b"}) == "b"


@pytest.mark.parametrize(
    ("load_of_a", "load_of_b", "chosen"),
    [
        (WorkerLoad(participants=3), WorkerLoad(participants=2), "b"),
        (WorkerLoad(participants=3, cpu_share=0.1), WorkerLoad(participants=2, cpu_share=0.9), "a"),
        # Loads that differ by little are alike.
        (WorkerLoad(participants=3, cpu_share=0.51), WorkerLoad(participants=2, cpu_share=0.55), "b"),
        (WorkerLoad(is_draining=True), WorkerLoad(participants=50, cpu_share=1.0), "b"),
        (WorkerLoad(cpu_share=math.nan), WorkerLoad(participants=1), "a"),
    ],
)
def test_who_has_the_least_to_do_gets_it(load_of_a: WorkerLoad, load_of_b: WorkerLoad, chosen: str) -> None:
    made = placement("a", "b")
    made.report("a", load_of_a)
    made.report("b", load_of_b)
    assert made.choose({"a", "b"}) == chosen


def test_rooms_that_are_not_in_the_load_yet_count() -> None:
    made = placement("a", "b")
    for number in range(6):
        worker = made.choose({"a", "b"})
        assert worker is not None
        made.place(key(number), worker)
    assert len(made.rooms_of("a")) == len(made.rooms_of("b")) == 3


def test_a_channel_is_with_one_worker() -> None:
    made = placement("a", "b")
    made.place(key(1), "a")
    made.place(key(1), "b")
    assert made.rooms_of("a") == []
    assert made.worker_of(key(1)) == "b"
    made.free(key(1))
    assert made.worker_of(key(1)) is None


def test_a_worker_that_goes_leaves_its_rooms_behind() -> None:
    made = placement("a", "b")
    made.place(key(2), "a")
    made.place(key(1), "a")
    made.place(key(3), "b")
    assert made.remove("a") == [key(1), key(2)]
    assert made.worker_of(key(1)) is None
    assert made.workers == ["b"]
    assert made.remove("a") == []
