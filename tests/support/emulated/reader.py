"""
One life of a person in a sealed channel: seals what it sends, opens what it gets, and finds nothing wrong with it.

Owns the promise that an honest server, whatever happens to it and to the network, is never suspected.
"""

from __future__ import annotations

import hashlib
import itertools

from msgspec import UNSET

from peerbus.client.sealed_channel import SealedChannel
from peerbus.client.sealing import CRYPTO_SESSION_BYTES, Sealer, SealingKeys
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Message, Send, Update
from peerbus.protocol.secrets import SecretBytes
from peerbus.protocol.session.roster import Roster
from tests.support.emulated.truth import Truth, check, number_of

_KEYS = SealingKeys(SecretBytes(bytes(32)), bytes(32))


class Reader(SealedChannel):
    """`who` is no other life of anybody."""

    def __init__(self, who: str, truth: Truth) -> None:
        counter = itertools.count()

        def new_session() -> bytes:
            return hashlib.sha256(f"{who}.{next(counter)}".encode()).digest()[:CRYPTO_SESSION_BYTES]

        super().__init__(_KEYS, Sealer(_KEYS, new_session), {"who": who})
        self._truth = truth
        self._read: set[int] = set()

    def seal(self, frame: Send | Update, sender: str, roster: Roster) -> Send | Update:
        """Tells the truth what is inside."""
        sealed = super().seal(frame, sender, roster)
        if isinstance(frame, Send) and isinstance(sealed, Send) and sealed.sealed is not UNSET:
            self._truth.sealed[sealed.sealed] = number_of(frame.content, frame.binary)
        return sealed

    def read(self, message: Message, epoch: str) -> None:
        """A message came, or was asked for: it opens, unless it was for an earlier life, or it came before."""
        number = self._truth.number_of(message)
        try:
            opened = self.open(message, epoch)
        except ProtocolError as error:
            # The page was loaded again, and who wrote it did not know that yet.
            is_late = message.delivery == "live" and message.to is not UNSET
            check(
                is_late and error.code is ErrorCode.REPLAYED,
                f"{number} is refused by {error.code}: {message}",
            )
            return
        if opened is None:
            is_again = number in self._read
            is_late = message.delivery == "live" and number in self._truth.out_of_order
            check(message.delivery != "durable" and (is_again or is_late), f"{number} is dropped: {message}")
            return
        check(number_of(opened.content, opened.binary) == number, f"{number} has another content")
        self._read.add(number)
