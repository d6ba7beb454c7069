"""
What is said of STUN and TURN servers, own addresses, the NAT, and calls to the media worker.

Owns these sentences. Never tries anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from peerbus.client.doctor.facts import CallAttempt, Facts, ServerAttempt
from peerbus.client.doctor.finding import Finding, Status, failed, finding, tried
from peerbus.client.doctor.signs import (
    KEY_CODES,
    is_lost,
    is_refused,
    is_turn,
    is_udp,
    is_udp_blocked,
    worked,
)

TLS_ERROR: Final = "TLS: "
"""How an error begins that the certificate is the reason of."""
_QUOTA_CODES: Final = frozenset({"486", "508"})
_CERTIFICATE_REMEDY: Final = (
    "Give coturn a certificate for its own name that is trusted and has not ended: "
    "--turn-cert and --turn-key."
)


def network_findings(facts: Facts) -> Iterator[Finding]:
    """The lines on the network beyond signaling."""
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


def headlines_of_turn(facts: Facts) -> Iterator[str]:
    """What is wrong with the TURN servers together, where calls work without them."""
    turn = [server for server in facts.servers or () if is_turn(server)]
    if turn and not any(server.is_ok for server in turn):
        is_full = all(server.code in _QUOTA_CODES for server in turn)
        yield "The TURN server has no room left." if is_full else "The TURN server does not answer."
    elif not all(server.is_ok for server in turn):
        yield "The TURN server does not answer by every way."


def _servers(facts: Facts) -> Iterator[Finding]:
    servers = facts.servers or ()
    if not any(is_turn(server) for server in servers):
        yield finding(
            "turn",
            "warn" if is_lost(facts.call) else "skipped",
            "The server has no TURN server to offer.",
            "Who is in a network that lets no UDP out needs one: `peerbus serve --with-turn`, turn-config/README.md.",
        )
    for server in servers:
        yield _server(facts, server)


def _server(facts: Facts, server: ServerAttempt) -> Finding:
    check = f"ice_server {server.url}"
    if server.is_ok:
        what = "It relays" if is_turn(server) else "It answers"
        return tried(check, server, f"{what}, after {server.ms} ms.")
    if is_refused(server):
        return failed(
            check,
            "fail",
            server,
            "It refuses the credential.",
            "Server and TURN server have different secrets, or clocks: write coturn's configuration anew with "
            "`peerbus turn-config`, restart coturn, and compare the clocks.",
        )
    if is_udp_blocked(facts) and is_udp(server):
        return failed(check, "warn", server, "No answer: UDP does not get through.", _UDP_REMEDY)
    is_relayed = any(one.is_ok and is_turn(one) for one in facts.servers or ())
    status: Status = "warn" if is_relayed or not is_turn(server) else "fail"
    return failed(check, status, server, *_server_trouble(facts, server))


def _server_trouble(facts: Facts, server: ServerAttempt) -> tuple[str, str]:
    """What one means that neither refuses a credential nor suffers from a firewall, and what to do."""
    if server.code in _QUOTA_CODES:
        return (
            "It has no room left for this client.",
            "Wait until others have ended, or raise user-quota and total-quota in coturn's configuration.",
        )
    if server.error.startswith(TLS_ERROR):
        return "Its certificate is not taken.", _CERTIFICATE_REMEDY
    if server.url.startswith("turns:") and any(
        one.is_ok and one.url.endswith("transport=tcp") for one in facts.servers or ()
    ):
        # Browsers do not say of TLS what failed.
        return (
            "By TLS it does not answer, or its certificate is not taken.",
            f"Check that its TLS port is open, and that clients are told a name, not an address. {_CERTIFICATE_REMEDY}",
        )
    return (
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
        return finding("candidates", "ok", text)
    return finding(
        "candidates",
        "warn",
        "No address was found.",
        "See that this machine has a network. In a browser, an extension or a policy may forbid WebRTC its addresses: "
        "switch it off for this site.",
    )


def _nat(facts: Facts) -> Finding:
    nat = facts.nat
    assert nat is not None
    if nat.is_direct:
        return finding("nat", "ok", "There is none: others see this machine's own address.")
    if not nat.servers:
        return finding("nat", "skipped", "Unknown: no STUN server answered.")
    if len(nat.mappings) > 1:
        return finding(
            "nat",
            "ok" if worked(facts.relay_call) or worked(facts.call) else "warn",
            "It maps each destination anew (symmetric): between peers a TURN server or the media worker is needed.",
        )
    if nat.servers == 1:
        return finding("nat", "ok", f"Seen as {nat.mappings[0]}; one STUN server cannot tell how it maps.")
    return finding(
        "nat", "ok", f"It keeps its mapping (seen as {nat.mappings[0]}): peers can reach each other."
    )


def _call(facts: Facts, call: CallAttempt) -> Finding:
    if call.is_ok:
        return tried("call", call, _call_summary(call))
    if call.code == "no_worker":
        return failed(
            "call",
            "fail",
            call,
            "The server has no media worker.",
            "Start a media worker: `peerbus serve` does, unless --sfu-workers is 0; `peerbus sfu` on another machine.",
        )
    if call.code in KEY_CODES:
        return failed("call", "fail", call, "The key does not allow calls.", "Use a key that allows them.")
    if is_udp_blocked(facts):
        status: Status = "warn" if worked(facts.relay_call) else "fail"
        return failed("call", status, call, "No path: UDP does not get through.", _UDP_REMEDY)
    if worked(facts.relay_call):
        return failed(
            "call", "warn", call, "The media worker is reached through the TURN server only.", _WORKER_REMEDY
        )
    return failed("call", "fail", call, "The media worker cannot be reached.", _WORKER_REMEDY)


_WORKER_REMEDY: Final = (
    "Open the worker's UDP port (7900) in the firewall, and name the address by which the world reaches it: "
    "`--advertise HOST`."
)


def _relay_call(facts: Facts, call: CallAttempt) -> Finding:
    if call.is_ok:
        return tried("relay_call", call, _call_summary(call))
    if not any(server.is_ok and is_turn(server) for server in facts.servers or ()):
        return failed("relay_call", "warn", call, "Not possible: no TURN server relays.", "")
    return failed(
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
