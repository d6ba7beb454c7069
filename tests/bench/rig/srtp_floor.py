"""
The floor of forwarding: a bare loop that unprotects a packet, writes another header, protects and sends it.

Owns nothing of an SFU: no checks, no history, no reports. `python -m tests.bench.rig.srtp_floor N` prints its port and
sends each packet to N sockets of its own until killed.
"""

from __future__ import annotations

import socket
import struct
import sys

import pylibsrtp

_KEY = bytes(range(44))


def _session(kind: int) -> pylibsrtp.Session:
    return pylibsrtp.Session(
        pylibsrtp.Policy(
            key=_KEY, ssrc_type=kind, srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM
        )
    )


def main() -> None:
    """Forwards for ever."""
    subscribers = int(sys.argv[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", 0))
        inbound = _session(pylibsrtp.Policy.SSRC_ANY_INBOUND)
        legs = []
        sinks = []
        for number in range(subscribers):
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sink.bind(("127.0.0.1", 0))
            sinks.append(sink)
            legs.append((_session(pylibsrtp.Policy.SSRC_ANY_OUTBOUND), sink.getsockname(), 5000 + number))
        sys.stdout.write(f"{port.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            data = inbound.unprotect(port.recv(2048))
            sequence, timestamp = struct.unpack_from("!HI", data, 2)
            payload = data[12:]
            for outbound, address, ssrc in legs:
                head = struct.pack("!BBHII", 0x80, 96, sequence, timestamp, ssrc)
                port.sendto(outbound.protect(head + payload), address)


if __name__ == "__main__":
    main()
