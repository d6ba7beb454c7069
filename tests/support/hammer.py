"""The long run of a parser: damaged samples and drawn inputs, one after another."""

from __future__ import annotations

import random
from collections.abc import Mapping

from tests.support.parsers import PARSERS, damaged


def hammer(name: str, seed: int, scale: int) -> Mapping[str, object]:
    """
    So many inputs for the parser of this name; how many were read, how many refused.

    Raises `AssertionError` with the input, in hexadecimal, that did anything else.
    """
    parser, chance = PARSERS[name], random.Random(seed)
    read = 0
    for _ in range(scale):
        data = damaged(parser, chance)
        try:
            read += parser.accept(data)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r} by {data.hex()}; keep it in tests/vectors") from error
    return {"inputs": scale, "read": read, "refused": scale - read}
