"""Keys and sessions of SRTP, with aiortc's way of cutting the material and pylibsrtp's own sessions as witnesses."""

from __future__ import annotations

import random

import pylibsrtp
import pytest
from aiortc.rtcdtlstransport import SRTP_PROFILES, SRTPProtectionProfile

from peerbus.sfu.dtls import _PROFILES
from peerbus.sfu.rtp.packet import header
from peerbus.sfu.rtp.rtcp import PictureLoss, write_rtcp
from peerbus.sfu.srtp import Profile, SrtpKeys
from peerbus.sfu.srtp_session import SrtpError, SrtpSession

CHANCE = random.Random(7)
MATERIAL = CHANCE.randbytes(2 * (32 + 14))
PROFILES = list(Profile)


def their_profile(profile: Profile) -> SRTPProtectionProfile:
    (name,) = [name for name, one in _PROFILES.items() if one is profile]
    (found,) = [one for one in SRTP_PROFILES if one.openssl_profile == name]
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_the_material_is_cut_as_aiortc_cuts_it(profile: Profile) -> None:
    theirs = their_profile(profile)
    assert (profile.key_bytes, profile.salt_bytes) == (theirs.key_length, theirs.salt_length)
    keys = SrtpKeys.of_server(profile, MATERIAL)
    assert keys.profile is profile
    # A server receives by the client's key (index 0) and sends by its own (index 1).
    assert keys.receive == theirs.get_key_and_salt(MATERIAL, 0)
    assert keys.send == theirs.get_key_and_salt(MATERIAL, 1)


def key(profile: Profile) -> bytes:
    return CHANCE.randbytes(profile.key_bytes + profile.salt_bytes)


def witness(profile: Profile, secret: bytes, *, is_inbound: bool) -> pylibsrtp.Session:
    kind = pylibsrtp.Policy.SSRC_ANY_INBOUND if is_inbound else pylibsrtp.Policy.SSRC_ANY_OUTBOUND
    return pylibsrtp.Session(
        pylibsrtp.Policy(key=secret, ssrc_type=kind, srtp_profile=their_profile(profile).libsrtp_profile)
    )


def packet(sequence: int, payload: bytes = b"payload", ssrc: int = 7) -> bytes:
    return header(96, False, sequence & 0xFFFF, 0, ssrc) + payload


@pytest.mark.parametrize("profile", PROFILES)
def test_another_binding_of_libsrtp_reads_and_writes_the_same(profile: Profile) -> None:
    secret = key(profile)
    report = write_rtcp([PictureLoss(1, 2)])
    out, back = SrtpSession(profile, secret, is_inbound=False), witness(profile, secret, is_inbound=True)
    assert out.protect(packet(1)) != packet(1)
    assert back.unprotect(out.protect(packet(2))) == packet(2)
    assert back.unprotect_rtcp(out.protect_rtcp(report)) == report
    there, into = witness(profile, secret, is_inbound=False), SrtpSession(profile, secret, is_inbound=True)
    assert into.unprotect(there.protect(packet(1))) == packet(1)
    assert into.unprotect_rtcp(there.protect_rtcp(report)) == report


@pytest.mark.parametrize("profile", PROFILES)
def test_a_flipped_bit_another_key_and_a_replay_are_refused(profile: Profile) -> None:
    secret = key(profile)
    out, into = SrtpSession(profile, secret, is_inbound=False), SrtpSession(profile, secret, is_inbound=True)
    data = out.protect(packet(1))
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(SrtpError):
            into.unprotect(bytes(damaged))
    with pytest.raises(SrtpError):
        SrtpSession(profile, key(profile), is_inbound=True).unprotect(data)
    assert into.unprotect(data) == packet(1)
    with pytest.raises(SrtpError):
        into.unprotect(data)
    report = out.protect_rtcp(write_rtcp([PictureLoss(1, 2)]))
    into.unprotect_rtcp(report)
    with pytest.raises(SrtpError):
        into.unprotect_rtcp(report)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 8, 11, 12, 13, 20, 27, 28, 2_048, 2_049, 9_000])
def test_no_size_does_harm(profile: Profile, size: int) -> None:
    into = SrtpSession(profile, key(profile), is_inbound=True)
    for data in (bytes(size), b"\x80" * size, b"\x9f" * size, b"\xff" * size):
        with pytest.raises(SrtpError):
            into.unprotect(data)
        with pytest.raises(SrtpError):
            into.unprotect_rtcp(data)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_largest_packet_comes_through_whole_and_a_larger_one_is_refused(profile: Profile) -> None:
    secret = key(profile)
    out, into = SrtpSession(profile, secret, is_inbound=False), witness(profile, secret, is_inbound=True)
    large = packet(1, bytes(range(256)) * 5)
    assert into.unprotect(out.protect(large)) == large
    assert len(out.protect(packet(2, bytes(2_036)))) > 2_048
    with pytest.raises(SrtpError):
        out.protect(packet(3, bytes(2_037)))


def test_a_packet_may_be_sent_again_but_not_one_that_is_long_gone() -> None:
    secret = key(Profile.AEAD_AES_128_GCM)
    out = SrtpSession(Profile.AEAD_AES_128_GCM, secret, is_inbound=False)
    first = out.protect(packet(1_000))
    assert out.protect(packet(1_000)) == first
    out.protect(packet(1_000 + 1_023))
    assert out.protect(packet(1_000)) == first
    out.protect(packet(1_000 + 3_000))
    with pytest.raises(SrtpError):
        out.protect(packet(1_000))


def test_the_rollover_counter_is_kept_across_the_wrap() -> None:
    profile, secret = Profile.AEAD_AES_256_GCM, key(Profile.AEAD_AES_256_GCM)
    out, into = SrtpSession(profile, secret, is_inbound=False), SrtpSession(profile, secret, is_inbound=True)
    for number in range(65_500, 65_600):
        assert into.unprotect(out.protect(packet(number))) == packet(number)
