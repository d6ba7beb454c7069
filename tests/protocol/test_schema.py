"""The exported schema, and the committed copy of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerbus.protocol import schema
from peerbus.protocol.errors import ErrorCode

COMMITTED = Path(__file__).parents[2] / "web/src/sdk/protocol/schema.json"


def test_the_committed_schema_is_current() -> None:
    assert schema.main(["--check", str(COMMITTED)]) == 0


def test_it_has_every_frame_under_its_tag() -> None:
    document = schema.document()
    tags = {
        tag
        for direction in ("ClientFrame", "ServerFrame")
        for tag in document[direction]["discriminator"]["mapping"]
    }
    assert {"connect", "send", "bye", "connected", "ack", "message", "closing"} <= tags
    assert set(document["errors"]) == {code.value for code in ErrorCode}


def test_it_has_every_signal_under_its_kind() -> None:
    document = schema.document()
    kinds = {
        direction: set(document[direction]["discriminator"]["mapping"])
        for direction in ("ClientSignal", "SfuSignal")
    }
    assert {"offer", "mute", "unpublish", "leave"} <= kinds["ClientSignal"]
    assert {"answer", "refused", "publications", "slots", "restart", "ended"} <= kinds["SfuSignal"]
    assert document["$defs"]["Answer"]["properties"]["kind"]["enum"] == ["answer"]
    assert not any("Forward" in name for name in document["$defs"])


def test_a_secret_is_a_string_that_is_not_shown() -> None:
    api_key = schema.document()["$defs"]["Connect"]["properties"]["api_key"]
    assert api_key["type"] == "string"
    assert api_key["format"] == "password"


def test_check_notices_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "schema.json"
    assert schema.main(["--check", str(path)]) == 1
    assert "out of date" in capsys.readouterr().err
    assert schema.main([str(path)]) == 0
    assert schema.main(["--check", str(path)]) == 0


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert schema.main([]) == 2
    assert "usage" in capsys.readouterr().err
