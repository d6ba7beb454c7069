"""
DTLS and SCTP of one connection, by aiortc over a transport of ours.

Owns the one place where the SFU touches what aiortc keeps private, pinned to the version in pyproject.toml and watched
by a canary test. Gives out SRTP keys and data channel messages; never sees an SRTP packet (`engine`) and never a
datagram from an address that ICE has not validated (`connection`). Guards what aiortc trusts: malformed SCTP is
refused before it is parsed, an association's memory is bounded. See RFC 8827 (section 6.5), RFC 5764, RFC 9260.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from aiortc import RTCCertificate, RTCDataChannel, RTCIceTransport, RTCSctpTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport, State
from aiortc.rtcsctptransport import RTCSctpCapabilities

from peerbus.sfu.negotiation import SCTP_PORT
from peerbus.sfu.sctp_guard import SctpError, check_sctp
from peerbus.sfu.sdp import Fingerprint
from peerbus.sfu.srtp import Profile, SrtpKeys

logger = logging.getLogger(__name__)

MESSAGE_BYTES_MAX: Final = 65_536
"""The largest data message, both ways; also what the answer declares."""
_QUEUED_DATAGRAMS_MAX: Final = 128
_CHANNELS_MAX: Final = 8
_REASSEMBLY_BYTES_MAX: Final = 1024 * 1024
_REASSEMBLY_CHUNKS_MAX: Final = 4_096
_MISORDERED_MAX: Final = 1_024
_TSN_MODULUS: Final = 1 << 32
_TSN_WINDOW: Final = 1 << 15
"""So far ahead may a chunk be; what a SACK says of it has 16 bits."""

_PROFILES: Final = {
    b"SRTP_AEAD_AES_256_GCM": Profile.AEAD_AES_256_GCM,
    b"SRTP_AEAD_AES_128_GCM": Profile.AEAD_AES_128_GCM,
    b"SRTP_AES128_CM_SHA1_80": Profile.AES128_CM_SHA1_80,
}


def make_certificate() -> RTCCertificate:
    """A certificate of this worker's own; clients know it by the fingerprint in the answer."""
    return RTCCertificate.generateCertificate()


def fingerprint_of(certificate: RTCCertificate) -> Fingerprint:
    """The SHA-256 fingerprint for the answer."""
    for candidate in certificate.getFingerprints():
        if candidate.algorithm == "sha-256":
            return Fingerprint("sha-256", candidate.value)
    raise AssertionError("a certificate without a SHA-256 fingerprint")


class _Datagrams:
    """What aiortc takes for its ICE transport: a bounded queue in, a function out."""

    role = "controlled"
    state = "completed"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send_datagram = send
        self._waiting: deque[bytes] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._is_closed = False

    def push(self, data: bytes) -> None:
        if len(self._waiting) < _QUEUED_DATAGRAMS_MAX:
            self._waiting.append(data)
            self._wake()

    def close(self) -> None:
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def _recv(self) -> bytes:
        while not self._waiting:
            if self._is_closed:
                raise ConnectionError
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return self._waiting.popleft()

    async def _send(self, data: bytes) -> None:
        self._send_datagram(data)


class _Dtls(RTCDtlsTransport):
    """As the DTLS server it chooses the profile: AES-GCM where the client has it. Keys are handed out, not used."""

    keys: SrtpKeys | None = None

    def _setup_srtp(self) -> None:
        assert self._ssl is not None
        selected = self._ssl.get_selected_srtp_profile()
        profile = _PROFILES.get(selected)
        if profile is None:
            self._set_state(State.FAILED)
            return
        material = self._ssl.export_keying_material(
            b"EXTRACTOR-dtls_srtp", 2 * (profile.key_bytes + profile.salt_bytes)
        )
        self.keys = SrtpKeys.of_server(profile, material)


class _Sctp(RTCSctpTransport):
    """An association that refuses what would harm it."""

    def __init__(self, transport: RTCDtlsTransport) -> None:
        super().__init__(transport, SCTP_PORT)
        self.refused = 0
        self.refuse: Callable[[str], None] | None = None
        self.progress: Callable[[], None] | None = None

    async def _handle_data(self, data: bytes) -> None:
        try:
            check_sctp(data)
        except SctpError:
            self.refused += 1
            return
        try:
            await super()._handle_data(data)
        except (
            AssertionError,
            ValueError,
            KeyError,
            IndexError,
            UnicodeError,
            ArithmeticError,
            TypeError,
            struct.error,
        ) as error:
            # aiortc raises these on well-formed chunks in the wrong place. They are the sender's own.
            self.refused += 1
            logger.debug("SCTP packet refused: %r", error)
        if self.progress is not None:
            self.progress()
        has_too_much = (
            self._inbound_bytes() > _REASSEMBLY_BYTES_MAX or self._inbound_chunks() > _REASSEMBLY_CHUNKS_MAX
        )
        if has_too_much and self.refuse is not None:
            self.refuse("too much unfinished data")

    def _mark_received(self, tsn: int) -> bool:
        """
        Whether a chunk is to be left out: it has come before, or is too far ahead.

        aiortc sorts and filters all that is out of order for every chunk; many small ones could take the worker's time.
        """
        newest = self._last_received_tsn
        if newest is None:
            raise ValueError("data before the association")
        ahead = (tsn - newest) % _TSN_MODULUS
        waiting = self._sack_misordered
        if ahead == 0 or ahead >= 1 << 31 or tsn in waiting:
            self._sack_duplicates.append(tsn)
            return True
        if ahead > 1:
            if ahead > _TSN_WINDOW or len(waiting) >= _MISORDERED_MAX:
                # As if it were lost: the peer sends it again.
                return True
            waiting.add(tsn)
            return False
        while True:
            newest = tsn
            tsn = (newest + 1) % _TSN_MODULUS
            if tsn not in waiting:
                break
            waiting.remove(tsn)
        self._last_received_tsn = newest
        return False

    def _inbound_bytes(self) -> int:
        return int(1024 * 1024 - self._advertised_rwnd)

    def _inbound_chunks(self) -> int:
        return sum(len(stream.reassembly) for stream in self._inbound_streams.values())

    @property
    def backlog_bytes(self) -> int:
        """What is handed over and not yet acknowledged by the peer."""
        return sum(len(chunk.user_data) for chunk in self._outbound_queue) + int(self._flight_size)


