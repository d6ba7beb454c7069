"""A process that appends to a log until it is killed: `python -m tests.support.log_victim FOLDER NEXT...`.

Each sender numbers its messages, and each number is the message's idempotency key and body. NEXT gives, for each
sender, the number to begin with: the first that was not acknowledged in an earlier life. Every acknowledgement is
printed as `sender number offset duplicate`, after it was given and not before.
"""

import asyncio
import os
import sys
from pathlib import Path

from peerbus.signaling.log import Appended, AppendResult, ChannelKey, LogWriter, WriterLimits
from peerbus.signaling.log.sqlite import SqliteStore
from tests.support.log_entries import entry, new_epoch

VICTIMS_CHANNEL = ChannelKey("public", b"v" * 32)
UNDER_WAY = 24
"""How many appends each sender has under way."""


class Victim:
    """The senders of one life."""

    def __init__(self, writer: LogWriter, next_numbers: list[int]) -> None:
        self._writer = writer
        self._next = next_numbers

    def send(self, sender: int) -> None:
        """Append the sender's next message."""
        number = self._next[sender]
        self._next[sender] += 1
        append = entry(
            f"{sender} {number}",
            channel=VICTIMS_CHANNEL,
            identity=f"name:{sender}",
            key=f"{number:08}",
            time_ms=number,
        )

        def answered(result: AppendResult) -> None:
            assert isinstance(result, Appended), result
            assert result.time_ms == number, result
            os.write(1, f"{sender} {number} {result.offset} {int(result.duplicate)}\n".encode())
            self.send(sender)

        refused = self._writer.submit(append, answered)
        assert refused is None, refused


async def main() -> None:
    """Open the log, say in which epoch, and append for ever."""
    store = SqliteStore(Path(sys.argv[1]), new_epoch)
    assert store.opening.restored is None, store.opening
    writer = LogWriter(store, limits=WriterLimits(group=40))
    state = await writer.open_channel(VICTIMS_CHANNEL, "victims", "open", 0)
    print(f"epoch {state.epoch}", flush=True)
    victim = Victim(writer, [int(number) for number in sys.argv[2:]])
    for sender in range(len(sys.argv) - 2):
        for _ in range(UNDER_WAY):
            victim.send(sender)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
