"""The packet engine between peers with pylibsrtp at their end: what goes through, is repaired, is refused."""

from __future__ import annotations

import itertools
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.engine import LegId, StreamCodec, StreamId
from peerbus.sfu.engine_peer import RTCP_BYTES_PER_TICK, VIDEO_BITRATE_BPS
from peerbus.sfu.leg import RESENT_PER_TICK
from peerbus.sfu.python_engine import _SSRCS_MAX
from peerbus.sfu.rtp.packet import RtpPacket, header
from peerbus.sfu.rtp.rtcp import (
    FullIntraRequest,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    SenderReport,
)
from peerbus.sfu.rtp.sequence import sequence_distance, timestamp_distance
from peerbus.sfu.srtp import Profile
from peerbus.sfu.srtp_session import SrtpSession
from tests.support.engine_noise import full_world, throw
from tests.support.engine_peers import DELTA, KEYFRAME, OPUS, VP8, EnginePeer, EngineWorld

THEIR_VP8 = StreamCodec(payload_type=120, name="vp8", clock_rate_hz=90_000, repair_payload_type=124)
H264 = StreamCodec(payload_type=102, name="h264", clock_rate_hz=90_000, repair_payload_type=103)


class Call:
    """Ann publishes a picture, Ben has one slot for it."""

    def __init__(self, profile: Profile = Profile.AEAD_AES_128_GCM) -> None:
        self.world = EngineWorld()
        self.ann, self.ben = self.world.peer("ann", profile), self.world.peer("ben", Profile.AEAD_AES_256_GCM)
        self.stream: StreamId = self.ann.publish()
        self.leg: LegId = self.ben.slot(codecs=(THEIR_VP8,))

    def flowing(self, first: int = 100, count: int = 3) -> int:
        """Bound, and a keyframe with what follows through; the number of the last packet."""
        assert self.world.bind(self.leg, self.stream)
        self.ann.send(first, KEYFRAME)
        for number in range(first + 1, first + count):
            self.ann.send(number)
        self.ann.reports.clear()
        return first + count - 1


def numbers(packets: list[RtpPacket]) -> list[int]:
    return [packet.sequence for packet in packets]


def payloads(packets: list[RtpPacket]) -> list[bytes]:
    return [bytes(packet.payload) for packet in packets]


# --- forwarding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", list(Profile))
def test_a_packet_arrives_with_the_subscribers_header_and_the_publishers_payload(profile: Profile) -> None:
    call = Call(profile)
    call.world.bind(call.leg, call.stream)
    assert call.ann.send(7, KEYFRAME + b"picture", is_marked=True, extensions={9: b"theirs"})
    (packet,) = call.ben.taken()
    assert bytes(packet.payload) == KEYFRAME + b"picture"
    assert (packet.payload_type, packet.ssrc, packet.is_marked) == (120, 5_000, True)
    assert packet.extensions == {4: b"9"}
    assert call.world.engine.counts.forwarded == 1


def test_nobody_gets_anything_before_a_keyframe() -> None:
    call = Call()
    call.ann.send(1, KEYFRAME)
    call.world.now_ms += 1_000
    call.world.bind(call.leg, call.stream)
    assert call.ann.send(2)
    assert call.ben.taken() == []
    assert call.ann.heard(PictureLoss) == [PictureLoss(call.ann.world.engine._peers[call.ann.id].ssrc, 1_000)]
    call.ann.send(3, KEYFRAME)
    call.ann.send(4)
    assert payloads(call.ben.taken()) == [KEYFRAME, DELTA]


def test_a_late_joiner_gets_the_last_keyframe_and_what_followed_if_it_is_young() -> None:
    call = Call()
    call.ann.send(1, KEYFRAME + b"old")
    call.world.now_ms += 500
    sent = [KEYFRAME + b"new", DELTA + b"1", DELTA + b"2"]
    for number, payload in enumerate(sent, start=2):
        call.ann.send(number, payload)
    call.world.now_ms += 100
    call.world.bind(call.leg, call.stream)
    packets = call.ben.taken()
    assert payloads(packets) == sent
    assert [sequence_distance(packets[0].sequence, number) for number in numbers(packets)] == [0, 1, 2]
    assert call.ann.heard(PictureLoss) == []
    call.ann.send(5, DELTA + b"3")
    (after,) = call.ben.taken()
    assert sequence_distance(packets[-1].sequence, after.sequence) == 1


