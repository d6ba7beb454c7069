"""
What is too old in the SQLite log, taken away in small pieces: keys of appends, mail, claims out of use.

Owns how far each sweep has come and when the next one is due; begins no transaction but the one it is given.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from peerbus.signaling.log.mailboxes import delete_old_mail, delete_unused_claims
from peerbus.signaling.log.plan import Retry
from peerbus.signaling.log.retries import delete_old_retries
from peerbus.signaling.log.schema import Connection

_ROWS: Final = 500
_PER_RETENTION: Final = 24


class Swept(NamedTuple):
    """What one piece of work came to: whether more is to be done at once, and what changed."""

    is_more: bool
    has_mail_changed: bool = False
    have_claims_changed: bool = False


class Sweeping:
    """The sweeps of one database. Mail and claims are kept for `mail_ttl_ms`, keys of appends for `retention_ms`."""

    def __init__(self, *, mail_ttl_ms: int, retention_ms: int) -> None:
        self._mail_ttl_ms: Final = mail_ttl_ms
        self._retention_ms: Final = retention_ms
        self._mail_after: tuple[int, str, int] | None = None
        self._mail_due_ms = 0
        self._retries_after: Retry | None = None
        self._retries_due_ms = 0

    def sweep(
        self,
        db: Connection,
        now_ms: int,
        transact: Callable[[Connection, Callable[[], object]], None],
    ) -> Swept:
        """One piece of what is due, of the mailboxes first."""
        mail = self._sweep_mail(db, now_ms, transact)
        if mail.is_more or (self._retries_after is None and now_ms < self._retries_due_ms):
            return mail
        oldest_ms = now_ms - self._retention_ms
        self._retries_after = delete_old_retries(db, self._retries_after, oldest_ms, _ROWS, transact)
        if self._retries_after is None:
            self._retries_due_ms = now_ms + self._retention_ms // _PER_RETENTION
        return mail._replace(is_more=self._retries_after is not None)

    def _sweep_mail(
        self,
        db: Connection,
        now_ms: int,
        transact: Callable[[Connection, Callable[[], object]], None],
    ) -> Swept:
        """Forgets some mail that is too old, in the end also claims out of use."""
        if self._mail_after is None and now_ms < self._mail_due_ms:
            return Swept(False)
        oldest_ms = now_ms - self._mail_ttl_ms
        mail = delete_old_mail(db, self._mail_after, oldest_ms, _ROWS, transact)
        self._mail_after = mail.last
        if mail.last is not None:
            return Swept(True, has_mail_changed=bool(mail.deleted))
        if delete_unused_claims(db, oldest_ms, _ROWS, transact):
            return Swept(True, has_mail_changed=bool(mail.deleted), have_claims_changed=True)
        self._mail_due_ms = now_ms + self._mail_ttl_ms // _PER_RETENTION
        return Swept(False, has_mail_changed=bool(mail.deleted))
