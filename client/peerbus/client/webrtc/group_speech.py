"""
What a member says to the server about its group.

Owns the form of it, and which answers matter. Never decides what to say (`peer_group`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from peerbus.client.agent import AgentConnection
from peerbus.client.outcome import Outcome
from peerbus.client.records import Ack
from peerbus.protocol.groups import GROUP_AGENT, GroupRequest
from peerbus.protocol.messages import SIGNAL_TYPE


class GroupSpeech:
    """See the module."""

    def __init__(self, agent: AgentConnection) -> None:
        self._agent: Final = agent

    def ask(self, request: GroupRequest) -> Outcome[Ack]:
        """A request; raises what the server refuses it with, when it is awaited."""
        content = msgspec.to_builtins(request)
        return self._agent.send_message(
            {"content": content}, type=SIGNAL_TYPE, to=[GROUP_AGENT], delivery="live"
        )

    def tell(self, request: GroupRequest) -> None:
        """What needs no answer: if it comes too late, nothing is lost by it."""
        _ignore(self.ask(request))

    def tell_lossy(self, request: GroupRequest) -> None:
        """What is said again soon."""
        if self._agent.is_connected:
            content = msgspec.to_builtins(request)
            _ignore(
                self._agent.send_message(
                    {"content": content}, type=SIGNAL_TYPE, to=[GROUP_AGENT], delivery="lossy"
                )
            )


def _ignore(answer: Outcome[Ack]) -> None:
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())