def test_rebinding_leaves_no_jump_in_numbers_or_time() -> None:
    call = Call()
    cleo = call.world.peer("cleo")
    other = cleo.publish(ssrcs=(1_000, 1_001))
    last = call.flowing()
    call.world.now_ms += 500
    call.world.bind(call.leg, other)
    before = call.ben.taken()
    assert call.ann.send(last + 1)
    cleo.send(60_000, DELTA)
    assert call.ben.taken() == []
    cleo.send(60_001, KEYFRAME, timestamp=5)
    cleo.send(60_002, DELTA, timestamp=3_005)
    after = call.ben.taken()
    assert {packet.ssrc for packet in before + after} == {5_000}
    assert sequence_distance(before[-1].sequence, after[0].sequence) == 1
    assert timestamp_distance(before[-1].timestamp, after[0].timestamp) == 500 * 90
    assert timestamp_distance(after[0].timestamp, after[1].timestamp) == 3_000
    call.world.now_ms += 1_000
    call.world.bind(call.leg, call.stream)
    call.ann.send(last + 2, KEYFRAME)
    (back,) = call.ben.taken()
    assert sequence_distance(after[-1].sequence, back.sequence) == 1
    assert timestamp_distance(after[-1].timestamp, back.timestamp) == 1_000 * 90


def test_what_comes_late_from_before_the_keyframe_is_not_for_a_newcomer() -> None:
    call = Call()
    cleo = call.world.peer("cleo")
    early = cleo.slot()
    call.world.bind(early, call.stream)
    call.ann.send(1, KEYFRAME)
    call.world.now_ms += 1_000
    call.world.bind(call.leg, call.stream)
    call.ann.send(3, KEYFRAME)
    call.ann.send(2, DELTA)
    call.ann.send(4, DELTA)
    assert payloads(cleo.taken()) == [KEYFRAME, KEYFRAME, DELTA, DELTA]
    assert payloads(call.ben.taken()) == [KEYFRAME, DELTA]


def test_an_unbound_slot_carries_nothing_and_a_gone_one_is_unknown() -> None:
    call = Call()
    last = call.flowing()
    call.world.bind(call.leg, None)
    call.ben.taken()
    call.ann.send(last + 1)
    assert call.ben.taken() == []
    call.world.bind(call.leg, call.stream)
    call.world.engine.remove_leg(call.leg)
    call.ann.send(last + 2, KEYFRAME)
    assert call.ben.send_rtcp(PictureLoss(1, 5_000))
    with pytest.raises(KeyError):
        call.world.bind(call.leg, call.stream)


def test_nobody_keeps_anything_of_a_peer_that_is_gone() -> None:
    call = Call()
    call.flowing()
    call.world.engine.remove_peer(call.ann.id)
    call.world.pass_time(2_000)
    with pytest.raises(KeyError):
        call.world.engine.remove_stream(call.stream)
    with pytest.raises(KeyError):
        call.ann.send(500)
    cleo = call.world.peer("cleo")
    again = cleo.publish()
    call.world.bind(call.leg, again)
    cleo.send(1, KEYFRAME)
    call.world.engine.remove_peer(call.ben.id)
    cleo.send(2, KEYFRAME)
    engine = call.world.engine
    assert list(engine._peers) == [cleo.id]
    assert engine._legs == {}
    assert engine._streams[again].legs == []


def test_a_subscriber_without_the_codec_is_not_bound() -> None:
    call = Call()
    other = call.ben.slot("8", codecs=(H264,), primary=6_000, repair=6_001)
    assert not call.world.bind(other, call.stream)
    call.ann.send(1, KEYFRAME)
    assert call.ben.taken() == []


