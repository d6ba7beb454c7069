"""
A bot that says everything back: to all what was said to all, to one alone what one said to it alone.

    python client/examples/echo_bot.py 'http://localhost:8080/chat#channel=lobby&project=demo'

For a project of your own put its key into PEERBUS_API_KEY; the demo project needs none.
"""

import asyncio
import contextlib
import os
import sys

from peerbus.client import AgentConnection, PeerbusError
from peerbus.client.link import parse_link


async def echo(link_text: str) -> None:
    """Joins the channel of the link and answers until it is ended."""
    link = parse_link(link_text)
    api_key = None if link.project == "demo" else os.environ.get("PEERBUS_API_KEY")
    async with AgentConnection(link.origin, api_key) as agent:
        messages = agent.messages()
        await agent.connect(
            link.channel,
            "echo",
            link.password,
            sealed=link.seals,
            api_key_scope=link.scope,
            attributes={"is_bot": True},
        )
        print(f"{agent.agent_name} is in {link.channel!r}; Ctrl-C ends it.", flush=True)
        async for message in messages:
            bots = {member.name for member in agent.members if member.attributes.get("is_bot")}
            # Two bots that answer each other would never stop.
            if message.text and message.sender not in bots:
                to = message.sender if message.is_direct else None
                try:
                    await agent.send_message(f"echo: {message.text}", to=to, reply_to=message.message_id)
                except PeerbusError as error:
                    print(f"not answered: {error}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: echo_bot.py LINK")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(echo(sys.argv[1]))
