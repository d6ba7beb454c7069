"""
`peerbus bot`: a participant of a call that plays a file, or a made-up picture and a tone, and tells what it gets.

Owns the options, and what is printed: one line a second. Never records anything (`client/examples/recorder_bot.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import PeerbusError
from peerbus.client.link import Link, LinkError, parse_link
from peerbus.client.terminal_text import one_line
from peerbus.client.webrtc import EncryptionState, RemoteTrack, WebRTCHelper
from peerbus.client.webrtc.generated import level_dbfs, picture, tone

_USAGE_CODE: Final = 2
_FAILED_CODE: Final = 1
_SILENCE_DBFS: Final = -96.0
_HIDDEN: Final[dict[EncryptionState, str]] = {
    "undecryptable": "cannot be decrypted",
    "not_sealed": "is not encrypted, so not taken",
    "not_opened": "is encrypted, not opened here",
}


def main(argv: Sequence[str]) -> int:
    """Runs one command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="peerbus bot",
        description="Joins a call, plays something, and prints a line a second about what it hears and sees. "
        "Ctrl-C ends it. The key of a project of your own comes from PEERBUS_API_KEY.",
    )
    parser.add_argument("--link", required=True, help="the link to the call, as the page /call shows it")
    parser.add_argument("--play", metavar="FILE", help="a film or a sound, over and over (default: made up)")
    parser.add_argument("--name", default="bot", help="its name in the call (default: %(default)s)")
    parser.add_argument("--silent", action="store_true", help="play nothing")
    parser.add_argument("--seconds", type=float, metavar="N", help="leave after so long")
    options = parser.parse_args(argv)
    try:
        link = parse_link(options.link)
    except LinkError as error:
        sys.stderr.write(f"peerbus bot: {error}\n")
        return _USAGE_CODE
    try:
        asyncio.run(_run(link, options))
    except PeerbusError as error:
        sys.stderr.write(f"peerbus bot: {error.message} ({error.code})\n")
        return _FAILED_CODE
    return 0


async def _run(link: Link, options: argparse.Namespace) -> None:
    api_key = None if link.project == "demo" else os.environ.get("PEERBUS_API_KEY")
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    async with AgentConnection(link.origin, api_key) as agent:
        await agent.connect(
            link.channel,
            options.name,
            link.password,
            sealed=link.seals,
            api_key_scope=link.scope,
            attributes={"is_bot": True},
        )
        meters = _Meters()
        call = WebRTCHelper(agent, mode="sfu")
        call.on_track = meters.add
        call.on_state = lambda state: _say(f"{state.name}. {state.why}".rstrip(". "))
        call.on_error = lambda error: _say(str(error))
        async with call:
            _say(f"The call is {'' if call.is_encrypted else 'not '}encrypted end to end.")
            if options.play:
                await call.publish(options.play, loop=True)
            elif not options.silent:
                await call.publish(picture())
                await call.publish(tone(), sample_rate=48_000)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(options.seconds):
                    while not ending.is_set() and call.state.name != "closed":
                        await _next_second(ending)
                        _say(meters.line())


async def _next_second(ending: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), 1.0)


class _Meters:
    """What comes in, track by track."""

    def __init__(self) -> None:
        self._meters: dict[RemoteTrack, _Meter] = {}

    async def add(self, track: RemoteTrack) -> None:
        """Measures a track until it ends."""
        meter = self._meters[track] = _Meter()
        try:
            if track.kind == "audio":
                async for block in track.pcm():
                    meter.level = max(meter.level, level_dbfs(block))
            else:
                async for frame in track.pictures():
                    meter.pictures += 1
                    meter.size = f"{frame.width}x{frame.height}"
        finally:
            del self._meters[track]

    def line(self) -> str:
        """Everything since the line before."""
        parts: list[str] = []
        for track, meter in self._meters.items():
            if track.is_muted:
                what = "muted"
            elif track.encryption in _HIDDEN:
                what = _HIDDEN[track.encryption]
            elif track.kind == "audio":
                what = f"{meter.level:.0f} dB"
            else:
                what = f"{meter.size} at {meter.pictures} a second" if meter.pictures else "no picture"
            parts.append(f"{track.name}: {track.source} {what}")
            meter.level, meter.pictures = _SILENCE_DBFS, 0
        return "; ".join(parts) or "nobody sends anything"


class _Meter:
    """One track, since the line before."""

    level = _SILENCE_DBFS
    pictures = 0
    size = ""


def _say(line: str) -> None:
    sys.stdout.write(one_line(line) + "\n")
    sys.stdout.flush()