def test_a_codec_in_the_middle_of_a_stream_that_a_subscriber_lacks_reaches_the_others_only() -> None:
    world = EngineWorld()
    ann, ben, cleo = world.peer("ann"), world.peer("ben"), world.peer("cleo")
    stream = ann.publish(codecs=(VP8, H264))
    legs = [ben.slot(codecs=(THEIR_VP8,)), cleo.slot(codecs=(THEIR_VP8, H264))]
    for leg in legs:
        assert world.bind(leg, stream)
    ann.send(1, KEYFRAME)
    ann.send(2, b"\x67\x42", payload_type=102)
    ann.send(3, DELTA)
    assert [packet.payload_type for packet in ben.taken()] == [120, 120]
    assert [packet.payload_type for packet in cleo.taken()] == [120, 102, 120]


def test_sound_flows_at_once() -> None:
    world = EngineWorld()
    ann, ben = world.peer("ann"), world.peer("ben")
    stream = ann.publish(codecs=(OPUS,), ssrcs=(1_000,), level_extension=1)
    world.bind(ben.slot(codecs=(OPUS,), repair=None), stream)
    assert ann.send(1, b"sound", payload_type=111, extensions={1: b"\x8a"})
    assert ann.send(2, b"sound", payload_type=111, extensions={1: b"\x05"})
    assert len(ben.taken()) == 2
    assert world.engine.levels() == {stream: 5}
    assert world.engine.levels() == {}
    assert ann.heard(PictureLoss) == []


@pytest.mark.parametrize("extensions", [{}, {1: b""}, {2: b"\x05"}])
def test_packets_without_a_level_say_nothing_of_it(extensions: dict[int, bytes]) -> None:
    world = EngineWorld()
    ann = world.peer("ann")
    ann.publish(codecs=(OPUS,), ssrcs=(1_000,), level_extension=1)
    assert ann.send(1, b"sound", payload_type=111, extensions=extensions)
    assert world.engine.levels() == {}


def test_what_is_for_a_peer_goes_where_it_is_now() -> None:
    call = Call()
    call.flowing()
    call.ben.taken()
    call.world._peers[("elsewhere", 2)] = call.ben
    call.world.engine.move_peer(call.ben.id, ("elsewhere", 2))
    del call.world._peers[call.ben.address]
    call.ann.send(103)
    assert len(call.ben.taken()) == 1


# --- whose packet it is -------------------------------------------------------------------------------------------


def test_undeclared_sources_are_known_by_their_mid() -> None:
    world = EngineWorld()
    ann, ben = world.peer("ann"), world.peer("ben")
    streams = [ann.publish(mid, ssrcs=(), mid_extension=3) for mid in ("0", "1")]
    world.bind(ben.slot(), streams[1])
    assert not ann.send(1, KEYFRAME, ssrc=7)
    assert ann.send(2, KEYFRAME, ssrc=7, extensions={3: b"1"})
    assert ann.send(3, DELTA, ssrc=7)
    assert ann.send(1, KEYFRAME, ssrc=8, extensions={3: b"0"})
    assert not ann.send(1, KEYFRAME, ssrc=9, extensions={3: b"2"})
    assert len(ben.taken()) == 2


def test_an_undeclared_source_without_mid_is_known_where_only_one_stream_can_be_meant() -> None:
    world = EngineWorld()
    ann, ben = world.peer("ann"), world.peer("ben")
    picture = ann.publish("0", ssrcs=())
    ann.publish("1", codecs=(OPUS,), ssrcs=())
    world.bind(ben.slot(), picture)
    assert ann.send(1, KEYFRAME, ssrc=7)
    assert len(ben.taken()) == 1


def test_a_retransmission_may_come_before_its_stream() -> None:
    world = EngineWorld()
    ann, ben = world.peer("ann"), world.peer("ben")
    world.bind(ben.slot(), ann.publish(ssrcs=(), mid_extension=3))
    assert ann.send(1, b"", ssrc=8, payload_type=97, extensions={3: b"0"})
    assert ann.send(1, KEYFRAME, ssrc=7, extensions={3: b"0"})
    assert ann.send(2, b"\0\2" + DELTA, ssrc=8, payload_type=97)
    assert payloads(ben.taken()) == [KEYFRAME, DELTA]


def test_packets_of_a_stream_that_ended_or_of_an_unknown_type_are_refused() -> None:
    call = Call()
    call.flowing()
    assert not call.ann.send(103, payload_type=35)
    call.world.engine.remove_stream(call.stream)
    assert not call.ann.send(104)
    assert call.world.engine.counts.refused == 2


