"""
Frames drawn at random, thrown at a running server over both transports and encodings. Scale: transport messages.

Each gets an answer or ends its connection; the server goes on, its log is clean, and a witness in the same channel
notices nothing.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgpack

from tests.soak.soak import Soak
from tests.support.live_server import LiveServer
from tests.support.noise import Encoding, Noise
from tests.support.raw_socket import BINARY, TEXT, RawSocket, RawWebSocket, connect_frame, masked
from tests.support.witness import watching

_PER_CONNECTION: Final = 40
_SETTINGS: Final[dict[str, object]] = {
    "connects_per_address_per_s": 1_000_000,
    "failed_connects_per_address_per_min": 1_000_000,
    "send_rate_per_s": 100_000,
    "lossy_rate_per_s": 100_000,
    "request_rate_per_s": 100_000,
    "members_per_channel": 10_000,
    "resume_window_ms": 3_000,
    # Else most connections would end before most of their frames were read.
    "bad_frames_per_connection": 30,
}


def run(seed: int, scale: int) -> Mapping[str, object]:
    """Throws so many messages; says how they were answered."""
    chance = random.Random(seed)
    answers: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        server = LiveServer(Path(name), dict(_SETTINGS))
        server.start()
        try:
            with watching(server) as witness:
                for number in range(max(1, scale // _PER_CONNECTION)):
                    noise = Noise(chance)
                    encoding: Encoding = chance.choice(("json", "msgpack"))
                    throw = _throw_by_websocket if chance.random() < 0.6 else _throw_by_long_poll
                    answers.update(throw(server, noise, encoding))
                    if number % 10 == 0:
                        witness.check()
                        server.assert_clean_log()
            server.stop()
        finally:
            if server.is_running:
                server.kill()
    assert answers["error internal"] == 0, answers
    return {"messages": scale, "answers": dict(answers.most_common())}


def _throw_by_websocket(server: LiveServer, noise: Noise, encoding: Encoding) -> Counter[str]:
    answers: Counter[str] = Counter()
    with RawWebSocket(server, protocol=f"peerbus.v1.{encoding}") as raw:
        raw.send(masked(TEXT if encoding == "json" else BINARY, _connect(server, encoding)))
        for _ in range(_PER_CONNECTION):
            data = noise.message(encoding)
            try:
                raw.send(masked(TEXT if encoding == "json" else BINARY, data))
            except ConnectionError:
                break
        try:
            raw.send(masked(TEXT if encoding == "json" else BINARY, _bye(encoding)))
            while True:
                opcode, payload = raw.next_frame()
                if opcode in (TEXT, BINARY):
                    answers[_kind(_decoded(payload, encoding))] += 1
        except (EOFError, ConnectionError):
            pass
    return answers


def _throw_by_long_poll(server: LiveServer, noise: Noise, encoding: Encoding) -> Counter[str]:
    answers: Counter[str] = Counter()
    content = {"Content-Type": f"application/{encoding}"}
    with RawSocket(server) as raw:
        raw.send_request("POST", "/v1/longpoll", content, _connect(server, encoding))
        connected = _decoded(raw.answer().body, encoding)["frames"][0]
        address = f"/v1/longpoll/{connected['session_id']}"
        headers = {**content, "Authorization": f"Bearer {connected['resume_token']}"}
        posts = [noise.message(encoding) for _ in range(_PER_CONNECTION)]
        for number, data in enumerate([*posts, _bye(encoding)], start=1):
            raw.send_request("POST", f"{address}?post={number}", headers, data)
            answer = raw.answer()
            answers[f"post {answer.status}"] += 1
        acked = 1
        while True:
            raw.send_request("GET", f"{address}?ack={acked}", headers)
            answer = raw.answer()
            if answer.status != 200:
                return answers
            response = _decoded(answer.body, encoding)
            acked = response["n"]
            answers.update(_kind(frame) for frame in response["frames"])


def _connect(server: LiveServer, encoding: Encoding) -> bytes:
    frame = connect_frame(server, "lobby")
    if encoding == "json":
        return json.dumps(frame).encode()
    packed: bytes = msgpack.packb({**frame, "lineage_secret": random.randbytes(16)})
    return packed


def _bye(encoding: Encoding) -> bytes:
    packed: bytes = msgpack.packb({"op": "bye"})
    return b'{"op":"bye"}' if encoding == "json" else packed


def _decoded(data: bytes, encoding: Encoding) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(data) if encoding == "json" else msgpack.unpackb(data)
    return value


def _kind(frame: dict[str, Any]) -> str:
    return f"{frame['op']} {frame['code']}" if "code" in frame else str(frame["op"])


SOAK: Final = Soak(run, full_scale=200_000, slice_scale=2_000)
