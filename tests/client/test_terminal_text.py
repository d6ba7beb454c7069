"""Nothing that a stranger wrote commands the terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.client.terminal_text import MAX_SHOWN_CHARS, lines, one_line

any_text = st.text(st.characters(), max_size=200)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", "hello"),
        ("naïve ☕ 𝄞 नमस्ते", "naïve ☕ 𝄞 नमस्ते"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\nc\bd\te\x7f", "a\\rb\\nc\\x08d\\te\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
    ],
)
def test_what_commands_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", [""]),
        ("one", ["one"]),
        ("one\ntwo", ["one", "two"]),
        ("one\r\ntwo\rthree\u2028four\n\n", ["one", "two", "three", "four"]),
        ("one\n\nthree", ["one", "", "three"]),
        ("\tx", ["    x"]),
        ("a\x1b[A\nb", ["a\\x1b[A", "b"]),
    ],
)
def test_a_message_may_have_lines(text: str, shown: list[str]) -> None:
    assert lines(text) == shown


@given(any_text)
def test_no_control_character_comes_through(text: str) -> None:
    for shown in (one_line(text), *lines(text)):
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
        shown.encode("utf-8")


@given(any_text)
def test_harmless_text_is_not_touched(text: str) -> None:
    if text.isprintable():
        assert one_line(text) == text


def test_a_long_text_is_shortened_and_says_so() -> None:
    shown = one_line("x" * (MAX_SHOWN_CHARS + 17))
    assert shown.endswith(" … (17 more characters)")
    assert len(shown) < MAX_SHOWN_CHARS + 40
