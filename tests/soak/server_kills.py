"""
The whole server, killed again and again under load. Scale: kills.

Agents over WebSocket and long-poll send durable messages all the time, through every kill; the server starts again over
the same folder and port. In the end an auditor reads the log: every acknowledged message stands there once, at its
offset, in its sender's order; what was sent again was recognised; and everybody received everything of the others once.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from peerbus.client import AgentConnection
from tests.soak.soak import Soak
from tests.support.journal import Journal, Ledger, until
from tests.support.live_server import LiveServer

CHANNEL: Final = "under-fire"
# Each sender's transport.
SENDERS: Final = {"ann": True, "ben": True, "cho": True, "dan": False}
_PENDING_MAX: Final = 60
_PAUSE_S: Final = 0.01
_LIFE_MAX_S: Final = 0.8
_SETTINGS: Final[dict[str, object]] = {
    "send_rate_per_s": 1_000,
    "request_rate_per_s": 1_000,
    "connects_per_address_per_s": 1_000,
}


def run(seed: int, scale: int) -> Mapping[str, object]:
    """Kills the server so often, at moments drawn from the seed; says what was counted."""
    with tempfile.TemporaryDirectory() as name:
        server = LiveServer(Path(name), dict(_SETTINGS))
        server.start()
        try:
            counted = asyncio.run(_fire(server, random.Random(seed), scale))
            server.stop()
        finally:
            if server.is_running:
                server.kill()
    return counted


async def _fire(server: LiveServer, chance: random.Random, kills: int) -> Mapping[str, object]:
    ledger = Ledger(server, CHANNEL)
    async with AsyncExitStack() as stack:
        for name, use_websocket in SENDERS.items():
            agent = AgentConnection(server.url, server.developer_key)
            await stack.enter_async_context(agent)
            ledger.journals.append(Journal(agent, name))
            await agent.connect(CHANNEL, name, use_websocket=use_websocket)
        senders = [asyncio.create_task(_send(journal)) for journal in ledger.journals]
        for _ in range(kills):
            acked = sum(len(journal.acked) for journal in ledger.journals)
            await until(lambda: sum(len(journal.acked) for journal in ledger.journals) > acked)  # noqa: B023
            await asyncio.sleep(chance.random() * _LIFE_MAX_S)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            for journal in ledger.journals:
                journal.agent.reconnect_now()
        for task in senders:
            task.cancel()
        for journal in ledger.journals:
            await journal.settle()
        await ledger.read_log()
        ledger.check_log()
        ledger.check_all_sent_is_acked()
        await ledger.check_durable_received()
    return {
        "kills": kills,
        "acknowledged": sum(len(journal.acked) for journal in ledger.journals),
        "stored": len(ledger.stored),
        "retries answered from the log": sum(journal.duplicates for journal in ledger.journals),
        "gaps of the live class told": sum(len(journal.gaps) for journal in ledger.journals),
    }


async def _send(journal: Journal) -> None:
    while True:
        if journal.pending < _PENDING_MAX:
            journal.send()
        await asyncio.sleep(_PAUSE_S)


SOAK: Final = Soak(run, full_scale=300, slice_scale=10)