def test_a_new_source_in_a_stream_goes_on_with_its_first_keyframe_which_is_asked_for() -> None:
    world = EngineWorld()
    ann, ben = world.peer("ann"), world.peer("ben")
    world.bind(ben.slot(), ann.publish(ssrcs=(), mid_extension=3))
    ann.send(1, KEYFRAME, ssrc=7, extensions={3: b"0"})
    world.pass_time(2_000)
    ann.reports.clear()
    before = ben.taken()
    ann.send(40_000, DELTA, ssrc=8, extensions={3: b"0"})
    world.pass_time(20)
    assert [request.media_ssrc for request in ann.heard(PictureLoss)] == [8]  # type: ignore[union-attr]
    ann.send(40_001, KEYFRAME, ssrc=8, extensions={3: b"0"})
    after = ben.taken()
    assert payloads(after) == [KEYFRAME]
    assert sequence_distance(before[-1].sequence, after[0].sequence) == 1


def test_publishing_anew_again_and_again_goes_on_working() -> None:
    call = Call()
    for turn in range(100):
        call.world.engine.remove_stream(call.stream)
        call.stream = call.ann.publish(str(turn), ssrcs=(10_000 + 2 * turn, 10_001 + 2 * turn))
        call.world.bind(call.leg, call.stream)
        assert call.ann.send(1, KEYFRAME, ssrc=10_000 + 2 * turn)
        call.ann.send(2, b"", ssrc=10_001 + 2 * turn, payload_type=97)
    assert len(call.ben.taken()) == 100


def test_sources_without_end_are_refused() -> None:
    call = Call()
    taken = [call.ann.send(1, KEYFRAME, ssrc=ssrc) for ssrc in range(2_000, 2_000 + _SSRCS_MAX + 20)]
    assert sum(taken) == _SSRCS_MAX
    assert len(call.world.engine._peers[call.ann.id].by_ssrc) <= _SSRCS_MAX + 2


# --- repair -------------------------------------------------------------------------------------------------------


def test_what_a_subscriber_lost_is_sent_again_in_its_retransmission_stream() -> None:
    call = Call()
    call.flowing(count=5)
    packets = call.ben.taken()
    call.ben.send_rtcp(Nack(1, 5_000, (packets[2].sequence, packets[3].sequence)))
    again = call.ben.taken()
    assert [(one.payload_type, one.ssrc) for one in again] == [(124, 5_001)] * 2
    for one, original in zip(again, packets[2:4], strict=True):
        assert struct.unpack_from("!H", one.payload)[0] == original.sequence
        assert bytes(one.payload)[2:] == bytes(original.payload)
        assert one.timestamp == original.timestamp
        assert one.extensions == original.extensions
    assert sequence_distance(again[0].sequence, again[1].sequence) == 1
    call.ben.send_rtcp(Nack(1, 5_000, (packets[2].sequence,)))
    assert call.ben.taken() == []
    call.world.now_ms += 20
    call.ben.send_rtcp(Nack(1, 5_000, (packets[2].sequence,)))
    assert len(call.ben.taken()) == 1
    assert call.world.engine.counts.resent == 3


def test_without_a_retransmission_stream_the_packet_itself_is_sent_again() -> None:
    world = EngineWorld()
    ann, ben = world.peer("ann"), world.peer("ben", Profile.AES128_CM_SHA1_80)
    plain = StreamCodec(payload_type=120, name="vp8", clock_rate_hz=90_000)
    world.bind(ben.slot(codecs=(plain,), repair=None), ann.publish())
    ann.send(1, KEYFRAME)
    world.keeps_undelivered = True
    ann.send(2, DELTA + b"lost")
    (lost, _) = world.undelivered.pop()
    world.keeps_undelivered = False
    ann.send(3)
    first, third = ben.taken()
    ben.send_rtcp(Nack(1, 5_000, ((first.sequence + 1) & 0xFFFF,)))
    (again,) = ben.taken()
    assert bytes(again.payload) == DELTA + b"lost"
    assert again.sequence == lost[2] << 8 | lost[3]
    assert sequence_distance(again.sequence, third.sequence) == 1


