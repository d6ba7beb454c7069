"""
Terms: numbers that only rise, whatever becomes of the server.

Owns the file `terms` in the data folder. Numbers are given out of a block whose end is on disk before its first one is
used, so a server that was killed goes on above all that it ever gave. Never decides who gets one (`calls`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

_BLOCK: Final = 1_000_000


class TermsError(Exception):
    """The file cannot be read or written; the text says which and why."""


class Terms:
    """
    `was_serving` tells what `note_serving` said last before the server ended.

    Raises `TermsError`, as every method does.
    """

    def __init__(self, folder: Path) -> None:
        self._path: Final = folder / "terms"
        self.was_serving = False
        self._end = 1
        try:
            stored = json.loads(self._path.read_text("utf-8"))
            self._end, self.was_serving = int(stored["end"]), bool(stored["is_serving"])
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TermsError(f"{self._path} cannot be read: {error}") from None
        self._next = self._end
        self._is_serving = False
        self._store(self._next + _BLOCK, is_serving=self.was_serving)

    def next(self, lowest: int) -> int:
        """A term that is at least `lowest`, and higher than all before."""
        term = max(self._next, lowest)
        if term >= self._end:
            self._store(term + _BLOCK, is_serving=self._is_serving)
        self._next = term + 1
        return term

    def note_serving(self, is_serving: bool) -> None:
        """Whether any worker holds a room now."""
        if is_serving is not self._is_serving:
            self._store(self._end, is_serving=is_serving)

    def _store(self, end: int, *, is_serving: bool) -> None:
        text = json.dumps({"end": end, "is_serving": is_serving})
        new = self._path.with_name("terms.new")
        try:
            with open(new, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise TermsError(f"{self._path} cannot be written: {error.strerror}") from None
        self._end, self._is_serving = end, is_serving
