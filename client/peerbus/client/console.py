"""
Where the terminal chat reads and prints.

Owns the two ways: a prompt whose line stays whole while others talk, and plain lines for pipes and scripts.
Never knows what a line means. Text that is printed must be safe already (`terminal_text`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from peerbus.client.chat_lines import Kind, Line

if TYPE_CHECKING:
    from prompt_toolkit.input import Input

_LINES_AHEAD: Final = 100
"""So many lines of a pipe are read before they are asked for."""


class Console(Protocol):
    """A place to read lines from and print lines to."""

    def show(self, lines: Sequence[Line]) -> None:
        """Prints lines, above the one that is being typed."""

    def refresh(self) -> None:
        """What `status` would say has changed."""

    async def read(self) -> str | None:
        """The next line that was typed, without its end; None when there are no more."""

    def close(self) -> None:
        """Leaves the terminal as it was found."""


class PlainConsole:
    """
    Line in, line out, for anything that is not a terminal on both sides.

    Messages go to `out`, everything else to `err`, so that a script reads messages only. Input is UTF-8;
    what is not is replaced.
    """

    def __init__(self, input_fd: int, out: TextIO, err: TextIO) -> None:
        self._input_fd = input_fd
        self._out = out
        self._err = err
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(_LINES_AHEAD)
        self._thread: threading.Thread | None = None

    def show(self, lines: Sequence[Line]) -> None:
        """Prints and flushes. A stream that nobody reads any more is a `BrokenPipeError`."""
        for line in lines:
            stream = self._out if line.kind is Kind.MESSAGE else self._err
            encoding = stream.encoding or "utf-8"
            text = line.text.encode(encoding, "backslashreplace").decode(encoding)
            stream.write(f"{text}\n")
            stream.flush()

    def refresh(self) -> None:
        """There is no status line."""

    async def read(self) -> str | None:
        """The next line; a thread reads, because a file or a terminal cannot be waited for on every system."""
        if self._thread is None:
            # It reads the descriptor and not sys.stdin, whose lock would be held when the program ends.
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._read_all, args=(loop,), name="stdin", daemon=True)
            self._thread.start()
        return await self._lines.get()

    def close(self) -> None:
        """Nothing was changed."""

    def _read_all(self, loop: asyncio.AbstractEventLoop) -> None:
        rest = b""
        while data := self._read_some():
            *complete, rest = (rest + data).split(b"\n")
            for line in complete:
                self._put(line.decode("utf-8", "replace").removesuffix("\r"), loop)
        if rest:
            self._put(rest.decode("utf-8", "replace"), loop)
        self._put(None, loop)

    def _read_some(self) -> bytes:
        try:
            return os.read(self._input_fd, 65_536)
        except OSError:
            # A terminal that is gone, a folder: nothing more will come.
            return b""

    def _put(self, line: str | None, loop: asyncio.AbstractEventLoop) -> None:
        # Waits while the queue is full, so that a large file is not read into memory.
        asyncio.run_coroutine_threadsafe(self._lines.put(line), loop).result()


class PromptConsole:
    """
    A prompt on a terminal, by prompt_toolkit.

    The library is worth its weight here: printing above a line that is being edited takes a line editor that
    knows wide characters, wrapping, pasting and a history, on every kind of terminal.
    From the first prompt on the terminal keeps its raw mode, also between two prompts and while others' lines are
    printed: in the mode of a shell, a Ctrl-D of that moment would be read by nobody and a Ctrl-C would be a signal.
    `words` are what the Tab key completes, `status` is the line at the bottom.
    """

    def __init__(self, words: Callable[[], Iterable[str]], status: Callable[[], str]) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import CompleteEvent, Completer, Completion
        from prompt_toolkit.document import Document
        from prompt_toolkit.styles import Style

        class Words(Completer):
            """Completes the text before the cursor."""

            def get_completions(
                self, document: Document, complete_event: CompleteEvent
            ) -> Iterable[Completion]:
                typed = document.text_before_cursor
                for word in words():
                    if typed and word.startswith(typed):
                        yield Completion(word, start_position=-len(typed))

        self._session: PromptSession[str] = PromptSession(
            "> ",
            completer=Words(),
            complete_while_typing=False,
            bottom_toolbar=lambda: [("", status())],
            style=Style.from_dict(
                {"bottom-toolbar": "noreverse", "notice": "ansibrightblack", "trouble": "ansired"}
            ),
            erase_when_done=True,
            input=_raw_input(),
        )
        self._raw = contextlib.ExitStack()
        self._is_raw = False

    def show(self, lines: Sequence[Line]) -> None:
        """Prints above the prompt, all lines in one redraw."""
        from prompt_toolkit import print_formatted_text
        from prompt_toolkit.formatted_text import FormattedText

        if lines:
            styles = {Kind.MESSAGE: "", Kind.NOTICE: "class:notice", Kind.TROUBLE: "class:trouble"}
            text = FormattedText([(styles[line.kind], f"{line.text}\n") for line in lines])
            print_formatted_text(text, end="", style=self._session.style)

    def refresh(self) -> None:
        """Draws the status line anew."""
        self._session.app.invalidate()

    async def read(self) -> str | None:
        """The next line; Ctrl-C and Ctrl-D are the end."""
        if not self._is_raw:
            self._raw.enter_context(self._session.input.raw_mode())
            self._is_raw = True
        try:
            return await self._session.prompt_async()
        except (EOFError, KeyboardInterrupt):
            return None

    def close(self) -> None:
        """Leaves the raw mode."""
        self._raw.close()


def _raw_input() -> Input | None:
    """The terminal, which is never put into the mode of a shell; None for the library's own choice."""
    if sys.platform == "win32":
        return None
    from prompt_toolkit.input.vt100 import Vt100Input

    class RawInput(Vt100Input):
        def cooked_mode(self) -> contextlib.AbstractContextManager[None]:
            return self.raw_mode()

    return RawInput(sys.stdin)


def open_console(words: Callable[[], Iterable[str]], status: Callable[[], str]) -> Console:
    """A prompt if both input and output are a terminal, else plain lines."""
    stdin = sys.__stdin__
    if stdin is None or stdin.closed:
        # Started without a standard input: like an empty one.
        return PlainConsole(os.open(os.devnull, os.O_RDONLY), sys.stdout, sys.stderr)
    if stdin.isatty() and sys.stdout.isatty():
        return PromptConsole(words, status)
    return PlainConsole(stdin.fileno(), sys.stdout, sys.stderr)