def test_a_subscriber_may_not_ask_for_what_it_never_got() -> None:
    call = Call()
    cleo = call.world.peer("cleo")
    last = call.flowing()
    first, *_ = call.ben.taken()
    call.ben.send_rtcp(Nack(1, 5_000, (first.sequence - 1 & 0xFFFF, first.sequence + 500 & 0xFFFF)))
    assert call.ben.taken() == []
    # Nor for another's slot, nor for what its slot carried before.
    cleo.send_rtcp(Nack(1, 5_000, (first.sequence,)))
    assert cleo.taken() == []
    other = cleo.publish(ssrcs=(1_000, 1_001))
    call.world.bind(call.leg, other)
    cleo.send(5, KEYFRAME)
    call.ben.taken()
    call.ben.send_rtcp(Nack(1, 5_000, (first.sequence,)))
    assert call.ben.taken() == []
    assert call.ann.send(last + 1)


def test_a_storm_of_nacks_is_answered_within_a_budget() -> None:
    call = Call()
    call.flowing(count=400)
    packets = call.ben.taken()
    wanted = tuple(numbers(packets))
    for _ in range(50):
        call.ben.send_rtcp(Nack(1, 5_000, wanted))
        call.world.now_ms += 0
    assert len(call.ben.taken()) == RESENT_PER_TICK
    call.world.pass_time(20)
    call.ben.send_rtcp(Nack(1, 5_000, wanted[100:200]))
    assert len(call.ben.taken()) == RESENT_PER_TICK


def test_a_gap_at_the_publisher_is_asked_for_and_closed_by_a_retransmission() -> None:
    call = Call()
    last = call.flowing()
    before = call.ben.taken()
    call.ann.send(last + 3, DELTA + b"3")
    call.world.pass_time(20)
    (asked,) = call.ann.heard(Nack)
    assert isinstance(asked, Nack)
    assert (asked.media_ssrc, asked.sequences) == (1_000, (last + 1, last + 2))
    assert call.ann.send_repair(900, last + 1, DELTA + b"1")
    assert call.ann.send_repair(901, last + 2, DELTA + b"2")
    after = call.ben.taken()
    assert payloads(after) == [DELTA + b"3", DELTA + b"1", DELTA + b"2"]
    base = before[-1].sequence
    assert [sequence_distance(base, number) for number in numbers(after)] == [3, 1, 2]
    call.world.pass_time(2_000)
    assert call.ann.heard(Nack) == []
    # The same retransmission once more changes nothing.
    assert call.ann.send_repair(902, last + 2, DELTA + b"2")
    assert call.ben.taken() == []


def test_what_had_to_be_sent_again_stands_as_lost_in_the_report() -> None:
    call = Call()
    last = call.flowing(count=2)
    call.world.pass_time(20)
    call.ann.reports.clear()
    call.ann.send(last + 2)
    call.ann.send_repair(900, last + 1, DELTA)
    call.world.pass_time(1_000)
    (report,) = call.ann.heard(ReceiverReport)
    assert isinstance(report, ReceiverReport)
    (block,) = report.blocks
    assert (block.ssrc, block.cumulative_lost, block.fraction_lost) == (1_000, 1, 128)


def test_probes_in_the_retransmission_stream_go_nowhere() -> None:
    call = Call()
    call.flowing()
    call.ben.taken()
    for sequence, payload in enumerate((b"", b"\0", b"\0\1")):
        assert call.ann.send(sequence, payload, ssrc=1_001, payload_type=97)
    assert call.ben.taken() == []


# --- keyframes and reports ----------------------------------------------------------------------------------------


def test_requests_of_many_subscribers_become_one_every_so_often() -> None:
    world = EngineWorld()
    ann = world.peer("ann")
    stream = ann.publish()
    subscribers = [world.peer(f"s{number}") for number in range(6)]
    for one in subscribers:
        world.bind(one.slot(), stream)
    ann.send(1, KEYFRAME)
    world.pass_time(1_000)
    ann.reports.clear()
    asked = 0
    for step in range(150):
        for one in subscribers:
            one.send_rtcp(PictureLoss(1, 5_000))
            one.send_rtcp(FullIntraRequest(1, (5_000,) * 50))
        world.pass_time(20)
        requests = len(ann.heard(PictureLoss))
        asked += requests
        if requests:
            ann.send(2 + step, KEYFRAME)
    assert 9 <= asked <= 11
    assert world.engine.counts.keyframe_requests == asked + 1


