"""
The audit log: who made, gave out, used and revoked keys, and who moderated.

Owns `audit.jsonl` in the data folder and the older files beside it (`audit.1.jsonl` is the next older one): one JSON
object a line, only ever appended to, bounded in size by dropping the oldest file. Several processes write to it, the
server and `peerbus keys` among them. Never holds a secret: credentials stand in it by their ids.

What comes over the network is bounded as well: of one kind of entry of one project at most `ENTRIES_PER_WINDOW` are
written in ten minutes, and the next one after that says how many were left out, so that nobody can wash out the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from peerbus.signaling.audit_entry import OPERATOR, AuditAction, AuditEntry, line_of

AUDIT_FILE: Final = "audit.jsonl"
FILE_BYTES_MAX: Final = 8_388_608
OLDER_FILES: Final = 7
ENTRIES_PER_WINDOW: Final = 300
WINDOW_MS: Final = 600_000

_log: Final = logging.getLogger("peerbus.signaling")

_KINDS_MAX: Final = 1_000
_TEXT_CHARS_MAX: Final = 512


class AuditLog:
    """
    The audit log of one data folder.

    `note` never raises: what cannot be written is told to the operator's log, and what was to be done is done.
    """

    def __init__(
        self, folder: Path, *, file_bytes_max: int = FILE_BYTES_MAX, older_files: int = OLDER_FILES
    ) -> None:
        self._folder: Final = folder
        self._path: Final = folder / AUDIT_FILE
        self._file_bytes_max: Final = file_bytes_max
        self._older_files: Final = older_files
        self._windows: dict[tuple[str, str], _Window] = {}

    def note(self, action: AuditAction, now_ms: int, **fields: Any) -> None:
        """Writes an entry; `fields` are those of `AuditEntry`, and `now_ms` is milliseconds since 1970."""
        project = fields.get("project", "")
        count = fields.get("count", 1)
        left_out = 0 if fields.get("by") == OPERATOR else self._left_out(action, project, now_ms, count)
        if left_out is None:
            return
        cut: dict[str, Any] = {
            name: _cut(value) if isinstance(value, str) else value for name, value in fields.items()
        }
        entry = AuditEntry(time_ms=now_ms, action=action, left_out=left_out, **cut)
        try:
            self._append(line_of(entry))
        except OSError as error:
            _log.error("the audit log %s cannot be written: %s", self._path, error.strerror)

    def entries(
        self, *, since_ms: int = 0, project: str | None = None, action: AuditAction | None = None
    ) -> Iterator[AuditEntry]:
        """The entries from a time on, the oldest first. Lines that are no entries (cut by a crash) are left out."""
        for path in [*(self._older(number) for number in range(self._older_files, 0, -1)), self._path]:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                for line in file:
                    entry = _entry(line)
                    if (
                        entry is not None
                        and entry.time_ms >= since_ms
                        and project in (None, entry.project)
                        and action in (None, entry.action)
                    ):
                        yield entry

    # --- what is too much -----------------------------------------------------------------------------------

    def _left_out(self, action: AuditAction, project: str, now_ms: int, count: int) -> int | None:
        """How many were left out before this one; None if this one is, too."""
        kind = (action.value, project)
        window = self._windows.get(kind)
        if window is None:
            if len(self._windows) >= _KINDS_MAX:
                self._windows.clear()
            window = self._windows[kind] = _Window(now_ms)
        if not 0 <= now_ms - window.began_ms < WINDOW_MS:
            window.began_ms, window.written = now_ms, 0
        if window.written >= ENTRIES_PER_WINDOW:
            window.left_out += count
            return None
        window.written += 1
        left_out, window.left_out = window.left_out, 0
        return left_out

    # --- the files --------------------------------------------------------------------------------------------

    def _append(self, line: bytes) -> None:
        with self._locked():
            if self._path.exists() and self._path.stat().st_size + len(line) > self._file_bytes_max:
                self._rotate()
            with open(os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b") as file:
                size = os.fstat(file.fileno()).st_size
                # A line that a full disk cut short stays by itself.
                is_cut = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
                os.write(file.fileno(), b"\n" + line if is_cut else line)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all processes: the lock is on the folder, so that it does not move with a file."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _rotate(self) -> None:
        for number in range(self._older_files, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._older(number - 1), self._older(number))
        os.replace(self._path, self._older(1))

    def _older(self, number: int) -> Path:
        return self._folder / f"audit.{number}.jsonl"


class _Window:
    """How many entries of one kind were written, and how many not, in the current ten minutes."""

    __slots__ = ("began_ms", "left_out", "written")

    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self.written = 0
        self.left_out = 0


def _cut(text: str) -> str:
    # A lone surrogate has no place in JSON.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _TEXT_CHARS_MAX else text[: _TEXT_CHARS_MAX - 1] + "…"


def _entry(line: bytes) -> AuditEntry | None:
    try:
        return msgspec.json.decode(line, type=AuditEntry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
