"""The seam to aiortc: a canary that names what changed, and an association that nothing throws off."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import inspect
import random
import re
import struct
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pylibsrtp
import pytest
from aiortc import RTCCertificate, RTCDataChannel, RTCDataChannelParameters, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, State
from aiortc.rtcsctptransport import (
    DataChunk,
    InboundStream,
    RTCSctpCapabilities,
    RTCSctpTransport,
    parse_packet,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from pylibsrtp._binding import ffi, lib

from peerbus.sfu import dtls, srtp_session
from peerbus.sfu.dtls import DataChannel, DtlsSession, fingerprint_of, make_certificate
from peerbus.sfu.negotiation import SCTP_PORT
from peerbus.sfu.sdp import Fingerprint
from peerbus.sfu.srtp import Profile, SrtpKeys
from tests.support.examples import examples
from tests.support.sctp_association import Association, attack
from tests.support.sctp_packets import IMPOSSIBLE, Wire, data_chunk, over
from tests.support.work import at_most

# --- the canary ---------------------------------------------------------------------------------------------------

PINNED = ("aiortc", "pylibsrtp")


@pytest.mark.parametrize("name", PINNED)
def test_what_has_a_private_seam_is_pinned_and_installed_as_pinned(name: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    (wanted,) = [one for one in project["dependencies"] if re.match(rf"{name}\W", one)]
    assert re.fullmatch(rf"{name}==[0-9.]+", wanted), f"{wanted} is no exact pin"
    assert wanted == f"{name}=={importlib.metadata.version(name)}", (
        "another version is installed than is pinned"
    )


SIGNATURES: dict[Callable[..., Any], str] = {
    RTCDtlsTransport.__init__: "(self, transport, certificates)",
    RTCDtlsTransport._set_role: "(self, role)",
    RTCDtlsTransport._set_state: "(self, state)",
    RTCDtlsTransport._setup_srtp: "(self)",
    RTCDtlsTransport.start: "(self, remoteParameters)",
    RTCDtlsTransport.stop: "(self)",
    RTCSctpTransport.__init__: "(self, transport, port)",
    RTCSctpTransport.start: "(self, remoteCaps, remotePort)",
    RTCSctpTransport.stop: "(self)",
    RTCSctpTransport._handle_data: "(self, data)",
    RTCSctpTransport._mark_received: "(self, tsn)",
    RTCDataChannel.send: "(self, data)",
    RTCCertificate.getFingerprints: "(self)",
    SSL.Connection.export_keying_material: "(self, label, olen, context)",
    SSL.Connection.get_selected_srtp_profile: "(self)",
}


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__qualname__)
def test_the_signature_is_the_one_that_is_called(function: Callable[..., Any]) -> None:
    found = "(" + ", ".join(inspect.signature(function).parameters) + ")"
    assert found == SIGNATURES[function], f"{function.__qualname__} is called otherwise in dtls.py"


BODIES: dict[Callable[..., Any], str] = {
    RTCDtlsTransport.start: "3b3522667fe0",
    RTCDtlsTransport.stop: "44a8b3fc40aa",
    RTCDtlsTransport._do_handshake: "0af5299c3335",
    RTCDtlsTransport._recv_next: "998076720c05",
    RTCDtlsTransport._setup_srtp: "75cc6ec308f1",
    RTCDtlsTransport._set_state: "385f5542ac24",
    RTCDtlsTransport._write_ssl: "6573c0237063",
    RTCSctpTransport._handle_data: "8661b724e207",
    RTCSctpTransport._mark_received: "2ac68b6a3934",
    RTCSctpTransport._receive_chunk: "830bae988365",
    RTCSctpTransport._receive_data_chunk: "790c2bb8cd0f",
    RTCSctpTransport._receive_forward_tsn_chunk: "a7b72a09e9c4",
    RTCSctpTransport._receive_sack_chunk: "4b35ccf1372c",
    RTCSctpTransport._send_sack: "ac92513522fa",
    RTCSctpTransport._data_channel_receive: "3df88b4b9c66",
    RTCSctpTransport._data_channel_flush: "d5f055f33db1",
    InboundStream.add_chunk: "de934faf324b",
    InboundStream.pop_messages: "bd29de9aa7c4",
    parse_packet: "b88a5f1d01e1",
}
"""What dtls.py and sctp_guard.py were written against, by a hash of the source."""


@pytest.mark.parametrize("function", BODIES, ids=lambda function: function.__qualname__)
def test_the_body_is_the_one_that_was_read(function: Callable[..., Any]) -> None:
    found = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]
    assert found == BODIES[function], (
        f"{function.__qualname__} of aiortc has changed: read it again beside dtls.py and sctp_guard.py, "
        f"then write {found!r} here"
    )


async def test_the_attributes_that_are_read_are_there() -> None:
    sctp = RTCSctpTransport(over(Wire("server")), SCTP_PORT)
    kinds = {
        "_advertised_rwnd": int,
        "_flight_size": int,
        "_inbound_streams": dict,
        "_last_received_tsn": type(None),
        "_outbound_queue": object,
        "_sack_duplicates": list,
        "_sack_misordered": set,
    }
    for name, kind in kinds.items():
        assert hasattr(sctp, name), f"RTCSctpTransport has no {name} any more"
        assert isinstance(getattr(sctp, name), kind), (
            f"RTCSctpTransport.{name} is no {kind.__name__} any more"
        )
    assert sctp._advertised_rwnd == 1024 * 1024, "the window that dtls.py counts from is another one"
    assert InboundStream().reassembly == []
    assert DataChunk().user_data == b""
    assert {"FAILED", "CLOSED", "CONNECTED"} <= set(State.__members__)
    assert {"bufferedAmount", "readyState", "label"} <= set(vars(RTCDataChannel))
    assert RTCSctpCapabilities(maxMessageSize=1).maxMessageSize == 1


def test_the_library_below_pylibsrtp_has_what_is_called() -> None:
    for name in ("srtp_protect", "srtp_unprotect", "srtp_protect_rtcp", "srtp_unprotect_rtcp"):
        assert hasattr(lib, name), f"pylibsrtp's binding has no {name} any more"
    for name in ("memmove", "buffer", "new"):
        assert hasattr(ffi, name), f"pylibsrtp's ffi has no {name} any more"
    session = pylibsrtp.Session()
    assert hasattr(session, "_srtp"), "pylibsrtp.Session has no _srtp any more"


# --- handshakes ---------------------------------------------------------------------------------------------------


class Pipe:
    """The client's end of a path without sockets: what aiortc takes for its ICE transport."""

    role = "controlling"
    state = "completed"

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.send: Callable[[bytes], None] = lambda data: None

    async def _recv(self) -> bytes:
        return await self.received.get()

    async def _send(self, data: bytes) -> None:
        self.send(data)


