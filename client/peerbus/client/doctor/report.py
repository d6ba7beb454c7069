"""
The report of a connection test, as text and as JSON.

Owns both forms; the page /test gives the same. Never has a key or a credential in it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from peerbus.client.doctor.facts import Facts
from peerbus.client.doctor.finding import Status
from peerbus.client.doctor.judgement import Judgement

_MARKS: Final[dict[Status, str]] = {"ok": "ok  ", "warn": "warn", "fail": "FAIL", "skipped": "–   "}


class Circumstances(Struct, frozen=True, kw_only=True):
    """Who tested what, and when."""

    time: str
    """ISO 8601, in UTC."""
    api: str
    client: str
    correlation_id: str = ""
    """Stands in the server's log, where the test came as far as that."""


def as_text(around: Circumstances, judgement: Judgement) -> str:
    """For people."""
    verdict = judgement.verdict
    lines = [f"{_MARKS[verdict.status].strip()}: {verdict.headline}"]
    lines += [f"  -> {remedy}" for remedy in verdict.remedies]
    lines += ["", f"{around.api}, {around.time}, {around.client}"]
    if around.correlation_id:
        lines.append(f"correlation id {around.correlation_id} (in the server's log)")
    lines.append("")
    for finding in judgement.findings:
        lines.append(f"{_MARKS[finding.status]}  {finding.label}: {finding.summary}")
        if finding.detail:
            lines.append(f"      {finding.detail}")
    return "\n".join(lines) + "\n"


def as_json(around: Circumstances, facts: Facts, judgement: Judgement) -> dict[str, Any]:
    """For programs."""
    document: dict[str, Any] = msgspec.to_builtins(
        {
            "report": 1,
            "circumstances": around,
            "verdict": judgement.verdict,
            "findings": judgement.findings,
            "facts": facts,
        }
    )
    return document
