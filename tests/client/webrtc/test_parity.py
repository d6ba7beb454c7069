"""The helper of both SDKs has the same names, options and defaults."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from peerbus.client.webrtc import Simulation, WebRTCHelper
from peerbus.client.webrtc.stats import CallStats

SDK = Path(__file__).parent.parent.parent.parent / "web" / "src" / "sdk" / "webrtc"
BROWSER_ONLY = {
    "replace_track",  # a browser's camera is a track; a program's source is its own to change
    "encryption_of",  # RemoteTrack.encryption
    "off",  # remove_listener, of pyee
}
PYTHON_ONLY = {
    "connect",  # begins with the first handler or message, too
    "is_connected_to",  # in JavaScript isConnected(peer)
    "add_listener",
}
PYTHON_OPTIONS = {"connect_timeout"}


def snake(name: str) -> str:
    """As Python writes it."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda found: "_" + found[1].lower(), name).lower()


def members_in_typescript() -> set[str]:
    """The public methods, properties and callbacks of the class."""
    text = (SDK / "helper.ts").read_text("utf-8")
    body = text[text.index("export class WebRTCHelper") :]
    found = re.findall(r"^  (?:async )?(?:get )?([a-zA-Z]\w*)(?:<[^>]*>)?\(", body, re.MULTILINE)
    callbacks = re.findall(r"^  (on[A-Z]\w*):", body, re.MULTILINE)
    return {snake(name) for name in [*found, *callbacks]} - {"constructor"}


def members_in_python() -> set[str]:
    """The same of the Python class."""
    return {name for name in vars(WebRTCHelper) if not name.startswith("_")}


def fields(file: str, interface: str) -> set[str]:
    """The fields of an interface, in snake_case."""
    text = (SDK / file).read_text("utf-8")
    body = text[text.index(f"export interface {interface} ") :]
    body = body[: body.index("\n}")]
    return {snake(name) for name in re.findall(r"^  readonly (\w+)\??:", body, re.MULTILINE)}


def test_what_a_helper_can_do_has_the_same_names() -> None:
    browser, python = members_in_typescript() - BROWSER_ONLY, members_in_python() - PYTHON_ONLY
    # `on` is pyee's own in Python.
    assert browser - python - {"on"} == set()
    assert python - browser == set()


def test_options_have_the_same_names_and_the_mode_the_same_default() -> None:
    parameters = inspect.signature(WebRTCHelper).parameters
    options = {name for name in parameters if name != "agent"} - PYTHON_OPTIONS
    assert options == fields("helper-options.ts", "WebRTCOptions")
    assert parameters["mode"].default == "auto"
    assert 'mode = "auto"' in (SDK / "helper.ts").read_text("utf-8")


def test_figures_and_networks_have_the_same_names() -> None:
    assert set(Simulation.__struct_fields__) == fields("network-simulator.ts", "Simulation")
    assert {"mode", "term", "peers"} <= set(CallStats.__struct_fields__)