class Call:
    """A session of the SFU and a client of aiortc, joined by a pipe."""

    def __init__(self, *, fingerprint: Fingerprint | None = None) -> None:
        self.keys: list[SrtpKeys] = []
        self.channels: list[DataChannel] = []
        self.closed: list[str] = []
        self.pipe = Pipe()
        self.certificate = make_certificate()
        theirs = RTCCertificate.generateCertificate()
        self.client = RTCDtlsTransport(cast(RTCIceTransport, self.pipe), [theirs])
        self.client._set_role("client")
        self.session = DtlsSession(
            self.certificate,
            (fingerprint or fingerprint_of(theirs),),
            send=self.pipe.received.put_nowait,
            on_keys=self.keys.append,
            on_channel=self.channels.append,
            on_progress=lambda: None,
            on_closed=self.closed.append,
        )
        self.pipe.send = self.session.receive
        self.session.start()

    async def connect(self) -> None:
        ours = fingerprint_of(self.certificate)
        parameters = RTCDtlsParameters(fingerprints=[RTCDtlsFingerprint(ours.algorithm, ours.value)])
        await self.client.start(parameters)
        await until(lambda: bool(self.keys or self.closed))

    async def close(self) -> None:
        await self.client.stop()
        await self.session.close()


async def until(condition: Callable[[], bool]) -> None:
    """Lets everything run that can, as long as the condition does not hold."""
    for _ in range(200_000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it did not come to that")


async def test_both_ends_have_the_same_keys_by_the_best_profile() -> None:
    call = Call()
    await call.connect()
    (keys,) = call.keys
    assert keys.profile is Profile.AEAD_AES_256_GCM
    inbound = srtp_session.SrtpSession(keys.profile, keys.receive, is_inbound=True)
    data = struct.pack("!BBHII", 0x80, 96, 1, 0, 7) + b"payload"
    assert call.client._tx_srtp is not None
    assert inbound.unprotect(call.client._tx_srtp.protect(data)) == data
    outbound = srtp_session.SrtpSession(keys.profile, keys.send, is_inbound=False)
    assert call.client._rx_srtp.unprotect(outbound.protect(data)) == data
    assert call.closed == []
    await call.close()
    assert call.closed == []


async def test_a_certificate_that_is_not_the_offers_ends_it() -> None:
    call = Call(fingerprint=Fingerprint("sha-256", ":".join(["00"] * 32)))
    await call.connect()
    assert call.keys == []
    assert call.closed == ["the DTLS handshake failed"]
    await call.close()


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "nonsense"])
async def test_a_fingerprint_by_an_algorithm_that_is_not_taken_ends_it(algorithm: str) -> None:
    call = Call(fingerprint=Fingerprint(algorithm, ":".join(["00"] * 32)))
    await call.connect()
    assert (call.keys, call.closed) == ([], ["the DTLS handshake failed"])
    await call.close()


