"""
Players in a program of their own, whose network a test can take away (`cut_off`).

Owns the lines between the two: the test writes `[number, channel, call, arguments]` in JSON and reads
`[number, answer]`. Run as a program it is the other side; it ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any, Final, cast

from peerbus.protocol.groups import Mode
from tests.e2e.players import RATE_PER_S, Player, ProgramPlayer

_LINE_BYTES: Final = 4_194_304


class PlayerProcess:
    """A program with as many players as are brought into it. `prefix` are words before the command."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._answers: Final[dict[int, asyncio.Future[Any]]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._number = 0

    async def start(self, prefix: Sequence[str]) -> None:
        """Begins it."""
        self._process = await asyncio.create_subprocess_exec(
            *prefix,
            *(sys.executable, "-m", "tests.e2e.player_process"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        self._reading = asyncio.create_task(self._read())

    async def join(
        self, name: str, api: str, channel: str, mode: Mode, *, carry: bool = True
    ) -> RemotePlayer:
        """Brings a player into a channel."""
        await self.call(channel, "join", name, api, mode, carry)
        return RemotePlayer(name, channel, self)

    async def call(self, channel: str, what: str, *arguments: Any) -> Any:
        """What the player in a channel answers."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps([self._number, channel, what, arguments]).encode() + b"\n")
        return await answer

    async def close(self) -> None:
        """All players leave, and the program ends."""
        if self._process is None or self._reading is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, answer = json.loads(line)
            self._answers.pop(number).set_result(answer)
        for waiting in self._answers.values():
            waiting.set_exception(ConnectionError("The program with the players has ended."))


class RemotePlayer(Player):
    """One of them."""

    def __init__(self, name: str, channel: str, process: PlayerProcess) -> None:
        super().__init__(name)
        self._channel: Final = channel
        self._process: Final = process

    async def _call(self, what: str, *arguments: Any) -> Any:
        return await self._process.call(self._channel, what, *arguments)

    async def reached(self) -> list[str]:
        return cast("list[str]", await self._call("reached"))

    async def send(self, payload: Any, to: str | None = None) -> None:
        await self._call("send", payload, to)

    async def send_large(self) -> None:
        await self._call("send_large")

    async def data(self) -> list[Any]:
        return cast("list[Any]", await self._call("data"))

    async def start(self, rate_per_s: int = RATE_PER_S) -> None:
        await self._call("start", rate_per_s)

    async def stop(self) -> int:
        return int(await self._call("stop"))

    async def numbers(self, name: str) -> list[int]:
        return cast("list[int]", await self._call("numbers", name))

    async def states(self) -> list[tuple[str, str]]:
        return [(name, state) for name, state in await self._call("states")]

    async def switch(self, mode: Mode) -> str:
        return str(await self._call("switch", mode))

    async def mode(self) -> str | None:
        return cast("str | None", await self._call("mode"))

    async def figures(self) -> str:
        return str(await self._call("figures"))

    async def leave(self) -> None:
        await self._call("leave")


class _Program:
    """The other side."""

    def __init__(self) -> None:
        self._players: Final[dict[str, ProgramPlayer]] = {}
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    async def run(self) -> None:
        """Does what it is told, each in its own time, until there is no more input."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LINE_BYTES)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            task = asyncio.create_task(self._do(*json.loads(line)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for player in self._players.values():
            await player.close()

    async def _do(self, number: int, channel: str, what: str, arguments: list[Any]) -> None:
        answer = None
        if what == "join":
            name, api, mode, carry = arguments
            player = self._players[channel] = ProgramPlayer(name, api, mode, carry=carry)
            await player.join(channel)
        else:
            answer = await getattr(self._players[channel], what)(*arguments)
        print(json.dumps([number, answer]), flush=True)


if __name__ == "__main__":
    asyncio.run(_Program().run())
