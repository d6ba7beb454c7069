"""
Keeps an agent's STUN and TURN servers good.

Owns the timer, and the one question that is under way. Never decides when it is time (`ice_servers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec import UNSET

from peerbus.client.ice_servers import IceServers
from peerbus.client.outcome import Outcome
from peerbus.protocol import messages as wire
from peerbus.protocol.messages import IceServer


class IceRenewal:
    """What the server told last, and new ones in time."""

    def __init__(
        self,
        ask: Callable[[], Outcome[list[IceServer]]],
        is_connected: Callable[[], bool],
        on_unobserved: Callable[[Exception], None],
    ) -> None:
        """`ask` sends a request whose reply goes through `told`."""
        self._ask: Final = ask
        self._is_connected: Final = is_connected
        self._on_unobserved: Final = on_unobserved
        self._known: Final = IceServers()
        self._timer: asyncio.TimerHandle | None = None
        self._asking: Outcome[list[IceServer]] | None = None

    @property
    def servers(self) -> list[IceServer]:
        """Those of now; empty before the first connect."""
        return list(self._known.servers)

    def told(self, told: wire.Connected | wire.IceServersReply) -> list[IceServer]:
        """The server said which there are."""
        expires_in_ms = None if told.ice_expires_in_ms is UNSET else told.ice_expires_in_ms
        self._known.told(told.ice_servers, expires_in_ms, _now_ms())
        self._plan()
        return self.servers

    def get(self, *, is_joined: bool) -> Outcome[list[IceServer]]:
        """Those of now, or new ones where these have less than half of their time left, or there is no session yet."""
        if is_joined and self._known.are_fresh(_now_ms()):
            outcome: Outcome[list[IceServer]] = Outcome(self._on_unobserved)
            outcome.succeed(self.servers)
            return outcome
        if self._asking is None or self._asking.done():
            self._asking = self._ask()
        return self._asking

    def stop(self) -> None:
        """The session is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        self.stop()
        if self._known.renew_at_ms is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at((self._known.renew_at_ms + 1) / 1000, self._renew)

    def _renew(self) -> None:
        self._timer = None
        if self._is_connected():
            self.get(is_joined=True).add_done_callback(self._renewed)
        # Else they come with the next `connected`.

    def _renewed(self, outcome: Outcome[list[IceServer]]) -> None:
        if self._is_connected() and not outcome.cancelled() and outcome.exception() is not None:
            self._known.failed(_now_ms())
            self._plan()


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
