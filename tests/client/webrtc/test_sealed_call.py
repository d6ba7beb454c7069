"""Encrypted calls through a worker in this process: who sees what, and what the worker could have seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc import RemoteTrack, WebRTCHelper, frame_sealing
from peerbus.client.webrtc.generated import picture, tone
from peerbus.protocol import signals
from peerbus.protocol.secrets import SecretBytes
from peerbus.protocol.session.outputs import State
from peerbus.sfu.python_engine import PythonEngine
from tests.support.call_world import CallWorld, WorldAgent, call_world

WAIT_S = 20.0
KEY = SecretBytes(b"the media key of this channel...")
OTHER_KEY = SecretBytes(b"another channel's media key.....")
WINDOW_BYTES = 24


@pytest.fixture
async def world() -> AsyncIterator[CallWorld]:
    """One worker."""
    async with call_world() as the_world:
        yield the_world


@pytest.fixture
async def join(world: CallWorld) -> AsyncIterator[Callable[..., Caller]]:
    """Makes callers, who leave at the end."""
    callers: list[Caller] = []

    def join_one(name: str, key: SecretBytes | None = KEY, **options: Any) -> Caller:
        agent = world.agent(name)
        agent.media_key, agent.is_sealed = key, key is not None
        callers.append(Caller(agent, **options))
        return callers[-1]

    yield join_one
    for caller in callers:
        await caller.call.close()


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The payloads that the worker has in its hands, as a recorder in it would."""
    payloads: list[bytes] = []
    send_to = PythonEngine._send_to

    def recorded(self: PythonEngine, legs: Any, codec: Any, sequence: int, packet: Any, now_ms: int) -> None:
        payloads.append(bytes(packet.payload))
        send_to(self, legs, codec, sequence, packet, now_ms)

    monkeypatch.setattr(PythonEngine, "_send_to", recorded)
    return payloads


class Caller:
    """A call, and the states that its tracks went through."""

    def __init__(self, agent: WorldAgent, **options: Any) -> None:
        self.agent = agent
        self.call = WebRTCHelper(agent, mode="sfu", **options)  # type: ignore[arg-type]  # as much of an agent as it needs
        self.states: list[tuple[str, str]] = []
        self.call.on_encryption_state = lambda track: self.states.append((track.kind, track.encryption))

    async def track(self, kind: str) -> RemoteTrack:
        async with asyncio.timeout(WAIT_S):
            while True:
                for track in self.call.tracks:
                    if track.kind == kind:
                        return track
                await asyncio.sleep(0.01)


async def frames(track: RemoteTrack, count: int = 3) -> list[Any]:
    """Some frames of a track."""
    found: list[Any] = []
    async with asyncio.timeout(WAIT_S):
        async for frame in track.frames():
            found.append(frame)
            if len(found) == count:
                return found
    raise AssertionError("the track ended")


async def until(is_so: Callable[[], Any]) -> None:
    """Waits for something that is about to happen."""
    for _ in range(int(WAIT_S / 0.01)):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def parts(frame: bytes) -> set[bytes]:
    """Pieces of a frame, without what may stay clear of it."""
    return {frame[at : at + WINDOW_BYTES] for at in range(10, len(frame) - WINDOW_BYTES, WINDOW_BYTES)}


