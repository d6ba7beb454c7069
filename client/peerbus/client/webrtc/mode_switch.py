"""
A switch of the mode that this member has asked for.

Owns its outcome: done when the mode holds for all, failed when it was refused or rolled back, or when nothing is heard
of it any more. Never asks for it (`peer_group`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec import UNSET

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.protocol.groups import PROPOSAL_MS, Mode, ProposalEnded

_SWITCH_S: Final = PROPOSAL_MS / 1000 + 4.0
"""After so long nothing is heard of a proposal any more."""


class ModeSwitch:
    """See the module. One at a time."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error: Final = on_error
        self._outcome: Outcome[None] | None = None
        self._to: Mode | None = None
        """None: what is asked for needs no proposal."""
        self._term = 0

    @property
    def is_under_way(self) -> bool:
        """Whether there is one."""
        return self._outcome is not None and not self._outcome.done()

    def refused(self, error: PeerbusError) -> Outcome[None]:
        """The outcome of one that can't be asked for."""
        outcome: Outcome[None] = Outcome(self._on_error)
        outcome.fail(error)
        return outcome

    def needless(self) -> Outcome[None]:
        """The outcome of one to where all is already."""
        outcome: Outcome[None] = Outcome(self._on_error)
        outcome.succeed(None)
        return outcome

    def begin(self, to: Mode | None, term: int) -> Outcome[None]:
        """One was asked for, under the term that holds."""
        outcome = self._outcome = Outcome(self._on_error)
        self._to, self._term = to, term
        asyncio.get_running_loop().call_later(_SWITCH_S, self._timed_out, outcome)
        return outcome

    def answered(self, error: PeerbusError | None) -> None:
        """The server took it as a proposal, or did not."""
        if error is not None:
            self._settle(error)
        elif self._to is None:
            self._settle(None)

    def holds(self, mode: Mode, term: int) -> None:
        """A mode holds."""
        if mode == self._to or term > self._term:
            other = PeerbusError(ErrorCode.STALE_TERM, f"The group went to {mode} meanwhile.")
            self._settle(None if self._to in (None, mode) else other)

    def rolled_back(self, why: ProposalEnded) -> None:
        """A proposal came to nothing."""
        if why.mode != self._to:
            return
        details = {} if why.by is UNSET else {"by": why.by}
        text = f"The mode {why.mode} was rolled back: {why.reason}."
        code = ErrorCode.TIMEOUT if why.code == "timeout" else ErrorCode.NOT_SUPPORTED
        self._settle(PeerbusError(code, text, details={**details, "why": why.code}))

    def end(self) -> None:
        """The group is over."""
        self._settle(PeerbusError(ErrorCode.CLOSED, "The call is over."), is_expected=True)

    def _timed_out(self, outcome: Outcome[None]) -> None:
        if outcome is self._outcome and not outcome.done():
            self._settle(PeerbusError(ErrorCode.TIMEOUT, "Nothing was heard of the proposal any more."))

    def _settle(self, error: PeerbusError | None, *, is_expected: bool = False) -> None:
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            return
        if error is None:
            outcome.succeed(None)
        else:
            outcome.fail(error, is_expected=is_expected)
