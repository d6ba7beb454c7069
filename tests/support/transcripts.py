"""
Plays the transcripts of tests/vectors/sessions against the client session machine.

`python -m tests.support.transcripts FILE…` writes what the machine does now into the files as the expectation
of each step: for new transcripts, to be read line by line before they are committed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import ClientFrame, Error, Send, ServerFrame
from peerbus.protocol.secrets import Secret, dec_hook, enc_hook
from peerbus.protocol.session.client import ClientSession
from peerbus.protocol.session.settings import ClientSettings

FOLDER = Path(__file__).parent.parent / "vectors" / "sessions"
OUTPUTS = ("raises", "returns", "send", "actions", "events", "deadline")


def load(path: Path) -> dict[str, Any]:
    """One transcript."""
    transcript: dict[str, Any] = json.loads(path.read_text())
    return transcript


def play(transcript: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the machine does at each step; absent keys stand for nothing."""
    jitter = iter(transcript.get("jitter", []))
    settings = msgspec.convert(
        {"connect": transcript["connect"], **transcript.get("settings", {})},
        ClientSettings,
        dec_hook=dec_hook,
    )
    session = ClientSession(settings, jitter=lambda: next(jitter))
    for step in transcript["steps"]:
        done: dict[str, Any] = {}
        try:
            value = _apply(session, step)
        except ProtocolError as error:
            done["raises"] = error.code.value
        else:
            if value is not None:
                done["returns"] = value
        done["send"] = _plain(session.frames_to_send())
        done["actions"] = _plain(session.actions_to_do())
        done["events"] = _plain(session.events())
        done["deadline"] = session.deadline()
        yield {key: item for key, item in done.items() if item not in ([], None)}


def expected(step: dict[str, Any]) -> dict[str, Any]:
    """What a step says shall happen."""
    return {key: step[key] for key in OUTPUTS if key in step}


def _apply(session: ClientSession, step: dict[str, Any]) -> int | bool | None:
    now: int = step["at"]
    if "receive" in step:
        session.receive(_frame(step["receive"], ServerFrame), now)
        return None
    match step["do"]:
        case "request":
            timeout = step.get("timeout_ms", msgspec.UNSET)
            frame = _frame(step["frame"], ClientFrame)
            return session.request(frame, now, size_bytes=step.get("size_bytes", 0), timeout_ms=timeout)
        case "send_lossy":
            return session.send_lossy(_frame(step["frame"], Send), now)
        case "transport_lost":
            session.transport_lost(step.get("close_code"), step.get("reason", ""), now)
        case "unreadable":
            session.unreadable(ProtocolError(ErrorCode(step["code"]), step["message"]), now)
        case "renew":
            session.renew(Secret(step["api_key"]), now)
        case "renew_failed":
            session.renew_failed(msgspec.convert(step["error"], Error), now)
        case "start" | "transport_opened" | "heard" | "reconnect_now" | "tick" | "close" as name:
            getattr(session, name)(now)
        case other:
            raise ValueError(f"no such input: {other}")
    return None


def _frame(value: Any, type_: Any) -> Any:
    return msgspec.json.decode(json.dumps(value), type=type_, dec_hook=dec_hook)


def _plain(values: list[Any]) -> Any:
    return json.loads(msgspec.json.encode(values, enc_hook=enc_hook))


def _dump(transcript: dict[str, Any]) -> str:
    """One line for each input and each output, so that a difference is easy to read."""
    lines = []
    for step in transcript["steps"]:
        inputs = {key: item for key, item in step.items() if key not in OUTPUTS}
        parts = [json.dumps(inputs, ensure_ascii=False)[1:-1]]
        for key, item in expected(step).items():
            if isinstance(item, list):
                items = ",\n        ".join(json.dumps(one, ensure_ascii=False) for one in item)
                parts.append(f'"{key}": [\n        {items}]')
            else:
                parts.append(f'"{key}": {json.dumps(item)}')
        lines.append("    {" + ",\n      ".join(parts) + "}")
    head = {key: item for key, item in transcript.items() if key != "steps"}
    top = [f"  {json.dumps(key)}: {json.dumps(item, ensure_ascii=False)}" for key, item in head.items()]
    return "{\n" + ",\n".join(top) + ',\n  "steps": [\n' + ",\n".join(lines) + "\n  ]\n}\n"


def _record(path: Path) -> None:
    transcript = load(path)
    results = play(transcript)
    steps = transcript["steps"]
    transcript["steps"] = [
        {key: item for key, item in step.items() if key not in OUTPUTS} | result
        for step, result in zip(steps, results, strict=True)
    ]
    path.write_text(_dump(transcript))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        _record(Path(name))
