"""
The vectors of tests/vectors/messages: what the bytes of a frame are, and what is refused.

`python -m tests.support.message_vectors` writes the `json` and `msgpack` of every case in frames.json as the
codec makes them now: for new cases, to be looked at before they are committed.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from peerbus.protocol.codec import Codec, EncodingName, Rejected, client_codec, server_codec

FOLDER = Path(__file__).parent.parent / "vectors" / "messages"
MAX_BYTES = 1_048_576


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of one file."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def reader(direction: str, encoding: EncodingName, *, max_bytes: int = MAX_BYTES) -> Codec[Any]:
    """The codec of whoever reads frames of this direction."""
    make = server_codec if direction == "client" else client_codec
    return make(encoding, max_bytes=max_bytes)


def wire_bytes(text: str, encoding: str) -> bytes:
    """The bytes of a wire form in a vector: text for JSON, hex for MessagePack."""
    return bytes.fromhex(text) if encoding == "msgpack" else text.encode()


def plain(value: Any) -> Any:
    """A tree in which binary is base64, as the vectors have it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _write() -> None:
    lines = []
    for case in cases("frames"):
        text = json.dumps(case["value"])
        frame = reader(case["direction"], "json").decode(text.encode())[0]
        if isinstance(frame, Rejected):
            raise ValueError(f"{case['name']}: {frame.error}")
        case["json"] = reader(case["direction"], "json").encode(frame).decode()
        case["msgpack"] = reader(case["direction"], "msgpack").encode(frame).hex()
        parts = (f"{json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in case.items())
        lines.append("  {" + ",\n   ".join(parts) + "}")
    (FOLDER / "frames.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    _write()
