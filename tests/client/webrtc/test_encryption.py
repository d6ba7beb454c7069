"""When a call is encrypted, under which names, and what is made of the frames of each kind of sender."""

from __future__ import annotations

import os

import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.frame_sealing import FAILURES_TO_TELL
from peerbus.client.webrtc.records import RemotePublication
from peerbus.client.webrtc.remote_track import RemoteTrack
from peerbus.protocol.secrets import SecretBytes
from tests.support.key_ring import KeyRing, sealed_ring


def publication(*, is_sealed: bool, id: str = "id-bob/cam", name: str = "bob") -> RemotePublication:  # noqa: A002 - its name
    return RemotePublication(
        id=id,
        identity="id-bob",
        name=name,
        media="audio",
        source="other",
        is_muted=False,
        is_sealed=is_sealed,
    )


def test_it_follows_the_channel_unless_told_otherwise() -> None:
    opened, locked, sealed = KeyRing(), KeyRing(media_key=SecretBytes(b"k" * 32)), sealed_ring()
    for ring in (opened, locked, sealed):
        assert CallEncryption(ring, e2ee=None).is_on is (ring is sealed)
        assert CallEncryption(ring, e2ee=True).is_on
        assert not CallEncryption(ring, e2ee=False).is_on
        CallEncryption(ring, e2ee=None).check()
        CallEncryption(ring, e2ee=False).check()
    CallEncryption(locked, e2ee=True).check()
    with pytest.raises(PeerbusError, match="needs a channel with a password") as caught:
        CallEncryption(opened, e2ee=True).check()
    assert (caught.value.code, caught.value.is_retryable) == (ErrorCode.BAD_REQUEST, False)


def test_a_new_name_is_noticed_where_frames_are_sealed_under_it() -> None:
    for ring, is_noticed in ((sealed_ring(), True), (KeyRing(), False)):
        encryption = CallEncryption(ring, e2ee=None)
        encryption.check()
        assert not encryption.is_renamed()
        ring.agent_name = "anna"
        assert encryption.is_renamed() is is_noticed
        encryption.check()
        assert not encryption.is_renamed()


def test_what_one_seals_another_opens_under_the_announced_name_only() -> None:
    sealer = CallEncryption(sealed_ring("bob"), e2ee=None).sealer("cam")
    changes: list[RemoteTrack] = []

    def received(announced: RemotePublication, key: bytes = b"k" * 32) -> RemoteTrack:
        return RemoteTrack(announced, CallEncryption(sealed_ring("ann", key), e2ee=None), changes.append)

    good = received(publication(is_sealed=True))
    wrong = [
        received(publication(is_sealed=True, name="mallory")),
        received(publication(is_sealed=True, id="id-bob/screen")),
        received(publication(is_sealed=True), b"x" * 32),
    ]
    unsealed = received(publication(is_sealed=False))
    assert [track.encryption for track in (good, *wrong, unsealed)] == ["waiting"] * 4 + ["not_sealed"]
    for number in range(FAILURES_TO_TELL):
        frame = sealer.seal("opus", bytes([number]))
        assert good._open_frame("opus", frame) == bytes([number])
        assert good._open_frame("opus", frame) is None
        for track in (*wrong, unsealed):
            assert track._open_frame("opus", frame) is None
    assert good._open_frame("PCMU", sealer.seal("opus", b"")) is None
    assert (good.encryption, good.frames_opened, good.frames_refused) == ("sealed", 10, 11)
    assert [track.encryption for track in wrong] == ["undecryptable"] * 3
    assert [track.frames_refused for track in (*wrong, unsealed)] == [10] * 4
    assert changes == [good, *wrong]


def test_a_sender_who_begins_to_seal_is_judged_anew() -> None:
    changes: list[RemoteTrack] = []
    track = RemoteTrack(
        publication(is_sealed=False), CallEncryption(sealed_ring(), e2ee=None), changes.append
    )
    track.update(publication(is_sealed=False))
    assert changes == []
    track.update(publication(is_sealed=True))
    assert (track.encryption, changes) == ("waiting", [track])


def test_who_has_it_switched_off_shows_nothing_sealed() -> None:
    encryption = CallEncryption(sealed_ring(), e2ee=False)
    track = RemoteTrack(publication(is_sealed=True), encryption, lambda track: None)
    frame = CallEncryption(sealed_ring("bob"), e2ee=None).sealer("cam").seal("opus", b"sound")
    assert track._open_frame("opus", frame) is None
    assert (track.encryption, track.frames_refused) == ("not_opened", 1)
    plain = RemoteTrack(publication(is_sealed=False), encryption, lambda track: None)
    assert (plain._open_frame("opus", b"sound"), plain.encryption) == (b"sound", "open")


def test_a_fork_of_the_process_seals_under_another_key_id() -> None:
    sealer = CallEncryption(sealed_ring("bob"), e2ee=None).sealer("cam")
    before = sealer.seal("opus", b"one")[-12:]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, sealer.seal("opus", b"of the child")[-12:])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        of_child = pipe.read()
    os.waitpid(child, 0)
    of_parent = sealer.seal("opus", b"of the parent")[-12:]
    assert len(of_child) == len(of_parent) == 12
    assert of_parent[4:] == before[4:]
    assert of_child[4:] != before[4:]
