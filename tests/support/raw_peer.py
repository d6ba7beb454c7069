"""
A client of the SFU that is made of packets: real checks, a real handshake, and RTP that a test writes by hand.

Owns one UDP socket. Where a browser or aiortc would hide what is sent and what came, this shows both.
"""

from __future__ import annotations

import asyncio
import functools
import re
import secrets
import socket
from collections.abc import Callable
from typing import Any, cast

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from aiortc.rtcsctptransport import RTCSctpCapabilities

from peerbus.protocol.grants import ALL_OPERATIONS
from peerbus.protocol.signals import Answer, Offer, OfferedTrack, Participant, SfuSignal
from peerbus.sfu.rtp.packet import RtpPacket, parse_rtp
from peerbus.sfu.stun import (
    BINDING_REQUEST,
    BINDING_SUCCESS,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    PRIORITY,
    USE_CANDIDATE,
    USERNAME,
    StunMessage,
    has_integrity,
    is_stun,
    parse_stun,
    write_stun,
)

VP8, RTX, OPUS = 96, 97, 111
MID_ID, LEVEL_ID = 4, 1

_AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF {opus}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\n"
    "a=rtpmap:{opus} opus/48000/2\r\n"
    "a=extmap:{mid_id} urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    "a=extmap:{level_id} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
)
_VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF {vp8} {rtx}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\n"
    "a=rtpmap:{vp8} VP8/90000\r\na=rtcp-fb:{vp8} nack\r\na=rtcp-fb:{vp8} nack pli\r\n"
    "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={vp8}\r\n"
    "a=extmap:{mid_id} urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
)
_DATA = (
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n"
    "a=sctp-port:5000\r\na=max-message-size:65536\r\n"
)


