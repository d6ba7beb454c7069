"""The tables of PROTOCOL.md say what the code says."""

import re
from pathlib import Path

import msgspec
import pytest

from peerbus.protocol.errors import ERRORS, ErrorCode
from peerbus.signaling.limits import Limits

TESTS = Path(__file__).parents[1]
TEST_FILES = {
    "S": TESTS / "integration" / "test_sealed_channels.py",
    "C": TESTS / "client" / "test_sealed_channel.py",
    "A": TESTS / "client" / "test_agent_sealed.py",
    "V": TESTS / "signaling" / "test_sealed.py",
}
PROTOCOL_LINES = (Path(__file__).parents[2] / "signaling" / "PROTOCOL.md").read_text().splitlines()


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_stands_in_the_table(code: ErrorCode) -> None:
    info = ERRORS[code]
    retry = "yes" if info.is_retryable else "no"
    row = f"| `{code.value}` | {retry} | {info.close_code} | {info.http_status} | {info.meaning} |"
    assert row in PROTOCOL_LINES


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Limits)])
def test_every_limit_stands_in_the_table(name: str) -> None:
    assert f"| `{name}` | {getattr(Limits(), name):,} |" in PROTOCOL_LINES


def test_the_tables_list_nothing_else() -> None:
    listed = {
        found[1]
        for line in PROTOCOL_LINES
        if (found := re.match(r"\| `([a-z_]+)` \| (?:yes|no|[\d,]+) \|", line))
    }
    known = {code.value for code in ErrorCode} | {field.name for field in msgspec.structs.fields(Limits)}
    assert listed == known


def test_the_tests_of_sealed_channels_are_there() -> None:
    named = [found for line in PROTOCOL_LINES for found in re.findall(r"\b([SCAV]) `(test_\w+)`", line)]
    assert len(named) > 15
    for letter, test in named:
        assert f"def {test}(" in TEST_FILES[letter].read_text("utf-8"), test
    for letter, path in TEST_FILES.items():
        assert any(f"{letter} = `{path.relative_to(TESTS.parent)}`" in line for line in PROTOCOL_LINES)
