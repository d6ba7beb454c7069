"""What a typed line asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.client.chat_commands import (
    HELP,
    NAMES,
    Command,
    Help,
    Mistake,
    Quit,
    Safety,
    Say,
    Who,
    parse_line,
)

PRESENT = ("Ann", "Ann Lee", "bob")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("hello", Say("hello")),
        ("  indented stays  ", Say("  indented stays")),
        ("", None),
        ("   \t", None),
        ("//etc/passwd", Say("/etc/passwd")),
        ("/who", Who()),
        ("/who ", Who()),
        ("/safety", Safety()),
        ("/help", Help()),
        ("/quit", Quit()),
        ("/msg bob hi there", Say("hi there", to="bob")),
        ("/msg  bob  hi", Say("hi", to="bob")),
        ("/msg Ann hi", Say("hi", to="Ann")),
        ("/msg Ann Lee hi", Say("hi", to="Ann Lee")),
        ("/msg Ann Leeroy hi", Say("Leeroy hi", to="Ann")),
        ("/msg carl hi", Say("hi", to="carl")),
        ('/msg "Carl Olaf" hi', Say("hi", to="Carl Olaf")),
        ('/msg "Carl Olaf"hi', Say("hi", to="Carl Olaf")),
    ],
)
def test_a_line_is_understood(line: str, command: Command | None) -> None:
    assert parse_line(line, PRESENT) == command


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/whom", "/whom"),
        ("/", "/help"),
        ("/quit now", "/quit takes nothing"),
        ("/msg", "/msg NAME TEXT"),
        ("/msg bob", "/msg NAME TEXT"),
        ("/msg Ann Lee", "/msg NAME TEXT"),
        ('/msg "" hi', "/msg NAME TEXT"),
        ('/msg "bob hi', "/msg NAME TEXT"),
    ],
)
def test_a_mistake_is_explained(line: str, said: str) -> None:
    command = parse_line(line, PRESENT)
    assert isinstance(command, Mistake)
    assert said in command.text


@given(st.text(max_size=60))
def test_any_text_can_be_said_to_everyone(text: str) -> None:
    wanted = text.rstrip()
    if not wanted.strip():
        assert parse_line(text) is None
    else:
        assert parse_line("/" + text if text.startswith("/") else text) == Say(wanted)


def test_help_explains_every_command() -> None:
    assert all(any(line.startswith(name) for line in HELP) for name in NAMES)
