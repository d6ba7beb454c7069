"""The signals of a group: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from peerbus.protocol import groups

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/groups/signals.json").read_text("utf-8"))
UNIONS: dict[str, Any] = {
    "GroupRequest": groups.GroupRequest,
    "GroupSignal": groups.GroupSignal,
    "PeerSignal": groups.PeerSignal,
}


def _filled(value: object) -> object:
    """A structure as plain data, with its defaults."""
    if isinstance(value, msgspec.Struct):
        fields = {name: _filled(getattr(value, name)) for name in value.__struct_fields__}
        tag = value.__struct_config__.tag
        kind = {} if tag is None else {"kind": tag}
        return kind | {name: content for name, content in fields.items() if content is not UNSET}
    return [_filled(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", VECTORS["accepted"], ids=lambda case: case["name"])
def test_a_signal_is_read_and_written(case: dict[str, Any]) -> None:
    union = UNIONS[case["union"]]
    signal = msgspec.convert(case["content"], union)
    assert _filled(signal) == case["value"]
    assert msgspec.convert(msgspec.to_builtins(signal), union) == signal
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(signal), type=union) == signal


@pytest.mark.parametrize("case", VECTORS["rejected"], ids=lambda case: case["name"])
def test_what_is_no_signal_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(case["content"], UNIONS[case["union"]])
