"""
What is said of the server, and of the ways to it: HTTP, WebSocket, long-poll, and whether browsers take it for secure.

Owns these sentences. Never tries anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from peerbus.client.doctor.facts import Attempt, Facts
from peerbus.client.doctor.finding import Finding, failed, finding, tried
from peerbus.client.doctor.signs import KEY_CODES, worked

_NO_DEMO: Final = "not_found"
_NOT_THERE: Final = (
    "The server does not answer.",
    "Check the address, and that the server runs (`peerbus serve`) and no firewall is in between.",
)
_SERVER_TROUBLE: Final = {
    "unknown_host": (
        "There is no machine of this name.",
        "Check the spelling of the address, and the name server that this machine asks.",
    ),
    "closed": (
        "Nobody listens there.",
        "Start the server (`peerbus serve`), and compare host and port with what it printed when it started.",
    ),
    "certificate": (
        "The certificate of the server is not trusted.",
        "Give the server a certificate that is trusted (--tls-cert, --tls-key). To test without: --insecure.",
    ),
    "no_tls": (
        "It does not speak TLS there.",
        "Use http:// in the address, or start the server with --tls self-signed or a certificate.",
    ),
    "hung_up": (
        "It ends the connection without an answer.",
        "If the server speaks TLS there, use https:// in the address; else compare host and port.",
    ),
    "moved": (
        "It sends visitors to another address.",
        "Use the address that it names, most often the same with https://.",
    ),
    "not_peerbus": (
        "Something that is no peerbus server answers there.",
        "Compare host, port and path of the address. A proxy in between has to pass on everything below /v1/.",
    ),
}
"""By the code of the attempt: what it means, and what to do."""


def server_findings(facts: Facts) -> Iterator[Finding]:
    """The lines on the server and the ways to it."""
    if facts.is_secure is not None:
        yield _secure_page(facts.is_secure)
    if facts.is_address_secure is not None:
        yield _secure_address(facts.is_address_secure)
    if facts.server is not None:
        yield _server(facts.server)
    if facts.websocket is not None:
        yield _websocket(facts.websocket, is_other_ok=worked(facts.longpoll))
    if facts.longpoll is not None:
        yield _longpoll(facts.longpoll, is_other_ok=worked(facts.websocket))


def headline_of(facts: Facts) -> str | None:
    """Why there is no way to the server at all; None if there is one."""
    if facts.server is not None and not facts.server.is_ok:
        if facts.server.code in ("certificate", "not_peerbus"):
            return _SERVER_TROUBLE[facts.server.code][0]
        return "The signaling server cannot be reached."
    ways = [attempt for attempt in (facts.websocket, facts.longpoll) if attempt is not None]
    if not ways or any(attempt.is_ok for attempt in ways):
        return None
    for attempt in ways:
        if attempt.code in (*KEY_CODES, _NO_DEMO):
            return _key_trouble(attempt)[0]
    return "The signaling server cannot be reached."


def _secure_page(is_secure: bool) -> Finding:
    if is_secure:
        return finding("secure_context", "ok", "The browser takes this page for secure.")
    return finding(
        "secure_context",
        "fail",
        "The browser does not take this page for secure.",
        "Open it by https://, or on the server's own machine by http://localhost. "
        "The operator: start with --tls self-signed, or with a certificate.",
    )


def _secure_address(is_secure: bool) -> Finding:
    if is_secure:
        return finding("secure_context", "ok", "Browsers take pages of this address for secure.")
    return finding(
        "secure_context",
        "warn",
        "Browsers do not take pages of this address for secure: no camera, microphone or encryption in them.",
        "Let browsers open it by https://: start with --tls self-signed, or with a certificate.",
    )


def _server(attempt: Attempt) -> Finding:
    if attempt.is_ok:
        return tried("server", attempt, f"It answers, after {attempt.ms} ms.")
    summary, remedy = _SERVER_TROUBLE.get(attempt.code, _NOT_THERE)
    return failed("server", "fail", attempt, summary, remedy)


def _websocket(attempt: Attempt, *, is_other_ok: bool) -> Finding:
    if attempt.is_ok:
        return tried("signaling_websocket", attempt, f"Connected in {attempt.ms} ms.")
    if is_other_ok:
        return failed(
            "signaling_websocket",
            "warn",
            attempt,
            "WebSockets do not get through; everything goes by long-poll, which is slower.",
            "A proxy in between has to pass on the headers Upgrade and Connection of /v1/ws.",
        )
    return _signaling_failed("signaling_websocket", attempt)


def _longpoll(attempt: Attempt, *, is_other_ok: bool) -> Finding:
    if attempt.is_ok:
        return tried("signaling_longpoll", attempt, f"Connected in {attempt.ms} ms.")
    if is_other_ok:
        return failed(
            "signaling_longpoll",
            "warn",
            attempt,
            "Long-poll does not get through; there is no second way where WebSockets fail.",
            "A proxy in between has to pass on POST and GET below /v1/longpoll, and to wait 30 s for an answer.",
        )
    return _signaling_failed("signaling_longpoll", attempt)


def _signaling_failed(check: str, attempt: Attempt) -> Finding:
    is_key = attempt.code in (*KEY_CODES, _NO_DEMO)
    summary, remedy = _key_trouble(attempt) if is_key else _NOT_THERE
    return failed(check, "fail", attempt, summary, remedy)


def _key_trouble(attempt: Attempt) -> tuple[str, str]:
    if attempt.code == _NO_DEMO:
        return (
            "The server gives no key to visitors.",
            "Use a key of your project: `PEERBUS_API_KEY` for `peerbus doctor`, the field above on the page /test.",
        )
    return "The server refuses the key.", "Use a key that is good for this server and this channel."
