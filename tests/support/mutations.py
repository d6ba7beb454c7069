"""
Damages bytes and texts the way fuzzers do: flipped bits, cut, repeated and swapped parts, telling numbers.

Owns the damage. Deterministic: whoever calls passes the source of randomness in.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

_BYTES: Final = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x00\x00",
    b"\xff\xff",
    b"\x00\x01",
    b"\x80\x00",
    b"\x00\x03",
)
_WORDS: Final = (
    "", "0", "-1", "1", "127", "128", "255", "256", "65535", "65536", "4294967295", "4294967296", "9" * 30, "1e9", "٣",
    "x", "*", "/", ":", "=", ";", " ", "\t", "\0", "\r", "\x7f", "\u2028", "\ufeff", "\U0001f600", "rtx", "apt=96",
    "send", "recv", "recvonly", "FID 1 2", "bundle-only", "application", "audio", "video", "mid", "x" * 300,
)  # fmt: skip


def mutated(data: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """`data` with one to eight damages; parts of `others` may come in."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(damaged) + 1)
        action = chance.randrange(8)
        if action == 0 and place < len(damaged):
            damaged[place] ^= 1 << chance.randrange(8)
        elif action == 1 and place < len(damaged):
            damaged[place] = chance.randrange(256)
        elif action == 2:
            del damaged[place : place + chance.randrange(1, 20)]
        elif action == 3:
            damaged[place:place] = chance.randbytes(chance.randrange(1, 9))
        elif action == 4:
            part = chance.choice(_BYTES)
            damaged[place : place + len(part)] = part
        elif action == 5:
            part = bytes(damaged[place : place + chance.randrange(1, 40)])
            damaged[place:place] = part * chance.choice((1, 1, 2, 16))
        elif action == 6:
            del damaged[place:]
        elif others:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            damaged[place:place] = other[start : start + chance.randrange(1, 60)]
    return bytes(damaged[:2_048])


def mutated_text(text: str, chance: random.Random) -> str:
    """A text of lines with one to eight damages to lines, words or characters."""
    lines = text.split("\r\n")
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        place = chance.randrange(len(lines))
        action = chance.randrange(8)
        if action == 0:
            del lines[place : place + chance.choice((1, 1, 5, 40))]
        elif action == 1:
            lines[place:place] = lines[place : place + chance.choice((1, 3, 30))] * chance.choice(
                (1, 1, 2, 30)
            )
        elif action == 2:
            other = chance.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        elif action == 3:
            words = lines[place].split(" ")
            words[chance.randrange(len(words))] = chance.choice(_WORDS)
            lines[place] = " ".join(words)
        elif action == 4:
            head, colon, rest = lines[place].partition(":")
            lines[place] = chance.choice(
                (head, head + colon, head + colon + chance.choice(_WORDS), rest, colon + rest)
            )
        elif action == 5:
            line = lines[place]
            spot = chance.randrange(len(line) + 1)
            lines[place] = line[:spot] + chance.choice(_WORDS) + line[spot + chance.randrange(3) :]
        elif action == 6:
            lines[place] = (
                lines[place][:1]
                + "="
                + chance.choice(_WORDS)
                + chance.choice((" ", ""))
                + chance.choice(_WORDS)
            )
        else:
            lines = lines[:place] or [""]
        lines = lines or [""]
    return chance.choice(("\r\n", "\r\n", "\n")).join(lines)
