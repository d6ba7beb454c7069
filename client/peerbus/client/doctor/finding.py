"""
One line of the report of a connection test.

Owns its shape, the names that people are shown for the checks, and the three ways to make one. Never decides anything.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from msgspec import Struct

from peerbus.client.doctor.facts import Attempt

Status: TypeAlias = Literal["ok", "warn", "fail", "skipped"]

_LABELS: Final = {
    "server": "Server by HTTP",
    "secure_context": "Secure context",
    "signaling_websocket": "Signaling by WebSocket",
    "signaling_longpoll": "Signaling by long-poll",
    "turn": "TURN servers",
    "candidates": "Own addresses",
    "nat": "NAT",
    "call": "Call and data channel",
    "relay_call": "Call through TURN only",
    "throughput": "Throughput",
    "quality": "Loss, delay, jitter",
    "camera": "Camera",
    "microphone": "Microphone",
}


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report."""

    check: str
    label: str
    status: Status
    summary: str
    remedy: str = ""
    detail: str = ""
    """The exact error."""
    ms: int | None = None


def label_of(check: str) -> str:
    """What people are shown for a check."""
    return _LABELS.get(check) or check.removeprefix("ice_server ")


def finding(check: str, status: Status, summary: str, remedy: str = "") -> Finding:
    """What no attempt stands behind."""
    return Finding(check=check, label=label_of(check), status=status, summary=summary, remedy=remedy)


def tried(check: str, attempt: Attempt, summary: str) -> Finding:
    """What worked."""
    return Finding(check=check, label=label_of(check), status="ok", summary=summary, ms=attempt.ms)


def failed(check: str, status: Status, attempt: Attempt, summary: str, remedy: str) -> Finding:
    """What failed, with its exact error."""
    detail = f"{attempt.code}: {attempt.error}" if attempt.code else attempt.error
    return Finding(
        check=check, label=label_of(check), status=status, summary=summary, remedy=remedy, detail=detail
    )
