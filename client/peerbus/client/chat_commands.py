"""
What a line typed into the terminal chat asks for.

Owns the commands and their spelling. Never carries one out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, TypeAlias

HELP: Final = (
    "Type a message and press Enter: everyone in the channel gets it.",
    "/who             who is here",
    '/msg NAME TEXT   a message for NAME alone; a name with spaces in quotes: /msg "Ann Lee" hello',
    "/safety          digits to compare by voice: whoever has the same is in this channel by this password",
    "/quit            leave",
    "/help            this text",
    "A message that begins with a slash is typed with two: //etc",
)
NAMES: Final = ("/help", "/msg", "/quit", "/safety", "/who")


@dataclass(frozen=True)
class Say:
    """A message for everyone, or for `to` alone."""

    text: str
    to: str = ""


@dataclass(frozen=True)
class Who:
    """List the members."""


@dataclass(frozen=True)
class Safety:
    """Show the safety number."""


@dataclass(frozen=True)
class Help:
    """Explain the commands."""


@dataclass(frozen=True)
class Quit:
    """Leave."""


@dataclass(frozen=True)
class Mistake:
    """The line means nothing; `text` says what would."""

    text: str


Command: TypeAlias = Say | Who | Safety | Help | Quit | Mistake


_PLAIN: Final[dict[str, Command]] = {
    "/who": Who(),
    "/safety": Safety(),
    "/help": Help(),
    "/quit": Quit(),
}


def parse_line(line: str, present: Collection[str] = ()) -> Command | None:
    """
    What `line` asks for; None for a blank one.

    `present` are the names in the channel: one with spaces is recognised without quotes.
    """
    line = line.rstrip()
    if not line.strip():
        return None
    if line.startswith("//"):
        return Say(line[1:])
    if not line.startswith("/"):
        return Say(line)
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word == "/msg":
        return _direct(rest, present)
    plain = _PLAIN.get(word)
    if plain is None:
        return Mistake(
            f"There is no command {word}. /help lists them; //… sends a line that begins with a slash."
        )
    return Mistake(f"{word} takes nothing behind it.") if rest else plain


def _direct(rest: str, present: Collection[str]) -> Command:
    if rest.startswith('"'):
        name, _, text = rest[1:].partition('"')
    else:
        # The longest name that the line begins with, so that "Ann Lee" goes before "Ann".
        fitting = [name for name in present if rest == name or rest.startswith(f"{name} ")]
        name = max(fitting, key=len, default=rest.split(" ", 1)[0])
        text = rest[len(name) :]
    text = text.strip()
    if not name or not text:
        return Mistake("Whom and what? /msg NAME TEXT")
    return Say(text, to=name)
