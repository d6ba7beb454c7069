"""
A bot that sends everything back to whoever sent it to the peers of its channel, in whatever mode these are.

    python client/examples/echo_peer_bot.py 'http://localhost:8080/chat#channel=lobby&project=demo' mesh

The mode counts if the bot is the first; later ones take what they find. For a project of your own put its key into
PEERBUS_API_KEY; the demo project needs none.
"""

import asyncio
import contextlib
import os
import sys
from typing import Any

from peerbus.client import AgentConnection
from peerbus.client.link import parse_link
from peerbus.client.webrtc import WebRTCHelper


async def echo(link_text: str, mode: Any) -> None:
    """Joins the peers in the channel of the link and answers until it is ended."""
    link = parse_link(link_text)
    api_key = None if link.project == "demo" else os.environ.get("PEERBUS_API_KEY")
    async with AgentConnection(link.origin, api_key) as agent:
        await agent.connect(
            link.channel, "peer-echo", link.password, sealed=link.seals, api_key_scope=link.scope
        )
        async with WebRTCHelper(agent, mode=mode) as peers:
            peers.on_data_received = lambda data, peer: peers.send_data(data, peer)
            peers.on_mode_change = lambda mode, reason: print(f"mode {mode}: {reason}", flush=True)
            peers.on_error = lambda error: print(f"error: {error}", flush=True)
            print(
                f"{agent.agent_name} is in {link.channel!r}, mode {peers.mode}; Ctrl-C ends it.", flush=True
            )
            await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: echo_peer_bot.py LINK [MODE]")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(echo(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "auto"))
