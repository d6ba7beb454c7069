"""
A call without a server: one SFU worker in this process, agents that hand it their signals directly, and a group that
stays in mode `sfu`.

    async with call_world() as world:
        ann = world.agent("ann")
        call = WebRTCHelper(ann, mode="sfu")
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from peerbus.client.errors import PeerbusError
from peerbus.client.events import Emitter
from peerbus.client.outcome import Outcome
from peerbus.client.records import Ack, Message
from peerbus.protocol import signals
from peerbus.protocol.grants import Operation
from peerbus.protocol.groups import GROUP_AGENT, Enter, Exit, GroupMember, GroupRequest, GroupState
from peerbus.protocol.messages import IceServer
from peerbus.protocol.secrets import SecretBytes
from peerbus.protocol.session.outputs import State
from peerbus.protocol.signals import (
    SFU_AGENT,
    ClientSignal,
    Deliver,
    Forward,
    Gone,
    SfuSignal,
    WorkerToServer,
)
from peerbus.sfu.negotiation import Candidate
from peerbus.sfu.worker import Worker


class WorldAgent(Emitter):
    """As much of an agent as a call needs. Its signals go to the worker in the next turn of the loop."""

    def __init__(self, world: CallWorld, name: str) -> None:
        super().__init__()
        self.world = world
        self.agent_name = name
        self.identity = f"id-{name}"
        self.is_sealed = False
        self.media_key: SecretBytes | None = None
        self.api = "http://127.0.0.1:1"
        self.ice_servers: list[IceServer] = []
        self.state = State(name="connected")
        self.sent: list[ClientSignal] = []
        self.refusal: PeerbusError | None = None
        """What the next signals meet."""

    @property
    def is_connected(self) -> bool:
        return self.state.name == "connected"

    async def get_ice_servers(self) -> list[IceServer]:
        return self.ice_servers

    def send_message(self, content: Any, **options: Any) -> Outcome[Ack]:
        (to,) = options.pop("to")
        assert options == {"type": "signal", "delivery": "live"}
        outcome: Outcome[Ack] = Outcome(lambda error: None)
        if to == GROUP_AGENT:
            self.world.group_asked(self, msgspec.convert(content["content"], GroupRequest))
            outcome.succeed(Ack())
            return outcome
        assert to == SFU_AGENT
        signal: ClientSignal = msgspec.convert(content["content"], ClientSignal)
        self.sent.append(signal)
        if self.refusal is not None:
            outcome.fail(self.refusal)
        else:
            self.world.forward(self, signal)
            outcome.succeed(Ack())
        return outcome

    def deliver(self, signal: SfuSignal | GroupState, sender: str = SFU_AGENT) -> None:
        """A signal of the SFU, or of the group, reaches this agent."""
        message = Message(
            content=msgspec.to_builtins(signal),
            type="signal",
            sender=sender,
            sender_session=None,
            identity=sender,
            delivery="live",
            message_id="m",
            offset=None,
            time_ms=0,
            custom_event_type=None,
            to=[self.agent_name],
            filter=None,
            reply_to=None,
            metadata={},
            idempotency_key=None,
        )
        self.emit("signal", message)

    def become(self, state: State) -> None:
        """The connection to signaling comes or goes."""
        self.state = state
        self.emit("state", state)
        if state.name == "connected":
            self.emit("connect")

    def offers(self) -> list[signals.Offer]:
        """Those that were sent so far."""
        return [signal for signal in self.sent if isinstance(signal, signals.Offer)]


class CallWorld:
    """One room on one worker."""

    def __init__(self) -> None:
        self.agents: dict[str, WorldAgent] = {}
        self.room = signals.Room(scope="project", channel_id=b"channel", term=1)
        self.operations = [operation.value for operation in Operation]
        self.members: dict[str, GroupMember] = {}
        """The group."""
        self._version = 0
        self._orders = itertools.count(1)
        self.worker = self._open()

    def _open(self) -> Worker:
        worker = Worker("127.0.0.1", 0, self._from_worker)
        worker.candidates = (Candidate("127.0.0.1", worker.port),)
        worker.start()
        return worker

    def agent(self, name: str) -> WorldAgent:
        """Somebody new in the channel."""
        agent = WorldAgent(self, name)
        self.agents[agent.identity] = agent
        return agent

    def forward(self, agent: WorldAgent, signal: ClientSignal) -> None:
        """Passes a signal on, as signaling does."""
        who = signals.Participant(
            identity=agent.identity,
            session_id=f"session-{agent.agent_name}",
            name=agent.agent_name,
            operations=self.operations,
        )
        message = Forward(room=self.room, participant=who, signal=signal)
        asyncio.get_running_loop().call_soon(lambda: self.worker.receive(message))

    def group_asked(self, agent: WorldAgent, request: GroupRequest) -> None:
        """Somebody enters the group, or leaves it; all are told."""
        before = self.members.get(agent.identity)
        if isinstance(request, Enter):
            self.members[agent.identity] = GroupMember(
                identity=agent.identity,
                name=agent.agent_name,
                order=next(self._orders) if before is None else before.order,
                modes=request.modes,
                has_media=request.has_media,
            )
        elif isinstance(request, Exit):
            self.members.pop(agent.identity, None)
        asyncio.get_running_loop().call_soon(self._tell_group)

    def _tell_group(self) -> None:
        self._version += 1
        members = list(self.members.values())
        state = GroupState(version=self._version, term=1, mode="sfu", reason="first", members=members)
        for identity in list(self.members):
            if self.agents[identity].is_connected:
                self.agents[identity].deliver(state, GROUP_AGENT)

    def gone(self, agent: WorldAgent, code: str) -> None:
        """The channel lost a member."""
        self.group_asked(agent, Exit())
        self.worker.receive(Gone(room=self.room, identity=agent.identity, code=code))

    async def replace_worker(self, *, is_told: bool = True) -> None:
        """The worker dies without a word, and another takes the room; clients are told, or are not."""
        dead = self.worker
        self.room = msgspec.structs.replace(self.room, term=self.room.term + 1)
        dead._tell_server = lambda message: None
        dead._udp.close()
        self.worker = self._open()
        for agent in self.agents.values() if is_told else ():
            agent.deliver(signals.Restart(term=self.room.term, reason="The worker is gone."))
        dead._ticking and dead._ticking.cancel()

    def _from_worker(self, message: WorkerToServer) -> None:
        if isinstance(message, Deliver):
            for identity in message.identities or self.agents:
                agent = self.agents[identity]
                if agent.is_connected:
                    agent.deliver(message.signal)


@asynccontextmanager
async def call_world() -> AsyncIterator[CallWorld]:
    """A world, closed at the end."""
    world = CallWorld()
    try:
        yield world
    finally:
        await world.worker.close()
