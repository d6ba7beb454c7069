"""
Frames drawn at random: mostly of the right shape with the wrong values, some of them damaged bytes.

Owns the drawing. Never sends anything; whoever does passes the source of randomness in.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final, Literal

import msgpack

Encoding = Literal["json", "msgpack"]

_NAMES: Final = [
    "ann",
    "ben",
    "",
    "ghost",
    "a" * 65,
    "<b>",
    "../x",
    "\n",
    "peerbus:sfu",
    "ünïcode",
    ".*",
    "team-*",
]
_NUMBERS: Final = [0, 1, 2, 3, 7, 50, 1000, 1001, -1, 2**31, 2**53 - 1, 2**53, 2**63, 1.5, 1e308]
_TEXTS: Final = [
    "",
    "x",
    "hello",
    "x" * 200,
    "x" * 5_000,
    "\0",
    "\U0001f600",
    "()",
    "(",
    "[a-z]+",
    "*",
    "durable",
    "live",
    "lossy",
]

_FIELDS: Final[dict[str, list[str]]] = {
    "send": [
        "id",
        "type",
        "custom_event_type",
        "delivery",
        "to",
        "filter",
        "content",
        "binary",
        "reply_to",
        "metadata",
        "idempotency_key",
    ],
    "receive": ["id", "after", "before", "limit", "types"],
    "update": ["id", "attributes"],
    "members": ["id"],
    "kick": ["id", "agent", "session_id", "reason"],
    "lock": ["id", "locked"],
    "renew": ["id", "api_key"],
    "ping": ["offset", "live_seq"],
    "connect": ["id", "api_key", "channel", "agent", "lineage_secret", "resume", "attributes"],
    "bye": [],
    "ack": ["id"],
    "closing": ["close_code", "code", "reason"],
}
_RARE: Final = ("bye", "connect", "ack", "closing")


class Noise:
    """A source of frames. Ids mostly rise, so that most requests get further than their id."""

    def __init__(self, chance: random.Random) -> None:
        self._chance: Final = chance
        self._last_id = 1
        self._right: Final[dict[str, Callable[[], Any]]] = {
            "id": self._next_id,
            "type": lambda: chance.choice(["chat-text", "signal", "x"]),
            "custom_event_type": lambda: chance.choice(["game", "chat"]),
            "delivery": lambda: chance.choice(["durable", "live", "lossy"]),
            "to": lambda: [chance.choice(_NAMES[:2]) for _ in range(chance.randrange(1, 3))],
            "filter": lambda: chance.choice(["ann", ".*", "(a|b)+", {"glob": "b*"}, {"glob": "["}]),
            "content": lambda: self._value(0),
            "binary": lambda: chance.choice([b"", b"\x00\xff", b"x" * 1_000]),
            "metadata": lambda: {"a": self._value(1)},
            "idempotency_key": lambda: f"k{chance.randrange(20)}",
            "reply_to": lambda: "m.1",
            "limit": lambda: chance.choice([1, 50, 1000]),
            "after": lambda: chance.randrange(50),
            "before": lambda: chance.randrange(50),
            "types": lambda: chance.sample(["chat-text", "x", "game"], chance.randrange(3)),
            "attributes": lambda: {"a": self._value(1)},
            "locked": lambda: False,
            "offset": lambda: chance.randrange(100),
            "live_seq": lambda: chance.randrange(1_000),
        }

    def message(self, encoding: Encoding) -> bytes:
        """One transport message: a frame or a batch, now and then damaged."""
        chance = self._chance
        frames: Any = self.frame()
        if chance.random() < 0.2:
            frames = [self.frame() for _ in range(chance.choice([0, 1, 2, 5, 40]))]
        data = _packed(frames) if encoding == "msgpack" else _json(frames)
        return self._damaged(data) if chance.random() < 0.08 else data

    def frame(self) -> Any:
        """One frame, or what stands in the place of one."""
        chance = self._chance
        if chance.random() < 0.03:
            return self._value(0)
        op = chance.choice(list(_FIELDS))
        if op in _RARE and chance.random() < 0.9:
            op = "send"
        frame: dict[str, Any] = {"op": op if chance.random() < 0.98 else self._value(1)}
        for name in _FIELDS[op]:
            if name == "id" or chance.random() < 0.4 or (op == "send" and name == "content"):
                is_right = name in self._right and chance.random() < 0.96
                frame[name] = self._right[name]() if is_right else self._value(0)
        return frame

    def _next_id(self) -> int:
        self._last_id += self._chance.choice([1, 1, 1, 1, 2, 5])
        return self._last_id

    def _value(self, depth: int) -> Any:
        chance = self._chance
        kind = chance.randrange(9)
        if kind == 0 and depth < 5:
            return [self._value(depth + 1) for _ in range(chance.randrange(4))]
        if kind == 1 and depth < 5:
            return {chance.choice(_TEXTS[:4]): self._value(depth + 1) for _ in range(chance.randrange(4))}
        if kind == 2:
            nested: Any = 1
            for _ in range(chance.choice([1, 10, 63, 64, 65, 200])):
                nested = [nested]
            return nested
        return chance.choice(
            [chance.choice(_NUMBERS), chance.choice(_TEXTS), chance.choice(_NAMES), None, False, b"\x00"]
        )

    def _damaged(self, data: bytes) -> bytes:
        chance = self._chance
        damaged = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(damaged) + 1)
            action = chance.randrange(3)
            if action == 0:
                del damaged[place : place + chance.randrange(1, 20)]
            elif action == 1:
                damaged[place:place] = chance.randbytes(chance.randrange(1, 6))
            elif place < len(damaged):
                damaged[place] = chance.randrange(256)
        return bytes(damaged)


def _packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def _json(value: Any) -> bytes:
    return json.dumps(value, default=lambda binary: "AP8=" if binary else "").encode()
