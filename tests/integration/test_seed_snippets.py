"""The blocking Python snippets by which the messaging platform of old was taught, with our address and key."""

from __future__ import annotations

import queue
import subprocess
import sys

from peerbus.client.sync import AgentConnection
from tests.support.live_server import LiveServer

FORMER_PATH = "/messaging-platform/api/v1/messaging-service"
PATIENCE_S = 20.0

BASIC_CONNECTION = """
from peerbus.client.sync import AgentConnection

agent = AgentConnection(
    api_url={api!r},
    api_key={key!r}
)

agent.connect("my-game-lobby", "player-1", "secure-password")
agent.send_message("Hello, World!")
agent.disconnect()
"""


def test_basic_connection(live_server: LiveServer) -> None:
    """As a program of its own, which ends by itself; its message has been stored by then."""
    api, key = f"{live_server.url}{FORMER_PATH}", live_server.developer_key
    program = BASIC_CONNECTION.format(api=api, key=key)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    # The development mode also tells of slow steps of the event loop, which a busy machine has; that is no complaint.
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, done.stdout, complaints) == (0, "", [])

    with AgentConnection(api_url=api, api_key=key) as reader:
        reader.connect("my-game-lobby", "reader", "secure-password")
        [message] = reader.receive()
        assert (message.content, message.sender, message.type) == ("Hello, World!", "player-1", "chat-text")
        assert [member.name for member in reader.members] == ["reader"]


def test_poll_source_is_accepted(live_server: LiveServer) -> None:
    agent = AgentConnection(api_url=f"{live_server.url}{FORMER_PATH}", api_key=live_server.developer_key)
    heard: queue.Queue[object] = queue.Queue()
    agent.on_message = lambda message: heard.put(message.content)
    agent.connect(
        channel_name="game-room",
        channel_password="secret",
        agent_name="Player-1",
        poll_source="CACHE",
    )
    with AgentConnection(live_server.url, live_server.developer_key) as other:
        other.connect("game-room", "Player-2", "secret")
        other.send_message("A move", type="game-state")
        assert heard.get(timeout=PATIENCE_S) == "A move"
        assert [message.content for message in agent.receive(poll_source="KAFKA")] == ["A move"]
    agent.disconnect()
