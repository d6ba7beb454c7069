"""
The key a client connects with, and when a new one is to be fetched.

Owns the key and the times of the attempts to get another. Never fetches one. See PROTOCOL.md, section 7.
"""

from __future__ import annotations

from peerbus.protocol.secrets import Secret


class Credential:
    """One key at a time; at most one fetch is under way."""

    def __init__(self, api_key: Secret) -> None:
        self.api_key = api_key
        self.fetch_at: int | None = None
        """When to ask for a new key; None: nothing is planned."""
        self.failures = 0
        """How often in a row no new key could be had."""
        self.refusals = 0
        """How often in a row the server called a key expired."""
        self._is_fetching = False

    def want(self, at_ms: int) -> None:
        """A new key is needed, to be fetched at this time; no effect while a fetch is under way."""
        if not self._is_fetching:
            self.fetch_at = at_ms

    def take_due(self, now_ms: int) -> bool:
        """Whether to fetch now; the fetch then counts as begun."""
        if self.fetch_at is None or now_ms < self.fetch_at:
            return False
        self.fetch_at = None
        self._is_fetching = True
        return True

    def renewed(self, api_key: Secret) -> None:
        """There is a new key."""
        self.api_key = api_key
        self.fetch_at = None
        self.failures = 0
        self._is_fetching = False

    def failed(self) -> None:
        """The fetch gave no key."""
        self.failures += 1
        self._is_fetching = False
