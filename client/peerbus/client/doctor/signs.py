"""
What several facts of a connection test mean together.

Owns the signs: when UDP counts as blocked, a credential as refused, a call as lost on the network.
"""

from __future__ import annotations

from typing import Final

from peerbus.client.doctor.facts import Attempt, CallAttempt, Facts, ServerAttempt

KEY_CODES: Final = frozenset({"unauthorized", "expired", "revoked", "forbidden", "used_up"})
"""Why a server refuses a key, or what is asked for with it."""
_CREDENTIAL_CODES: Final = frozenset({"401", "403", "438", "441"})
_SAID_BY_SERVER: Final = frozenset({"no_worker", *KEY_CODES})
"""Why a call failed that never came as far as the network."""


def worked(attempt: Attempt | None) -> bool:
    """Whether it was tried, and worked."""
    return attempt is not None and attempt.is_ok


def is_turn(server: ServerAttempt) -> bool:
    """Whether it is to relay."""
    return server.url.startswith("turn")


def is_udp(server: ServerAttempt) -> bool:
    """Whether it is reached by UDP."""
    is_by_tcp = server.url.endswith("transport=tcp")
    return server.url.startswith("stun:") or (server.url.startswith("turn:") and not is_by_tcp)


def is_refused(server: ServerAttempt) -> bool:
    """Whether a server answers, and takes no credential."""
    return not server.is_ok and server.code in _CREDENTIAL_CODES


def is_lost(call: CallAttempt | None) -> bool:
    """Whether a call failed on the network."""
    return call is not None and not call.is_ok and call.code not in _SAID_BY_SERVER


def is_udp_blocked(facts: Facts) -> bool:
    """Whether nothing that goes by UDP got through, while the server answers by other ways."""
    udp = [server for server in facts.servers or () if is_udp(server)]
    is_server_there = worked(facts.websocket) or worked(facts.longpoll)
    nobody_answers = all(not server.is_ok and not is_refused(server) for server in udp)
    return is_server_there and is_lost(facts.call) and bool(udp) and nobody_answers
