"""Air hockey in Python: as in the browser by the vectors, and how the program plays."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from air_hockey.game import Game
from air_hockey.match import Match, from_wire, to_wire
from air_hockey.opponent import Opponent
from air_hockey.rink import Body, Point, Rink, reach, step

VECTORS = Path(__file__).parents[1] / "vectors" / "games"


def vectors(name: str) -> list[dict[str, Any]]:
    found = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    assert isinstance(found, list)
    return found


def rink_of(numbers: list[float]) -> Rink:
    puck, near, far = (Body(*numbers[at : at + 4]) for at in (0, 4, 8))
    return Rink(puck, (near, far))


@pytest.mark.parametrize("case", vectors("rink"))
def test_everything_moves_as_in_the_browser(case: dict[str, Any]) -> None:
    rink = rink_of(case["begins"])
    for stretch in case["stretches"]:
        targets = Point(*stretch["targets"][:2]), Point(*stretch["targets"][2:])
        scorers = [step(rink, targets) for _ in range(stretch["steps"])]
        assert (rink, scorers[-1]) == (rink_of(stretch["after"]), stretch["scorer"])


def test_the_rules_are_those_of_the_browser() -> None:
    match = Match(goals_to_win=2)
    targets = {"ada": Point(0, 0), "bob": Point(0, 2)}
    for stretch in vectors("match"):
        if "puck" in stretch:
            match.rink.puck = Body(*stretch["puck"])
        if "again" in stretch:
            match.want_rematch(stretch["again"])
        for _ in range(stretch["count"]):
            match.advance(stretch["present"], targets)
        assert to_wire(match) == stretch["wire"]
        taken = from_wire(stretch["wire"])
        assert taken is not None
        assert to_wire(taken) == stretch["wire"]


@pytest.mark.parametrize("case", vectors("game"), ids=lambda case: case["identity"])
def test_what_is_said_and_believed_is_that_of_the_browser(case: dict[str, Any]) -> None:
    game, now_ms = Game(case["identity"], case["goals_to_win"]), 0.0
    for one in case["steps"]:
        said: list[Any] = []
        for _ in range(one["times"]):
            now_ms += one["every_ms"]
            match one["do"], one["given"]:
                case "members", [present, host]:
                    game.members_are(present, host, now_ms)
                case "aim", [x, y]:
                    game.aim(Point(x, y))
                case "again", []:
                    game.again()
                case "receive", [sender, payload]:
                    game.receive(sender, payload, now_ms)
                case "pass", []:
                    game.pass_time(now_ms)
            said += [[sent.payload, sent.to, sent.is_reliable] for sent in game.take()]
        assert (len(said), said[-1:]) == (one["count"], one["said"])
        assert [game.delay_ms, game.seat] == [one["delay_ms"], one["seat"]]


def test_what_is_no_match_is_refused() -> None:
    good = to_wire(Match())
    others: list[object] = [None, {}, [], "match", [*good, 1], good[1:]]
    for bad in others:
        assert from_wire(bad) is None
    for at in range(len(good)):
        for wrong in (None, -1, 0.5, "x", [], [1], {"length": 2}, ["1"] * 12, True):
            assert from_wire([wrong if index == at else one for index, one in enumerate(good)]) is None


def test_the_table_is_known_though_the_news_of_it_is_old() -> None:
    match = Match()
    while match.phase != "playing":
        match.advance(["ada", "bob"], {})
    match.rink.puck = Body(0.5, 0.9, 0.4, 0.3)
    game = Game("bob")
    game.members_are(["ada", "bob"], "ada", 0)
    game.receive("ada", ["table", to_wire(match), []], 0)
    for _ in range(6):
        match.advance(["ada", "bob"], {})
    rink = game.rink(100)
    assert rink is not None
    assert rink.puck.x == pytest.approx(match.rink.puck.x, abs=1e-3)
    assert rink.puck.y == pytest.approx(match.rink.puck.y, abs=1e-3)
    later, much_later = game.rink(250), game.rink(60_000)
    assert later is not None
    assert much_later is not None
    assert much_later.puck.x == pytest.approx(later.puck.x, abs=0.1)


class Beginner:
    """Runs at the puck, slowly, from wherever it is."""

    def __init__(self) -> None:
        self.hand = Point(0.5, 0.3)

    def aim(self, rink: Rink) -> Point:
        dx, dy = rink.puck.x - self.hand.x, rink.puck.y - 0.08 - self.hand.y
        way = max(0.02, (dx * dx + dy * dy) ** 0.5)
        self.hand = reach(0, Point(self.hand.x + dx / way * 0.02, self.hand.y + dy / way * 0.02))
        return self.hand


def played(near: Opponent | Beginner, far: Opponent, minutes: int) -> list[int]:
    """The score after so long."""
    match = Match(goals_to_win=99)
    for _ in range(minutes * 60 * 60):
        targets = {"near": near.aim(match.rink), "far": far.aim(match.rink)}
        assert targets["far"] == pytest.approx(reach(1, targets["far"]))
        match.advance(["near", "far"], targets)
    return match.score


def test_the_program_beats_a_beginner_and_is_beatable() -> None:
    own, other = played(Beginner(), Opponent(1, Random(1)), 2)
    assert other > own + 2
    own, other = played(Opponent(0, Random(2)), Opponent(1, Random(3)), 2)
    assert own >= 1
    assert other >= 1
