"""
Where a server's addresses are, from what a user gives as `api`.

Owns the reading of the base address and the paths below it. Never connects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

from peerbus.client.errors import ErrorCode, PeerbusError

DEFAULT_API: Final = "http://localhost:8080"

LEGACY_PATH: Final = "/messaging-platform/api/v1/messaging-service"
"""The base path that older snippets name; the server has everything below its root."""

_SECURE: Final = {"http": False, "https": True, "ws": False, "wss": True}


@dataclass(frozen=True)
class Api:
    """The addresses of one server; `base` has no slash at its end."""

    base: str
    """With http or https."""

    @property
    def websocket(self) -> str:
        """The WebSocket."""
        return "ws" + self.base.removeprefix("http") + "/v1/ws"

    @property
    def longpoll(self) -> str:
        """Where a long-poll session begins."""
        return self.base + "/v1/longpoll"

    def longpoll_session(self, session_id: str) -> str:
        """Where it goes on."""
        return f"{self.longpoll}/{quote(session_id, safe='')}"

    @property
    def keys(self) -> str:
        """Where temporary keys come from."""
        return self.base + "/v1/keys"

    @property
    def demo_key(self) -> str:
        """Where a key of the demo project comes from."""
        return self.base + "/v1/demo/key"


def parse_api(text: str) -> Api:
    """
    Reads a base address: `http://host:8080`, `https://host/below/a/path`, `host:8080`, ws and wss as well.

    The base path of older snippets is taken off. Raises `PeerbusError` (`bad_request`) with the reason.
    """
    whole = text.strip()
    if "://" not in whole:
        whole = f"http://{whole}"
    try:
        parts: SplitResult = urlsplit(whole)
        port = parts.port
    except ValueError as error:
        raise _bad_api(text, str(error)) from None
    if parts.scheme not in _SECURE:
        raise _bad_api(text, "it begins with http:// or https://")
    if not parts.hostname:
        raise _bad_api(text, "it names no host")
    if parts.username is not None or parts.query or parts.fragment:
        raise _bad_api(text, "it has only a host, a port and a path; keys go into api_key")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    scheme = "https" if _SECURE[parts.scheme] else "http"
    path = parts.path.rstrip("/").removesuffix(LEGACY_PATH)
    return Api(f"{scheme}://{host}{'' if port is None else f':{port}'}{path}")


def _bad_api(text: str, reason: str) -> PeerbusError:
    # The text may carry a key that somebody put there by mistake, so only its harmless start is shown.
    shown = text.strip().split("?")[0].split("#")[0].split("@")[-1][:80]
    return PeerbusError(ErrorCode.BAD_REQUEST, f"{shown!r} is no address of a server: {reason}.")
