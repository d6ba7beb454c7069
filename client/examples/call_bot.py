"""
A bot in a call: plays a film, or a made-up picture and a tone, and prints a line a second about what it gets.

    python client/examples/call_bot.py 'http://localhost:8080/call#channel=lobby&project=demo' [film.mp4]

For a project of your own put its key into PEERBUS_API_KEY; the demo project needs none.
"""

import asyncio
import contextlib
import os
import sys

from peerbus.client import AgentConnection
from peerbus.client.link import parse_link
from peerbus.client.webrtc import RemoteTrack, WebRTCHelper
from peerbus.client.webrtc.generated import level_dbfs, picture, tone

heard: dict[RemoteTrack, list[str]] = {}


async def measure(track: RemoteTrack) -> None:
    """Notes what comes in on one track, until it ends. Only what is read is decoded."""
    heard[track] = []
    if track.kind == "audio":
        async for block in track.pcm(sample_rate=16_000):
            heard[track].append(f"{level_dbfs(block):.0f} dB")
    else:
        async for frame in track.pictures():
            heard[track].append(f"{frame.width}x{frame.height}")
    del heard[track]


async def run(link_text: str, film: str | None) -> None:
    """Joins the call of the link and stays until it is ended."""
    link = parse_link(link_text)
    api_key = None if link.project == "demo" else os.environ.get("PEERBUS_API_KEY")
    async with AgentConnection(link.origin, api_key) as agent:
        await agent.connect(
            link.channel, "call-bot", link.password, sealed=link.seals, api_key_scope=link.scope
        )
        call = WebRTCHelper(agent, mode="sfu")
        call.on_track = measure
        async with call:
            if film:
                await call.publish(film, loop=True)
            else:
                await call.publish(picture())
                await call.publish(tone(), sample_rate=48_000)
            print(f"{agent.agent_name} is in the call of {link.channel!r}; Ctrl-C ends it.", flush=True)
            while True:
                await asyncio.sleep(1)
                now = [f"{track.name}: {track.source} {notes[-1]}" for track, notes in heard.items() if notes]
                print("; ".join(now) or "nothing to hear or see", flush=True)
                heard.update((track, []) for track in heard)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: call_bot.py LINK [FILM]")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None))
