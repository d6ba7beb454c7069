"""Sessions that join, say something and leave, one after the other: nothing of them may stay. Scale: sessions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.soak.soak import Soak
from tests.support.joins_and_leaves import join_and_leave
from tests.support.live_server import LiveServer

_ROUNDS: Final = 10
_BY_WEBSOCKET: Final = 10
"""One session in so many comes by WebSocket, the others by long-poll, which is faster to drive."""
_GROWTH_MAX_BYTES: Final = 4_000_000
"""From the second to the last round: what an allocator may keep, and no session does."""


def run(seed: int, scale: int) -> Mapping[str, object]:
    """Nothing here is drawn: the seed only stands in the record."""
    round_ = max(_BY_WEBSOCKET, scale // _ROUNDS)
    memory = []
    with tempfile.TemporaryDirectory() as name:
        server = LiveServer(Path(name), {"connects_per_address_per_s": 1_000_000})
        server.start()
        try:
            sockets = server.sockets
            for _ in range(_ROUNDS):
                by_websocket = round_ // _BY_WEBSOCKET
                join_and_leave(server, by_websocket=by_websocket, by_long_poll=round_ - by_websocket)
                memory.append(server.rss_bytes)
            assert server.sockets <= sockets + 1
            server.stop()
        finally:
            if server.is_running:
                server.kill()
    growth = memory[-1] - memory[1]
    assert growth < _GROWTH_MAX_BYTES, memory
    return {"sessions": round_ * _ROUNDS, "resident bytes after each round": memory, "growth": growth}


SOAK: Final = Soak(run, full_scale=100_000, slice_scale=None)