async def test_junk_after_the_handshake_does_not_end_it() -> None:
    call = Call()
    await call.connect()
    call.session.open_data(SCTP_PORT, 65_536)
    chance = random.Random(4)
    for kind in (20, 21, 22, 23, 63):
        for _ in range(20):
            junk = chance.randbytes(chance.randrange(1, 60))
            call.session.receive(bytes((kind,)) + junk)
            call.session.receive(
                bytes((kind, 254, 253, 0, 0)) + bytes(6) + len(junk).to_bytes(2, "big") + junk
            )
            await asyncio.sleep(0)
    sctp = RTCSctpTransport(call.client)
    await sctp.start(RTCSctpCapabilities(maxMessageSize=65_536), SCTP_PORT)
    RTCDataChannel(sctp, RTCDataChannelParameters(label="reliable"))
    await until(lambda: bool(call.channels))
    assert call.closed == []
    await sctp.stop()
    await call.close()


async def test_junk_during_the_handshake_does_not_break_it() -> None:
    call = Call()
    chance = random.Random(3)
    for _ in range(20):
        call.session.receive(bytes((chance.randrange(20, 64),)) + chance.randbytes(chance.randrange(100)))
    await call.connect()
    assert len(call.keys) == 1
    await call.close()


async def test_a_client_that_says_goodbye_ends_it_once() -> None:
    call = Call()
    await call.connect()
    await call.client.stop()
    await until(lambda: bool(call.closed))
    assert call.closed == ["the client closed the connection"]
    await call.session.close()
    assert len(call.closed) == 1


async def test_nothing_is_told_after_our_own_end_and_a_flood_is_bounded() -> None:
    call = Call()
    await call.session.close()
    for _ in range(1_000):
        call.session.receive(b"\x16" + bytes(50))
    assert len(call.session._datagrams._waiting) == dtls._QUEUED_DATAGRAMS_MAX
    assert call.closed == []
    await call.client.stop()


async def test_data_goes_both_ways_and_a_message_that_is_too_large_is_not_sent() -> None:
    call = Call()
    call.session.open_data(SCTP_PORT, 65_536)
    await call.connect()
    sctp = RTCSctpTransport(call.client)
    await sctp.start(RTCSctpCapabilities(maxMessageSize=65_536), SCTP_PORT)
    theirs = RTCDataChannel(sctp, RTCDataChannelParameters(label="reliable"))
    await until(lambda: bool(call.channels) and theirs.readyState == "open")
    (channel,) = call.channels
    assert channel.label == "reliable"
    got: list[bytes | str] = []
    back: list[bytes | str] = []
    channel.on_message(got.append)
    theirs.on("message", back.append)
    for message in (b"x", "text", b"", bytes(65_536)):
        theirs.send(message)
    assert channel.send(b"y" * 65_536)
    assert not channel.send(b"y" * 65_537)
    await until(lambda: len(got) == 4 and len(back) == 1)
    assert got == [b"x", "text", b"", bytes(65_536)]
    assert back == [b"y" * 65_536]
    await until(lambda: call.session.backlog_bytes == 0)
    assert call.session.refused == 0
    await sctp.stop()
    await call.close()
    assert not channel.send(b"late")


async def test_too_many_channels_end_it() -> None:
    call = Call()
    call.session.open_data(SCTP_PORT, 65_536)
    await call.connect()
    sctp = RTCSctpTransport(call.client)
    await sctp.start(RTCSctpCapabilities(maxMessageSize=65_536), SCTP_PORT)
    for number in range(dtls._CHANNELS_MAX + 1):
        RTCDataChannel(sctp, RTCDataChannelParameters(label=str(number)))
    await until(lambda: bool(call.closed))
    assert call.closed == ["too many data channels"]
    assert len(call.channels) == dtls._CHANNELS_MAX
    await sctp.stop()
    await call.close()


