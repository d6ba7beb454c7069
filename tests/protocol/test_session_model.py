"""
The client's session machine against a model server, through losses of every kind, in emulated time.

The promises of PROTOCOL.md, sections 4 and 5, must hold whatever happens in between: each request has one outcome,
what was acknowledged as durable is in the log once, what others say durable arrives once and in order, and live
messages are complete unless the client was told otherwise.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from peerbus.protocol.messages import ClientFrame, Connect, Members, Send
from peerbus.protocol.secrets import Secret, SecretBytes
from peerbus.protocol.session import outputs
from peerbus.protocol.session.client import ClientSession
from peerbus.protocol.session.settings import ClientSettings
from tests.support.model_server import ModelServer

SETTINGS = ClientSettings(
    connect=Connect(id=1, api_key=Secret("k"), channel="c", lineage_secret=SecretBytes(bytes(16))),
    request_timeout_ms=10**9,
    give_up_after_ms=None,
)


class SessionModel:
    """One client, one model server, and a network that can be cut at any frame."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0
        self.server = ModelServer()
        self.client = ClientSession(SETTINGS, jitter=self.random.random)
        self.is_up = False
        self.to_server: list[ClientFrame] = []
        self.said = 0
        # What the user is told.
        self.durable_expected: list[object] = []
        self.durable_got: list[object] = []
        self.live_expected: list[object] = []
        self.live_got: list[object] = []
        self.asked: dict[int, str] = {}
        self.outcomes: dict[int, outputs.Done] = {}
        self.told_before_the_loss: set[int] = set()
        self.has_joined = False
        self.gaps = 0
        self.gaps_when_asked: dict[int, int] = {}
        self.gaps_when_done: dict[int, int] = {}
        self.client.start(self.now)
        self.pump()

    # --- the network ----------------------------------------------------------------------------------------------

    def pump(self) -> None:
        self.to_server += self.client.frames_to_send()
        for action in self.client.actions_to_do():
            if isinstance(action, outputs.OpenTransport):
                self.server.cut()
                self.to_server = []
                self.is_up = True
                self.client.transport_opened(self.now)
                self.to_server += self.client.frames_to_send()
            elif isinstance(action, outputs.CloseTransport):
                self.is_up = False
                self.server.cut()
        for event in self.client.events():
            self.told(event)

    def told(self, event: outputs.Event) -> None:
        if isinstance(event, outputs.Joined):
            if event.is_first:
                # What was said before is not for this client.
                self.durable_expected = [
                    m.content for m in self.server.log[self.client.cursors.offset :] if m.sender != "alice"
                ]
                self.live_expected = []
            self.has_joined = True
        elif isinstance(event, outputs.Gap):
            if event.durable:
                self.durable_got = []
                self.durable_expected = [
                    m.content for m in self.server.log[self.client.cursors.offset :] if m.sender != "alice"
                ]
            if event.live:
                self.gaps += 1
                # From here on nothing is missing again: what the server has in the new epoch is still to come.
                self.live_got = []
                session = self.server.session
                assert session is not None
                self.live_expected = [m.content for m in session.live if hasattr(m, "content")]
        elif isinstance(event, outputs.Received):
            content = event.message.content
            (self.durable_got if event.message.delivery == "durable" else self.live_got).append(content)
        elif isinstance(event, outputs.Done):
            assert event.handle in self.asked
            assert event.handle not in self.outcomes, "a request has one outcome"
            self.outcomes[event.handle] = event
            self.gaps_when_done[event.handle] = self.gaps
        else:
            assert not isinstance(event, outputs.Failed | outputs.Trouble), event

    def deliver_to_server(self, count: int) -> None:
        for _ in range(min(count, len(self.to_server))):
            if self.is_up and (self.server.is_connected or isinstance(self.to_server[0], Connect)):
                self.server.take(self.to_server.pop(0))

    def deliver_to_client(self, count: int) -> None:
        for _ in range(min(count, len(self.server.to_client))):
            if self.is_up and self.server.to_client:
                self.client.receive(self.server.to_client.pop(0), self.now)
                self.pump()

    def deliver(self) -> None:
        self.deliver_to_server(self.random.randrange(4))
        self.deliver_to_client(self.random.randrange(4))

    def reconnect(self) -> None:
        """The next attempt is due, and gets through."""
        while not self.is_up:
            self.pass_time(1_000)
        self.deliver_to_server(1)
        self.deliver_to_client(1)

    def pass_time(self, wait_ms: int) -> None:
        self.now += wait_ms
        self.client.tick(self.now)
        self.pump()

    def wait(self) -> None:
        self.pass_time(self.random.choice([1, 200, 2_000, 12_000, 40_000]))

    def cut(self, code: int | None = 1006) -> None:
        if self.is_up:
            self.is_up = False
            self.server.cut()
            self.client.transport_lost(code, "", self.now)
            self.pump()

    # --- the server -----------------------------------------------------------------------------------------------

    def restart(self) -> None:
        self.server.forget_session()
        self.cut(None)

    def restore(self) -> None:
        self.server.lose_log()
        self.told_before_the_loss = set(self.outcomes)
        self.cut(None)

    def overflow(self) -> None:
        self.server.overflow()

    def stutter(self) -> None:
        self.server.stutter()

    def goodbye(self) -> None:
        self.server.say_goodbye()

    def somebody_says_durable(self) -> None:
        self.said += 1
        self.server.say_durable(self.said)
        self.durable_expected.append(self.said)

    def somebody_says_live(self) -> None:
        if self.has_joined and self.server.session is not None:
            self.said += 1
            self.server.say_live(self.said)
            self.live_expected.append(self.said)

    # --- the user -------------------------------------------------------------------------------------------------

    def send_durable(self) -> None:
        self.said += 1
        self.request(Send(content=f"k{self.said}", idempotency_key=f"k{self.said}"), f"k{self.said}")

    def send_live(self) -> None:
        self.said += 1
        key = f"k{self.said}"
        self.request(Send(delivery="live", content=key, idempotency_key=key), key)

    def ask(self) -> None:
        self.request(Members(id=1), "")

    def request(self, frame: ClientFrame, key: str) -> None:
        handle = self.client.request(frame, self.now)
        self.asked[handle] = key
        self.gaps_when_asked[handle] = self.gaps
        self.pump()

    # --- what must hold -------------------------------------------------------------------------------------------

    def what_arrived_is_a_beginning_of_what_was_said(self) -> None:
        if self.has_joined:
            assert self.durable_got == self.durable_expected[: len(self.durable_got)]

    def what_is_acknowledged_is_in_the_log_once(self) -> None:
        contents = [message.content for message in self.server.log]
        assert len(contents) == len(set(contents))

    def settle(self) -> None:
        """Delivers until nothing is on its way."""
        while self.to_server or self.server.to_client:
            self.deliver_to_server(5)
            self.deliver_to_client(5)

    def heal(self) -> None:
        """The network is good again: everything gets its outcome, and everything said arrives."""
        for _ in range(400):
            self.deliver_to_server(5)
            self.deliver_to_client(5)
            if not self.is_up:
                self.pass_time(40_000)
            elif not self.to_server and not self.server.to_client:
                if not self.client.open_requests and self.client.state.name == "connected":
                    break
                self.pass_time(2_000)
        assert self.client.state.name == "connected"
        self.pass_time(10_000)
        self.settle()
        session = self.server.session
        assert session is not None
        assert self.client.cursors.live_seq == len(session.live)
        assert self.client.cursors.offset <= len(self.server.log)
        assert self.outcomes.keys() == self.asked.keys()
        assert self.durable_got == self.durable_expected
        assert self.live_got == self.live_expected
        contents = [message.content for message in self.server.log]
        for handle, key in self.asked.items():
            reply = self.outcomes[handle].reply
            offset = getattr(reply, "offset", None)
            if key and isinstance(offset, int) and handle not in self.told_before_the_loss:
                assert contents.count(key) == 1
            elif key and not isinstance(offset, int):
                times = self.server.live_from_client.count(key)
                may_repeat = self.gaps_when_done[handle] > self.gaps_when_asked[handle]
                assert times == 1 or (times > 1 and may_repeat)


# What happens often stands here often.
STEPS = (
    ["deliver"] * 12
    + ["reconnect"] * 3
    + ["cut"] * 2
    + ["wait", "restart", "restore", "overflow", "goodbye", "stutter"]
    + ["somebody_says_durable", "somebody_says_live", "send_durable", "send_live", "ask"] * 2
)


@settings(max_examples=2 * settings().max_examples)
@given(seed=st.integers(0, 2**32 - 1), steps=st.lists(st.sampled_from(STEPS), min_size=40, max_size=120))
def test_the_promises_hold_through_losses(seed: int, steps: list[str]) -> None:
    model = SessionModel(seed)
    for step in steps:
        getattr(model, step)()
        model.what_arrived_is_a_beginning_of_what_was_said()
        model.what_is_acknowledged_is_in_the_log_once()
    model.heal()
