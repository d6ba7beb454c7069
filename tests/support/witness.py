"""
A witness: three sessions in a process of their own that notice whether a server treats them as it should.

One sends a numbered message about every 22 ms, durable and live in turn. Two read, one over WebSocket in JSON, one by
long-poll in MessagePack. Each reader keeps a journal. `Witness.check` waits until everything sent so far was
acknowledged and read, and fails for a gap, a repetition, a wrong order, a reset, an error, a lost connection, or a
message that took longer than `MAX_DELAY_MS`.

`python -m tests.support.witness URL KEY CHANNEL` is the process: a line on standard input asks for a report, which
comes as a line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import aiohttp
import msgspec

from peerbus.protocol.codec import Codec, client_codec
from peerbus.protocol.messages import Connect, Ping, Send
from peerbus.protocol.secrets import Secret, SecretBytes
from tests.support.live_server import LiveServer

INTERVAL_S: Final = 0.022
MAX_DELAY_MS: Final = 5_000
"""Far beyond what a healthy server needs on a busy machine, and far below what a blocked one causes."""
_CHECKS: Final = 1_500
"""How often it is looked whether everything has arrived, an interval apart."""
_FRAME_BYTES: Final = 4_194_304
_WRITER: Final = "witness-writes"


class Witness:
    """The process, and the questions to it."""

    def __init__(self, server: LiveServer, channel: str = "lobby") -> None:
        self.slowest_ms = 0
        """The longest delay of all checks so far."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.witness", server.url, server.developer_key, channel],
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def check(self) -> None:
        """Fails unless all was well since the last check."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the witness has died"
        report = json.loads(line)
        assert report["troubles"] == [], report
        self.slowest_ms = max(self.slowest_ms, report["slowest_ms"])
        assert report["slowest_ms"] < MAX_DELAY_MS
        print(f"the witness waited {report['slowest_ms']} ms at most")

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def watching(server: LiveServer) -> Iterator[Witness]:
    """A witness that is asked once more at the end."""
    witness = Witness(server)
    try:
        witness.check()
        yield witness
        witness.check()
    finally:
        witness.end()


# --- the process ----------------------------------------------------------------------------------------------


class _Frame(msgspec.Struct):
    """What a witness looks at; what others write is not its business, and may be large."""

    op: str
    delivery: str = ""
    offset: int = 0
    sender: str = ""
    reply_to: str = ""
    """The number, and when it was sent."""


_JSON_FRAME: Final = msgspec.json.Decoder(_Frame)
_MSGPACK_FRAME: Final = msgspec.msgpack.Decoder(_Frame)


class _Reader:
    """The journal of one reader."""

    def __init__(self, name: str, troubles: list[str]) -> None:
        self.name = name
        self.troubles = troubles
        self.last = {"durable": 0, "live": 0}
        self.offset = 0
        self.slowest_ms = 0

    def read(self, frame: _Frame) -> None:
        if frame.op == "message":
            self._note(frame)
        elif frame.op not in ("connected", "presence", "channel", "pong"):
            self.troubles.append(f"{self.name} got {frame}")

    def _note(self, frame: _Frame) -> None:
        if frame.offset:
            if frame.offset <= self.offset:
                self.troubles.append(f"{self.name}: offset {frame.offset} after {self.offset}")
            self.offset = frame.offset
        if frame.sender != _WRITER:
            return
        number, at_ms = (int(text) for text in str(frame.reply_to).split())
        if number != self.last[frame.delivery] + 1:
            self.troubles.append(f"{self.name}: {frame.delivery} {number} after {self.last[frame.delivery]}")
        self.last[frame.delivery] = number
        self.slowest_ms = max(self.slowest_ms, _now_ms() - at_ms)


class _Sessions:
    """The sender and the readers."""

    def __init__(self, url: str, key: str, channel: str) -> None:
        self.url, self.key, self.channel = url, key, channel
        self.troubles: list[str] = []
        self.sent = {"durable": 0, "live": 0}
        self.acked = 0
        self.readers = [_Reader("websocket", self.troubles), _Reader("longpoll", self.troubles)]
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, http: aiohttp.ClientSession) -> None:
        reading = client_codec("json", max_bytes=_FRAME_BYTES)
        ws = await http.ws_connect(f"{self.url}/v1/ws", protocols=["peerbus.v1.json"], max_msg_size=0)
        await ws.send_str(reading.encode(self._connect("witness-reads")).decode())
        self._go(self._read(ws), self._ping(ws, reading))
        await self._start_long_poll(http)
        writing = client_codec("msgpack", max_bytes=_FRAME_BYTES)
        ws = await http.ws_connect(f"{self.url}/v1/ws", protocols=["peerbus.v1.msgpack"], max_msg_size=0)
        await ws.send_bytes(writing.encode(self._connect(_WRITER)))
        await ws.receive()
        self._go(self._write(ws, writing), self._read_acks(ws))

    async def report(self) -> dict[str, Any]:
        # One more of each kind: what is sent from now on counts, too.
        upto = {kind: count + 1 for kind, count in self.sent.items()}
        slowest = 0
        for _ in range(_CHECKS):
            if self.troubles or self._is_settled(upto):
                break
            await asyncio.sleep(INTERVAL_S)
        if not self._is_settled(upto):
            state = [(reader.name, reader.last) for reader in self.readers]
            self.troubles.append(f"sent {upto}, acknowledged {self.acked}, read {state}")
        for reader in self.readers:
            slowest, reader.slowest_ms = max(slowest, reader.slowest_ms), 0
        troubles = [trouble[:300] for trouble in self.troubles]
        self.troubles.clear()
        return {"troubles": troubles, "slowest_ms": slowest}

    def _is_settled(self, upto: dict[str, int]) -> bool:
        are_read = all(reader.last[kind] >= upto[kind] for reader in self.readers for kind in upto)
        return are_read and self.acked >= sum(upto.values())

    def _connect(self, agent: str) -> Connect:
        return Connect(
            id=1,
            api_key=Secret(self.key),
            channel=self.channel,
            agent=agent,
            lineage_secret=SecretBytes(os.urandom(16)),
        )

    async def _write(self, ws: aiohttp.ClientWebSocketResponse, codec: Codec[Any]) -> None:
        request_id = 1
        while True:
            for kind in ("durable", "live"):
                await asyncio.sleep(INTERVAL_S)
                request_id += 1
                self.sent[kind] += 1
                frame = Send(
                    id=request_id,
                    delivery="durable" if kind == "durable" else "live",
                    content="I was here",
                    reply_to=f"{self.sent[kind]} {_now_ms()}",
                )
                await ws.send_bytes(codec.encode(frame))

    async def _read_acks(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            frame = _MSGPACK_FRAME.decode(message.data)
            if frame.op == "ack":
                self.acked += 1
            elif frame.op not in ("presence", "channel", "message"):
                self.troubles.append(f"the writer got {frame}")
        self.troubles.append(f"the writer was closed with {ws.close_code}")

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        async for message in ws:
            self.readers[0].read(_JSON_FRAME.decode(message.data))
        self.troubles.append(f"the reader was closed with {ws.close_code}")

    async def _ping(self, ws: aiohttp.ClientWebSocketResponse, codec: Codec[Any]) -> None:
        while True:
            await asyncio.sleep(0.5)
            await ws.send_str(codec.encode(Ping(offset=self.readers[0].offset)).decode())

    async def _start_long_poll(self, http: aiohttp.ClientSession) -> None:
        codec = client_codec("msgpack", max_bytes=_FRAME_BYTES)
        headers = {"Content-Type": "application/msgpack"}
        body = codec.encode(self._connect("witness-polls"))
        async with http.post(f"{self.url}/v1/longpoll", data=body, headers=headers) as response:
            answer = msgspec.msgpack.decode(await response.read())
        connected = answer["frames"][0]
        headers = {"Authorization": f"Bearer {connected['resume_token']}"}
        address = f"{self.url}/v1/longpoll/{connected['session_id']}"
        self._go(self._poll(http, address, headers))

    async def _poll(self, http: aiohttp.ClientSession, address: str, headers: dict[str, str]) -> None:
        acked = 1
        while True:
            async with http.get(address, params={"ack": acked}, headers=headers) as response:
                body = await response.read()
                if response.status != 200:
                    self.troubles.append(f"a poll was answered {response.status} {body!r}")
                    return
            answer = msgspec.msgpack.decode(body, type=_Response)
            acked = answer.n
            for frame in answer.frames:
                self.readers[1].read(frame)

    def _go(self, *works: Any) -> None:
        self.tasks += [asyncio.create_task(self._guarded(work)) for work in works]

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  whatever it is, it is told, and not lost with the task
            self.troubles.append(f"lost: {error!r}")


class _Response(msgspec.Struct):
    n: int
    frames: list[_Frame]


async def _main(url: str, key: str, channel: str) -> None:
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    sessions = _Sessions(url, key, channel)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http:
        await sessions.start(http)
        while await stdin.readline():
            print(json.dumps(await sessions.report()), flush=True)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:4]))