def test_a_request_for_a_slot_that_is_somebody_elses_or_carries_nothing_goes_nowhere() -> None:
    call = Call()
    call.flowing()
    cleo = call.world.peer("cleo")
    cleo.slot(primary=6_000)
    call.world.pass_time(1_000)
    call.ann.reports.clear()
    for ssrc in (5_000, 6_000, 1_000, 77):
        assert cleo.send_rtcp(PictureLoss(1, ssrc), FullIntraRequest(1, (ssrc,)))
    call.world.pass_time(1_000)
    assert call.ann.heard(PictureLoss) == []


def test_nobody_is_asked_for_keyframes_that_nobody_watches() -> None:
    call = Call()
    call.ann.send(1)
    call.world.bind(call.leg, call.stream)
    call.world.pass_time(1_100)
    assert len(call.ann.heard(PictureLoss)) >= 2
    call.world.bind(call.leg, None)
    call.world.pass_time(2_000)
    assert call.ann.heard(PictureLoss) == []


def clocks(peer: EnginePeer) -> list[SenderReport]:
    return [one for one in peer.heard(SenderReport) if isinstance(one, SenderReport)]


def seconds(earlier: int, later: int) -> float:
    return (later - earlier) / 2**32


def test_a_publishers_clock_reaches_its_subscribers_every_second_on_their_own_time_line() -> None:
    call = Call()
    last = call.flowing()
    packets = call.ben.taken()
    # What is sent now has the timestamp after the last one.
    assert call.ann.send_rtcp(SenderReport(1_000, 0xE000_0000_8000_0000, 3_000 * (last + 1), 99, 9_999))
    call.world.pass_time(20)
    (first,) = clocks(call.ben)
    assert first.ssrc == 5_000
    assert timestamp_distance(packets[-1].timestamp, first.rtp_timestamp) == pytest.approx(
        3_000 + 90 * 20, abs=1
    )
    assert (first.packets, first.octets) == (3, sum(len(packet.payload) for packet in packets))
    call.world.pass_time(3_000)
    reports = [first, *clocks(call.ben)]
    assert len(reports) == 4
    for earlier, later in itertools.pairwise(reports):
        assert seconds(earlier.ntp_time, later.ntp_time) == pytest.approx(1)
        assert timestamp_distance(earlier.rtp_timestamp, later.rtp_timestamp) == pytest.approx(90_000, abs=1)


def test_sound_and_picture_of_one_publisher_stay_together() -> None:
    world = EngineWorld()
    ann, ben = world.peer("ann"), world.peer("ben")
    picture, sound = ann.publish("0"), ann.publish("1", codecs=(OPUS,), ssrcs=(2_000,))
    world.bind(ben.slot("v", primary=5_000), picture)
    world.bind(ben.slot("a", codecs=(OPUS,), primary=6_000, repair=None), sound)
    ann.send(1, KEYFRAME, timestamp=70_000)
    ann.send(1, b"sound", ssrc=2_000, payload_type=111, timestamp=10_000)
    seen = {packet.ssrc: packet.timestamp for packet in ben.taken()}
    # At one moment of hers, 40 ms before the packets; the reports come at different times.
    moment = 0xDDDD_0000_0000_0000
    assert ann.send_rtcp(SenderReport(1_000, moment, 70_000 - 3_600, 1, 1))
    world.pass_time(700)
    later = moment + (2 << 32)
    assert ann.send_rtcp(SenderReport(2_000, later, 10_000 - 1_920 + 96_000, 1, 1))
    world.pass_time(1_000)
    by_ssrc = {report.ssrc: report for report in clocks(ben)}
    # When was each packet sampled, by the reports?
    picture_at = (
        by_ssrc[5_000].ntp_time
        - (timestamp_distance(seen[5_000], by_ssrc[5_000].rtp_timestamp) << 32) // 90_000
    )
    sound_at = (
        by_ssrc[6_000].ntp_time
        - (timestamp_distance(seen[6_000], by_ssrc[6_000].rtp_timestamp) << 32) // 48_000
    )
    assert abs(seconds(picture_at, sound_at)) < 0.001


