"""
A process that holds many receiving sessions and throws away what they get.

Owns bulk reading without parsing. Reads commands as lines on standard input (`open PORT KEY CHANNEL COUNT`,
`floor PORT COUNT`, `bytes`, `end`) and answers with a line each; `bytes` tells how much came in
and how much CPU it took itself.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from contextlib import suppress
from typing import Final

from tests.bench.rig.session import RawSession, upgraded

_COMMANDS: Final = "commands"
_BUFFER: Final = bytearray(1 << 20)
_PAUSE_S: Final = 0.01
"""
Between two looks at the sockets. Receivers on other machines don't cost the server a wake-up for each delivery; these
would, if they waited for the first byte.
"""


def main() -> None:
    """Works off commands until `end`; drains between them."""
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ, _COMMANDS)
    sessions: list[RawSession] = []
    floor: list[socket.socket] = []
    received_bytes = 0
    while True:
        time.sleep(_PAUSE_S)
        for key, _ in selector.select():
            if key.data != _COMMANDS:
                connection = key.fileobj
                if isinstance(connection, socket.socket):
                    with suppress(BlockingIOError):
                        received_bytes += connection.recv_into(_BUFFER)
                continue
            words = sys.stdin.readline().split()
            if not words or words[0] == "end":
                return
            if words[0] == "open":
                for number in range(int(words[4])):
                    session = RawSession(int(words[1]), words[2], words[3], f"reader-{number}")
                    session.socket.setblocking(False)
                    selector.register(session.socket, selectors.EVENT_READ)
                    sessions.append(session)
            if words[0] == "floor":
                for _ in range(int(words[2])):
                    connection, _ = upgraded(int(words[1]), "/ws")
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ)
                    floor.append(connection)
            sys.stdout.write(f"{received_bytes} {time.process_time()} {time.monotonic()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
