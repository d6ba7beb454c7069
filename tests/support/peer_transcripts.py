"""
Plays the transcripts of tests/vectors/peers/delivery*.json against the delivery layer.

`python -m tests.support.peer_transcripts FILE…` writes what it does now into the files as the expectation of each step:
for new transcripts, to be read line by line before they are committed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.peer_delivery import Bad, Delivered, Delivery, Event

FOLDER = Path(__file__).parent.parent / "vectors" / "peers"
OUTPUTS = ("raises", "out", "events", "handed", "dropped", "deadline")


def play(transcript: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the layer does at each step; absent keys stand for nothing."""
    delivery = Delivery(transcript["identity"], transcript["stream"])
    for step in transcript["steps"]:
        done: dict[str, Any] = {}
        try:
            done.update(_apply(delivery, step))
        except PeerbusError as error:
            done["raises"] = error.code.value
        done["handed"], done["dropped"] = delivery.take_settled()
        done["deadline"] = delivery.deadline_ms
        yield {key: item for key, item in done.items() if item not in ([], None)}


def expected(step: dict[str, Any]) -> dict[str, Any]:
    """What a step says shall happen."""
    return {key: step[key] for key in OUTPUTS if key in step}


def _apply(delivery: Delivery, step: dict[str, Any]) -> dict[str, Any]:
    now_ms = step["at"]
    match step["do"]:
        case "send":
            is_lossy = step.get("is_lossy", False)
            delivery.send(step["number"], step["to"], _payload(step), is_lossy=is_lossy, now_ms=now_ms)
        case "set_path":
            delivery.set_path(step["peer"], step["path"])
        case "take":
            out = delivery.take(
                step["path"], now_ms, reliable_room=step["reliable_room"], lossy_room=step["lossy_room"]
            )
            return {"out": [[list(one.to), one.frame.hex(), one.is_lossy] for one in out]}
        case "receive":
            events = delivery.receive(step["sender"], bytes.fromhex(step["frame"]), now_ms)
            return {"events": [_plain(event) for event in events]}
        case "flush":
            return {"out": delivery.flush().hex()}
        case "ask":
            delivery.ask(step["peer"])
        case "left":
            delivery.left(step["peer"])
        case "tick":
            delivery.tick(now_ms)
        case other:
            raise ValueError(f"no such input: {other}")
    return {}


def _payload(step: dict[str, Any]) -> Any:
    if "filled" in step:
        byte, count = step["filled"]
        return bytes([byte]) * count
    if "binary" in step:
        return bytes.fromhex(step["binary"])
    return step["text"] if "text" in step else step["value"]


def _plain(event: Event) -> dict[str, Any]:
    if isinstance(event, Bad):
        return {"bad": [event.sender, event.error.code.value]}
    if not isinstance(event, Delivered):
        return {"flushed": [event.sender, event.seq]}
    form: dict[str, Any] = {"value": event.payload}
    if isinstance(event.payload, str):
        form = {"text": event.payload}
    elif isinstance(event.payload, bytes) and len(event.payload) > 64 and len(set(event.payload)) == 1:
        form = {"filled": [event.payload[0], len(event.payload)]}
    elif isinstance(event.payload, bytes):
        form = {"binary": event.payload.hex()}
    return {"delivered": [event.sender, form, event.is_lossy]}


def _record(path: Path) -> None:
    transcripts = json.loads(path.read_text())
    lines = []
    for transcript in transcripts:
        steps = [
            json.dumps({key: item for key, item in step.items() if key not in OUTPUTS} | result)
            for step, result in zip(transcript["steps"], play(transcript), strict=True)
        ]
        head = json.dumps({key: item for key, item in transcript.items() if key != "steps"})[1:-1]
        lines.append("  {" + head + ', "steps": [\n    ' + ",\n    ".join(steps) + "\n  ]}")
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        _record(Path(name))
