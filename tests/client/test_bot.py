"""The bot's command line and what it prints. Its calls are in the integration tests."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any

import av
import pytest

from peerbus.client import bot
from peerbus.client.webrtc import RemotePublication, RemoteTrack
from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.protocol.signals import MediaKind
from tests.support.key_ring import KeyRing


@pytest.mark.parametrize(
    "link", ["nonsense", "http://localhost:1/call", "http://localhost:1/other#channel=x"]
)
def test_a_link_that_is_none_is_a_usage_error(link: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bot.main(["--link", link]) == 2
    assert capsys.readouterr().err.startswith("peerbus bot: ")


def test_the_options_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bot.main(["--help"])
    told = capsys.readouterr().out
    assert all(option in told for option in ("--link", "--play", "--name", "--silent", "--seconds"))


class Slot:
    """A slot that a test puts frames into."""

    deliver: Any = None

    def start_decoding(self, deliver: Any, open_frame: Any) -> None:
        self.deliver = deliver

    def stop_decoding(self, deliver: Any) -> None:
        self.deliver = None


def a_track(
    kind: MediaKind, name: str, *, is_muted: bool = False, is_sealed: bool = False
) -> tuple[RemoteTrack, Slot]:
    publication = RemotePublication(
        id=f"id-{name}/x",
        identity=f"id-{name}",
        name=name,
        media=kind,
        source="microphone" if kind == "audio" else "camera",
        is_muted=is_muted,
        is_sealed=is_sealed,
    )
    track, slot = RemoteTrack(publication, CallEncryption(KeyRing(), e2ee=None), lambda track: None), Slot()
    track.attach(slot)
    return track, slot


async def test_a_line_has_what_came_since_the_one_before() -> None:
    meters = bot._Meters()
    assert meters.line() == "nobody sends anything"
    sound, heard = a_track("audio", "ann")
    picture, seen = a_track("video", "bob")
    muted, _ = a_track("audio", "cy", is_muted=True)
    hidden, _ = a_track("video", "dan", is_sealed=True)
    tasks = [asyncio.ensure_future(meters.add(track)) for track in (sound, picture, muted, hidden)]
    await asyncio.sleep(0)
    block = av.AudioFrame(format="s16", layout="mono", samples=960)
    block.sample_rate = 48_000
    block.planes[0].update(array("h", [16_384] * 960).tobytes())
    for _ in range(3):
        heard.deliver(block)
        seen.deliver(av.VideoFrame(64, 48))
    await asyncio.sleep(0.01)
    others = "cy: microphone muted; dan: camera is encrypted, not opened here"
    assert meters.line() == f"ann: microphone -6 dB; bob: camera 64x48 at 3 a second; {others}"
    assert meters.line() == f"ann: microphone -96 dB; bob: camera no picture; {others}"
    for track in (sound, picture, muted, hidden):
        track.end()
    await asyncio.gather(*tasks)
    assert meters.line() == "nobody sends anything"
