"""
A bare aiohttp WebSocket server: the floor that figures are compared with.

Owns the least that could be called fan-out: what the sender sends is framed once and written to every other socket.
It has no sessions, names, log or limits. `python -m tests.bench.rig.floor` prints its port and serves until killed.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import WSMsgType, web

from tests.bench.rig.session import framed


async def serve() -> None:
    """Serves for ever."""
    receivers: dict[web.WebSocketResponse, asyncio.Transport] = {}

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        if request.query.get("role") != "sender":
            assert request.transport is not None
            receivers[ws] = request.transport
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                data = framed(message.data)
                for transport in receivers.values():
                    transport.write(data)
        receivers.pop(ws, None)
        return ws

    app = web.Application()
    app.router.add_get("/ws", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