class DtlsSession:
    """
    The encrypted session of one connection.

    `send` takes whole datagrams for the peer. Callbacks: `on_keys` when the handshake is done, `on_channel` for each
    data channel that the client opens, `on_progress` whenever the peer may have acknowledged something, `on_closed`
    once, with a reason, unless `close` came first.
    """

    def __init__(
        self,
        certificate: RTCCertificate,
        fingerprints: tuple[Fingerprint, ...],
        *,
        send: Callable[[bytes], None],
        on_keys: Callable[[SrtpKeys], None],
        on_channel: Callable[[DataChannel], None],
        on_progress: Callable[[], None],
        on_closed: Callable[[str], None],
    ) -> None:
        self._datagrams = _Datagrams(send)
        self._dtls = _Dtls(cast(RTCIceTransport, self._datagrams), [certificate])
        self._dtls._set_role("server")
        self._dtls.on("statechange", self._state_changed)
        self._fingerprints = fingerprints
        self._on_keys = on_keys
        self._on_channel = on_channel
        self._on_progress = on_progress
        self._on_closed: Callable[[str], None] | None = on_closed
        self._sctp: _Sctp | None = None
        self._channels = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to wait for the client's handshake."""
        self._task = asyncio.ensure_future(self._run())

    def receive(self, data: bytes) -> None:
        """A datagram of DTLS from a validated address; empty ones must have been dropped."""
        self._datagrams.push(data)

    def open_data(self, remote_port: int, remote_max_bytes: int) -> None:
        """Takes data channels from now on; only the first call counts."""
        if self._sctp is not None:
            return
        self._sctp = _Sctp(self._dtls)
        self._sctp.refuse = self._end
        self._sctp.progress = self._on_progress
        self._sctp.on("datachannel", self._channel_opened)
        self._sctp_start = (RTCSctpCapabilities(maxMessageSize=remote_max_bytes), remote_port)
        if self._dtls.state == "connected":
            self._sctp_task = asyncio.ensure_future(self._start_sctp())

    @property
    def backlog_bytes(self) -> int:
        """Data messages that the peer has not acknowledged yet."""
        return self._sctp.backlog_bytes if self._sctp is not None else 0

    @property
    def refused(self) -> int:
        """SCTP packets that were refused."""
        return self._sctp.refused if self._sctp is not None else 0

    async def close(self) -> None:
        """Says goodbye to the peer, and frees everything."""
        self._on_closed = None
        if self._sctp is not None:
            with contextlib.suppress(ConnectionError):
                await self._sctp.stop()
        await self._dtls.stop()
        self._datagrams.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        remote = [RTCDtlsFingerprint(one.algorithm, one.value) for one in self._fingerprints]
        await self._dtls.start(RTCDtlsParameters(fingerprints=remote))
        if self._dtls.state != "connected" or self._dtls.keys is None:
            self._end("the DTLS handshake failed")
            return
        self._on_keys(self._dtls.keys)
        if self._sctp is not None:
            await self._start_sctp()

    async def _start_sctp(self) -> None:
        assert self._sctp is not None
        await self._sctp.start(*self._sctp_start)

    def _state_changed(self) -> None:
        if self._dtls.state == "failed":
            self._end("the DTLS handshake failed")
        elif self._dtls.state == "closed":
            self._end("the client closed the connection")

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        self._channels += 1
        if self._channels > _CHANNELS_MAX:
            self._end("too many data channels")
            return
        self._on_channel(DataChannel(channel))

    def _end(self, reason: str) -> None:
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed(reason)


class DataChannel:
    """One data channel that the client opened."""

    def __init__(self, channel: RTCDataChannel) -> None:
        self._channel = channel

    @property
    def label(self) -> str:
        """What the client calls it."""
        return str(self._channel.label)

    def on_message(self, call: Callable[[bytes | str], None]) -> None:
        """`call` gets each message from now on."""
        self._channel.on("message", call)

    def send(self, data: bytes) -> bool:
        """Sends a message; False if the channel is not open or the client does not take messages of this size."""
        if self._channel.readyState != "open":
            return False
        try:
            self._channel.send(data)
        except ValueError:
            return False
        return True
