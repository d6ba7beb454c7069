"""
What sealing costs: `python -m tests.bench.sealing`.

Prints the time to seal and to open one message of 1 kB in Python, first the bytes alone and then with all that belongs
to a frame, and what it takes to get the keys of a channel from its password (Argon2id), which a program does once for
each channel. All of it in CPU time, which on an idle machine is the time that passes.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from collections.abc import Callable

import msgspec
from msgspec import UNSET

from peerbus.client import crypto
from peerbus.client.sealed_channel import SealedChannel
from peerbus.client.sealing import Context, SealClass, Sealer, SealingKeys
from peerbus.protocol.messages import Message, Send
from peerbus.protocol.secrets import SecretBytes
from peerbus.protocol.session.roster import Roster
from tests.bench.log import print_machine

ROUNDS = 7
MESSAGES = 4_000
CONTENT = "x" * 1_000


def channel() -> SealedChannel:
    """A member of the channel of this bench."""
    keys = SealingKeys(SecretBytes(bytes(32)), bytes(32))
    return SealedChannel(keys, Sealer(keys, lambda: secrets.token_bytes(16)), {})


def microseconds(work: Callable[[], object], times: int) -> float:
    """The median over some rounds, for one of `times`."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        found.append((time.process_time() - began) / times * 1e6)
    return statistics.median(found)


def bytes_alone() -> tuple[float, float]:
    """Seal and open of an envelope, in microseconds."""
    keys = SealingKeys(SecretBytes(bytes(32)), bytes(32))
    sealer = Sealer(keys, lambda: secrets.token_bytes(16))
    context = Context(sender="alice", type="chat-text", idempotency_key="k-123456789012")
    plaintext = msgspec.msgpack.encode({"content": CONTENT})

    def seal() -> None:
        for _ in range(MESSAGES):
            sealer.seal(SealClass.LIVE, plaintext, context)

    envelope = sealer.seal(SealClass.LIVE, plaintext, context)

    def open_() -> None:
        for _ in range(MESSAGES):
            keys.decrypt(SealClass.LIVE, envelope, context)

    return microseconds(seal, MESSAGES), microseconds(open_, MESSAGES)


def whole_frames() -> tuple[float, float]:
    """A durable frame with its retry tag sealed, and opened with its window, in microseconds."""
    alice, bob, roster = channel(), channel(), Roster()
    frame = Send(content=CONTENT, idempotency_key="k-123456789012")
    sent: list[Send] = []

    def seal() -> None:
        for _ in range(MESSAGES):
            sealed = alice.seal(frame, "alice", roster)
            assert isinstance(sealed, Send)
            sent.append(sealed)

    sealing = microseconds(seal, MESSAGES)
    shown = [
        Message(
            delivery="durable",
            offset=offset,
            message_id=f"e.{offset}",
            time_ms=0,
            sender="alice",
            identity="i",
            type=sealed.type,
            sealed=sealed.sealed,
            idempotency_key=sealed.idempotency_key,
        )
        for offset, sealed in enumerate(sent, start=1)
    ]
    waiting = iter(shown)

    def open_() -> None:
        for _ in range(MESSAGES):
            opened = bob.open(next(waiting), "e")
            assert opened is not None
            assert opened.content is not UNSET

    return sealing, microseconds(open_, MESSAGES)


def join_ms() -> float:
    """The median of a derivation, in milliseconds."""
    found = []
    for number in range(ROUNDS):
        began = time.process_time()
        crypto.derive_keys_blocking("bench", f"correct horse {number}")
        found.append((time.process_time() - began) * 1e3)
    return statistics.median(found)


def main() -> None:
    argparse.ArgumentParser(prog="python -m tests.bench.sealing", description=__doc__).parse_args()
    print_machine()
    seal_us, open_us = bytes_alone()
    print(f"1 kB, the bytes alone:     seal {seal_us:6.1f} us   open {open_us:6.1f} us")
    seal_us, open_us = whole_frames()
    print(f"1 kB, a durable message:   seal {seal_us:6.1f} us   open {open_us:6.1f} us")
    print(
        f"keys from a password:      {join_ms():6.0f} ms (Argon2id, 64 MiB, 3 passes; once for each channel)"
    )


if __name__ == "__main__":
    main()
