"""
What is said of camera and microphone.

Owns these sentences. Never opens a device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from peerbus.client.doctor.facts import DeviceState, Facts
from peerbus.client.doctor.finding import Finding, finding

_DEVICES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    device: {
        "none": (
            f"There is no {device}.",
            f"Connect a {device}, and see that the system's settings list it; without one you can still see and hear.",
        ),
        "denied": (
            f"The {device} is blocked for this site.",
            f"Click the lock in the address bar, allow the {device}, and test again.",
        ),
        "forbidden": (
            f"The system does not let this program use the {device}.",
            f"Allow it in the system's privacy settings; on Linux, take your user into the group {group}.",
        ),
        "busy": (
            f"The {device} is used by another program.",
            f"Close the program that uses the {device}, and test again.",
        ),
        "failed": (
            f"The {device} does not start.",
            f"Unplug the {device} and plug it in again, or restart the browser.",
        ),
    }
    for device, group in (("camera", "video"), ("microphone", "audio"))
}


def device_findings(facts: Facts) -> Iterator[Finding]:
    """A line for each device that was asked about."""
    for device, state in (("camera", facts.camera), ("microphone", facts.microphone)):
        if state is not None:
            yield _device(device, state)


def headline_of_camera(facts: Facts) -> str | None:
    """What is wrong with the camera; None if nothing is known to be."""
    return None if facts.camera is None else _DEVICES["camera"].get(facts.camera, (None,))[0]


def _device(device: str, state: DeviceState) -> Finding:
    if state == "ok":
        return finding(device, "ok", f"The {device} works.")
    if state == "untried":
        return finding(
            device, "skipped", "Not tested: `peerbus doctor --devices`, or the page /test in a browser, does."
        )
    summary, remedy = _DEVICES[device][state]
    return finding(device, "warn", summary, remedy)
