"""
What no helper of ours says to the group of its channel, each with its answer, beside a group that goes on.

See PROTOCOL.md, section 16, and the fixture `attacked`.
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

from peerbus.protocol.groups import GROUP_AGENT
from tests.support.live_server import LiveServer
from tests.support.raw_socket import RawWebSocket

ATTACKERS = 5
ROUNDS = 80
"""For each of them: less than the burst that is taken."""
LAST_TERM = 2**53 - 1
ENTER = {"kind": "enter", "mode": "host", "modes": ["mesh", "host", "relay"]}
SEEN = {"term": 3, "mode": "host", "is_auto": True, "order": 1, "host": {"identity": "x", "term": 3}}
REQUESTS: list[dict[str, Any]] = [
    ENTER,
    ENTER | {"has_media": True, "seen": SEEN},
    {"kind": "exit"},
    {"kind": "propose", "mode": "mesh", "term": 1},
    {"kind": "ready", "term": 1},
    {"kind": "veto", "term": 1, "reason": "no"},
    {"kind": "renew", "term": 1},
    {"kind": "unheard", "term": 1},
    {"kind": "report", "peer": "somebody", "is_reachable": False},
]
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    1e300,
    LAST_TERM,
    "",
    "auto",
    "peerbus:group",
    "\u202e\0\ud83d\ude00",
    "x" * 300,
    [],
    ["host"] * 17,
    [["mesh"]],
    {},
    {"kind": "enter"},
    {"identity": "", "term": 0},
]
WRONG: list[dict[str, Any]] = [
    {"content": ENTER, "to": [GROUP_AGENT, "ann"]},
    {"content": ENTER, "delivery": "durable"},
    {"content": ENTER, "delivery": "lossy"},
    {"content": ENTER, "type": "text"},
    {"content": ENTER | {"filler": "x" * 9_000}},
]
"""Not for it alone, kept, dropped where there is no room, no signal, and too long."""


class GroupClient(RawWebSocket):
    """A client that has joined a channel, and asks its group."""

    def __init__(self, server: LiveServer, channel: str, name: str) -> None:
        super().__init__(server)
        assert self.join(channel, name)["op"] == "connected"
        self.id = 1
        self.states: list[dict[str, Any]] = []

    def ask(self, content: Any, **fields: Any) -> dict[str, Any]:
        """The answer to one request: an `ack` or an `error`."""
        self.id += 1
        frame = {"op": "send", "id": self.id, "type": "signal", "to": [GROUP_AGENT], "delivery": "live"}
        self.send_json(frame | {"content": content} | fields)
        return self.answered(self.id)

    def answered(self, request_id: int) -> dict[str, Any]:
        for frame in self.frames():
            if frame.get("id") == request_id and frame["op"] in ("ack", "error"):
                return frame
            self._note(frame)
        raise EOFError(self.closed)

    def until(self, *names: str) -> dict[str, Any]:
        """The group as it is told last, as soon as these are its members and nothing is proposed."""
        while not self.states or _names(self.states[-1]) != [*names] or "proposal" in self.states[-1]:
            self._note(self.next("message"))
        return self.states[-1]

    def settled(self, *names: str) -> dict[str, Any]:
        """The same, when all that was said before has been told."""
        assert self.ask(ENTER)["op"] == "ack"
        return self.until(*names)

    def _note(self, frame: dict[str, Any]) -> None:
        if frame["op"] == "message" and frame["sender"] == GROUP_AGENT:
            content = frame["content"]
            if content["kind"] == "group":
                self.states.append(content)


def _names(state: dict[str, Any]) -> list[str]:
    return [member["name"] for member in state["members"]]


@contextlib.contextmanager
def a_group(server: LiveServer, channel: str) -> Iterator[tuple[GroupClient, GroupClient]]:
    """Two who are in a mesh, and notice when something becomes of it."""
    with GroupClient(server, channel, "ann") as ann, GroupClient(server, channel, "bob") as bob:
        for one in (ann, bob):
            assert one.ask(ENTER | {"mode": "mesh"})["op"] == "ack"
        yield ann, bob


def mutated(random: random.Random) -> Any:
    """A request with something about it that is not as it should be, mostly."""
    content = copy.deepcopy(random.choice(REQUESTS))
    for _ in range(random.choice((1, 1, 2, 3))):
        place = content
        while (inner := [one for one in place.values() if isinstance(one, dict)]) and random.random() < 0.5:
            place = random.choice(inner)
        key = random.choice([*place, "extra"]) if place else "extra"
        if random.random() < 0.2:
            place.pop(key, None)
        else:
            place[key] = copy.deepcopy(random.choice(ODD))
    return content if random.random() < 0.95 else random.choice(ODD)


def test_requests_that_make_no_sense_are_answered_and_change_nothing_for_others(attacked: LiveServer) -> None:
    dice = random.Random(16)
    codes = set()
    with a_group(attacked, "arena") as (ann, bob):
        before = ann.until("ann", "bob")
        for attacker in range(ATTACKERS):
            with GroupClient(attacked, "arena", f"mallory-{attacker}") as mallory:
                for _ in range(ROUNDS):
                    answer = mallory.ask(mutated(dice))
                    if answer["op"] == "error":
                        codes.add(answer["code"])
                        assert isinstance(answer["correlation_id"], str)
                        assert len(answer["message"]) < 1_000
                for wrong in WRONG:
                    refused = mallory.ask(**wrong)
                    assert refused["code"] == ("too_large" if "filler" in wrong["content"] else "bad_request")
                mallory.ask({"kind": "exit"})
                assert mallory.closed is None
        assert codes == {"bad_request", "not_found", "not_supported", "stale_term"}
        for one in (ann, bob):
            after = one.settled("ann", "bob")
            assert (after["mode"], after["term"]) == (before["mode"], before["term"])
            # A version is a term, and those are not to be used up by anybody.
            assert after["version"] < before["version"] + 10_000
    log = attacked.log
    assert "could not be told" not in log
    assert "could not be done" not in log


def test_who_enters_and_exits_all_the_time_is_slowed_down_and_leaves_nothing_behind(
    attacked: LiveServer,
) -> None:
    with a_group(attacked, "hall") as (_, bob):
        before = bob.until("ann", "bob")
        for name in ("eve", "mallory"):
            with GroupClient(attacked, "hall", name) as flood:
                answers = [flood.ask(ENTER if n % 5 else {"kind": "exit"}) for n in range(91)]
                refused = {one["code"] for one in answers if one["op"] == "error"}
                assert refused == {"rate_limited"}
                assert all(one["retry_after_ms"] > 0 for one in answers if one["op"] == "error")
                # To leave is never refused.
                assert answers[-1]["op"] == "ack"
                flood.send_json({"op": "bye"})
        after = bob.settled("ann", "bob")
        assert (after["mode"], after["term"]) == (before["mode"], before["term"])
