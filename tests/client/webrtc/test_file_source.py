"""Media from files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import av
import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.file_source import FileSource, MediaFile
from peerbus.client.webrtc.frames import position_s
from tests.support.media_files import write_film


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Positions that sources waited for; nobody waits here."""
    asked: list[float] = []

    async def wait_for(self: Any, position: float) -> float:
        asked.append(position)
        return 0.0

    monkeypatch.setattr("peerbus.client.webrtc.sources.Timeline.wait_for", wait_for)
    return asked


async def read(source: FileSource, most: int = 10_000) -> list[Any]:
    frames: list[Any] = []
    while len(frames) < most and (frame := await source.next_frame()) is not None:
        frames.append(frame)
    return frames


def total_s(frames: list[Any]) -> float:
    return float(sum(frame.samples / frame.sample_rate for frame in frames))


async def test_a_film_has_a_picture_and_a_sound(tmp_path: Path, no_waiting: list[float]) -> None:
    file = MediaFile(write_film(tmp_path / "film.mkv"))
    picture, sound = file.sources
    assert (picture.kind, sound.kind) == ("video", "audio")
    frames = await read(picture)
    assert [position_s(frame) for frame in frames] == [
        pytest.approx(number / 10, abs=0.002) for number in range(10)
    ]
    assert no_waiting == [pytest.approx(number / 10, abs=0.002) for number in range(10)]
    assert (frames[0].width, frames[0].height) == (64, 48)
    blocks = await read(sound)
    assert total_s(blocks) == pytest.approx(1.0)
    assert position_s(blocks[-1]) == pytest.approx(1.0, abs=0.11)
    for source in file.sources:
        await source.close()
    assert await picture.next_frame() is None


@pytest.mark.parametrize(
    ("kind", "expected"), [("audio", ["audio"]), ("video", ["video"]), (None, ["video", "audio"])]
)
async def test_one_kind_can_be_chosen(tmp_path: Path, kind: Any, expected: list[str]) -> None:
    file = MediaFile(write_film(tmp_path / "film.mkv"), kind=kind)
    assert [source.kind for source in file.sources] == expected
    assert len(await read(file.sources[0])) >= 10
    await file.close()


async def test_a_loop_begins_again_without_a_gap(tmp_path: Path) -> None:
    file = MediaFile(write_film(tmp_path / "film.mkv"), loop=True)
    picture, sound = file.sources
    frames, blocks = await asyncio.gather(read(picture, 35), read(sound, 60))
    positions = [position_s(frame) for frame in frames]
    assert positions == [pytest.approx(number / 10, abs=0.01) for number in range(35)]
    starts = [position_s(block) or 0.0 for block in blocks]
    lengths = [block.samples / block.sample_rate for block in blocks]
    for start, length, following in zip(starts, lengths, starts[1:], strict=False):
        assert following - start == pytest.approx(length, abs=0.01)
    await file.close()


async def test_a_late_picture_is_left_out_and_a_late_sound_moves_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(self: Any, position: float) -> float:
        return 1.0 if position < 0.35 else 0.0

    shifts: list[float] = []
    monkeypatch.setattr("peerbus.client.webrtc.sources.Timeline.wait_for", late)
    monkeypatch.setattr(
        "peerbus.client.webrtc.sources.Timeline.shift", lambda self, seconds: shifts.append(seconds)
    )
    file = MediaFile(write_film(tmp_path / "film.mkv"))
    picture, sound = file.sources
    # The sound's frames are decoded first, so that those of the picture wait.
    blocks = await read(sound)
    assert len(shifts) == sum(1 for block in blocks if (position_s(block) or 0.0) < 0.35)
    first = await picture.next_frame()
    assert first is not None
    assert position_s(first) == pytest.approx(0.4, abs=0.01)
    await file.close()


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("missing.mp4", None, ErrorCode.NOT_FOUND),
        ("text.txt", b"not a film", ErrorCode.BAD_REQUEST),
        ("empty.mp4", b"", ErrorCode.BAD_REQUEST),
    ],
)
def test_what_is_no_medium_is_a_typed_error(
    tmp_path: Path, name: str, content: bytes | None, code: ErrorCode
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PeerbusError) as caught:
        MediaFile(path)
    assert caught.value.code is code


def test_a_kind_that_is_not_there_is_a_typed_error(tmp_path: Path) -> None:
    path = write_film(tmp_path / "sound.wav", video=False)
    with pytest.raises(PeerbusError, match="no video"):
        MediaFile(path, kind="video")


async def test_a_damaged_file_ends_where_it_can_be_read_no_more(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mkv", seconds=3)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    file = MediaFile(path)
    frames, blocks = await asyncio.gather(read(file.sources[0]), read(file.sources[1]))
    assert 0 < len(frames) < 30
    assert 0 < total_s(blocks) < 3
    await file.close()


async def test_closing_waits_for_the_decoder(tmp_path: Path) -> None:
    file = MediaFile(write_film(tmp_path / "film.mkv", seconds=5))
    reading = asyncio.ensure_future(file.sources[0].next_frame())
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait([reading])
    for source in file.sources:
        await source.close()
    with pytest.raises(AssertionError):
        # The container itself refuses: it is closed, and no thread is in it.
        next(file._container.decode(video=0))


def test_av_frames_are_what_it_gives(tmp_path: Path) -> None:
    async def one() -> None:
        file = MediaFile(write_film(tmp_path / "sound.wav", video=False))
        assert isinstance(await file.sources[0].next_frame(), av.AudioFrame)
        await file.close()

    asyncio.run(one())
