import { describe, expect, test } from "vitest";
import {
  advance,
  fromWire,
  GOALS_TO_WIN,
  type Match,
  newMatch,
  seatOf,
  toWire,
  wantRematch,
} from "../../src/games/air-hockey/match";
import { LENGTH, type Point, STEPS_PER_S } from "../../src/games/air-hockey/rink";

const NOBODY: ReadonlyMap<string, Point> = new Map();
/** Out of the puck's way. */
const CORNERS: ReadonlyMap<string, Point> = new Map([
  ["ada", { x: 0, y: 0 }],
  ["bob", { x: 0, y: LENGTH }],
]);

function pass(match: Match, steps: number, present: string[], targets = NOBODY): void {
  for (let at = 0; at < steps; at += 1) advance(match, present, targets);
}

/** The puck is shot at the goal of this seat, and in. */
function shoot(match: Match, seat: 0 | 1, present = ["ada", "bob"]): void {
  while (match.phase === "countdown") advance(match, present, CORNERS);
  pass(match, 30, present, CORNERS);
  Object.assign(match.rink.puck, {
    x: 0.5,
    y: seat === 0 ? 0.1 : LENGTH - 0.1,
    vx: 0,
    vy: seat === 0 ? -3 : 3,
  });
  const before = match.score[0] + match.score[1];
  for (let at = 0; at < 60 && match.score[0] + match.score[1] === before; at += 1) {
    advance(match, present, CORNERS);
  }
}

describe("a match", () => {
  test("waits for two, counts down, and is played", () => {
    const match = newMatch();
    pass(match, 10, ["ada"]);
    expect([match.phase, seatOf(match, "ada"), seatOf(match, "bob")]).toEqual(["waiting", 0, undefined]);
    pass(match, 1, ["ada", "bob", "cleo"]);
    expect([match.phase, seatOf(match, "bob"), seatOf(match, "cleo")]).toEqual(["countdown", 1, undefined]);
    const puck = { ...match.rink.puck };
    pass(match, STEPS_PER_S, ["ada", "bob", "cleo"], new Map([["ada", { x: 0.5, y: 0.64 }]]));
    expect(match.rink.puck).toEqual(puck);
    pass(match, STEPS_PER_S, ["ada", "bob", "cleo"]);
    expect(match.phase).toBe("playing");
  });

  test("is over after the last goal, and begins again when both want it", () => {
    const match = newMatch();
    pass(match, 1, ["ada", "bob"]);
    shoot(match, 1);
    expect([match.score, match.phase]).toEqual([[1, 0], "countdown"]);
    shoot(match, 0);
    for (let goals = 1; goals < GOALS_TO_WIN; goals += 1) {
      expect(match.phase).toBe("countdown");
      shoot(match, 1);
    }
    expect([match.score, match.phase]).toEqual([[GOALS_TO_WIN, 1], "over"]);
    wantRematch(match, "cleo");
    wantRematch(match, "ada");
    pass(match, 1, ["ada", "bob"]);
    expect(match.phase).toBe("over");
    wantRematch(match, "bob");
    expect([match.score, match.phase]).toEqual([[0, 0], "countdown"]);
  });

  test("keeps the score and the seat of a player who is away for a while, and then gives the seat away", () => {
    const match = newMatch();
    pass(match, 1, ["ada", "bob"]);
    shoot(match, 1);
    pass(match, 10 * STEPS_PER_S, ["ada", "cleo"]);
    expect([match.phase, match.score, seatOf(match, "bob")]).toEqual(["waiting", [1, 0], 1]);
    pass(match, 1, ["ada", "cleo", "bob"]);
    expect([match.phase, match.score]).toEqual(["countdown", [1, 0]]);
    pass(match, 16 * STEPS_PER_S, ["ada", "cleo"]);
    expect([match.score, seatOf(match, "cleo"), seatOf(match, "bob")]).toEqual([[0, 0], 1, undefined]);
  });

  test("goes on from what was sent of it", () => {
    const match = newMatch();
    pass(match, 300, ["ada", "bob"], CORNERS);
    const taken = fromWire(JSON.parse(JSON.stringify(toWire(match)))) as Match;
    expect(toWire(taken)).toEqual(toWire(match));
    shoot(taken, 1);
    expect([taken.score, match.score]).toEqual([
      [1, 0],
      [0, 0],
    ]);
  });

  test("is not made of anything else", () => {
    const good = toWire(newMatch());
    for (const bad of [null, {}, [], "match", [...good, 1], good.slice(1)])
      expect(fromWire(bad)).toBeUndefined();
    for (const at of good.keys()) {
      for (const wrong of [null, -1, 0.5, Number.NaN, "x", [], [1], { length: 2 }, Array(12).fill("1")]) {
        expect(fromWire(good.map((one, index) => (index === at ? wrong : one)))).toBeUndefined();
      }
    }
  });
});
