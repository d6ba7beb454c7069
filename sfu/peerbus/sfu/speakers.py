"""
Who speaks, from the levels that publishers put on their packets.

Owns smoothing and thresholds: one is speaking once clearly above silence for a moment, and stays so over the pauses
between words. Never looks at sound itself. See RFC 6464 for the levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SPEAKING_DBOV: Final = -50
"""Louder than this is speech; a quiet room is far below."""
RISE: Final = 0.5
FALL: Final = 0.15
HOLD_MS: Final = 800
_SILENCE_DBOV: Final = -127


class Speakers:
    """The speakers of one room. Levels are in dBov: 0 is the loudest, -127 silence."""

    def __init__(self) -> None:
        self._smooth: dict[str, float] = {}
        self._heard_at_ms: dict[str, int] = {}
        self._told: tuple[str, ...] = ()

    def update(self, levels: Mapping[str, int], now_ms: int) -> list[tuple[str, float]] | None:
        """
        The loudest level of each participant since the last call, about every 100 ms.

        Who speaks now, the loudest first with a level from 0 to 1, if that is another set than before; else None.
        """
        for participant in levels.keys() | self._smooth.keys():
            level = levels.get(participant, _SILENCE_DBOV)
            before = self._smooth.get(participant, float(_SILENCE_DBOV))
            weight = RISE if level > before else FALL
            self._smooth[participant] = before + (level - before) * weight
            if self._smooth[participant] > SPEAKING_DBOV:
                self._heard_at_ms[participant] = now_ms
        self._heard_at_ms = {who: at for who, at in self._heard_at_ms.items() if now_ms - at <= HOLD_MS}
        speaking = sorted(self._heard_at_ms, key=lambda who: -self._smooth[who])
        if set(speaking) == set(self._told):
            return None
        self._told = tuple(speaking)
        return [(who, loudness(self._smooth[who])) for who in speaking]

    def leave(self, participant: str) -> None:
        """A participant has no sound any more."""
        self._smooth.pop(participant, None)
        self._heard_at_ms.pop(participant, None)


def loudness(dbov: float) -> float:
    """A level as a share of the way from the threshold of speech to full scale."""
    return round(min(1.0, max(0.0, 1 - dbov / SPEAKING_DBOV)), 2)