async def test_an_encrypted_call_is_seen_and_heard_also_by_who_comes_late(
    world: CallWorld, join: Callable[..., Caller], forwarded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clear: list[bytes] = []
    seal = frame_sealing.FrameSealer.seal

    def noted(self: frame_sealing.FrameSealer, codec: frame_sealing.FrameCodec, frame: bytes) -> bytes:
        clear.append(frame)
        return seal(self, codec, frame)

    monkeypatch.setattr(frame_sealing.FrameSealer, "seal", noted)
    ann, bob = join("ann"), join("bob")
    camera = await ann.call.publish(picture(160, 120, fps=15))
    await ann.call.publish(tone(), sample_rate=48_000)
    await bob.call.connect()
    assert ann.call.is_encrypted
    shown, played = await bob.track("video"), await bob.track("audio")
    seen, heard = await asyncio.gather(frames(shown), frames(played))
    assert {(frame.width, frame.height) for frame in seen} == {(160, 120)}
    assert heard
    late = join("cy")
    await late.call.connect()
    assert len(await frames(await late.track("video"))) == 3
    assert {track.encryption for track in (*bob.call.tracks, await late.track("video"))} == {"sealed"}
    assert sorted(bob.states) == [("audio", "sealed"), ("video", "sealed")]
    (entry,) = [one for one in (await bob.call.stats()).received if one.media == "video"]
    assert (entry.encryption, entry.frames_refused) == ("sealed", 0)
    assert entry.frames_opened >= 3
    assert all(one.frames_sealed > 3 for one in (await ann.call.stats()).sent)

    # A publication that takes over the line of one before is sealed under its own name.
    await ann.call.unpublish(camera)
    await until(lambda: len(bob.call.tracks) == 1)
    await ann.call.publish(picture(96, 64, fps=15))
    assert (await frames(await bob.track("video")))[0].width == 96

    # The agent comes back under another name; nobody misses more than a moment.
    ann.agent.agent_name = "anna"
    ann.agent.become(State(name="connected"))
    track = await bob.track("video")
    await until(lambda: track.name == "anna")
    opened = track.frames_opened
    await frames(track, 5)
    assert track.frames_opened > opened
    assert track.encryption == "sealed"

    captured = b"".join(forwarded)
    assert len(captured) > 5_000
    wanted = set[bytes]().union(*(parts(frame) for frame in clear))
    assert len(wanted) > 100
    assert not [part for part in wanted if part in captured]


async def test_the_recorder_finds_the_pictures_of_an_open_call(
    world: CallWorld, join: Callable[..., Caller], forwarded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control of the test above."""
    clear: list[bytes] = []
    ann, bob = join("ann", None), join("bob", None)
    await ann.call.publish(picture(160, 120, fps=15))
    await bob.call.connect()
    track = await bob.track("video")
    encryption_open = track._open_frame

    def noted(codec: str, data: bytes) -> bytes | None:
        clear.append(data)
        return encryption_open(codec, data)

    monkeypatch.setattr(track, "_open_frame", noted)
    await frames(track, 12)
    assert (track.encryption, ann.call.is_encrypted) == ("open", False)
    captured = b"".join(forwarded)
    wanted = set[bytes]().union(*(parts(frame) for frame in clear))
    assert len([part for part in wanted if part in captured]) > len(wanted) / 2 > 5


async def test_who_has_another_key_or_another_setting_sees_nothing_and_is_told(
    join: Callable[..., Caller],
) -> None:
    ann = join("ann")
    stranger, careless = join("eve", OTHER_KEY), join("cal", e2ee=False)
    await ann.call.publish(picture(96, 64, fps=30))
    await careless.call.publish(picture(96, 64, fps=30))
    await stranger.call.connect()
    reading: list[asyncio.Task[Any]] = []
    try:
        for caller, name, state in (
            (stranger, "ann", "undecryptable"),
            (stranger, "cal", "not_sealed"),
            (careless, "ann", "not_opened"),
            (ann, "cal", "not_sealed"),
        ):
            await until(lambda: any(track.name == name for track in caller.call.tracks))  # noqa: B023 - used at once
            (track,) = [track for track in caller.call.tracks if track.name == name]
            reading.append(asyncio.ensure_future(frames(track, 1)))
            await until(lambda: track.encryption == state and track.frames_refused >= 10)  # noqa: B023 - used at once
            assert track.frames_opened == 0
        assert not [task for task in reading if task.done()]
        assert stranger.states == [("video", "undecryptable")]
        for entry in (await stranger.call.stats()).received:
            assert (entry.frames_decoded, entry.frames_opened) == (0, 0)
            assert entry.frames_refused >= 10
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def test_encryption_that_is_asked_for_needs_a_password(join: Callable[..., Caller]) -> None:
    ann = join("ann", None, e2ee=True)
    with pytest.raises(PeerbusError, match="needs a channel with a password") as caught:
        await ann.call.connect()
    assert (caught.value.code, ann.call.state.name) == (ErrorCode.BAD_REQUEST, "closed")
    assert not [signal for signal in ann.agent.sent if isinstance(signal, signals.Offer)]
