"""
Plays the transcripts of tests/vectors/peers: `delivery` against the delivery layer, `mesh` against a link of the mesh,
`group` against what follows the group.

`python -m tests.support.peer_transcripts FILE…` writes what they do now into the files as the expectation of each step:
for new transcripts, to be read line by line before they are committed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc import mesh
from peerbus.client.webrtc.group_follower import (
    Change,
    Ended,
    Entered,
    GroupFollower,
    Holds,
    HostIs,
    Joined,
    Left,
)
from peerbus.client.webrtc.mesh import MeshLink, Step
from peerbus.client.webrtc.peer_delivery import Bad, Delivered, Delivery, Event
from peerbus.protocol.groups import GroupState, PeerSignal, ProposalEnded

FOLDER = Path(__file__).parent.parent / "vectors" / "peers"
OUTPUTS = ("raises", "out", "events", "handed", "dropped", "deadline", "steps", "changes", "seen", "is_up")


def play(transcript: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What happens at each step; absent keys stand for nothing."""
    if "is_offerer" in transcript:
        return _play_mesh(transcript)
    return _play_delivery(transcript) if "stream" in transcript else _play_group(transcript)


def _play_mesh(transcript: dict[str, Any]) -> Iterator[dict[str, Any]]:
    ids = iter(transcript.get("ids", []))
    link = MeshLink(is_offerer=transcript["is_offerer"], new_id=lambda: next(ids))
    for step in transcript["steps"]:
        done = {
            "steps": [_plain_step(one) for one in _apply_mesh(link, step)],
            "deadline": link.deadline_ms,
            "is_up": link.is_up or None,
        }
        yield {key: item for key, item in done.items() if item not in ([], None)}


def _apply_mesh(link: MeshLink, step: dict[str, Any]) -> list[Step]:
    now_ms = step["at"]
    match step["do"]:
        case "begin":
            return link.begin(now_ms)
        case "want":
            return link.want(step["media"])
        case "signalled":
            return link.signalled(msgspec.convert(step["signal"], PeerSignal), now_ms)
        case "described":
            return link.described(step["link"], step["sdp"], [])
        case "applied":
            return link.applied(step["link"])
        case "path_is":
            return link.path_is(step["link"], step["path"], now_ms)
        case "broke":
            return link.broke(step["link"], now_ms)
        case "time_passed":
            return link.time_passed(now_ms)
        case "close":
            return link.close(step["reason"])
        case other:
            raise ValueError(f"no such input: {other}")


def _plain_step(step: Step) -> dict[str, Any]:
    if isinstance(step, mesh.Open):
        return {"open": step.link}
    if isinstance(step, mesh.MakeRoom):
        return {"room": step.media}
    if isinstance(step, mesh.MakeOffer):
        return {"offer": None}
    if isinstance(step, mesh.MakeAnswer):
        return {"answer": msgspec.to_builtins(step.offer)}
    if isinstance(step, mesh.Apply):
        return {"apply": msgspec.to_builtins(step.answer)}
    if isinstance(step, mesh.AddCandidate):
        return {"candidate": msgspec.to_builtins(step.candidate)}
    if isinstance(step, mesh.Shut):
        return {"close": None}
    if isinstance(step, mesh.Say):
        return {"send": msgspec.to_builtins(step.signal)}
    return {"reachable": step.is_reachable}


def _play_group(transcript: dict[str, Any]) -> Iterator[dict[str, Any]]:
    follower = GroupFollower()
    for step in transcript["steps"]:
        if step["do"] == "group":
            state = msgspec.convert(step["signal"], GroupState)
            changes = follower.told(state, step.get("identity", transcript["identity"]))
        elif step["do"] == "ended":
            changes = follower.ended(msgspec.convert(step["signal"], ProposalEnded))
        else:
            changes = follower.out()
        seen = follower.seen
        done = {
            "changes": [_plain_change(change) for change in changes],
            "seen": None if seen is None else msgspec.to_builtins(seen),
        }
        yield {key: item for key, item in done.items() if item not in ([], None)}


def _plain_change(change: Change) -> dict[str, Any]:
    if isinstance(change, Entered):
        return {"entered": None}
    if isinstance(change, Left):
        return {"left": change.member.identity}
    if isinstance(change, Joined):
        return {"joined": change.member.identity}
    if isinstance(change, Holds):
        return {"mode": [change.mode, change.term, change.reason]}
    if isinstance(change, HostIs):
        return {"host": None if change.host is None else msgspec.to_builtins(change.host)}
    if isinstance(change, Ended):
        return {"ended": [change.term, None if change.why is None else change.why.code]}
    return {"proposed": change.proposal.term}


def _play_delivery(transcript: dict[str, Any]) -> Iterator[dict[str, Any]]:
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
