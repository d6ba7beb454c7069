"""
What was read of mailboxes, and is to be taken out of them.

Owns what was told since it was last passed on to the log. Read mail is gathered, since one transaction for all that was
read within a moment costs no more than one for a single message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from peerbus.signaling.clock import wall_ms
from peerbus.signaling.log import ChannelKey, MailRead, StoreError
from peerbus.signaling.log.writer import LogWriter
from peerbus.signaling.member import Member

_log: Final = logging.getLogger("peerbus.signaling")

_CLAIMS_NOTED_MS: Final = 3_600_000


class ReadMail:
    """That of all mailboxes of one server."""

    def __init__(self, log: LogWriter, now_ms: int) -> None:
        self._log: Final = log
        self._reads: dict[tuple[ChannelKey, str, frozenset[str] | None], MailRead] = {}
        self._claims_noted_at_ms = now_ms

    def note(self, read: MailRead) -> None:
        """Somebody has read its mail up to an offset."""
        which = (read.channel, read.identity, read.types)
        former = self._reads.get(which)
        if former is None or former.upto < read.upto:
            self._reads[which] = read

    def flush(self) -> None:
        """Tells the log what was read; before anything that is asked of it later."""
        if not self._reads:
            return
        reads, self._reads = list(self._reads.values()), {}
        try:
            self._log.read_mail(reads, wall_ms()).add_done_callback(_told)
        except StoreError as error:
            _log.warning("read mail could not be forgotten: %s", error.reason)

    def sweep(self, members: Iterable[Member], now_ms: int) -> None:
        """To be called a few times a second, with everyone who is here."""
        if now_ms - self._claims_noted_at_ms >= _CLAIMS_NOTED_MS:
            # Who stays for weeks uses the claim all the while.
            self._claims_noted_at_ms = now_ms
            for member in members:
                if member.mail is not None:
                    self.note(MailRead(member.channel.key, member.identity, 0))
        self.flush()


def _told(told: asyncio.Future[None]) -> None:
    error = None if told.cancelled() else told.exception()
    if error is not None:
        _log.warning("read mail could not be forgotten: %s", error)
