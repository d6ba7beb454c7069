"""
An account of what agents sent, were promised and received, kept by the test and not by the SDK.

Owns the numbers in the messages and the rules by which accounts are settled: every acknowledged durable message stands
in the log once, at its offset, in its sender's order; everyone else was told of it once; live messages are complete and
in order unless a gap was told. The log itself is read by an agent that had no part in it.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Literal

from peerbus.client import AgentConnection, Message
from peerbus.client.errors import PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.records import Ack
from peerbus.protocol.session.outputs import Gap
from tests.support.live_server import LiveServer

SETTLE_S: Final = 60.0
_PAGE: Final = 500


class Journal:
    """One agent's side of the story."""

    def __init__(self, agent: AgentConnection, name: str) -> None:
        self.agent: Final = agent
        self.name: Final = name
        self.acked: Final[dict[int, int]] = {}
        """Number of a durable message to the offset that was promised for it."""
        self.live_acked: Final[set[int]] = set()
        self.duplicates = 0
        """Acks that said the message had been stored before."""
        self.failed: Final[list[tuple[int, PeerbusError]]] = []
        self.received: Final[list[Message]] = []
        self.gaps: Final[list[Gap]] = []
        self._last = 0
        self._open: Final[set[asyncio.Task[None]]] = set()
        agent.on("message", self.received.append)
        agent.on("gap", self.gaps.append)

    def send(self, delivery: Literal["durable", "live", "lossy"] = "durable", **more: Any) -> int:
        """Sends the next number, and notes what becomes of it; the number."""
        self._last += 1
        number = self._last
        outcome = self.agent.send_message(
            {"by": self.name, "number": number, **more},
            delivery=delivery,
            idempotency_key=f"{self.name}/{number}",
            timeout=None,
        )
        task = asyncio.create_task(self._note(number, outcome))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return number

    @property
    def pending(self) -> int:
        """How many have no outcome yet."""
        return len(self._open)

    async def settle(self) -> None:
        """Waits for all outcomes."""
        async with asyncio.timeout(SETTLE_S):
            while self._open:
                await asyncio.wait(self._open)

    def numbers_of(self, sender: str, delivery: str) -> list[int]:
        """What was received of a sender, in the order of arrival."""
        return [
            message.content["number"]
            for message in self.received
            if message.delivery == delivery and message.sender == sender
        ]

    def numbers_of_keys(self, sender: str) -> list[int]:
        """The live ones that were received of a sender, each once."""
        first: dict[str, int] = {}
        for message in self.received:
            if message.delivery == "live" and message.sender == sender:
                assert message.idempotency_key is not None
                number = message.content["number"]
                assert first.setdefault(message.idempotency_key, number) == number
        return list(first.values())

    def has_received(self, durable: int) -> bool:
        """Whether so many durable messages have come."""
        return sum(one.delivery == "durable" for one in self.received) >= durable

    def has_received_live(self, sender: Journal) -> bool:
        """Whether as many live messages of a sender have come as it has acknowledgements for."""
        return len(self.numbers_of(sender.name, "live")) >= len(sender.live_acked)

    async def _note(self, number: int, outcome: Outcome[Ack]) -> None:
        try:
            ack = await outcome
        except PeerbusError as error:
            self.failed.append((number, error))
            return
        self.duplicates += ack.is_duplicate
        if ack.offset is not None:
            assert ack.promise == "local-fsync"
            assert number not in self.acked
            self.acked[number] = ack.offset
        elif ack.promise is not None:
            assert ack.promise == "memory"
            self.live_acked.add(number)


class Ledger:
    """All journals of a channel, and its log."""

    def __init__(self, server: LiveServer, channel: str) -> None:
        self._server: Final = server
        self._channel: Final = channel
        self.journals: Final[list[Journal]] = []
        self.stored: list[Message] = []

    async def read_log(self) -> None:
        """Reads all there is in the log, with an agent of its own."""
        async with AgentConnection(self._server.url, self._server.developer_key) as auditor:
            await auditor.connect(self._channel, "auditor", auto_receive=False)
            self.stored = []
            after = 0
            while True:
                page = await auditor.receive(after=after, limit=_PAGE)
                self.stored.extend(page)
                if page.is_complete:
                    return
                assert page.next is not None
                after = page.next

    def check_log(self) -> None:
        """Offsets have no gap, senders their order, and every promise was kept."""
        assert [message.offset for message in self.stored] == list(range(1, len(self.stored) + 1))
        keys = Counter(message.idempotency_key for message in self.stored)
        assert max(keys.values(), default=1) == 1, keys.most_common(3)
        by_offset = {message.offset: message for message in self.stored}
        for journal in self.journals:
            numbers = [one.content["number"] for one in self.stored if one.sender == journal.name]
            assert numbers == sorted(numbers), journal.name
            for number, offset in journal.acked.items():
                assert offset in by_offset, f"{journal.name}/{number} was acknowledged and is not stored"
                assert by_offset[offset].idempotency_key == f"{journal.name}/{number}"

    def check_all_sent_is_acked(self) -> None:
        """Nobody gave up, and nothing stands in the log without a promise: what was retried has its answer."""
        for journal in self.journals:
            assert journal.failed == []
            own = {one.content["number"]: one.offset for one in self.stored if one.sender == journal.name}
            assert own == journal.acked

    async def check_durable_received(self) -> None:
        """Everyone got every message of the others, once, by rising offset."""
        for journal in self.journals:
            expected = [one.offset for one in self.stored if one.sender != journal.name]
            await until(functools.partial(journal.has_received, len(expected)))
            got = [one.offset for one in journal.received if one.delivery == "durable"]
            assert got == expected, journal.name
            assert not any(gap.durable for gap in journal.gaps)

    async def check_live_received(self, *, is_complete: bool = True) -> None:
        """
        Everyone got the live messages of each other one in order, and, if they have to be, all of them.

        Where a session was lost, what was not answered is sent again: what came before comes twice, under one key.
        """
        for journal in self.journals:
            for sender in self.journals:
                if sender is journal:
                    continue
                if is_complete:
                    await until(functools.partial(journal.has_received_live, sender))
                numbers = journal.numbers_of(sender.name, "live")
                if not is_complete:
                    numbers = journal.numbers_of_keys(sender.name)
                assert numbers == sorted(set(numbers)), (journal.name, sender.name)
                if is_complete:
                    assert numbers == sorted(sender.live_acked), (journal.name, sender.name)
            if is_complete:
                assert journal.gaps == []


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that is bound to happen."""
    async with asyncio.timeout(SETTLE_S):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.01)
