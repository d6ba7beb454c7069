"""What reaches standard error: one line a record, escaped, and not without end."""

from __future__ import annotations

import json
import logging

import pytest

from peerbus.signaling.operator_log import (
    LINES_PER_WINDOW,
    WINDOW_S,
    EscapingFormatter,
    FloodFilter,
    JsonFormatter,
    escaped,
)


def record(
    message: str, *arguments: object, at_s: float = 0.0, error: BaseException | None = None
) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("peerbus", logging.INFO, __file__, 1, message, arguments, exc_info)
    made.created = at_s
    return made


def test_a_kind_of_line_is_repeated_so_often_and_then_counted() -> None:
    flood = FloodFilter()
    passed = [flood.filter(record("refused: %s", number, at_s=1.0)) for number in range(1_000)]
    assert passed == [True] * LINES_PER_WINDOW + [False] * (1_000 - LINES_PER_WINDOW)
    assert flood.filter(record("another kind", at_s=1.0))
    later = record("refused: %s", "x", at_s=1.0 + WINDOW_S)
    assert flood.filter(later)
    assert later.getMessage() == f"refused: x (and {1_000 - LINES_PER_WINDOW} like it before)"
    last = record("refused: %s", "y", at_s=1.0 + WINDOW_S)
    assert flood.filter(last)
    assert last.getMessage() == "refused: y"


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    flood = FloodFilter()
    for _ in range(100):
        flood.filter(record("refused", at_s=10_000.0))
    assert flood.filter(record("refused", at_s=5.0))


def test_texts_of_any_number_take_bounded_memory() -> None:
    flood = FloodFilter()
    assert all(flood.filter(record(f"kind {number}")) for number in range(5_000))
    assert len(flood._kinds) <= 500


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\r\nINFO forged", "a\\r\\nINFO forged"),
        ("\x1b[2J\x9b31m", "\\x1b[2J\\x9b31m"),
        ("nul\0 bell\a", "nul\\x00 bell\\x07"),
        ("\u202etxt.exe \u2028", "\\u202etxt.exe \\u2028"),
        ("lone \udcff", "lone \\udcff"),
        ("grüße 日本", "grüße 日本"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected
    assert EscapingFormatter("%(message)s").format(record("%s", text)) == expected


def boom() -> BaseException:
    try:
        raise ValueError("bad\x1b[2J input")
    except ValueError as error:
        return error


def test_a_traceback_keeps_its_lines_and_nothing_else() -> None:
    text = EscapingFormatter("%(message)s").format(record("failed: %s", "a\nb", error=boom()))
    first, *rest = text.split("\n")
    assert first == "failed: a\\nb"
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "ValueError: bad\\x1b[2J input"
    assert "\x1b" not in text


def test_json_is_one_object_a_line() -> None:
    text = JsonFormatter().format(record("a\n%s", "b\x1b\udcff", error=boom()))
    assert "\n" not in text
    value = json.loads(text)
    assert (value["level"], value["logger"], value["message"]) == ("info", "peerbus", "a\nb\x1b\\udcff")
    assert "ValueError" in value["exception"]
