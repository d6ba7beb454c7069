"""
`peerbus doctor`: tests the connection to a server, and says what works and what to do about the rest.

Owns the options, the order of the checks and the exit code: 0, 1 when something fails without which calls or messages
do not work, 2 for a command line that makes no sense.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from msgspec import structs

from peerbus.client.agent import AgentConnection
from peerbus.client.api import DEFAULT_API, parse_api
from peerbus.client.demo_key import fetch_demo_key
from peerbus.client.doctor.call_checks import Figures, try_call
from peerbus.client.doctor.device_checks import try_device
from peerbus.client.doctor.facts import Attempt, CallAttempt, Facts, ServerAttempt
from peerbus.client.doctor.ice_checks import try_servers
from peerbus.client.doctor.judgement import judge
from peerbus.client.doctor.report import Circumstances, as_json, as_text
from peerbus.client.doctor.server_check import is_address_secure, try_server
from peerbus.client.doctor.signaling_checks import try_signaling
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.terminal_text import one_line
from peerbus.client.transport import TransportSettings
from peerbus.protocol.messages import Connected, IceServer
from peerbus.protocol.secrets import Secret

CLIENT: Final = f"peerbus-doctor/{version('peerbus')}"
FAILED_CODE: Final = 1
TIMEOUT_S: Final = 6.0
"""How long each attempt may take, if nothing else is asked for."""
_LONGEST_S: Final = 120.0
_USAGE_CODE: Final = 2


def main(argv: Sequence[str]) -> int:
    """Runs one command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="peerbus doctor",
        description="Tests signaling, STUN, TURN and a call. The key of a project of your own comes from "
        "PEERBUS_API_KEY; without one the demo project's is used.",
    )
    parser.add_argument("--api", default=DEFAULT_API, help="the server's address (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")
    parser.add_argument(
        "--devices", action="store_true", help="also look for a camera and a microphone (Linux)"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help="how long each attempt may take (default: %(default)g)",
    )
    options = parser.parse_args(argv)
    try:
        settings = TransportSettings(parse_api(options.api), "json", not options.insecure, CLIENT)
    except PeerbusError as error:
        sys.stderr.write(f"peerbus doctor: {error.message}\n")
        return _USAGE_CODE
    api_key = os.environ.get("PEERBUS_API_KEY") or None
    facts, correlation_id = asyncio.run(examine(settings, api_key, options.timeout))
    camera, microphone = (
        try_device(device) if options.devices else "untried" for device in ("camera", "microphone")
    )
    facts = structs.replace(facts, camera=camera, microphone=microphone)
    around = Circumstances(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        api=settings.api.base,
        client=CLIENT,
        correlation_id=correlation_id,
    )
    judgement = judge(facts)
    if options.json:
        sys.stdout.write(json.dumps(as_json(around, facts, judgement), indent=2, ensure_ascii=False) + "\n")
    else:
        # What a server says may hold anything.
        text = as_text(around, judgement)
        sys.stdout.write("".join(f"{one_line(line)}\n" for line in text.splitlines()))
    return FAILED_CODE if judgement.verdict.status == "fail" else 0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds up to {_LONGEST_S:g}")
    return value


async def examine(
    settings: TransportSettings, api_key: str | None, timeout_s: float = TIMEOUT_S
) -> tuple[Facts, str]:
    """
    All checks of the connection; the correlation id of the first that reached the server, or an empty text.

    Without a key it takes one of the demo project. Each attempt may take `timeout_s`.
    """
    server = await try_server(settings, timeout_s)
    if not server.is_ok:
        return Facts(server=server), ""
    facts = Facts(is_address_secure=is_address_secure(settings.api.base), server=server)
    channel = f"connection-test-{secrets.token_hex(6)}"
    try:
        key = await fetch_demo_key(settings) if api_key is None else Secret(api_key)
    except PeerbusError as error:
        failed = _failure(error)
        return structs.replace(facts, websocket=failed, longpoll=failed), error.correlation_id or ""
    by_websocket = await try_signaling("websocket", settings, key, channel, timeout_s)
    by_poll = await try_signaling("longpoll", settings, key, channel, timeout_s)
    facts = structs.replace(facts, websocket=by_websocket.attempt, longpoll=by_poll.attempt)
    connected = by_websocket.connected or by_poll.connected
    if connected is None:
        return facts, by_websocket.correlation_id or by_poll.correlation_id
    facts = await _try_media(facts, settings, key, channel, connected, timeout_s)
    return facts, connected.correlation_id


async def _try_media(
    facts: Facts,
    settings: TransportSettings,
    key: Secret,
    channel: str,
    connected: Connected,
    timeout_s: float,
) -> Facts:
    async with AsyncExitStack() as stack:
        agents = []
        try:
            for name in ("near", "far"):
                agent = AgentConnection(settings.api.base, key.reveal(), ssl=settings.ssl)
                await stack.enter_async_context(agent)
                websocket = facts.websocket is not None and facts.websocket.is_ok
                await agent.connect(channel, f"{name}-{secrets.token_hex(2)}", use_websocket=websocket)
                agents.append(agent)
        except PeerbusError as error:
            return structs.replace(facts, call=CallAttempt(error=error.message, code=error.code.value))
        # At once, since in a network that swallows UDP both wait for a long time.
        found, direct = await asyncio.gather(
            try_servers(connected.ice_servers, settings.ssl, timeout_s),
            try_call(agents, [], "all", timeout_s, is_measured=True),
        )
        facts = structs.replace(facts, servers=found.servers, candidates=found.candidates, nat=found.nat)
        is_measured = not direct.call.is_ok
        relayed = await _try_relay(facts, agents, connected.ice_servers, timeout_s, is_measured=is_measured)
    best = direct if direct.call.is_ok or relayed is None else relayed
    return structs.replace(
        facts,
        call=direct.call,
        relay_call=None if relayed is None else relayed.call,
        mbit_per_s=best.mbit_per_s,
        quality=best.quality,
    )


async def _try_relay(
    facts: Facts,
    agents: Sequence[AgentConnection],
    servers: Sequence[IceServer],
    timeout_s: float,
    *,
    is_measured: bool,
) -> Figures | None:
    """Through the first way of a TURN server that relays; None where there is none at all."""
    turn: list[ServerAttempt] = [one for one in facts.servers or () if one.url.startswith("turn")]
    if not turn:
        return None
    for one in turn:
        if one.is_ok:
            way = [structs.replace(server, urls=[one.url]) for server in servers if one.url in server.urls]
            return await try_call(agents, way, "relay", timeout_s, is_measured=is_measured)
    return Figures(CallAttempt(error=turn[0].error, code=turn[0].code))


def _failure(error: PeerbusError) -> Attempt:
    code = "" if error.code is ErrorCode.CONNECT_FAILED else error.code.value
    return Attempt(error=error.message, code=code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
