"""The patterns of grants: what each stands for, and what two stand for together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.patterns import (
    EVERY,
    PATTERN_MAX_CHARS,
    check_pattern,
    has_wildcard,
    intersect,
    intersect_pair,
    matches,
)

# Few characters, so that patterns and names often meet.
NAMES = st.text(alphabet="ab./*>", max_size=8)
SEGMENTS = st.sampled_from(["", "a", "b", "ab", "*", "a*", ">a"])
SEPARATORS = st.sampled_from(["/", "."])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """A well-formed pattern; about half of them have wildcards."""
    text = draw(SEGMENTS)
    for segment in draw(st.lists(SEGMENTS, max_size=3)):
        text += draw(SEPARATORS) + segment
    if draw(st.booleans()):
        text = f"{text}{draw(SEPARATORS)}>" if draw(st.booleans()) else ">"
    return text or "a"


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("lobby", ["lobby"], ["Lobby", "lobby2", "lobb", "", "lobby/", "a/lobby"]),
        (
            "team/*",
            ["team/a", "team/a b", "team/*"],
            ["team", "team/", "team/a/b", "team.a", "team/a.b", "xteam/a"],
        ),
        ("*/x", ["a/x"], ["/x", "a/b/x", "a.x", "a/xx"]),
        ("team/>", ["team/a", "team/a/b.c", "team//"], ["team", "team/", "team.a", "steam/a"]),
        ("*", ["a", "a b"], ["", "a/b", "a.b"]),
        (">", ["a", "a/b.c", ".", "/", "a\nb", "é"], [""]),
        ("a.*.c/>", ["a.b.c/d"], ["a.b.c/", "a..c/d", "a.b.c.d"]),
        ("a*", ["a*"], ["a", "ab"]),
        ("a+(b|c)?$", ["a+(b|c)?$"], ["aab", "a"]),
        ("a//b", ["a//b"], ["a/b", "a/x/b"]),
        ("Cafe\u0301", ["Café"], ["Cafe"]),
    ],
)
def test_what_a_pattern_stands_for(pattern: str, fitting: list[str], others: list[str]) -> None:
    checked = (check_pattern(pattern),)
    assert [name for name in fitting + others if matches(checked, name)] == fitting


@pytest.mark.parametrize("pattern", ["", ">/a", "a/>/b", ">.", "x" * (PATTERN_MAX_CHARS + 1)])
def test_malformed_patterns(pattern: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_pattern(pattern)
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (">", ">", ">"),
        (">", "a/*", "a/*"),
        ("a/>", "a/*", "a/*"),
        ("a/>", "*/b/>", "a/b/>"),
        ("a/>", "*/>", "a/>"),
        ("*/b", "a/*", "a/b"),
        ("a", "a", "a"),
        ("a", "b", None),
        ("a/*", "a.*", None),
        ("a/>", "a", None),
        ("a/>", "a/", None),
        ("*", "a/b", None),
        ("a/*", "a/", None),
    ],
)
def test_what_two_patterns_stand_for_together(one: str, other: str, both: str | None) -> None:
    assert intersect_pair(one, other) == both
    assert intersect_pair(other, one) == both


@given(patterns(), patterns(), NAMES)
def test_the_intersection_stands_for_what_both_stand_for(one: str, other: str, name: str) -> None:
    both = intersect_pair(one, other)
    assert matches(() if both is None else (both,), name) == (
        matches((one,), name) and matches((other,), name)
    )


@given(st.lists(patterns(), max_size=4), st.lists(patterns(), max_size=4), NAMES)
def test_so_do_the_intersections_of_lists(ones: list[str], others: list[str], name: str) -> None:
    both = intersect(tuple(ones), tuple(others))
    assert matches(both, name) == (matches(tuple(ones), name) and matches(tuple(others), name))
    assert len(set(both)) == len(both)
    assert all(check_pattern(pattern) == pattern for pattern in both)


@given(patterns(), NAMES)
def test_matching_agrees_with_its_definition(pattern: str, name: str) -> None:
    assert matches((pattern,), name) == stands_for(pattern, name)


@given(patterns())
def test_every_and_nothing_are_the_neutral_lists(pattern: str) -> None:
    assert intersect(EVERY, (pattern,)) == (pattern,)
    assert intersect((pattern,), EVERY) == (pattern,)
    assert intersect((pattern,), ()) == ()
    assert intersect((pattern,), (pattern,)) == (pattern,)
    assert has_wildcard(pattern) == any(part in ("*", ">") for part in pattern.replace(".", "/").split("/"))


def test_a_hostile_pattern_costs_no_time() -> None:
    # A matcher that backtracks would not come back from this.
    hostile = "/".join(["*"] * 100) + "/>"
    name = "/".join(["a" * 30] * 100)
    assert len(hostile) <= PATTERN_MAX_CHARS
    assert not matches((hostile,) * 30, name)
    assert matches((hostile,), name + "/b")


def stands_for(pattern: str, name: str) -> bool:
    """The definition, one character after another."""
    if pattern == ">":
        return name != ""
    segment, name_segment = cut(pattern), cut(name)
    if segment != name_segment and not (segment == "*" and name_segment):
        return False
    pattern, name = pattern[len(segment) :], name[len(name_segment) :]
    if not pattern or not name:
        return pattern == name
    return pattern[0] == name[0] and stands_for(pattern[1:], name[1:])


def cut(text: str) -> str:
    """What stands before the first separator."""
    return text.replace(".", "/").split("/")[0]
