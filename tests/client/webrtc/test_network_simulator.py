"""The simulated network: what both SDKs do for one seed, and what holds for all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.network_simulator import LANE_BYTES, NetworkSimulator, Simulation
from peerbus.client.webrtc.peer_frames import encode_lossy, encode_mark, encode_reliable, is_lossy_frame
from tests.support.peer_transcripts import FOLDER

TRANSCRIPTS: list[dict[str, Any]] = json.loads((FOLDER / "network.json").read_text("utf-8"))
BAD = Simulation(delay_ms=40, jitter_ms=30, loss=0.2)


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda one: one["name"])
def test_transcripts(transcript: dict[str, Any]) -> None:
    simulator: NetworkSimulator[str] = NetworkSimulator(transcript["seed"])
    for step in transcript["steps"]:
        match step["do"]:
            case "become":
                simulator.simulation = Simulation(**step["simulation"])
            case "put":
                simulator.put(step["lane"], [tuple(one) for one in step["items"]], step["at"])
            case "take":
                taken = simulator.take(
                    step["lane"], step["at"], reliable_room=step["room"], lossy_room=step["lossy_room"]
                )
                assert taken == step["out"], step
            case "forget":
                simulator.forget(step["lane"])
        deadline_ms = simulator.deadline_ms
        assert (None if deadline_ms is None else round(deadline_ms, 3)) == step["deadline"], step


@pytest.mark.parametrize("seed", range(20))
def test_what_is_reliable_is_late_and_in_order_and_what_is_lossy_is_lost_at_its_rate(seed: int) -> None:
    simulator: NetworkSimulator[int] = NetworkSimulator(seed, BAD)
    sent_ms: dict[int, int] = {}
    came: list[tuple[int, int]] = []
    for now_ms in range(0, 30_000, 10):
        if now_ms < 20_000:
            sent_ms |= {now_ms: now_ms, now_ms + 1: now_ms}
            simulator.put("to bob", [(now_ms, 100, False), (now_ms + 1, 100, True)], now_ms)
        room = LANE_BYTES if now_ms % 50 else None
        taken = simulator.take("to bob", now_ms, reliable_room=room, lossy_room=room)
        came += [(number, now_ms) for number in taken]
    reliable = [(number, at) for number, at in came if number % 2 == 0]
    lossy = [(number, at) for number, at in came if number % 2]
    assert [number for number, _ in reliable] == list(range(0, 20_000, 10))
    assert all(at - sent_ms[number] >= BAD.delay_ms for number, at in came)
    assert any(at - sent_ms[number] >= 3 * BAD.delay_ms for number, at in reliable)
    assert 0.75 < len(lossy) / 2_000 < 0.85
    assert len({number for number, _ in lossy}) == len(lossy)
    assert [number for number, _ in lossy] != sorted(number for number, _ in lossy)
    assert simulator.lanes == []
    assert simulator.deadline_ms is None


def test_a_lane_that_is_full_says_so_and_an_empty_one_is_clear_when_all_is_well_again() -> None:
    simulator: NetworkSimulator[str] = NetworkSimulator(1)
    assert simulator.is_clear("a")
    simulator.simulation = Simulation(delay_ms=100)
    assert not simulator.is_clear("a")
    simulator.put("a", [("big", LANE_BYTES, False)], 0)
    assert [simulator.room_bytes(lane) for lane in "ab"] == [0, LANE_BYTES]
    simulator.simulation = Simulation()
    assert [simulator.is_clear(lane) for lane in "ab"] == [False, True], "behind what is under way"
    simulator.put("a", [("small", 1, False)], 10)
    rooms = {"reliable_room": 1, "lossy_room": 1}
    assert simulator.take("a", 99, **rooms) == []
    assert simulator.take("a", 100, **rooms) == ["big"], "one thing where there is any room"
    assert simulator.take("a", 100, **rooms) == ["small"]
    assert simulator.is_clear("a")


@pytest.mark.parametrize(
    "wrong", [{"delay_ms": -1}, {"jitter_ms": 10_001}, {"loss": 1}, {"loss": float("nan")}]
)
def test_a_network_that_makes_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(PeerbusError) as caught:
        Simulation(**wrong)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_which_frames_are_lossy() -> None:
    for count in (1, 13, 14, 70_000):
        assert is_lossy_frame(encode_lossy(0xFFFF_FFFF, [b"\x01"] * count))
    reliable = encode_reliable(1, 1, None, 0, b"")
    assert not any(map(is_lossy_frame, (reliable, encode_mark(2, 1, 1), b"", b"\xdc")))