# --- an association under fire ------------------------------------------------------------------------------------


async def test_what_is_out_of_order_is_put_in_order_and_acknowledged() -> None:
    one = Association()
    await one.establish()
    base = one.received
    one.sacks()
    for ahead in (3, 2, 5, 2, 1, 6, 4):
        await one.feed(data_chunk(base + ahead, payload=b"%d" % ahead, flags=7))
    assert one.received == base + 6
    assert sorted(message for _, message in one.messages) == [b"%d" % number for number in range(1, 7)]
    sacks = one.sacks()
    assert [(sack.cumulative_tsn - base) % 2**32 for sack in sacks] == [0, 0, 0, 0, 3, 3, 6]
    assert sacks[2].gaps == [(2, 3), (5, 5)]
    assert [(tsn - base) % 2**32 for tsn in sacks[3].duplicates] == [2]
    assert one.sctp._sack_misordered == set()
    await one.close()


async def test_what_is_too_far_ahead_is_left_out() -> None:
    one = Association()
    await one.establish()
    base = one.received
    for ahead in (40_000, 70_000, 2**31 - 1, 2**31, 2**32 - 5):
        await one.feed(data_chunk(base + ahead, flags=7))
    assert (one.received, one.messages, one.ended) == (base, [], [])
    await one.feed(data_chunk(base + 1, payload=b"go on", flags=7))
    assert one.messages == [("reliable", b"go on")]
    await one.close()


async def test_fragments_that_never_end_are_bounded_by_bytes_and_by_number() -> None:
    for size in (1, 1_000):
        one = Association()
        await one.establish()
        base, count = one.received, 0
        while not one.ended:
            await one.feed(
                *[data_chunk(base + count + step, payload=bytes(size), flags=0) for step in range(1, 2)]
            )
            count += 1
        assert one.ended[0] == "too much unfinished data"
        assert count == (
            dtls._REASSEMBLY_CHUNKS_MAX + 1 if size == 1 else dtls._REASSEMBLY_BYTES_MAX // size + 1
        )
        await one.close()


async def test_holes_are_bounded_and_what_is_beyond_is_as_if_it_were_lost() -> None:
    one = Association()
    await one.establish()
    base, beyond = one.received, 2 * dtls._MISORDERED_MAX + 2
    for ahead in range(2, beyond + 200, 2):
        await one.feed(data_chunk(base + ahead, payload=b"%d" % ahead, flags=7))
    assert len(one.sctp._sack_misordered) == dtls._MISORDERED_MAX
    assert len(one.messages) == dtls._MISORDERED_MAX
    one.sacks()
    for ahead in range(1, beyond, 2):
        await one.feed(data_chunk(base + ahead, payload=b"%d" % ahead, flags=7))
    assert one.received == base + beyond - 1
    await one.feed(data_chunk(base + beyond, payload=b"again", flags=7))
    assert one.received == base + beyond
    assert one.messages[-1] == ("reliable", b"again")
    assert one.ended == []
    await one.close()


async def test_a_small_chunk_costs_the_same_however_many_wait() -> None:
    one = Association()
    await one.establish()
    base = one.received
    for ahead in range(2, 2 + dtls._MISORDERED_MAX - 100):
        await one.feed(data_chunk(base + ahead, flags=7))
    one.messages.clear()
    start = 2 + dtls._MISORDERED_MAX - 100
    with at_most(70 * 200 + 20 * dtls._MISORDERED_MAX):
        await one.feed(*[data_chunk(base + ahead, flags=7) for ahead in range(start, start + 70)])
    assert len(one.messages) == 70
    await one.close()


@pytest.mark.parametrize("data", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
async def test_what_is_impossible_is_counted_and_nothing_else_happens(data: bytes) -> None:
    one = Association()
    await one.establish()
    base = one.received
    tagged = data[:4] + struct.pack("!I", one.tag) + data[8:]
    await one.sctp._handle_data(tagged)
    assert one.sctp.refused == 1
    await one.feed(data_chunk(base + 1, payload=b"go on", flags=7))
    assert one.messages == [("reliable", b"go on")]
    await one.close()


@settings(max_examples=examples(1))
@given(seed=st.integers(0, 2**32))
def test_nothing_that_a_peer_can_write_raises_or_takes_long(seed: int) -> None:
    asyncio.run(attack(random.Random(seed), 12))