class RawPeer:
    """
    One participant. `ask` takes its signals; what the SFU says comes back by `told`.

    `videos` and `audios` are the SSRCs that it publishes on (video with its retransmissions on the next number).
    """

    def __init__(
        self,
        identity: str,
        ask: Callable[[Participant, Offer], None],
        *,
        videos: tuple[int, ...] = (),
        audios: tuple[int, ...] = (),
        video_slots: int = 0,
        audio_slots: int = 0,
        has_data: bool = False,
    ) -> None:
        self.participant = Participant(
            identity=identity, session_id=identity, name=identity, operations=sorted(ALL_OPERATIONS)
        )
        self.signals: list[SfuSignal] = []
        self.packets: list[RtpPacket] = []
        self.rtcp: list[bytes] = []
        self.datagrams = 0
        self.keeps_packets = True
        self.answers_checks = True
        self.checks_answered = 0
        self.data: list[tuple[str, bytes]] = []
        self.on_data: Callable[[str, bytes], None] = lambda label, data: self.data.append((label, data))
        self.channels: dict[str, Any] = {}
        self.sctp: Any = None
        self.connection_id = secrets.token_hex(4)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.fragment, self.password = secrets.token_hex(4), secrets.token_hex(12)
        self.certificate = RTCCertificate.generateCertificate()
        self._ask = ask
        self._videos, self._audios = videos, audios
        self._slots = (video_slots, audio_slots)
        self._has_data = has_data
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._checked = asyncio.Event()
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._early: list[bytes] = []
        self.dtls: Any = None
        self.remote = ("127.0.0.1", 0)

    # --- signals ----------------------------------------------------------------------------------------------

    def told(self, signal: SfuSignal) -> None:
        """What the SFU says to it."""
        self.signals.append(signal)
        if isinstance(signal, Answer) and not self._answer.done():
            self._answer.set_result(signal)

    def offer(self, number: int = 1) -> Offer:
        """Its offer: what it publishes, then its slots."""
        (fingerprint,) = [one for one in self.certificate.getFingerprints() if one.algorithm == "sha-256"]
        head = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
            f"a=ice-ufrag:{self.fragment}\r\na=ice-pwd:{self.password}\r\n"
            f"a=fingerprint:sha-256 {fingerprint.value}\r\na=setup:actpass\r\n"
        )
        sections: list[str] = []
        tracks: list[OfferedTrack] = []
        slots: list[str] = []

        def add(form: str, direction: str, ssrcs: tuple[int, ...] = ()) -> str:
            mid = str(len(sections))
            text = form.format(
                mid=mid, direction=direction, vp8=VP8, rtx=RTX, opus=OPUS, mid_id=MID_ID, level_id=LEVEL_ID
            )
            if len(ssrcs) == 2:
                text += f"a=ssrc-group:FID {ssrcs[0]} {ssrcs[1]}\r\n"
            sections.append(text + "".join(f"a=ssrc:{ssrc} cname:raw\r\n" for ssrc in ssrcs))
            return mid

        for ssrc in self._videos:
            mid = add(_VIDEO, "sendonly", (ssrc, ssrc + 1))
            tracks.append(OfferedTrack(mid=mid, publication=f"v{mid}", source="camera"))
        for ssrc in self._audios:
            mid = add(_AUDIO, "sendonly", (ssrc,))
            tracks.append(OfferedTrack(mid=mid, publication=f"a{mid}", source="microphone"))
        slots += [add(_VIDEO, "recvonly") for _ in range(self._slots[0])]
        slots += [add(_AUDIO, "recvonly") for _ in range(self._slots[1])]
        if self._has_data:
            sections.append(_DATA.format(mid=len(sections)))
        return Offer(
            connection=self.connection_id,
            number=number,
            sdp=head + "".join(sections),
            tracks=tracks,
            slots=slots,
        )

    # --- transport --------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Offers, checks, shakes hands."""
        asyncio.get_running_loop().add_reader(self.sock.fileno(), self._read)
        self._ask(self.participant, self.offer())
        async with asyncio.timeout(20):
            answer = (await self._answer).sdp
            port = re.search(r"a=candidate:1 1 udp \d+ 127\.0\.0\.1 (\d+)", answer)
            assert port is not None
            self.remote = ("127.0.0.1", int(port[1]))
            self.remote_fragment = _one(r"a=ice-ufrag:(\S+)", answer)
            self.remote_password = _one(r"a=ice-pwd:(\S+)", answer)
            while not self._checked.is_set():
                self.check()
                try:
                    await asyncio.wait_for(self._checked.wait(), 0.2)
                except TimeoutError:
                    continue
            self.dtls = RTCDtlsTransport(cast(RTCIceTransport, _Wire(self)), [self.certificate])
            self.dtls._set_role("client")
            print_ = RTCDtlsFingerprint("sha-256", _one(r"a=fingerprint:sha-256 (\S+)", answer))
            await self.dtls.start(RTCDtlsParameters(fingerprints=[print_]))
            assert self.dtls.state == "connected"
            for data in self._early:
                self._received(data)
            if self._has_data:
                await self._open_data()

    async def _open_data(self) -> None:
        self.sctp = RTCSctpTransport(self.dtls)
        await self.sctp.start(RTCSctpCapabilities(maxMessageSize=65_536), 5000)
        for parameters in (
            RTCDataChannelParameters(label="reliable"),
            RTCDataChannelParameters(label="lossy", ordered=False, maxRetransmits=0),
        ):
            opened = asyncio.Event()
            channel = RTCDataChannel(self.sctp, parameters)
            channel.on("open", opened.set)
            channel.on("message", functools.partial(self._message, parameters.label))
            self.channels[parameters.label] = channel
            await opened.wait()

    def _message(self, label: str, data: bytes) -> None:
        self.on_data(label, data)

    def check(self, *, nominates: bool = True) -> None:
        """One check of ICE, from wherever the socket is."""
        attributes = [
            (USERNAME, f"{self.remote_fragment}:{self.fragment}".encode()),
            (PRIORITY, (1).to_bytes(4, "big")),
            (ICE_CONTROLLING, secrets.token_bytes(8)),
        ]
        if nominates:
            attributes.append((USE_CANDIDATE, b""))
        self.send_raw(
            write_stun(BINDING_REQUEST, secrets.token_bytes(12), attributes, self.remote_password.encode())
        )

    def _answer_check(self, data: bytes, message: StunMessage) -> None:
        """As every agent does: only where the check is right."""
        password = self.password.encode()
        assert message.kind == BINDING_REQUEST
        assert message.attributes[USERNAME] == f"{self.fragment}:{self.remote_fragment}".encode()
        assert ICE_CONTROLLED in message.attributes
        assert PRIORITY in message.attributes
        assert has_integrity(data, message, password)
        self.checks_answered += 1
        self.send_raw(write_stun(BINDING_SUCCESS, message.transaction, [], password))

    def send_raw(self, data: bytes) -> None:
        """A datagram as it is."""
        self.sock.sendto(data, self.remote)

    def send_rtp(self, data: bytes) -> None:
        """A packet of RTP, protected."""
        self.send_raw(self.dtls._tx_srtp.protect(data))

    def send_rtcp(self, data: bytes) -> None:
        """A compound packet of RTCP, protected."""
        self.send_raw(self.dtls._tx_srtp.protect_rtcp(data))

    def move(self) -> None:
        """Goes on from another port, as after a change of network."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.sock.fileno())
        self.sock.close()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        loop.add_reader(self.sock.fileno(), self._read)

    async def close(self) -> None:
        """Ends the session and gives the socket back."""
        if self.sctp is not None:
            await self.sctp.stop()
        if self.dtls is not None:
            await self.dtls.stop()
        asyncio.get_running_loop().remove_reader(self.sock.fileno())
        self.sock.close()

    def _read(self) -> None:
        for _ in range(64):
            try:
                data = self.sock.recv(2048)
            except OSError:
                return
            self._received(data)

    def _received(self, data: bytes) -> None:
        if is_stun(data):
            message = parse_stun(data)
            if message.kind == BINDING_SUCCESS:
                self._checked.set()
            elif self.answers_checks:
                self._answer_check(data, message)
        elif data[0] < 128:
            self._waiting.put_nowait(data)
        else:
            self.datagrams += 1
            if not self.keeps_packets:
                return
            if self.dtls is None or self.dtls._rx_srtp is None:
                # The SFU may send as soon as its own side is done.
                self._early.append(data)
                return
            if 192 <= data[1] <= 223:
                self.rtcp.append(self.dtls._rx_srtp.unprotect_rtcp(data))
            else:
                self.packets.append(parse_rtp(self.dtls._rx_srtp.unprotect(data)))


class _Wire:
    """What aiortc takes for its ICE transport."""

    role = "controlling"
    state = "completed"

    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer

    async def _recv(self) -> bytes:
        return await self._peer._waiting.get()

    async def _send(self, data: bytes) -> None:
        self._peer.send_raw(data)


def _one(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None
    return match[1]