def test_a_slots_clock_does_not_jump_with_the_publisher() -> None:
    call = Call()
    cleo = call.world.peer("cleo")
    other = cleo.publish()
    last = call.flowing()
    call.ann.send_rtcp(SenderReport(1_000, 0xE000 << 48, 3_000 * last, 1, 1))
    call.world.pass_time(2_000)
    # Her clock is of last year, and her timestamps begin elsewhere.
    call.world.bind(call.leg, other)
    cleo.send(9, KEYFRAME, timestamp=4_000_000_000)
    cleo.send_rtcp(SenderReport(1_000, 0xD000 << 48, 4_000_000_000, 1, 1))
    call.world.pass_time(2_000)
    reports = clocks(call.ben)
    assert len(reports) == 4
    for earlier, later in itertools.pairwise(reports):
        passed = seconds(earlier.ntp_time, later.ntp_time)
        assert passed == pytest.approx(1)
        ticks = timestamp_distance(earlier.rtp_timestamp, later.rtp_timestamp)
        assert ticks == pytest.approx(90_000 * passed, abs=9_000)


def test_no_clock_is_told_that_is_not_known() -> None:
    call = Call()
    call.flowing()
    call.world.pass_time(2_000)
    assert clocks(call.ben) == []


def test_a_flood_of_rtcp_is_looked_at_within_a_budget_and_a_clock_is_not_multiplied() -> None:
    call = Call()
    call.flowing()
    flood = [SenderReport(1_000, 1, 2, 3, 4)] * 40
    size = 40 * 28
    taken = [call.ann.send_rtcp(*flood) for _ in range(30)]
    assert sum(taken) == -(-RTCP_BYTES_PER_TICK // size)
    assert call.world.engine.counts.refused == 30 - sum(taken)
    # Another peer's budget is its own, and the next tick brings a new one.
    assert call.ben.send_rtcp(PictureLoss(1, 5_000))
    call.world.pass_time(20)
    assert call.ann.send_rtcp(*flood)
    call.world.pass_time(1_980)
    assert len(clocks(call.ben)) == 2


@pytest.mark.parametrize("moment", [0, 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("timestamp", [0, 2**31, 2**32 - 1])
def test_no_clock_is_too_strange(moment: int, timestamp: int) -> None:
    call = Call()
    call.flowing()
    assert call.ann.send_rtcp(SenderReport(1_000, moment, timestamp, 3, 4))
    assert call.ann.send_rtcp(SenderReport(1_000, 2**64 - 1 - moment, timestamp, 3, 4))
    call.world.pass_time(2_000)
    assert len(clocks(call.ben)) == 2


def test_a_report_of_another_source_is_nobodys() -> None:
    call = Call()
    call.flowing()
    for ssrc in (1_001, 77, 5_000):
        assert call.ann.send_rtcp(SenderReport(ssrc, 1, 2, 3, 4))
    call.world.pass_time(2_000)
    assert clocks(call.ben) == []


def test_publishers_hear_how_their_streams_arrive_and_what_they_may_send() -> None:
    world = EngineWorld()
    ann = world.peer("ann")
    ann.publish("0")
    ann.publish("1", ssrcs=(2_000, 2_001))
    ann.publish("2", codecs=(OPUS,), ssrcs=(3_000,))
    world.pass_time(20)
    assert ann.reports == []
    ann.send(1, KEYFRAME)
    ann.send(1, KEYFRAME, ssrc=2_000)
    ann.send(1, b"sound", ssrc=3_000, payload_type=111)
    ann.reports.clear()
    world.pass_time(1_000)
    (report,), (estimate,) = (
        [one for one in ann.reports if isinstance(one, kind)] for kind in (ReceiverReport, Remb)
    )
    assert isinstance(report, ReceiverReport)
    assert {block.ssrc for block in report.blocks} == {1_000, 2_000, 3_000}
    assert isinstance(estimate, Remb)
    assert set(estimate.media_ssrcs) == {1_000, 2_000}
    assert 0.99 * 2 * VIDEO_BITRATE_BPS <= estimate.bitrate_bps <= 2 * VIDEO_BITRATE_BPS


# --- hostile input ------------------------------------------------------------------------------------------------


def test_what_is_not_authentic_is_refused_and_counted() -> None:
    call = Call()
    last = call.flowing()
    good = call.ann.outbound.protect(header(96, False, last + 1, 0, 1_000) + DELTA)
    bad = [
        b"",
        b"\x80",
        bytes(11),
        bytes(12),
        b"\x80" * 2_048,
        b"\x80\xc8" + bytes(40),
        good[:-1],
        good + b"\0",
    ]
    bad += [b"\x80\xc8" * 800, b"\x80" + bytes(2_000), b"\x90\x60" + b"\xff" * 30]
    for data in bad:
        assert not call.ann.send_raw(data)
    assert call.world.engine.counts.refused == len(bad)
    assert call.ann.send_raw(good)
    assert not call.ann.send_raw(good)
    # Another peer's packet is not authentic here.
    assert not call.ben.send_raw(call.ann.outbound.protect(header(96, False, last + 2, 0, 1_000) + DELTA))


def test_a_packet_that_grows_too_large_for_a_subscriber_costs_the_others_nothing() -> None:
    world = EngineWorld()
    ann, ben, cleo = world.peer("ann"), world.peer("ben"), world.peer("cleo")
    stream = ann.publish()
    world.bind(ben.slot("x" * 64, mid_extension=4), stream)
    world.bind(cleo.slot(mid_extension=None), stream)
    ann.send(1, KEYFRAME)
    ben.taken(), cleo.taken()
    world.keeps_undelivered = True
    # pylibsrtp would call this too long.
    large = header(96, False, 2, 0, 1_000) + DELTA + bytes(2_048 - 16 - 12 - 2)
    assert ann.send_raw(SrtpSession(ann.keys.profile, ann.keys.receive, is_inbound=False).protect(large))
    assert [address for _, address in world.undelivered] == [cleo.address]
    assert world.engine.counts.unsent == 1


def test_a_retransmission_from_long_ago_harms_nobody() -> None:
    call = Call()
    last = call.flowing()
    # A hole that is still open when the subscriber's session has long gone on.
    call.ann.send(last + 2)
    for number in range(last + 3, last + 1_600):
        call.ann.send(number)
    call.ben.taken()
    assert call.ann.send_repair(5, last + 1, DELTA)
    assert call.ben.taken() == []
    assert call.world.engine.counts.unsent == 1
    call.ann.send(last + 1_600)
    assert len(call.ben.taken()) == 1


def test_sound_with_retransmissions_cannot_go_far_back() -> None:
    world = EngineWorld()
    ann, ben = world.peer("ann"), world.peer("ben")
    codec = StreamCodec(payload_type=96, name="opus", clock_rate_hz=48_000, repair_payload_type=97)
    world.bind(ben.slot(codecs=(codec,)), ann.publish(codecs=(codec,)))
    for number in range(20_000, 23_000):
        ann.send(number, b"sound")
    ben.taken()
    for sequence, original in enumerate((20_000, 1, 40_000, 23_000 + 32_767, 5)):
        ann.send_repair(sequence, original, b"sound")
    world.pass_time(100)
    assert ann.send(23_001, b"sound")


@given(seed=st.integers(0, 2**32))
def test_authentic_packets_of_any_content_are_taken_or_refused(seed: int) -> None:
    world, peers = full_world()
    throw(world, peers, random.Random(seed), 60)
    # And the call goes on: what is well-formed still arrives.
    ann, ben, _ = peers
    fresh = world.peer("fresh")
    stream = fresh.publish(ssrcs=(1_000, 1_001))
    leg = ben.slot("fresh", primary=7_000, repair=7_001)
    assert world.bind(leg, stream)
    ben.taken()
    assert fresh.send(1, KEYFRAME)
    assert [packet.ssrc for packet in ben.taken()] == [7_000]
    assert ann.id in world.engine._peers
