"""
Writes the vectors of this folder: `python -m tests.vectors.games.generate`, from the root of the repository.

They come from the Python half of the game; that the other half gives the same, to the last bit, is what they are for.
Run it when the game's rules or messages change; what changes is in the difference.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[2] / "client" / "examples"))

from air_hockey.game import Game  # noqa: E402 - the examples are programs, not a package that is installed
from air_hockey.match import Match, to_wire  # noqa: E402
from air_hockey.rink import LENGTH, Body, Point, Rink, new_rink, step  # noqa: E402


def numbers(rink: Rink) -> list[float]:
    """All that moves: the puck, then the mallets."""
    return [value for body in (rink.puck, *rink.mallets) for value in (body.x, body.y, body.vx, body.vy)]


def rink_vectors() -> list[dict[str, Any]]:
    """Pucks and hands that go anywhere: after each stretch of time, everything there is."""
    cases = []
    for seed in range(8):
        rnd = random.Random(seed)
        rink = new_rink(0)
        rink.puck = Body(rnd.random(), rnd.random() * LENGTH, rnd.random() * 6 - 3, rnd.random() * 6 - 3)
        case: dict[str, Any] = {"begins": numbers(rink), "stretches": []}
        scorer = None
        while scorer is None and len(case["stretches"]) < 12:
            wanted = [round(rnd.random() * 1.4 - 0.2, 2) for _ in range(4)]
            wanted[1], wanted[3] = wanted[1] * 0.9, round(wanted[3] + 1.0, 2)
            steps = rnd.randint(2, 25)
            taken = 0
            while scorer is None and taken < steps:
                taken += 1
                scorer = step(rink, (Point(*wanted[:2]), Point(*wanted[2:])))
            case["stretches"].append(
                {"targets": wanted, "steps": taken, "scorer": scorer, "after": numbers(rink)}
            )
        cases.append(case)
    return cases


def match_vectors() -> list[dict[str, Any]]:
    """A match to two goals with a player who is away for a while, and the rematch."""
    match = Match(goals_to_win=2)
    corners = {"ada": [0.0, 0.0], "bob": [0.0, 2.0]}
    both = ["ada", "bob", "cleo"]
    steps: list[dict[str, Any]] = []

    def do(present: list[str], count: int, **more: Any) -> None:
        if "puck" in more:
            match.rink.puck = Body(*more["puck"])
        if "again" in more:
            match.want_rematch(more["again"])
        targets = {identity: Point(*place) for identity, place in corners.items()}
        for _ in range(count):
            match.advance(present, targets)
        steps.append({"present": present, "count": count, **more, "wire": to_wire(match)})

    do(["ada"], 10)
    do(both, 121)
    do(both, 40, puck=[0.5, 1.9, 0.1, 3.0])
    do(["ada", "cleo"], 600)
    do(both, 121)
    do(both, 40, puck=[0.45, 0.1, 0.0, -3.0])
    do(both, 121)
    do(both, 30, puck=[0.55, 1.9, 0.0, 2.0])
    do(both, 5, again="cleo")
    do(both, 5, again="ada")
    do(both, 130, again="bob")
    do(["bob", "cleo"], 910)
    do(["cleo"], 905)
    return steps


class Transcript:
    """What one member of a game was told, and what it said."""

    def __init__(self, identity: str, goals_to_win: int) -> None:
        self.game = Game(identity, goals_to_win)
        self.now_ms = 0.0
        self.whole: dict[str, Any] = {"identity": identity, "goals_to_win": goals_to_win, "steps": []}

    def do(self, kind: str, *given: Any, times: int = 1, every_ms: float = 16.0) -> None:
        game = self.game
        said: list[Any] = []
        for _ in range(times):
            self.now_ms += every_ms
            if kind == "members":
                present, host = given
                game.members_are(present, host, self.now_ms)
            elif kind == "aim":
                game.aim(Point(*given))
            elif kind == "again":
                game.again()
            elif kind == "receive":
                sender, payload = given
                game.receive(sender, payload, self.now_ms)
            else:
                game.pass_time(self.now_ms)
            said += [[sent.payload, sent.to, sent.is_reliable] for sent in game.take()]
        self.whole["steps"].append(
            {
                "do": kind,
                "given": list(given),
                "times": times,
                "every_ms": every_ms,
                # The last of them: a match is all of what went before.
                "count": len(said),
                "said": said[-1:],
                "delay_ms": game.delay_ms,
                "seat": game.seat,
            }
        )


def game_vectors() -> list[dict[str, Any]]:
    """A host who is followed by another, and the same from the other's side; a host who knows of no match."""
    host = Transcript("ada", 3)
    host.do("members", ["ada"], "ada")
    host.do("pass", times=5)
    host.do("members", ["ada", "bob"], "ada")
    host.do("receive", "bob", ["aim", 1, 2500, 17000])
    host.do("aim", 0.25, 0.4)
    host.do("pass", times=140)
    host.do("receive", "bob", ["aim", 3, 7500, 14000])
    host.do("receive", "bob", ["aim", 2, 0, 0])
    host.do("pass", times=60)
    host.do("pass", every_ms=3_000.0)
    others: list[Any] = [
        ["aim", 4, 1.5, 0],
        ["aim", True, 1, 1],
        ["aim", 5, 1],
        "aim",
        None,
        {},
        [],
        ["table", [], []],
    ]
    for bad in [*others, ["again"]]:
        host.do("receive", "bob", bad)
    host.do("receive", "eve", ["aim", 9, 1, 1])
    host.do("pass", times=3)
    host.do("members", ["bob", "ada"], "bob")
    host.do("pass", times=2)
    guest = Transcript("bob", 7)
    guest.do("members", ["ada", "bob"], "ada")
    guest.do("pass", times=3)
    match = Match(goals_to_win=3)
    for _ in range(130):
        match.advance(["ada", "bob"], {})
    guest.do("receive", "ada", ["table", to_wire(match), []])
    guest.do("aim", 0.3, 1.6)
    guest.do("pass", times=4)
    match.advance(["ada", "bob"], {})
    guest.do("receive", "ada", ["table", to_wire(match), [["bob", 2, 7], ["eve", 1, 1], 3]])
    match.advance(["ada", "bob"], {})
    guest.do("receive", "ada", ["table", to_wire(match), [["bob", 4, 12]]])
    guest.do("receive", "eve", ["table", to_wire(Match()), []])
    guest.do("again")
    guest.do("members", ["bob"], "bob")
    guest.do("pass", times=10)
    late = Transcript("cleo", 5)
    late.do("members", ["cleo", "bob"], "cleo")
    late.do("pass", times=3)
    late.do("receive", "bob", ["match", to_wire(match)])
    late.do("pass", times=3)
    unknown = Transcript("dan", 5)
    unknown.do("members", ["dan", "bob"], "dan")
    unknown.do("pass", times=3, every_ms=800.0)
    return [one.whole for one in (host, guest, late, unknown)]


def main() -> None:
    """Writes the files."""
    for name, vectors in (
        ("rink", rink_vectors()),
        ("match", match_vectors()),
        ("game", game_vectors()),
    ):
        lines = ",\n".join(json.dumps(vector) for vector in vectors)
        (FOLDER / f"{name}.json").write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
