"""
Mode `host` in emulated time: members, links and the server's group machine under everything that can go wrong. The
long version is `tests/soak/host.py`; what must hold stands in `tests/support/host_truth.py`.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.host_truth import play


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_days_with_one_fault_at_a_time(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + 7):
        seen.update(play(seed))
    assert seen["hosts"] > 7
    assert seen["received"] > 500


@pytest.mark.parametrize("first", range(1_000, 1_100, 10))
def test_days_on_which_host_and_successor_are_lost_together(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + 3):
        seen.update(play(seed, is_double=True))
    assert seen["hosts"] > 3
