"""
What an idle connection costs in memory.

Run as a program: `python -m tests.bench.idle`. Sessions are opened a hundred to a channel, and the server's private
memory is read before and after. Beside it, in the same run, the floor: a bare aiohttp WebSocket server.
"""

from __future__ import annotations

import resource
import sys
import time
from typing import Final

from tests.bench.rig.figures import machine, verdict
from tests.bench.rig.process import FloorProcess, ServerProcess, resident_kib
from tests.bench.rig.readers import Readers

_SESSIONS: Final = 2_000
_PER_CHANNEL: Final = 100


def main() -> int:
    """Prints the figures; 1 if a bound that must hold does not."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"memory of {_SESSIONS} idle connections")
    print(machine())
    with FloorProcess() as floor, Readers() as readers:
        readers.open_floor(floor.port, 100)
        before_kib = resident_kib(floor.pid)
        readers.open_floor(floor.port, _SESSIONS)
        time.sleep(1)
        floor_kib = (resident_kib(floor.pid) - before_kib) / _SESSIONS
        print(f"  floor    {floor_kib:6.1f} KiB a connection   (bare aiohttp)")
    with ServerProcess() as server, Readers() as readers:
        readers.open(server.port, server.api_key, "warm-up", 100)
        before_kib = resident_kib(server.pid)
        for channel in range(_SESSIONS // _PER_CHANNEL):
            readers.open(server.port, server.api_key, f"channel-{channel}", _PER_CHANNEL)
        time.sleep(1)
        cost_kib = (resident_kib(server.pid) - before_kib) / _SESSIONS
        line = verdict(cost_kib, 30, 18)
        print(
            f"  peerbus  {cost_kib:6.1f} KiB a connection   {cost_kib / floor_kib:.2f} of the floor   ({line})"
        )
    return 1 if "MISSED" in line else 0


if __name__ == "__main__":
    sys.exit(main())
