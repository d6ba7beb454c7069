"""
Messages as an async iterator.

Owns a bounded buffer between an agent and one reader. Never drops a message silently: a reader that falls too far
behind gets an error in its place.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Final

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.records import Message

MAX_BUFFERED: Final = 10_000


class MessageStream:
    """
    Every message from the moment the stream was made; ends when the agent disconnects.

    Raises `PeerbusError` from the loop when the session ended for another reason (kicked, refused…), or with
    `slow_consumer` when `max_buffered` messages waited unread.
    """

    def __init__(self, max_buffered: int = MAX_BUFFERED) -> None:
        self._max_buffered: Final = max_buffered
        self._messages: deque[Message] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come in."""
        return self._is_over

    def put(self, message: Message) -> None:
        """A message came."""
        if self._is_over:
            return
        if len(self._messages) >= self._max_buffered:
            text = f"{len(self._messages)} messages waited unread in this stream."
            self.end(PeerbusError(ErrorCode.SLOW_CONSUMER, text))
            return
        self._messages.append(message)
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes; what is buffered can still be read, then comes the error if there is one."""
        if not self._is_over:
            self._is_over = True
            self._error = error
            self._wake()

    def close(self) -> None:
        """The reader has had enough."""
        self._messages.clear()
        self.end()

    def __aiter__(self) -> MessageStream:
        return self

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._is_over:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._messages.popleft()

    def __enter__(self) -> MessageStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
