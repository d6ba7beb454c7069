"""The SFU worker over real sockets, with participants whose every packet is written by hand."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec import UNSET

from peerbus.protocol.signals import (
    Answer,
    Ended,
    Gone,
    Leave,
    Mute,
    Offer,
    Participant,
    Publications,
    Refused,
    Release,
    Renewed,
    Room,
    Roster,
    Slots,
    Unpublish,
)
from peerbus.sfu.rtp.packet import RtpPacket, header
from peerbus.sfu.rtp.rtcp import (
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    SenderReport,
    parse_rtcp,
    write_rtcp,
)
from peerbus.sfu.rtp.sequence import timestamp_distance
from peerbus.sfu.stun import BINDING_REQUEST, BINDING_SUCCESS, USERNAME, parse_stun, write_stun
from tests.support.raw_peer import MID_ID, RTX, VP8, RawPeer
from tests.support.sfu_room import SfuRoom, Video, until

ANN = 1000
BOB = 2000


@pytest_asyncio.fixture
async def room() -> AsyncIterator[SfuRoom]:
    before = threading.active_count()
    async with SfuRoom() as one:
        yield one
    assert threading.active_count() == before
    assert one.worker.load(one.worker.now_ms()).participants == 0


def payload(packet: RtpPacket) -> bytes:
    return bytes(packet.payload)


def bound(peer: RawPeer) -> dict[str, str]:
    """What its slots carry, as it was told last."""
    last = [signal for signal in peer.signals if isinstance(signal, Slots)][-1]
    return {one.mid: one.publication for one in last.bindings if one.publication is not UNSET}


def heard(peer: RawPeer, kind: type) -> list[object]:
    return [packet for data in peer.rtcp for packet in parse_rtcp(data) if isinstance(packet, kind)]


def told(peer: RawPeer, kind: type) -> list[object]:
    return [signal for signal in peer.signals if isinstance(signal, kind)]


async def call(room: SfuRoom) -> tuple[RawPeer, Video, RawPeer]:
    """Ann publishes a picture, Bob receives it."""
    ann = await room.join("ann", videos=(ANN,))
    bob = await room.join("bob", video_slots=2, audio_slots=1)
    await until(lambda: told(bob, Slots) and bound(bob), "bob's slot carries ann's picture")
    picture = Video(ann, ANN)
    picture.send(3, is_keyframe=True)
    await until(lambda: len(bob.packets) == 3, "three packets at bob")
    return ann, picture, bob


# --- forwarding ------------------------------------------------------------------------------------------------


async def test_packets_come_with_the_slots_numbers_and_the_publishers_payload(room: SfuRoom) -> None:
    _, picture, bob = await call(room)
    picture.send(20)
    await until(lambda: len(bob.packets) == 23)
    answer = told(bob, Answer)[0]
    assert isinstance(answer, Answer)
    assert f"a=ssrc:{bob.packets[0].ssrc} " in answer.sdp
    first = bob.packets[0]
    for index, (sent, got) in enumerate(zip(picture.sent, bob.packets, strict=True)):
        assert payload(got) == sent[12:]
        assert got.ssrc == first.ssrc
        assert got.payload_type == VP8
        assert got.is_marked
        # The publisher's numbers wrap within these packets.
        assert got.sequence == (first.sequence + index) & 0xFFFF
        assert got.timestamp == (first.timestamp + 3000 * index) & 0xFFFFFFFF
        assert got.extensions == {MID_ID: b"0"}


async def test_nothing_is_sent_before_a_keyframe(room: SfuRoom) -> None:
    ann = await room.join("ann", videos=(ANN,))
    picture = Video(ann, ANN)
    picture.send(1, is_keyframe=True)
    await until(lambda: room.worker.engine.counts.received == 1)
    # Older than what is sent again for those who come.
    await asyncio.sleep(0.35)
    bob = await room.join("bob", video_slots=1)
    await until(lambda: heard(ann, PictureLoss), "ann is asked for a keyframe")
    picture.send(5)
    picture.send(2, is_keyframe=True)
    await until(lambda: len(bob.packets) == 2)
    assert [payload(packet) for packet in bob.packets] == [data[12:] for data in picture.sent[-2:]]


async def test_a_late_joiner_gets_a_young_keyframe_at_once(room: SfuRoom) -> None:
    _, picture, _ = await call(room)
    late = room.peer("late", video_slots=1)
    connecting = asyncio.create_task(late.connect())
    while not connecting.done():
        picture.send(2, is_keyframe=True)
        await asyncio.sleep(0.02)
    await connecting
    start = len(picture.sent) - 2
    await until(lambda: len(late.packets) >= 2)
    assert payload(late.packets[0])[:3] == b"\x10\x00\x9d"
    known = {data[12:] for data in picture.sent[: start + 2]}
    assert all(payload(packet) in known for packet in late.packets)


async def test_a_slot_goes_on_when_it_carries_somebody_else(room: SfuRoom) -> None:
    ann, picture, bob = await call(room)
    last = bob.packets[-1]
    room.ask(ann.participant, Leave(connection=ann.connection_id))
    await until(lambda: not bound(bob))
    picture.send(1)
    cleo = await room.join("cleo", videos=(BOB,))
    await until(lambda: bound(bob) == {"0": "cleo/v0"})
    Video(cleo, BOB, sequence=7).send(3, is_keyframe=True)
    await until(lambda: len(bob.packets) == 6)
    after = bob.packets[3]
    assert after.ssrc == last.ssrc
    assert after.sequence == (last.sequence + 1) & 0xFFFF
    elapsed = (after.timestamp - last.timestamp) & 0xFFFFFFFF
    assert 0 < elapsed < 90_000 * 60


async def test_several_join_and_leave_while_a_call_runs(room: SfuRoom) -> None:
    ann, picture, bob = await call(room)
    answers, offers = len(told(bob, Answer)), bob.connection_id
    for turn in range(5):
        guest = await room.join("guest", videos=(BOB,), video_slots=1)
        await until(lambda: bound(bob) == {"0": "ann/v0", "1": "guest/v0"}, "bob sees both")
        picture.send(2)
        if turn % 2:
            room.ask(guest.participant, Leave(connection=guest.connection_id))
        else:
            # As when a browser is closed: DTLS says goodbye.
            await guest.dtls.stop()
        await until(lambda: bound(bob) == {"0": "ann/v0"}, "and then ann alone")
        await guest.close()
    del room.peers["guest"]
    picture.send(1)
    await until(lambda: len(bob.packets) == 3 + 5 * 2 + 1)
    assert len({packet.ssrc for packet in bob.packets}) == 1
    sequences = [packet.sequence for packet in bob.packets]
    assert sequences == [(sequences[0] + index) & 0xFFFF for index in range(len(sequences))]
    assert (len(told(bob, Answer)), bob.connection_id) == (answers, offers)
    assert not told(ann, Ended)


async def test_reports_tell_the_publishers_clock(room: SfuRoom) -> None:
    ann, picture, bob = await call(room)
    sent = struct.unpack_from("!I", picture.sent[-1], 4)[0]
    ann.send_rtcp(write_rtcp([SenderReport(ANN, 0x0123456789ABCDEF, sent, 3, 300)]))
    await until(lambda: len(heard(bob, SenderReport)) > 1)
    first, second, *_ = heard(bob, SenderReport)
    assert isinstance(first, SenderReport)
    assert isinstance(second, SenderReport)
    last = bob.packets[-1]
    assert (first.ssrc, first.packets) == (last.ssrc, 3)
    # The SFU's own time, and the slot's own time line: what they say together is the publisher's.
    passed = second.ntp_time - first.ntp_time
    ticks = timestamp_distance(first.rtp_timestamp, second.rtp_timestamp)
    assert abs(ticks - (passed * 90_000 >> 32)) <= 1
    assert 0 <= timestamp_distance(last.timestamp, first.rtp_timestamp) < 10 * 90_000
    # And the publisher hears how it arrives, and how much it may send.
    await until(lambda: heard(ann, Remb))


# --- repair ----------------------------------------------------------------------------------------------------


async def test_what_a_subscriber_lost_is_sent_again(room: SfuRoom) -> None:
    _, picture, bob = await call(room)
    lost = bob.packets[1]
    bob.send_rtcp(write_rtcp([Nack(1, lost.ssrc, (lost.sequence,))]))
    await until(lambda: len(bob.packets) == 4)
    again = bob.packets[3]
    assert again.payload_type == RTX
    assert again.ssrc != lost.ssrc
    assert payload(again) == lost.sequence.to_bytes(2, "big") + picture.sent[1][12:]
    assert again.timestamp == lost.timestamp


async def test_what_a_publisher_lost_is_asked_for_and_passed_on(room: SfuRoom) -> None:
    ann, picture, bob = await call(room)
    missing = picture.packet()
    picture.send(2)
    await until(lambda: heard(ann, Nack))
    asked = heard(ann, Nack)[0]
    number = struct.unpack_from("!H", missing, 2)[0]
    assert isinstance(asked, Nack)
    assert asked.sequences == (number,)
    timestamp = struct.unpack_from("!I", missing, 4)[0]
    ann.send_rtp(header(RTX, True, 1, timestamp, ANN + 1, b"") + number.to_bytes(2, "big") + missing[12:])
    await until(lambda: len(bob.packets) == 6)
    assert sorted(packet.sequence for packet in bob.packets) == sorted(
        (bob.packets[0].sequence + index) & 0xFFFF for index in range(6)
    )
    assert payload(bob.packets[-1]) == missing[12:]


async def test_a_storm_of_requests_becomes_one(room: SfuRoom) -> None:
    ann, picture, bob = await call(room)
    before = len(heard(ann, PictureLoss))
    ssrc = bob.packets[0].ssrc
    for _ in range(200):
        bob.send_rtcp(write_rtcp([PictureLoss(1, ssrc)]))
    picture.send(1)
    await until(lambda: len(bob.packets) == 4)
    assert len(heard(ann, PictureLoss)) - before <= 2
    for _ in range(50):
        bob.send_rtcp(write_rtcp([Nack(1, ssrc, tuple(range(65_400, 65_530)))]))
    picture.send(1)
    await until(lambda: len(bob.packets) >= 5)


# --- paths -----------------------------------------------------------------------------------------------------


async def test_a_client_that_moves_is_followed_by_its_next_check(room: SfuRoom) -> None:
    ann, picture, bob = await call(room)
    bob.move()
    picture.send(1)
    bob.check()
    await until(lambda: bob.datagrams == 3 or len(bob.packets) >= 3)
    arrived = len(bob.packets)
    await until(lambda: _sends_until(picture, bob, arrived))
    ann.move()
    ann.check()
    arrived = len(bob.packets)
    await until(lambda: _sends_until(picture, bob, arrived))


def _sends_until(picture: Video, bob: RawPeer, count: int) -> bool:
    picture.send(1)
    return len(bob.packets) > count


async def test_a_client_that_sends_from_elsewhere_is_asked_there_and_followed(room: SfuRoom) -> None:
    ann, picture, bob = await call(room)
    ann.move()
    arrived = len(bob.packets)
    await until(lambda: _sends_until(picture, bob, arrived))
    assert ann.checks_answered == 1
    # Who only receives is found by its reports.
    report = write_rtcp([ReceiverReport(1)])
    received = room.worker.engine.counts.received
    bob.send_rtcp(report)
    await until(lambda: room.worker.engine.counts.received > received)
    bob.move()
    arrived = len(bob.packets)

    def reports_until() -> bool:
        bob.send_rtcp(report)
        return _sends_until(picture, bob, arrived)

    await until(reports_until)
    assert bob.checks_answered == 1


async def test_packets_sent_again_from_elsewhere_move_nothing(
    room: SfuRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, picture, bob = await call(room)
    heard: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        elsewhere.setblocking(False)
        # One that was received already, and one that the stranger was quicker with: its owner is asked, and the
        # stranger cannot answer.
        caught: list[bytes] = []
        with monkeypatch.context() as patch:
            patch.setattr(ann, "send_raw", caught.append)
            picture.send(1)
        for packet in (*caught, *caught):
            elsewhere.sendto(packet, ann.remote)
        await until(lambda: _reads(elsewhere, heard))
        (check,) = heard
        message = parse_stun(check)
        elsewhere.sendto(write_stun(BINDING_SUCCESS, message.transaction, [], b"guess" * 5), ann.remote)
        arrived = len(bob.packets)
        await until(lambda: _sends_until(picture, bob, arrived))
        assert not _reads(elsewhere, heard)
    counts = room.worker.load(room.worker.now_ms()).counts
    assert counts["refused"] == 0
    assert counts["stray"] == 2
    # The guess.
    assert counts["foreign"] == 1
    assert counts["forwarded"] == len(bob.packets)


def _reads(sock: socket.socket, heard: list[bytes]) -> bool:
    try:
        heard.append(sock.recv(2048))
    except BlockingIOError:
        return False
    return True


async def test_a_new_connection_takes_the_place_of_the_old(room: SfuRoom) -> None:
    ann, _, bob = await call(room)
    again = await room.join("ann", videos=(ANN,))
    await until(lambda: told(bob, Publications))
    Video(again, ANN).send(2, is_keyframe=True)
    await until(lambda: len(bob.packets) == 5)
    assert not told(again, Ended)
    await ann.close()


# --- what others must not notice -------------------------------------------------------------------------------


async def test_the_packet_group_of_bad_input_harms_nobody(room: SfuRoom) -> None:
    """Each kind is followed by packets of the call that runs beside it, none of which may be missing."""
    ann, picture, bob = await call(room)
    expected = 3
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.bind(("127.0.0.1", 0))
    to = ann.remote
    hello = bytes([22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10]) + bytes(10)
    alert = bytes([21, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0])
    username = (USERNAME, f"{ann.remote_fragment}:{ann.fragment}".encode())
    unsigned = write_stun(BINDING_REQUEST, bytes(12), [username], None)
    forged = write_stun(BINDING_REQUEST, bytes(12), [username], b"wrong" * 5)
    strangers = {
        "empty": [b""],
        "one byte": [bytes([first]) for first in range(256)],
        "a foreign hello and alerts": [hello, alert],
        "noise": [secrets.token_bytes(size) for size in (1, 11, 12, 13, 100, 1400, 2048)],
        "stun without integrity": [unsigned],
        "stun with a wrong integrity": [forged],
        "stun cut short": [forged[:size] for size in range(len(forged))],
        "stun with a wrong attribute length": [forged[:22] + bytes([255, 255]) + forged[24:]],
        "foreign srtp": [picture.sent[0] + bytes(16)],
        "foreign srtcp": [bytes([0x80, 200, 0, 6]) + bytes(40)],
    }
    for kind, datagrams in strangers.items():
        for data in datagrams:
            stranger.sendto(data, to)
        picture.send(2)
        expected += 2
        await _count(bob, expected, kind)
    stranger.close()

    protected = ann.dtls._tx_srtp.protect(picture.packet())
    insiders = {
        "replayed srtp": [protected, protected, protected],
        "a broken tag": [protected[:-1] + bytes([protected[-1] ^ 1])],
        "a truncated packet": [protected[:13], protected[:12], protected[:3]],
        "an alert in the clear": [alert],
        "empty": [b""],
    }
    expected += 1
    for kind, datagrams in insiders.items():
        for data in datagrams:
            ann.send_raw(data)
        picture.send(2)
        expected += 2
        await _count(bob, expected, kind)

    plain = {
        "impossible padding": struct.pack("!BBHII", 0xA0, VP8, 1, 1, ANN) + b"\xff",
        "an extension beyond its block": struct.pack("!BBHII", 0x90, VP8, 1, 1, ANN)
        + b"\xbe\xde\0\1\x1f\0\0\0",
        "rtx without a number": header(RTX, False, 1, 1, ANN + 1),
        "an unknown payload type": header(50, False, 1, 1, ANN) + b"x",
    }
    for kind, data in plain.items():
        ann.send_rtp(data)
        picture.send(2)
        expected += 2
        await _count(bob, expected, kind)
    reports = [
        bytes([0x81, 201, 0, 1]) + bytes(4),
        bytes([0x81, 205, 0, 2]) + bytes(8),
        bytes([0x8F, 206, 0, 4]) + bytes(8) + b"REMB\xff\0\0\0",
        bytes([0x9F, 203, 0, 1]) + bytes(4),
        bytes([0xA1, 200, 0, 1, 0, 0, 0, 0]),
    ]
    for data in reports:
        ann.send_rtcp(data)
        bob.send_rtcp(data)
    arrived = len(bob.packets)
    picture.send(2, is_keyframe=True)
    await until(lambda: len(bob.packets) >= arrived + 2, "bad reports")


async def _count(peer: RawPeer, expected: int, kind: str) -> None:
    await until(lambda: len(peer.packets) >= expected, kind)
    assert len(peer.packets) == expected, kind


async def test_a_wrong_certificate_is_not_taken(room: SfuRoom) -> None:
    mallory = room.peer("mallory", videos=(BOB,))
    honest = mallory.offer
    mallory.offer = lambda number=1: _with_fingerprint(honest(number))  # type: ignore[method-assign]
    connecting = asyncio.create_task(mallory.connect())
    await until(lambda: told(mallory, Ended), "the handshake is refused")
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)


def _with_fingerprint(offer: Offer) -> Offer:
    head, _, rest = offer.sdp.partition("a=fingerprint:sha-256 ")
    sdp = head + "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + rest[95:]
    return Offer(
        connection=offer.connection, number=offer.number, sdp=sdp, tracks=offer.tracks, slots=offer.slots
    )


# --- authority -------------------------------------------------------------------------------------------------


async def test_who_is_gone_or_expired_loses_the_connection(room: SfuRoom) -> None:
    ann, _, bob = await call(room)
    room.tell(Gone(room=room.room, identity="ann", code="kicked"))
    await until(lambda: not bound(bob))
    ended = told(ann, Ended)[0]
    assert isinstance(ended, Ended)
    assert ended.code == "kicked"
    room.tell(Renewed(room=room.room, participant=_expired(bob)))
    await until(lambda: told(bob, Ended))
    ended = told(bob, Ended)[0]
    assert isinstance(ended, Ended)
    assert ended.code == "expired"


def _expired(peer: RawPeer) -> Participant:
    participant = peer.participant
    return Participant(
        identity=participant.identity,
        session_id=participant.session_id,
        name=participant.name,
        operations=participant.operations,
        expires_ms=1,
    )


async def test_a_key_that_allows_less_now_ends_what_it_does_not_allow(room: SfuRoom) -> None:
    ann, _, bob = await call(room)
    narrowed = Participant(identity="ann", session_id="ann", name="ann", operations=["subscribe"])
    room.tell(Renewed(room=room.room, participant=narrowed))
    await until(lambda: not bound(bob))
    refused = told(ann, Refused)[0]
    assert isinstance(refused, Refused)
    assert refused.code == "forbidden"


async def test_only_the_roster_stays(room: SfuRoom) -> None:
    ann, _, bob = await call(room)
    room.tell(Roster(room=room.room, identities=["bob"]))
    await until(lambda: not bound(bob))
    assert not told(ann, Slots) or not told(bob, Ended)


async def test_an_older_term_is_not_listened_to_and_a_newer_begins_anew(room: SfuRoom) -> None:
    ann, _, bob = await call(room)
    older = Room(scope="test", channel_id=b"room", term=0)
    room.tell(Release(room=older))
    room.tell(Gone(room=older, identity="ann", code="kicked"))
    assert bound(bob) == {"0": "ann/v0"}
    room.room = Room(scope="test", channel_id=b"room", term=2)
    again = await room.join("ann", videos=(ANN,))
    answer = told(again, Answer)[0]
    assert isinstance(answer, Answer)
    assert answer.term == 2
    assert [one.term for one in room.worker.announce().rooms] == [2]
    await ann.close()


async def test_mute_and_unpublish_are_told(room: SfuRoom) -> None:
    ann, _, bob = await call(room)
    room.ask(ann.participant, Mute(connection=ann.connection_id, publication="v0", is_muted=True))
    last = told(bob, Publications)[-1]
    assert isinstance(last, Publications)
    assert [one.is_muted for one in last.publications] == [True]
    room.ask(ann.participant, Unpublish(connection=ann.connection_id, publication="v0"))
    last = told(bob, Publications)[-1]
    assert isinstance(last, Publications)
    assert last.publications == []
    assert [one.identity for one in last.callers] == ["ann", "bob"]
    assert not bound(bob)
    room.ask(ann.participant, Unpublish(connection=ann.connection_id, publication="v0"))
    refused = told(ann, Refused)[-1]
    assert isinstance(refused, Refused)
    assert refused.code == "not_found"


@pytest.mark.parametrize(
    ("sdp", "code"),
    [("", "bad_offer"), ("v=0\r\n", "bad_offer"), ("v=0\r\nm=\r\n", "bad_offer"), ("\0" * 100, "bad_offer")],
)
async def test_an_offer_that_cannot_be_read_is_refused(room: SfuRoom, sdp: str, code: str) -> None:
    ann, picture, bob = await call(room)
    mallory = room.peer("mallory")
    room.ask(mallory.participant, Offer(connection="x", number=1, sdp=sdp))
    refused = told(mallory, Refused)[0]
    assert isinstance(refused, Refused)
    assert (refused.code, refused.number) == (code, 1)
    # A bad offer of somebody who is in the call changes nothing for it either.
    room.ask(ann.participant, Offer(connection=ann.connection_id, number=2, sdp=sdp))
    picture.send(2)
    await until(lambda: len(bob.packets) == 5)
