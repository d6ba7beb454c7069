"""
A check of data messages, for a game: nobody moves faster than its rules allow, and nobody leaves the field.

    cd sfu/examples && peerbus serve --data-hook speed_check:check

It sees what goes through the media worker in open channels (modes `datachannel` and `sfu`). Whoever cheats is told:
`onError`, with the code `message_refused` and the text below.
"""

from __future__ import annotations

import time
from math import hypot
from typing import Final

from peerbus.sfu.data_hook import DataMessage, Refuse, Rewrite

SPEED_PER_S: Final = 500.0
JITTER: Final = 50.0
"""What comes late, and then at once, is no cheating."""
FIELD: Final = 1_000.0
PLAYERS_MAX: Final = 10_000

_players: Final[dict[tuple[str, str], tuple[float, float, float]]] = {}
"""Where everybody was, and when."""


def check(message: DataMessage) -> Rewrite | None:
    """Called for each message, one after the other in each channel."""
    move = message.payload
    if not isinstance(move, dict) or "x" not in move:
        return None  # It is about something else.
    x, y = move["x"], move.get("y")
    if not isinstance(x, int | float) or not isinstance(y, int | float):
        raise Refuse("x and y are numbers")
    player, now_s = (message.channel, message.sender), time.monotonic()
    if player in _players:
        before_x, before_y, before_s = _players.pop(player)
        if hypot(x - before_x, y - before_y) > SPEED_PER_S * (now_s - before_s) + JITTER:
            _players[player] = before_x, before_y, before_s
            raise Refuse(f"nobody moves faster than {SPEED_PER_S:.0f} a second")
    inside_x, inside_y = min(max(x, 0.0), FIELD), min(max(y, 0.0), FIELD)
    _players[player] = inside_x, inside_y, now_s
    if len(_players) > PLAYERS_MAX:
        del _players[next(iter(_players))]  # Who has not moved for the longest time.
    return None if (inside_x, inside_y) == (x, y) else Rewrite({**move, "x": inside_x, "y": inside_y})
