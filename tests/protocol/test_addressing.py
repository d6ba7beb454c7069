"""Who a message is for: RE2 and globs over names, and that nothing malformed ever becomes a broadcast."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from peerbus.protocol.addressing import MAX_FILTER_CHARS, check_address, compile_filter, name_of
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import GlobFilter

NAMES = ["ann", "anna", "Bob", "bob-2", "Zoë", "a.b", "x y", "[q]", "日本"]


def compiled_or_refused(filter_: str | GlobFilter) -> Callable[[str], bool] | None:
    """None for a filter that is refused as it should be."""
    try:
        return compile_filter(filter_)
    except ProtocolError as refused:
        if refused.code is not ErrorCode.BAD_FILTER:
            raise
        return None


def matched(filter_: str | GlobFilter) -> list[str]:
    test = compile_filter(filter_)
    return [name for name in NAMES if test(name)]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("ann", ["ann"]),
        ("ann.*", ["ann", "anna"]),
        ("ann|Bob", ["ann", "Bob"]),
        ("(?i)bob", ["Bob"]),
        ("a.b", ["a.b"]),
        (r"a\.b", ["a.b"]),
        (".*", NAMES),
        ("..", ["日本"]),
        ("Zo.", ["Zoë"]),
        (r"\p{Han}+", ["日本"]),
        ("", []),
        ("an", []),
        ("^ann$", ["ann"]),
    ],
)
def test_a_string_is_re2_and_matches_the_whole_name(expression: str, names: list[str]) -> None:
    assert matched(expression) == names


@pytest.mark.parametrize(
    "expression",
    ["(", "[", "a**", "*", "(?=a)", "(?<!a)b", r"(a)\1", "a{2000}", "\\", "(?P<n", "((a{100}){100}){100}"],
)
def test_what_is_not_re2_is_bad_filter(expression: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        compile_filter(expression)
    assert refused.value.code is ErrorCode.BAD_FILTER
    assert refused.value.message.startswith("Not an RE2 expression: ")


@pytest.mark.parametrize("filter_", ["a" * (MAX_FILTER_CHARS + 1), GlobFilter(glob="?" * 200)])
def test_a_filter_that_is_too_long_is_bad_filter(filter_: str | GlobFilter) -> None:
    if isinstance(filter_, GlobFilter):
        assert not compile_filter(filter_)("a" * 199)
        return
    with pytest.raises(ProtocolError) as refused:
        compile_filter(filter_)
    assert refused.value.code is ErrorCode.BAD_FILTER


def test_an_expression_that_costs_others_minutes_takes_linear_time() -> None:
    test = compile_filter("(a+)+b")
    began = time.process_time()
    assert not test("a" * 64)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("*", NAMES),
        ("ann*", ["ann", "anna"]),
        ("?nn", ["ann"]),
        ("[aB]*", ["ann", "anna", "Bob", "a.b"]),
        ("[!a]*", ["Bob", "bob-2", "Zoë", "x y", "[q]", "日本"]),
        ("[[]q]", ["[q]"]),
        ("[]q[]*", ["[q]"]),
        ("a.b", ["a.b"]),
        ("x y", ["x y"]),
        ("??", ["日本"]),
        ("(", []),
    ],
)
def test_a_glob_means_what_it_means_in_a_shell(glob: str, names: list[str]) -> None:
    assert matched(GlobFilter(glob=glob)) == names


@pytest.mark.parametrize("glob", ["", "[", "a[", "[!", "[]", "[!]", "x[ab"])
def test_a_malformed_glob_is_bad_filter(glob: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        compile_filter(GlobFilter(glob=glob))
    assert refused.value.code is ErrorCode.BAD_FILTER


_GLOB_CHARS = st.sampled_from("ab*?[]!^-\\.é(")


@given(st.text(_GLOB_CHARS, max_size=8), st.text(st.sampled_from("ab^-\\.é(![]"), min_size=1, max_size=5))
def test_a_glob_agrees_with_fnmatch_or_is_refused(glob: str, name: str) -> None:
    test = compiled_or_refused(GlobFilter(glob=glob))
    if test is None:
        assert "[" in glob or not glob
    else:
        assert test(name) is fnmatch.fnmatchcase(name, glob)


@given(st.text(st.characters(), max_size=30), st.text(min_size=1, max_size=10))
@example("\ud800", "a")
def test_whatever_is_written_it_is_a_test_or_bad_filter(expression: str, name: str) -> None:
    for filter_ in (expression, GlobFilter(glob=expression)):
        test = compiled_or_refused(filter_)
        assert test is None or isinstance(test(name), bool)


@given(st.text(st.sampled_from("abc.*+?|()"), max_size=10), st.text(st.sampled_from("abc."), max_size=5))
def test_where_re_and_re2_read_the_same_they_match_the_same(expression: str, name: str) -> None:
    test = compiled_or_refused(expression)
    # `a++` is possessive in one of them only.
    if test is None or re.search(r"[*+?]\+", expression):
        return
    try:
        witness = re.compile(expression)
    except re.error:
        return
    assert test(name) is (witness.fullmatch(name) is not None)


def test_to_and_filter_exclude_each_other() -> None:
    for filter_ in ("a", GlobFilter(glob="a")):
        with pytest.raises(ProtocolError) as refused:
            check_address(["ann"], filter_, max_recipients=3)
        assert refused.value.code is ErrorCode.BAD_REQUEST


def test_an_empty_to_is_an_error_and_not_everyone() -> None:
    with pytest.raises(ProtocolError) as refused:
        check_address([], UNSET, max_recipients=3)
    assert refused.value.code is ErrorCode.BAD_REQUEST


def test_to_is_bounded() -> None:
    check_address(["a", "b", "c"], UNSET, max_recipients=3)
    with pytest.raises(ProtocolError) as refused:
        check_address(["a", "b", "c", "d"], UNSET, max_recipients=3)
    assert refused.value.code is ErrorCode.BAD_REQUEST


def test_a_name_is_meant_in_whatever_form_it_is_typed() -> None:
    assert name_of("Zoe\u0308") == "Zoë" == name_of("Zoë")
    assert name_of("ann") == "ann"
