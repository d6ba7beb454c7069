"""What the facts of a connection test mean: the vectors that the page /test runs, too."""

import json
from typing import Any

import msgspec
import pytest

from peerbus.client.doctor.facts import Facts
from peerbus.client.doctor.judgement import judge
from peerbus.client.doctor.report import Circumstances, as_json, as_text
from tests.support.vectors import load_vectors

CASES = load_vectors("doctor/judgements")
AROUND = Circumstances(time="2026-01-02T03:04:05Z", api="http://h", client="c/1", correlation_id="abc")


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_judgements(case: dict[str, Any]) -> None:
    facts = msgspec.convert(case["facts"], Facts)
    judgement = judge(facts)
    document = json.loads(json.dumps(as_json(AROUND, facts, judgement)))
    assert document == {
        "report": 1,
        "circumstances": msgspec.to_builtins(AROUND),
        "verdict": case["verdict"],
        "findings": case["findings"],
        "facts": case["facts"],
    }
    assert as_text(AROUND, judgement) == case["text"]


def test_every_check_is_told_of_and_every_failure_has_a_remedy_or_follows_from_another() -> None:
    findings = [finding for case in CASES for finding in case["findings"]]
    checks = {finding["check"].partition(" ")[0] for finding in findings}
    assert checks == {
        *(
            "server",
            "secure_context",
            "signaling_websocket",
            "signaling_longpoll",
            "turn",
            "ice_server",
            "candidates",
        ),
        *("nat", "call", "relay_call", "throughput", "quality", "camera", "microphone"),
    }
    for case in CASES:
        if case["verdict"]["status"] != "ok":
            assert case["verdict"]["remedies"], case["name"]
