"""
What is said of the line: throughput, loss, delay, jitter.

Owns these sentences, and the bounds beyond which calls suffer. Never measures anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from peerbus.client.doctor.facts import Facts, Quality
from peerbus.client.doctor.finding import Finding, finding

LOSS_PERCENT: Final = 3.0
JITTER_MS: Final = 30.0
RTT_MS: Final = 300.0
MBIT_PER_S: Final = 1.0


def line_findings(facts: Facts) -> Iterator[Finding]:
    """The lines on what was measured."""
    if facts.mbit_per_s is not None:
        yield _throughput(facts.mbit_per_s)
    if facts.quality is not None:
        yield _quality(facts.quality)


def is_line_bad(facts: Facts) -> bool:
    """Whether calls will suffer."""
    is_slow = facts.mbit_per_s is not None and facts.mbit_per_s < MBIT_PER_S
    return is_slow or (facts.quality is not None and _is_bad(facts.quality))


def _throughput(mbit_per_s: float) -> Finding:
    text = f"{mbit_per_s:.1f} Mb/s by data channel."
    if mbit_per_s >= MBIT_PER_S:
        return finding("throughput", "ok", text)
    return finding(
        "throughput",
        "warn",
        text,
        "Too little for video: end other downloads, or send small pictures.",
    )


def _lost_percent(quality: Quality) -> float:
    return 100 * (quality.sent - quality.received) / max(1, quality.sent)


def _is_bad(quality: Quality) -> bool:
    is_late = quality.jitter_ms > JITTER_MS or quality.rtt_ms > RTT_MS
    return is_late or _lost_percent(quality) > LOSS_PERCENT


def _quality(quality: Quality) -> Finding:
    delay = f"{quality.rtt_ms:.0f} ms there and back, {quality.jitter_ms:.0f} ms jitter"
    text = f"{_lost_percent(quality):.1f} % lost, {delay}."
    if _is_bad(quality):
        remedy = (
            "Calls will stutter: use a cable or stand nearer to the access point, and end other downloads."
        )
        return finding("quality", "warn", text, remedy)
    return finding("quality", "ok", text)
