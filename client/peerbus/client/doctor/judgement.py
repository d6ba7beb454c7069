"""
What the facts of a connection test mean, and what to do about it, in plain words.

Owns every sentence and every bound. Never tries anything. The page /test has the same module in TypeScript; both run
`tests/vectors/doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from peerbus.client.doctor.facts import Attempt, CallAttempt, DeviceState, Facts, Quality, ServerAttempt

Status: TypeAlias = Literal["ok", "warn", "fail", "skipped"]

LOSS_PERCENT: Final = 3.0
JITTER_MS: Final = 30.0
RTT_MS: Final = 300.0
MBIT_PER_S: Final = 1.0
TLS_ERROR: Final = "TLS: "
"""How an error begins that the certificate is the reason of."""
_KEY_CODES: Final = frozenset({"unauthorized", "expired", "revoked", "forbidden", "used_up"})
_CREDENTIAL_CODES: Final = frozenset({"401", "403", "438", "441"})


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report."""

    check: str
    label: str
    status: Status
    summary: str
    remedy: str = ""
    detail: str = ""
    """The exact error."""
    ms: int | None = None


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The line on top. `fail`: something without which calls or messages do not work."""

    status: Status
    headline: str
    remedies: tuple[str, ...] = ()


class Judgement(Struct, frozen=True, kw_only=True):
    """All that is said."""

    verdict: Verdict
    findings: tuple[Finding, ...]


def judge(facts: Facts) -> Judgement:
    """What the facts mean."""
    findings = tuple(_findings(facts))
    # What fails goes before what could be better.
    causes = [one for one in findings if one.status == "fail"]
    status: Status = "fail" if causes else "ok"
    causes += [one for one in findings if one.status == "warn"]
    if causes and status == "ok":
        status = "warn"
    headlines = [*_headlines(facts), *(one.summary for one in causes), "Everything works."]
    headline = headlines[0]
    remedies = tuple(dict.fromkeys(finding.remedy for finding in causes if finding.remedy))
    return Judgement(verdict=Verdict(status=status, headline=headline, remedies=remedies), findings=findings)


# --- what several facts mean together -----------------------------------------------------------------------------


def _is_udp(url: str) -> bool:
    return url.startswith("stun:") or (url.startswith("turn:") and not url.endswith("transport=tcp"))


def _is_refused(server: ServerAttempt) -> bool:
    return not server.is_ok and server.code in _CREDENTIAL_CODES


def is_udp_blocked(facts: Facts) -> bool:
    """Whether nothing that goes by UDP got through, while the server answers by other ways."""
    udp = [server for server in facts.servers or () if _is_udp(server.url)]
    is_server_there = _worked(facts.websocket) or _worked(facts.longpoll)
    nobody_answers = all(not server.is_ok and not _is_refused(server) for server in udp)
    return is_server_there and _is_lost(facts.call) and bool(udp) and nobody_answers


_SAID_BY_SERVER: Final = frozenset({"no_worker", *_KEY_CODES})
"""Why a call failed that never came as far as the network."""


def _is_lost(call: CallAttempt | None) -> bool:
    """Whether a call failed on the network."""
    return call is not None and not call.is_ok and call.code not in _SAID_BY_SERVER


def _worked(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.is_ok


def _headlines(facts: Facts) -> Iterator[str]:
    """The causes behind several findings, the gravest first."""
    ways = [attempt for attempt in (facts.websocket, facts.longpoll) if attempt is not None]
    if facts.is_secure is False:
        yield "This page is not secure: camera, microphone and encryption are switched off by the browser."
    if ways and not any(attempt.is_ok for attempt in ways):
        if any(attempt.code in _KEY_CODES for attempt in ways):
            yield "The server refuses the key."
        else:
            yield "The signaling server cannot be reached."
        return
    if is_udp_blocked(facts):
        if _worked(facts.relay_call):
            yield "UDP is blocked on this network: calls go through the TURN server by TCP."
        else:
            yield "UDP is blocked on this network."
    if any(_is_refused(server) for server in facts.servers or ()):
        yield "The TURN server refuses the credential."
    if facts.call is not None and not facts.call.is_ok:
        return  # What the call's own line says.
    turn = [server for server in facts.servers or () if server.url.startswith("turn")]
    if turn and not any(server.is_ok for server in turn):
        yield "The TURN server does not answer."
    elif not all(server.is_ok for server in turn):
        yield "The TURN server does not answer by every way."
    if facts.camera in ("none", "denied", "busy", "failed"):
        yield _DEVICES["camera"][facts.camera][0]
    is_slow = facts.mbit_per_s is not None and facts.mbit_per_s < MBIT_PER_S
    if is_slow or (facts.quality is not None and _is_bad(facts.quality)):
        yield "The line is slow, or loses too much."


# --- one line for each check --------------------------------------------------------------------------------------


def _findings(facts: Facts) -> Iterator[Finding]:
    if facts.is_secure is not None:
        yield _secure_context(facts.is_secure)
    if facts.websocket is not None:
        yield _websocket(facts.websocket, is_other_ok=_worked(facts.longpoll))
    if facts.longpoll is not None:
        yield _longpoll(facts.longpoll, is_other_ok=_worked(facts.websocket))
    if facts.servers is not None:
        yield from _servers(facts)
    if facts.candidates is not None:
        yield _candidates(facts)
    if facts.nat is not None:
        yield _nat(facts)
    if facts.call is not None:
        yield _call(facts, facts.call)
    if facts.relay_call is not None:
        yield _relay_call(facts, facts.relay_call)
    if facts.mbit_per_s is not None:
        yield _throughput(facts.mbit_per_s)
    if facts.quality is not None:
        yield _quality(facts.quality)
    for device, state in (("camera", facts.camera), ("microphone", facts.microphone)):
        if state is not None:
            yield _device(device, state)


def _secure_context(is_secure: bool) -> Finding:
    if is_secure:
        return _finding("secure_context", "ok", "The browser takes this page for secure.")
    return _finding(
        "secure_context",
        "fail",
        "The browser does not take this page for secure.",
        "Open it by https://, or on the server's own machine by http://localhost. "
        "The operator: start with --tls self-signed, or with a certificate.",
    )


def _websocket(attempt: Attempt, *, is_other_ok: bool) -> Finding:
    if attempt.is_ok:
        return _tried("signaling_websocket", attempt, f"Connected in {attempt.ms} ms.")
    if is_other_ok:
        return _failed(
            "signaling_websocket",
            "warn",
            attempt,
            "WebSockets do not get through; everything goes by long-poll, which is slower.",
            "A proxy in between has to pass on the headers Upgrade and Connection of /v1/ws.",
        )
    return _signaling_failed("signaling_websocket", attempt)


def _longpoll(attempt: Attempt, *, is_other_ok: bool) -> Finding:
    if attempt.is_ok:
        return _tried("signaling_longpoll", attempt, f"Connected in {attempt.ms} ms.")
    if is_other_ok:
        return _failed(
            "signaling_longpoll",
            "warn",
            attempt,
            "Long-poll does not get through; there is no second way where WebSockets fail.",
            "A proxy in between has to pass on POST and GET below /v1/longpoll, and to wait 30 s for an answer.",
        )
    return _signaling_failed("signaling_longpoll", attempt)


def _signaling_failed(check: str, attempt: Attempt) -> Finding:
    if attempt.code in _KEY_CODES:
        summary, remedy = (
            "The server refuses the key.",
            "Use a key that is good for this server and this channel.",
        )
    else:
        summary = "The server does not answer."
        remedy = (
            "Check the address, and that the server runs (`peerbus serve`) and no firewall is in between."
        )
    return _failed(check, "fail", attempt, summary, remedy)


def _servers(facts: Facts) -> Iterator[Finding]:
    servers = facts.servers or ()
    if not any(server.url.startswith("turn") for server in servers):
        yield _finding(
            "turn",
            "warn" if _is_lost(facts.call) else "skipped",
            "The server has no TURN server to offer.",
            "Who is in a network that lets no UDP out needs one: `peerbus serve --with-turn`, turn-config/README.md.",
        )
    is_relayed = any(server.is_ok and server.url.startswith("turn") for server in servers)
    for server in servers:
        yield _server(server, is_relayed=is_relayed, is_udp_blocked=is_udp_blocked(facts))


def _server(server: ServerAttempt, *, is_relayed: bool, is_udp_blocked: bool) -> Finding:
    check = f"ice_server {server.url}"
    if server.is_ok:
        what = "It relays" if server.url.startswith("turn") else "It answers"
        return _tried(check, server, f"{what}, after {server.ms} ms.")
    if _is_refused(server):
        return _failed(
            check,
            "fail",
            server,
            "It refuses the credential.",
            "Server and TURN server have different secrets, or clocks: write coturn's configuration anew with "
            "`peerbus turn-config`, restart coturn, and compare the clocks.",
        )
    if is_udp_blocked and _is_udp(server.url):
        return _failed(check, "warn", server, "No answer: UDP does not get through.", _UDP_REMEDY)
    if server.error.startswith(TLS_ERROR):
        return _failed(
            check,
            "warn",
            server,
            "Its certificate is not taken.",
            "Give coturn a certificate for its own name that is trusted and has not ended: --turn-cert and --turn-key.",
        )
    status: Status = "warn" if is_relayed or not server.url.startswith("turn") else "fail"
    return _failed(
        check,
        status,
        server,
        "It does not answer.",
        "Check that coturn runs and that its ports are open: 3478 for UDP and TCP, its TLS port, and its relay ports.",
    )


_UDP_REMEDY: Final = (
    "Use another network, or have its firewall let UDP out. The operator: offer TURN by TLS on port 443, "
    "see turn-config/README.md."
)


def _candidates(facts: Facts) -> Finding:
    found = facts.candidates
    assert found is not None
    text = (
        f"{found.host} host, {found.mdns} mDNS, {found.srflx} srflx, {found.relay} relay; "
        f"{found.ipv6} of them IPv6."
    )
    if found.host + found.mdns + found.srflx + found.relay:
        return _finding("candidates", "ok", text)
    return _finding(
        "candidates",
        "warn",
        "No address was found.",
        "A browser extension or a policy may forbid WebRTC its addresses; switch it off for this site.",
    )


def _nat(facts: Facts) -> Finding:
    nat = facts.nat
    assert nat is not None
    if nat.is_direct:
        return _finding("nat", "ok", "There is none: others see this machine's own address.")
    if not nat.servers:
        return _finding("nat", "skipped", "Unknown: no STUN server answered.")
    if len(nat.mappings) > 1:
        return _finding(
            "nat",
            "ok" if _worked(facts.relay_call) or _worked(facts.call) else "warn",
            "It maps each destination anew (symmetric): between peers a TURN server or the media worker is needed.",
        )
    if nat.servers == 1:
        return _finding("nat", "ok", f"Seen as {nat.mappings[0]}; one STUN server cannot tell how it maps.")
    return _finding(
        "nat", "ok", f"It keeps its mapping (seen as {nat.mappings[0]}): peers can reach each other."
    )


def _call(facts: Facts, call: CallAttempt) -> Finding:
    if call.is_ok:
        return _tried("call", call, _call_summary(call))
    if call.code == "no_worker":
        return _failed(
            "call",
            "fail",
            call,
            "The server has no media worker.",
            "Start a media worker: `peerbus serve` does, unless --sfu-workers is 0; `peerbus sfu` on another machine.",
        )
    if call.code in _KEY_CODES:
        return _failed("call", "fail", call, "The key does not allow calls.", "Use a key that allows them.")
    if is_udp_blocked(facts):
        status: Status = "warn" if _worked(facts.relay_call) else "fail"
        return _failed("call", status, call, "No path: UDP does not get through.", _UDP_REMEDY)
    if _worked(facts.relay_call):
        return _failed(
            "call", "warn", call, "The media worker is reached through the TURN server only.", _WORKER_REMEDY
        )
    return _failed("call", "fail", call, "The media worker cannot be reached.", _WORKER_REMEDY)


_WORKER_REMEDY: Final = (
    "Open the worker's UDP port (7900) in the firewall, and name the address by which the world reaches it: "
    "`--advertise HOST`."
)


def _relay_call(facts: Facts, call: CallAttempt) -> Finding:
    if call.is_ok:
        return _tried("relay_call", call, _call_summary(call))
    if not any(server.is_ok and server.url.startswith("turn") for server in facts.servers or ()):
        return _failed("relay_call", "warn", call, "Not possible: no TURN server relays.", "")
    return _failed(
        "relay_call",
        "warn",
        call,
        "The TURN server relays, but not to the media worker.",
        "Allow the worker's address, if it is a private one: `--turn-allow-peers`, and open the relay ports.",
    )


def _call_summary(call: CallAttempt) -> str:
    parts = [f"in the call after {call.ms} ms"]
    if call.data_ms is not None:
        parts.append(f"data there and back in {call.data_ms} ms")
    if call.media_ms is not None:
        parts.append(f"first picture after {call.media_ms} ms")
    text = ", ".join(parts) + "."
    return text[0].upper() + text[1:]


def _throughput(mbit_per_s: float) -> Finding:
    text = f"{mbit_per_s:.1f} Mb/s by data channel."
    if mbit_per_s >= MBIT_PER_S:
        return _finding("throughput", "ok", text)
    return _finding(
        "throughput",
        "warn",
        text,
        "Too little for video: end other downloads, or send small pictures.",
    )


def _lost_percent(quality: Quality) -> float:
    return 100 * (quality.sent - quality.received) / max(1, quality.sent)


def _is_bad(quality: Quality) -> bool:
    is_late = quality.jitter_ms > JITTER_MS or quality.rtt_ms > RTT_MS
    return is_late or _lost_percent(quality) > LOSS_PERCENT


def _quality(quality: Quality) -> Finding:
    delay = f"{quality.rtt_ms:.0f} ms there and back, {quality.jitter_ms:.0f} ms jitter"
    text = f"{_lost_percent(quality):.1f} % lost, {delay}."
    if _is_bad(quality):
        remedy = (
            "Calls will stutter: use a cable or stand nearer to the access point, and end other downloads."
        )
        return _finding("quality", "warn", text, remedy)
    return _finding("quality", "ok", text)


_DEVICES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    device: {
        "none": (
            f"There is no {device}.",
            f"Connect a {device}, and see that the system's settings list it; without one you can still see and hear.",
        ),
        "denied": (
            f"The {device} is blocked for this site.",
            f"Click the lock in the address bar, allow the {device}, and test again.",
        ),
        "busy": (
            f"The {device} is used by another program.",
            f"Close the program that uses the {device}, and test again.",
        ),
        "failed": (
            f"The {device} does not start.",
            f"Unplug the {device} and plug it in again, or restart the browser.",
        ),
    }
    for device in ("camera", "microphone")
}


def _device(device: str, state: DeviceState) -> Finding:
    if state == "ok":
        return _finding(device, "ok", f"The {device} works.")
    summary, remedy = _DEVICES[device][state]
    return _finding(device, "warn", summary, remedy)


# --- lines --------------------------------------------------------------------------------------------------------

_LABELS: Final = {
    "secure_context": "Secure context",
    "signaling_websocket": "Signaling by WebSocket",
    "signaling_longpoll": "Signaling by long-poll",
    "turn": "TURN servers",
    "candidates": "Own addresses",
    "nat": "NAT",
    "call": "Call and data channel",
    "relay_call": "Call through TURN only",
    "throughput": "Throughput",
    "quality": "Loss, delay, jitter",
    "camera": "Camera",
    "microphone": "Microphone",
}


def label_of(check: str) -> str:
    """What people are shown for a check."""
    return _LABELS.get(check) or check.removeprefix("ice_server ")


def _finding(check: str, status: Status, summary: str, remedy: str = "") -> Finding:
    return Finding(check=check, label=label_of(check), status=status, summary=summary, remedy=remedy)


def _tried(check: str, attempt: Attempt, summary: str) -> Finding:
    return Finding(check=check, label=label_of(check), status="ok", summary=summary, ms=attempt.ms)


def _failed(check: str, status: Status, attempt: Attempt, summary: str, remedy: str) -> Finding:
    detail = f"{attempt.code}: {attempt.error}" if attempt.code else attempt.error
    return Finding(
        check=check, label=label_of(check), status=status, summary=summary, remedy=remedy, detail=detail
    )
