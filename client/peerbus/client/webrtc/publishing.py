"""
What one publishes oneself.

Owns the publications of a call, and the tasks that read their sources. Never talks to the SFU: a connection offers what
is in `publications`, and is asked to by whoever made this (`on_change`, `on_end`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.file_source import MediaFile
from peerbus.client.webrtc.outgoing import Feed
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.sources import FrameSource
from peerbus.protocol.signals import MediaKind, Source

_NAME_CHARS_MAX: Final = 64


class Publishing:
    """See the module. `on_end` hears of a publication that was published and ended by itself."""

    def __init__(
        self,
        *,
        on_change: Callable[[], None],
        on_end: Callable[[Publication], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.publications: Final[list[Publication]] = []
        self._tasks: Final[dict[Publication, asyncio.Task[None]]] = {}
        self._on_change: Final = on_change
        self._on_end: Final = on_end
        self._on_error: Final = on_error
        self._count = 0

    def add(
        self, source: FrameSource, *, source_kind: Source | None, name: str | None, is_muted: bool
    ) -> Outcome[Publication]:
        """Begins to read a source; the outcome is the SFU's. Raises `PeerbusError` for a name that can't be."""
        kind: Source = source_kind or ("microphone" if source.kind == "audio" else "camera")
        self._count += 1
        chosen = f"{kind}-{self._count}" if name is None else name
        if not 1 <= len(chosen) <= _NAME_CHARS_MAX or any(other.id == chosen for other in self.publications):
            text = (
                f"A publication's name has 1 to {_NAME_CHARS_MAX} characters and is unique, not {chosen!r}."
            )
            raise PeerbusError(ErrorCode.BAD_REQUEST, text)
        outcome: Outcome[Publication] = Outcome(self._on_error)
        publication = Publication(chosen, kind, Feed(source, is_muted=is_muted), outcome)
        self.publications.append(publication)
        task = asyncio.create_task(publication.feed.run(), name="peerbus-feed")
        self._tasks[publication] = task
        task.add_done_callback(lambda done: self._source_ended(publication, done))
        self._on_change()
        return outcome

    def add_file(
        self, path: str | Path, *, loop: bool, kind: MediaKind | None, is_muted: bool
    ) -> Outcome[list[Publication]]:
        """Everything that is in a file. Raises `PeerbusError` for one that can't be read."""
        file = MediaFile(path, loop=loop, kind=kind)
        parts = [self.add(part, source_kind=None, name=None, is_muted=is_muted) for part in file.sources]
        outcome: Outcome[list[Publication]] = Outcome(self._on_error)

        def settle(done: asyncio.Future[list[Publication | BaseException]]) -> None:
            results = done.result()
            failures = [result for result in results if isinstance(result, Exception)]
            if failures:
                outcome.fail(failures[0], is_expected=_is_own(failures[0]))
            else:
                outcome.succeed([result for result in results if isinstance(result, Publication)])

        asyncio.gather(*parts, return_exceptions=True).add_done_callback(settle)
        return outcome

    def end(self, publication: Publication, error: PeerbusError | None = None) -> bool:
        """Ends one; whether there was something to end. Whoever waits for it hears the error."""
        if publication not in self.publications:
            return False
        self.publications.remove(publication)
        publication.end(error, is_expected=error is None or _is_own(error))
        task = self._tasks.get(publication)
        if task is not None:
            task.cancel()
        return True

    def end_all(self, error: PeerbusError) -> None:
        """Ends all of them."""
        for publication in list(self.publications):
            self.end(publication, error)

    @property
    def reading(self) -> list[asyncio.Task[None]]:
        """The tasks that are not over yet."""
        return list(self._tasks.values())

    def _source_ended(self, publication: Publication, task: asyncio.Task[None]) -> None:
        """The source is at its end, or failed; or the publication was ended."""
        del self._tasks[publication]
        failure = None if task.cancelled() else task.exception()
        error = None
        if isinstance(failure, PeerbusError):
            error = failure
        elif failure is not None:
            text = f"The source of {publication.id} failed: {type(failure).__name__}: {failure}"
            error = PeerbusError(ErrorCode.BAD_REQUEST, text)
        was_published = publication.is_published
        if self.end(publication, error):
            if error is not None and was_published:
                self._on_error(error)
            self._on_end(publication)


def _is_own(error: Exception) -> bool:
    return isinstance(error, PeerbusError) and error.code is ErrorCode.CLOSED
