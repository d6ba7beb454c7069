"""
A bot that writes what it hears and sees: a WAV file for each sound, an MKV file for each picture.

    python client/examples/recorder_bot.py 'http://localhost:8080/call#channel=lobby&project=demo' [folder]

For a project of your own put its key into PEERBUS_API_KEY; the demo project needs none.
"""

import asyncio
import contextlib
import os
import re
import sys
import time
import wave
from fractions import Fraction
from pathlib import Path

import av

from peerbus.client import AgentConnection
from peerbus.client.link import parse_link
from peerbus.client.webrtc import RemoteTrack, WebRTCHelper

RATE = 48_000


class Recorder:
    """Writes every track into a file of its own, until it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    async def record(self, track: RemoteTrack) -> None:
        """One track, from its first frame on."""
        path = self.path_for(track)
        print(f"{track.name}: {track.source} goes into {path}", flush=True)
        if track.kind == "audio":
            await self.record_sound(track, path)
        else:
            await self.record_picture(track, path)
        print(f"{path} is finished", flush=True)

    def path_for(self, track: RemoteTrack) -> Path:
        """A name that no other file has; what others call themselves is not trusted."""
        name = re.sub(r"[^\w-]+", "_", f"{track.name}-{track.source}")[:60]
        suffix = ".wav" if track.kind == "audio" else ".mkv"
        number = 1
        while (path := self.folder / f"{name}-{number}{suffix}").exists():
            number += 1
        path.touch()
        return path

    async def record_sound(self, track: RemoteTrack, path: Path) -> None:
        """16 bits, one channel. Where nothing comes (a muted microphone), there is silence."""
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
            started = time.monotonic()
            samples = 0
            async for block in track.pcm(sample_rate=RATE):
                missing = int((time.monotonic() - started) * RATE) - samples
                if missing > RATE // 2:
                    file.writeframes(bytes(missing * 2))
                    samples += missing
                file.writeframes(block)
                samples += len(block) // 2

    async def record_picture(self, track: RemoteTrack, path: Path) -> None:
        """VP8, in the size of the first picture; later ones of another size are fitted to it."""
        with av.open(str(path), "w") as container:
            stream = None
            started = time.monotonic()
            last = -1
            async for frame in track.pictures():
                if stream is None:
                    stream = container.add_stream("libvpx", rate=30)
                    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                    stream.bit_rate = 1_500_000
                    stream.options = {"deadline": "realtime", "cpu-used": "8"}
                    stream.time_base = Fraction(1, 1_000)
                picture = frame.reformat(stream.width, stream.height, "yuv420p")
                last = max(int((time.monotonic() - started) * 1_000), last + 1)
                picture.pts, picture.time_base = last, Fraction(1, 1_000)
                container.mux(stream.encode(picture))
            if stream is not None:
                container.mux(stream.encode(None))


async def run(link_text: str, folder: Path) -> None:
    """Joins the call of the link and writes until it is ended."""
    link = parse_link(link_text)
    api_key = None if link.project == "demo" else os.environ.get("PEERBUS_API_KEY")
    ended = asyncio.Event()
    async with AgentConnection(link.origin, api_key) as agent:
        await agent.connect(
            link.channel, "recorder", link.password, sealed=link.seals, api_key_scope=link.scope
        )
        call = WebRTCHelper(agent, mode="sfu")
        call.on_track = Recorder(folder).record
        call.on_state = lambda state: ended.set() if state.name == "closed" else None
        async with call:
            print(f"{agent.agent_name} is in the call of {link.channel!r}; Ctrl-C ends it.", flush=True)
            await ended.wait()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: recorder_bot.py LINK [FOLDER]")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(sys.argv[1], Path(sys.argv[2] if len(sys.argv) == 3 else "recordings")))
