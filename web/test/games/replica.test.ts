import { describe, expect, test } from "vitest";
import { advance, fromWire, type Match, newMatch, toWire } from "../../src/games/air-hockey/match";
import { Replica } from "../../src/games/air-hockey/replica";
import type { Point, Rink } from "../../src/games/air-hockey/rink";

const STEP_MS = 1000 / 60;
const OWN: Point = { x: 0.5, y: 1.7 };

function playing(): Match {
  const match = newMatch();
  while (match.phase !== "playing") advance(match, ["ada", "bob"], new Map([["bob", OWN]]));
  Object.assign(match.rink.puck, { x: 0.5, y: 0.9, vx: 0.4, vy: 0.3 });
  return match;
}

const sent = (match: Match): Match => fromWire(toWire(match)) as Match;

describe("what a guest sees", () => {
  test("is where things are now, though the news of it is old", () => {
    const match = playing();
    const replica = new Replica();
    replica.receive(sent(match), 0);
    for (let at = 0; at < 6; at += 1) advance(match, ["ada", "bob"], new Map([["bob", OWN]]));
    const { puck } = replica.draw(4 * STEP_MS, 4 * STEP_MS, undefined, OWN) as Rink;
    expect(puck.x).toBeCloseTo(match.rink.puck.x, 3);
    expect(puck.y).toBeCloseTo(match.rink.puck.y, 3);
  });

  test("moves the own mallet at once", () => {
    const replica = new Replica();
    replica.receive(sent(playing()), 0);
    expect(replica.draw(1, 0, 1, { x: 0.2, y: 1.5 })?.mallets[1]).toMatchObject({ x: 0.2, y: 1.5 });
    expect(replica.draw(2, 0, 1, { x: 0.2, y: 0.3 })?.mallets[1].y).toBeGreaterThan(1);
  });

  test("has the own hits in it when they are made, not when the host has told of them", () => {
    const match = playing();
    Object.assign(match.rink.puck, { x: 0.5, y: 1.3, vx: 0, vy: 0 });
    const replica = new Replica();
    replica.receive(sent(match), 0);
    // The hand runs through the puck within four steps; the way there and back takes eight.
    const wishes = [0, 1, 2, 3, 4].map((steps) => ({
      atMs: (steps - 8) * STEP_MS,
      at: { x: 0.5, y: 1.7 - 0.1 * steps },
    }));
    const shown = replica.draw(0, 8 * STEP_MS, 1, { x: 0.5, y: 1.3 }, wishes) as Rink;
    const told = [0, 1, 2, 3, 4, 4, 4, 4].map((steps) => ({ x: 0.5, y: 1.7 - 0.1 * steps }));
    for (const at of told) advance(match, ["ada", "bob"], new Map([["bob", at]]));
    expect(match.rink.puck.vy).toBeLessThan(-2);
    expect(shown.puck.vy).toBeLessThan(-2);
    expect(shown.puck.y).toBeLessThan(1.25);
  });

  test("does not shake when states come early and late", () => {
    const match = playing();
    Object.assign(match.rink.puck, { x: 0.5, y: 0.4, vx: 0, vy: 0.5 });
    const replica = new Replica();
    const waiting: { at: number; state: Match }[] = [];
    let last: number | undefined;
    for (let steps = 0; steps < 90; steps += 1) {
      const now = steps * STEP_MS;
      waiting.push({ at: now + 50 + ((steps * 37) % 60), state: sent(match) });
      advance(match, ["ada", "bob"], new Map());
      for (const { at, state } of waiting) if (at > now - STEP_MS && at <= now) replica.receive(state, at);
      const y = replica.draw(now, 160, undefined, OWN)?.puck.y;
      if (y === undefined) continue;
      // At this speed it moves by 0.008 a picture.
      if (last !== undefined && steps > 30) expect(Math.abs(y - last - 0.008)).toBeLessThan(0.004);
      last = y;
    }
  });

  test("does not jump when the host saw something else, and comes to agree", () => {
    const match = playing();
    const replica = new Replica();
    replica.receive(sent(match), 0);
    const before = replica.draw(50, 0, undefined, OWN)?.puck as Point;
    const other = sent(match);
    other.at += 3;
    other.rink.puck.x += 0.2;
    replica.receive(other, 50);
    const after = replica.draw(51, 0, undefined, OWN)?.puck as Point;
    expect(Math.abs(after.x - before.x)).toBeLessThan(0.02);
    for (let now = 60; now < 400; now += 10) replica.draw(now, 0, undefined, OWN);
    const still = sent(other);
    still.phase = "waiting";
    still.at += 1;
    replica.receive(still, 400);
    for (let now = 400; now < 900; now += 10) replica.draw(now, 0, undefined, OWN);
    expect(replica.draw(900, 0, undefined, OWN)?.puck.x).toBeCloseTo(other.rink.puck.x, 3);
  });

  test("takes no older state, unless another host begins with it", () => {
    const match = playing();
    const older = sent(match);
    match.at += 5;
    const replica = new Replica();
    replica.receive(sent(match), 0);
    replica.receive(older, 10);
    expect(replica.match?.at).toBe(match.at);
    replica.receive(older, 20, true);
    expect(replica.match?.at).toBe(older.at);
  });

  test("is not guessed far beyond what is known", () => {
    const replica = new Replica();
    replica.receive(sent(playing()), 0);
    const near = replica.draw(420, 0, undefined, OWN)?.puck as Point;
    const far = replica.draw(5_000, 0, undefined, OWN)?.puck as Point;
    expect(far.x).toBeCloseTo(near.x, 1);
  });
});
