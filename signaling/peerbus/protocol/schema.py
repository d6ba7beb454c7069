"""
The wire as JSON Schema, from which the TypeScript side is generated.

Owns the form of the exported document: `ClientFrame` and `ServerFrame` are the unions of the two directions, as are
`ClientSignal` and `SfuSignal` for what clients and the SFU say to each other about a call, and `GroupRequest`,
`GroupSignal` and `PeerSignal` for a group; `$defs` has every structure (JSON Schema 2020-12), `errors` the table of
codes, `constants` the names and times that both sides keep to. Never describes anything by itself; all of it comes from
`messages`, `signals`, `groups` and `errors`.

    python -m peerbus.protocol.schema FILE           writes it
    python -m peerbus.protocol.schema --check FILE   fails when FILE is not what would be written
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from peerbus.protocol import groups, messages, signals
from peerbus.protocol.errors import ERRORS
from peerbus.protocol.groups import GroupRequest, GroupSignal, PeerSignal
from peerbus.protocol.messages import ClientFrame, ServerFrame
from peerbus.protocol.secrets import schema_hook
from peerbus.protocol.signals import ClientSignal, SfuSignal

_UNIONS: Final = {
    "ClientFrame": ClientFrame,
    "ServerFrame": ServerFrame,
    "ClientSignal": ClientSignal,
    "SfuSignal": SfuSignal,
    "GroupRequest": GroupRequest,
    "GroupSignal": GroupSignal,
    "PeerSignal": PeerSignal,
}


_CONSTANTS: Final = {
    "SIGNAL_TYPE": messages.SIGNAL_TYPE,
    "SFU_AGENT": signals.SFU_AGENT,
    **{name: value for name, value in vars(groups).items() if name.isupper() and name != "UNSET"},
}
"""Strings and whole numbers, by the names that they have on both sides."""


def document() -> dict[str, Any]:
    """The whole export, JSON-shaped."""
    schemas, definitions = msgspec.json.schema_components(_UNIONS.values(), schema_hook=schema_hook)
    errors = {code.value: info._asdict() for code, info in ERRORS.items()}
    unions = dict(zip(_UNIONS, schemas, strict=True))
    return {**unions, "$defs": definitions, "errors": errors, "constants": _CONSTANTS}


def main(arguments: list[str]) -> int:
    """Writes the file or checks it; gives the exit code."""
    is_check = arguments[:1] == ["--check"]
    names = arguments[1:] if is_check else arguments
    if len(names) != 1:
        sys.stderr.write("usage: python -m peerbus.protocol.schema [--check] FILE\n")
        return 2
    path = Path(names[0])
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    if not is_check:
        path.write_text(text, encoding="utf-8")
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{path} is out of date; run: python -m peerbus.protocol.schema {path}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
