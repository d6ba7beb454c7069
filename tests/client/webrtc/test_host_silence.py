"""When a guest takes its host for silent, and when it was asleep itself."""

from __future__ import annotations

from peerbus.client.webrtc.host_silence import Silence
from peerbus.protocol.groups import HOST_RENEW_MS, HOST_UNHEARD_MS


def told_at(silence: Silence, from_ms: int, to_ms: int, every_ms: int = 10) -> list[int]:
    """When it said something, looked at so often."""
    return [at for at in range(from_ms, to_ms, every_ms) if silence.is_to_be_told(at)]


def test_a_silence_is_told_and_told_again_until_something_comes() -> None:
    silence = Silence()
    assert (silence.deadline_ms, told_at(silence, -3_000, 0)) == (None, [])
    silence.start(0)
    first, second, *_ = told_at(silence, 0, 1_500)
    assert HOST_UNHEARD_MS <= first <= HOST_UNHEARD_MS + 100
    assert HOST_RENEW_MS <= second - first <= HOST_RENEW_MS + 100
    silence.heard(1_500)
    assert told_at(silence, 1_500, 1_500 + HOST_UNHEARD_MS) == []


def test_a_host_that_says_something_now_and_then_is_not_silent() -> None:
    silence = Silence()
    silence.start(0)
    for beat in range(0, 3_000, 300):
        silence.heard(beat)
        assert told_at(silence, beat, beat + 300) == []


def test_who_was_asleep_itself_reads_first_what_came_meanwhile() -> None:
    silence = Silence()
    silence.start(0)
    assert not silence.is_to_be_told(5_000)
    assert told_at(silence, 5_000, 5_200) == []
    assert told_at(silence, 5_200, 5_600) != []
