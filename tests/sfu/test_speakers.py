"""Who speaks: above silence for a moment, and over the pauses between words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.speakers import HOLD_MS, SPEAKING_DBOV, Speakers, loudness

STEP_MS = 100


def hear(speakers: Speakers, levels: dict[str, int], count: int, start_ms: int = 0) -> list[list[str]]:
    """The same levels for `count` steps; whatever was told."""
    told = []
    for step in range(count):
        one = speakers.update(levels, start_ms + step * STEP_MS)
        if one is not None:
            told.append([who for who, _ in one])
    return told


def test_a_single_bang_is_no_speech_but_a_moment_of_it_is() -> None:
    speakers = Speakers()
    assert hear(speakers, {"ann": 0}, 1) == []
    assert hear(speakers, {"ann": -127}, 20, STEP_MS) == []
    assert hear(speakers, {"ann": -20}, 5, 3_000) == [["ann"]]


def test_a_quiet_room_is_silence() -> None:
    assert hear(Speakers(), {"ann": -60, "ben": SPEAKING_DBOV}, 200) == []


def test_a_speaker_stays_over_a_pause_and_ends_once_it_is_long() -> None:
    speakers = Speakers()
    assert hear(speakers, {"ann": -20}, 10) == [["ann"]]
    assert hear(speakers, {}, 5, 1_000) == []
    assert hear(speakers, {"ann": -20}, 5, 1_500) == []
    assert hear(speakers, {}, 60, 2_000) == [[]]


def test_the_loudest_comes_first() -> None:
    speakers = Speakers()
    told = hear(speakers, {"ann": -40, "ben": -10, "cleo": -25}, 20)
    assert set(told[0]) < {"ann", "ben", "cleo"}
    assert told[-1] == ["ben", "cleo", "ann"]


def test_nothing_is_told_while_the_same_ones_speak() -> None:
    speakers = Speakers()
    hear(speakers, {"ann": -20, "ben": -30}, 20)
    assert hear(speakers, {"ann": -35, "ben": -15}, 20, 2_000) == []


def test_who_leaves_speaks_no_more_and_is_not_remembered() -> None:
    speakers = Speakers()
    hear(speakers, {"ann": -20}, 10)
    speakers.leave("ann")
    assert speakers.update({}, 1_000) == []
    speakers.leave("nobody")
    assert hear(speakers, {"ann": -45}, 1, 2_000) == []


def test_loudness_goes_from_the_threshold_to_full_scale() -> None:
    assert loudness(0) == 1
    assert loudness(SPEAKING_DBOV) == 0
    assert loudness(-127) == 0
    assert loudness(SPEAKING_DBOV / 2) == 0.5


@given(
    steps=st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(-127, 0), max_size=4), max_size=80),
)
def test_who_is_told_was_loud_lately_and_every_change_is_told(steps: list[dict[str, int]]) -> None:
    speakers = Speakers()
    known: set[str] = set()
    for number, levels in enumerate(steps):
        now_ms = number * STEP_MS
        told = speakers.update(levels, now_ms)
        if told is None:
            continue
        names = [who for who, _ in told]
        assert len(set(names)) == len(names)
        assert set(names) != known
        known = set(names)
        shares = [level for _, level in told]
        assert shares == sorted(shares, reverse=True)
        assert all(0 <= share <= 1 for share in shares)
    now_ms = len(steps) * STEP_MS
    # A minute of silence ends all of them, and says so.
    ends = [speakers.update({}, now_ms + pause_ms) for pause_ms in range(0, 60_000, STEP_MS)]
    assert ([] in ends) is bool(known)
    assert ends[-1] is None
    assert HOLD_MS < 60_000
