"""Calls through a worker in this process: what a user of `WebRTCHelper` sees."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc import ActiveSpeaker, CallState, Peer, RemoteTrack, WebRTCHelper
from peerbus.client.webrtc.generated import level_dbfs, picture, tone
from peerbus.protocol import signals
from peerbus.protocol.session.outputs import Gap, State
from tests.support.call_world import CallWorld, WorldAgent, call_world
from tests.support.media_files import write_film

WAIT_S = 20.0


@pytest.fixture
async def world() -> AsyncIterator[CallWorld]:
    """A world, in whose tests no thread, task or socket of a call may be left over."""
    async with call_world() as the_world:
        yield the_world
    await asyncio.sleep(0)
    left = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in left if name.startswith("peerbus")]
    assert not [thread.name for thread in threading.enumerate() if "decoder" in thread.name]


class Caller:
    """One call and what it told."""

    def __init__(self, agent: WorldAgent, **options: Any) -> None:
        self.agent = agent
        self.call = WebRTCHelper(agent, mode="sfu", **options)  # type: ignore[arg-type]  # as much of an agent as it needs
        self.states: list[CallState] = []
        self.errors: list[Exception] = []
        self.tracks: list[RemoteTrack] = []
        self.ended: list[RemoteTrack] = []
        self.data: list[tuple[Any, Peer]] = []
        self.call.on_state = self.states.append
        self.call.on_error = self.errors.append
        self.call.add_listener("track", self.tracks.append)
        self.call.on_track_ended = self.ended.append
        self.call.on_data_received = lambda data, peer: self.data.append((data, peer))

    def track(self, name: str) -> RemoteTrack:
        return next(track for track in self.call.tracks if track.publication.id.endswith(f"/{name}"))


@asynccontextmanager
async def calling(world: CallWorld, *names: str, **options: Any) -> AsyncIterator[list[Caller]]:
    """Some callers in one call, who leave it at the end."""
    callers = [Caller(world.agent(name), **options) for name in names]
    try:
        for caller in callers:
            await caller.call.connect()
        yield callers
    finally:
        for caller in callers:
            await caller.call.close()


async def until(is_so: Callable[[], Any]) -> None:
    """Waits for something that is about to happen."""
    for _ in range(int(WAIT_S / 0.01)):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def one_frame(track: RemoteTrack) -> Any:
    async with asyncio.timeout(WAIT_S):
        async for frame in track.frames():
            return frame
    raise AssertionError("the track ended")


async def loudness(track: RemoteTrack) -> float:
    """The loudest of some blocks."""
    levels: list[float] = []
    async with asyncio.timeout(WAIT_S):
        async for block in track.pcm():
            levels.append(level_dbfs(block))
            if len(levels) == 15:
                break
    return max(levels)


# --- media --------------------------------------------------------------------------------------------------------


async def test_two_see_and_hear_each_other(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        camera = await ann.call.publish(picture(160, 120, fps=15))
        await ann.call.publish(tone(level=0.5), sample_rate=48_000)
        await bob.call.publish(picture(96, 64, fps=15), source_kind="screen", name="slides")
        assert camera.is_published
        await until(lambda: len(bob.call.tracks) == 2 and len(ann.call.tracks) == 1)
        seen, shown = await asyncio.gather(one_frame(bob.track("camera-1")), one_frame(ann.track("slides")))
        assert (seen.width, seen.height) == (160, 120)
        assert (shown.width, shown.height) == (96, 64)
        # 0.5 of full scale is -9 dB; the codec may change it a little.
        assert -10 < await loudness(bob.track("microphone-2")) < -8
        slides = ann.track("slides")
        assert (slides.name, slides.participant, slides.source) == ("bob", "id-bob", "screen")
        (peer,) = ann.call.peers
        assert (peer.name, [one.id for one in peer.publications]) == ("bob", ["id-bob/slides"])


async def test_what_nobody_reads_is_not_decoded(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        await ann.call.publish(picture(160, 120, fps=30))
        await ann.call.publish(tone(), sample_rate=48_000)
        await until(lambda: len(bob.call.tracks) == 2)
        stats = await bob.call.stats()
        while min(entry.frames for entry in stats.received) < 10:
            await asyncio.sleep(0.1)
            stats = await bob.call.stats()
        assert [entry.frames_decoded for entry in stats.received] == [0, 0]
        by_media = {entry.media: entry for entry in stats.received}
        video, audio = by_media["video"], by_media["audio"]
        assert (video.width, video.height, video.codec) == (160, 120, "VP8")
        assert min(video.packets, audio.packets, video.bytes, audio.bytes) >= 10
        assert video.frames_per_s > 0
        assert audio.bits_per_s > 0
        assert (video.packets_lost, audio.packets_lost) == (0, 0)
        assert stats.connection.remote_address == f"127.0.0.1:{world.worker.port}"
        sent = {entry.media: entry for entry in (await ann.call.stats()).sent}
        assert sent["audio"].packets > 3
        assert sent["video"].frames > 3
        await one_frame(bob.track("camera-1"))
        await until(lambda: not bob.track("camera-1").is_read)
        again = {entry.media: entry for entry in (await bob.call.stats()).received}
        assert again["video"].frames_decoded > 0
        assert again["audio"].frames_decoded == 0


async def test_a_film_is_published_with_all_that_is_in_it(world: CallWorld, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", size=(96, 64))
    async with calling(world, "ann", "bob") as (ann, bob):
        publications = await ann.call.publish(film, loop=True)
        assert [publication.media for publication in publications] == ["video", "audio"]
        await until(lambda: len(bob.call.tracks) == 2)
        frame = await one_frame(bob.track("camera-1"))
        assert (frame.width, frame.height) == (96, 64)
        assert await loudness(bob.track("microphone-2")) > -25


async def test_a_received_track_can_be_published_again(world: CallWorld) -> None:
    async with calling(world, "ann", "relay", "bob") as (ann, relay, bob):
        await ann.call.publish(picture(96, 64), name="original")
        await until(lambda: relay.call.tracks)
        await relay.call.publish(relay.track("original"), name="copy")
        await until(lambda: len(bob.call.tracks) == 2)
        frame = await one_frame(bob.track("copy"))
        assert (frame.width, frame.height) == (96, 64)


async def test_muting_holds_back_and_is_told(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        microphone = await ann.call.publish(tone(), sample_rate=48_000)
        await until(lambda: bob.call.tracks)
        await ann.call.mute(microphone)
        await until(lambda: bob.tracks[0].is_muted)
        before, after = -1, 0
        while after != before:  # What was on its way arrives, and then nothing does.
            before = after
            await asyncio.sleep(0.2)
            after = (await bob.call.stats()).received[0].packets
        assert (await bob.call.stats()).received[0].is_muted
        await ann.call.mute(microphone, muted=False)
        await until(lambda: not bob.tracks[0].is_muted)
        assert await loudness(bob.tracks[0]) > -25


async def test_whoever_speaks_is_told(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        told: list[list[ActiveSpeaker]] = []
        bob.call.on_active_speaker = told.append
        microphone = await ann.call.publish(tone(level=0.5), sample_rate=48_000)
        await until(lambda: told)
        (speaker,) = told[0]
        assert (speaker.identity, speaker.name) == ("id-ann", "ann")
        assert 0 < speaker.level <= 1
        await ann.call.mute(microphone)
        await until(lambda: told[-1] == [])


async def test_what_is_unpublished_ends_and_its_line_is_used_again(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        one = await ann.call.publish(picture(96, 64), name="one")
        await until(lambda: bob.call.tracks)
        await ann.call.unpublish(one)
        await until(lambda: bob.ended)
        assert one.is_ended
        assert bob.ended[0].is_ended
        assert not bob.call.tracks
        assert not ann.call.publications
        await ann.call.unpublish(one)
        await ann.call.publish(picture(64, 48), name="two")
        await until(lambda: bob.call.tracks)
        frame = await one_frame(bob.track("two"))
        assert (frame.width, frame.height) == (64, 48)
        assert ann.agent.offers()[-1].sdp.count("m=video") == 1 + 4


async def test_a_source_that_ends_ends_its_publication(world: CallWorld) -> None:
    async def short() -> AsyncIterator[av.VideoFrame]:
        for _ in range(3):
            yield av.VideoFrame(64, 48, "yuv420p")

    unplugged = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        while not unplugged.is_set():
            yield bytes(1_920)
        raise OSError("unplugged")

    async with calling(world, "ann", "bob") as (ann, bob):
        await ann.call.publish(short(), fps=10)
        await until(lambda: bob.ended)
        await ann.call.publish(broken(), sample_rate=48_000)
        unplugged.set()
        await until(lambda: ann.errors)
        assert "unplugged" in str(ann.errors[0])
        await until(lambda: not ann.call.publications)


# --- coming and going ---------------------------------------------------------------------------------------------


async def test_a_late_joiner_sees_all_and_costs_nobody_an_offer(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        await ann.call.publish(picture(96, 64))
        await until(lambda: bob.call.tracks)
        offers = [len(caller.agent.offers()) for caller in (ann, bob)]
        kept = bob.call.tracks
        for _ in range(3):
            async with calling(world, "late") as (late,):
                await until(lambda: late.call.tracks)
                assert (await one_frame(late.tracks[0])).width == 96
                await until(lambda: {peer.name for peer in ann.call.peers} == {"bob", "late"})
            await until(lambda: [peer.name for peer in ann.call.peers] == ["bob"])
        assert [len(caller.agent.offers()) for caller in (ann, bob)] == offers
        assert bob.call.tracks == kept
        assert bob.ended == []


async def test_more_than_the_slots_are_received_after_one_more_offer(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        for hertz in (300, 400, 500):
            await ann.call.publish(tone(hertz), sample_rate=48_000)
        await until(lambda: len(bob.call.tracks) == 3)
        assert [len(offer.slots) for offer in bob.agent.offers()] == [6, 8]
        assert await loudness(bob.tracks[2]) > -25


async def test_it_comes_back_when_the_worker_dies(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        await ann.call.publish(picture(96, 64), name="cam")
        await until(lambda: bob.call.tracks)
        before = ann.agent.offers()[0].connection
        await world.replace_worker()
        await until(lambda: ann.states[-1].name == bob.states[-1].name == "reconnecting")
        await until(lambda: ann.call.is_connected and bob.call.is_connected and bob.call.tracks)
        assert (await one_frame(bob.track("cam"))).width == 96
        assert ann.agent.offers()[-1].connection != before
        assert ann.errors == bob.errors == []


async def test_a_loss_of_signaling_alone_disturbs_nothing(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        await ann.call.publish(picture(96, 64))
        await until(lambda: bob.call.tracks)
        offers = len(bob.agent.offers())
        bob.agent.become(State(name="reconnecting"))
        assert (await one_frame(bob.tracks[0])).width == 96
        bob.agent.become(State(name="connected"))
        await asyncio.sleep(0.2)
        assert len(bob.agent.offers()) == offers
        assert bob.call.is_connected
        # If signals may have been lost, the SFU is asked to tell everything again.
        bob.agent.emit("gap", Gap(live=True))
        await until(lambda: len(bob.agent.offers()) == offers + 1)
        assert (await one_frame(bob.tracks[0])).width == 96
        assert bob.ended == []


async def test_a_server_that_does_not_know_its_worker_yet_disturbs_nothing(
    world: CallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerbus.client.webrtc.connection.ANSWER_S", 0.2)
    monkeypatch.setattr("peerbus.client.webrtc.connection.WORKER_AGAIN_S", 0.02)
    async with calling(world, "ann", "bob") as (ann, bob):
        await ann.call.publish(picture(96, 64))
        await until(lambda: bob.call.tracks)
        offers = bob.agent.offers()
        bob.agent.refusal = PeerbusError(ErrorCode.NO_WORKER, "No media worker is there yet.")
        bob.agent.emit("gap", Gap(live=True))
        # Longer than an answer may take.
        await until(lambda: len(bob.agent.offers()) >= len(offers) + 20)
        assert bob.call.is_connected
        bob.agent.refusal = None
        await bob.call.publish(tone(), sample_rate=48_000)
        await until(lambda: ann.call.tracks)
        assert {offer.connection for offer in bob.agent.offers()} == {offers[0].connection}
        assert [state.name for state in bob.states] == ["connecting", "connected"]
        assert not bob.ended
        assert not bob.errors


async def test_an_offer_that_was_lost_with_signaling_is_made_again(
    world: CallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerbus.client.webrtc.connection.ANSWER_S", 0.2)
    async with calling(world, "ann") as (ann,):
        (first,) = ann.agent.offers()
        monkeypatch.setattr(world, "forward", lambda agent, signal: None)
        ann.agent.emit("gap", Gap(live=True))
        await until(lambda: len(ann.agent.offers()) == 3)
        monkeypatch.undo()
        await ann.call.publish(tone(), sample_rate=48_000)
        assert {offer.connection for offer in ann.agent.offers()} == {first.connection}
        assert ann.call.is_connected
        assert [state.name for state in ann.states] == ["connecting", "connected"]


async def test_a_path_that_is_gone_is_replaced(world: CallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerbus.client.webrtc.reconnect.SILENCE_MS", 1_500)
    async with calling(world, "ann") as (ann,):
        await world.replace_worker(is_told=False)
        await until(lambda: ann.states[-1].name == "reconnecting")
        assert ann.states[-1].code == "connect_failed"
        await until(lambda: ann.call.is_connected)


async def test_whoever_is_kicked_is_out(world: CallWorld) -> None:
    async with calling(world, "ann") as (ann,):
        world.gone(ann.agent, "kicked")
        await until(lambda: ann.call.state.name == "closed")
        assert ann.call.state.code == "kicked"
        assert [error.code for error in ann.errors if isinstance(error, PeerbusError)] == [ErrorCode.KICKED]
        for refused in (ann.call.connect, lambda: ann.call.send_data(1), lambda: ann.call.publish(tone())):
            with pytest.raises(PeerbusError) as caught:
                refused()
            assert caught.value.code is ErrorCode.CLOSED


async def test_the_call_ends_with_its_agent(world: CallWorld) -> None:
    async with calling(world, "ann") as (ann,):
        ann.agent.become(State(name="closed", code="closed", why="Disconnected."))
        assert ann.call.state.name == "closed"
        assert ann.errors == []


async def test_leaving_is_told(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        await ann.call.publish(tone(), sample_rate=48_000)
        await until(lambda: bob.call.tracks)
        await ann.call.close()
        assert isinstance(ann.agent.sent[-1], signals.Leave)
        await until(lambda: bob.ended)
        assert bob.call.peers == []


# --- refusals -----------------------------------------------------------------------------------------------------


async def test_a_call_that_is_forbidden_says_so(world: CallWorld) -> None:
    caller = Caller(world.agent("ann"))
    caller.agent.refusal = PeerbusError(ErrorCode.FORBIDDEN, "The key does not allow calls.")
    with pytest.raises(PeerbusError) as caught:
        await caller.call.connect()
    assert caught.value.code is ErrorCode.FORBIDDEN
    assert caller.call.state.name == "closed"
    await caller.call.close()


async def test_joining_is_given_up_after_its_time(world: CallWorld) -> None:
    caller = Caller(world.agent("ann"), connect_timeout=0.5)
    caller.agent.refusal = PeerbusError(ErrorCode.OVERLOADED, "No worker has room.")
    with pytest.raises(PeerbusError) as caught:
        await caller.call.connect()
    assert caught.value.code is ErrorCode.OVERLOADED
    await caller.call.close()


async def test_joining_waits_for_a_worker(world: CallWorld) -> None:
    caller = Caller(world.agent("ann"))
    caller.agent.refusal = PeerbusError(ErrorCode.OVERLOADED, "No worker has room.")
    connecting = caller.call.connect()
    await until(lambda: len(caller.agent.sent) >= 2)
    assert caller.states[-1].code == "overloaded"
    caller.agent.refusal = None
    caller.call.reconnect_now()
    await connecting
    await caller.call.close()


@pytest.mark.parametrize("is_late", [False, True])
async def test_what_may_not_be_published_fails_alone(world: CallWorld, is_late: bool) -> None:
    world.operations = [operation for operation in world.operations if operation != "publish_video"]
    caller = Caller(world.agent("ann"))
    if is_late:
        await caller.call.connect()
    sound = caller.call.publish(tone(), sample_rate=48_000)
    if is_late:
        await sound
    with pytest.raises(PeerbusError) as caught:
        await caller.call.publish(picture(64, 48))
    assert caught.value.code is ErrorCode.FORBIDDEN
    if is_late:
        assert [one.media for one in caller.call.publications] == ["audio"]
    await caller.call.connect()
    assert caller.call.is_connected
    await caller.call.close()


async def test_an_answer_that_is_none_is_no_crash(world: CallWorld) -> None:
    caller = Caller(world.agent("ann"), connect_timeout=0.5)
    world.forward = lambda agent, signal: agent.deliver(  # type: ignore[method-assign]  # a worker that is mad
        signals.Answer(connection=signal.connection, number=1, sdp="v=0\r\nm=video", term=1)
    )
    with pytest.raises(PeerbusError) as caught:
        await caller.call.connect()
    assert caught.value.code is ErrorCode.BAD_FRAME
    await caller.call.close()


def test_what_is_no_mode() -> None:
    agent: Any = None
    with pytest.raises(PeerbusError) as caught:
        WebRTCHelper(agent, mode="telepathy")  # type: ignore[arg-type]  # what a user may write
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "arguments",
    [
        {"source": 5},
        {"source": picture(), "fps": 0},
        {"source": picture(), "name": "x" * 65},
        {"source": "/none.mp4"},
    ],
)
async def test_what_cannot_be_published_is_refused_at_once(
    world: CallWorld, arguments: dict[str, Any]
) -> None:
    caller = Caller(world.agent("ann"))
    with pytest.raises(PeerbusError):
        caller.call.publish(**arguments)
    await caller.call.close()


@pytest.mark.parametrize("name", ["idle", "connecting"])
async def test_what_is_asked_before_the_agent_is_there_is_done_then(world: CallWorld, name: Any) -> None:
    agent = world.agent("ann")
    agent.state = State(name=name)
    caller = Caller(agent)
    publishing = caller.call.publish(tone(), sample_rate=48_000)
    await asyncio.sleep(0.05)
    assert caller.agent.sent == []
    assert caller.call.state.name == name
    caller.agent.become(State(name="connecting"))
    await asyncio.sleep(0.05)
    assert caller.agent.sent == []
    caller.agent.become(State(name="connected"))
    assert (await publishing).is_published
    await caller.call.close()


async def test_a_handler_is_reason_enough_to_join(world: CallWorld) -> None:
    call = WebRTCHelper(world.agent("ann"), mode="sfu")  # type: ignore[arg-type]  # see above
    assert call.state.name == "idle"
    call.on_state = lambda state: None
    assert call.state.name == "idle"
    call.on_track = lambda track: None
    await until(lambda: call.is_connected)
    await call.close()


async def test_a_call_without_an_agent_in_a_channel_is_refused(world: CallWorld) -> None:
    agent = world.agent("ann")
    agent.state = State(name="idle")
    call = WebRTCHelper(agent, mode="sfu")  # type: ignore[arg-type]  # see above
    with pytest.raises(PeerbusError) as caught:
        await call.connect()
    assert caught.value.code is ErrorCode.BAD_REQUEST
    await call.close()


async def test_signals_of_a_newer_server_are_ignored(world: CallWorld) -> None:
    async with calling(world, "ann") as (ann,):
        message = msgspec.structs.replace(_message(), content={"kind": "horoscope", "sign": "leo"})
        ann.agent.emit("signal", message)
        assert ann.call.is_connected


# --- data ---------------------------------------------------------------------------------------------------------


async def test_data_reaches_all_or_those_it_is_for(world: CallWorld) -> None:
    async with calling(world, "ann", "bob", "cy") as (ann, bob, cy):
        await until(lambda: len(ann.call.peers) == 2)
        assert await ann.call.send_data({"x": [1, b"2"]}) is True
        await ann.call.send_data("for bob", to="bob")
        await ann.call.send_data("for cy", to=next(peer for peer in ann.call.peers if peer.name == "cy"))
        await ann.call.send_data("lossy", ["id-bob", "cy"], lossy=True)
        await until(lambda: len(bob.data) == 3 and len(cy.data) == 3)
        assert [data for data, _ in bob.data if data != "lossy"] == [{"x": [1, b"2"]}, "for bob"]
        assert [data for data, _ in cy.data if data != "lossy"] == [{"x": [1, b"2"]}, "for cy"]
        assert {str(peer) for _, peer in bob.data} == {"ann"}
        assert ann.data == []


async def test_data_waits_for_the_connection(world: CallWorld) -> None:
    async with calling(world, "bob") as (bob,):
        ann = WebRTCHelper(world.agent("ann"), mode="sfu")  # type: ignore[arg-type]  # see above
        sent = [ann.send_data(number) for number in range(5)]
        assert await asyncio.gather(*sent) == [True] * 5
        await until(lambda: len(bob.data) == 5)
        assert [data for data, _ in bob.data] == [0, 1, 2, 3, 4]
        await ann.close()


async def test_much_data_arrives_whole_and_in_order(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        await until(lambda: ann.call.peers)
        for number in range(60):
            await ann.call.send_data([number, bytes(20_000)])
        await until(lambda: len(bob.data) == 60)
        assert [data[0] for data, _ in bob.data] == list(range(60))


async def test_a_flood_of_lossy_data_is_thinned_out(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, _):
        outcomes = [ann.call.send_data(bytes(10_000), lossy=True) for _ in range(200)]
        results = await asyncio.gather(*outcomes)
        assert True in results
        assert False in results
        stats = (await ann.call.stats()).data
        assert (stats.messages_sent, stats.messages_dropped) == (results.count(True), results.count(False))


async def test_what_cannot_be_sent_is_a_typed_error(world: CallWorld) -> None:
    async with calling(world, "ann", "bob") as (ann, bob):
        with pytest.raises(PeerbusError) as caught:
            ann.call.send_data(bytes(16_001), reliable=False)
        assert caught.value.code is ErrorCode.TOO_LARGE
        with pytest.raises(PeerbusError) as caught:
            ann.call.send_data(object())
        assert caught.value.code is ErrorCode.BAD_REQUEST
        with pytest.raises(PeerbusError) as caught:
            ann.call.send_data("?", to="nobody")
        assert caught.value.code is ErrorCode.UNKNOWN_RECIPIENT
        await ann.call.send_data("still there")
        await until(lambda: bob.data)


async def test_data_that_was_never_sent_fails_with_the_call(world: CallWorld) -> None:
    caller = Caller(world.agent("ann"))
    caller.agent.refusal = PeerbusError(ErrorCode.OVERLOADED, "No worker has room.")
    waiting = caller.call.send_data(1)
    await caller.call.close()
    with pytest.raises(PeerbusError) as caught:
        await waiting
    assert caught.value.code is ErrorCode.CLOSED


# --- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", ["return", "sys.exit(3)", "raise KeyboardInterrupt", "os.kill(os.getpid(), 15)"]
)
def test_a_program_that_forgets_to_close_ends_all_the_same(way: str) -> None:
    program = f"""
import asyncio, os, sys
from peerbus.client.webrtc import WebRTCHelper
from peerbus.client.webrtc.generated import picture
from tests.support.call_world import call_world

async def main():
    async with call_world() as world:
        ann, bob = (WebRTCHelper(world.agent(name), mode="sfu") for name in ("ann", "bob"))
        await ann.publish(picture(64, 48))
        tracks = asyncio.Queue()
        bob.on_track = tracks.put_nowait
        async for frame in (await tracks.get()).frames():
            {way}

asyncio.run(main())
"""
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=root, timeout=60, capture_output=True, check=False
    )
    expected = {"return": 0, "sys.exit(3)": 3, "raise KeyboardInterrupt": -2, "os.kill(os.getpid(), 15)": -15}
    assert ended.returncode == expected[way], ended.stderr.decode()


def _message() -> Any:
    from peerbus.client.records import Message

    return Message(
        content=None,
        type="signal",
        sender="peerbus:sfu",
        sender_session=None,
        identity="peerbus:sfu",
        delivery="live",
        message_id="m",
        offset=None,
        time_ms=0,
        custom_event_type=None,
        to=None,
        filter=None,
        reply_to=None,
        metadata={},
        idempotency_key=None,
    )
