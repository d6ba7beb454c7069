import { describe, expect, test } from "vitest";
import {
  type Body,
  GOAL_WIDTH,
  LENGTH,
  MALLET_RADIUS,
  newRink,
  type Point,
  PUCK_RADIUS,
  type Rink,
  reach,
  STEPS_PER_S,
  step,
  WIDTH,
} from "../../src/games/air-hockey/rink";

const AWAY: readonly [Point, Point] = [
  { x: 0.9, y: 0.1 },
  { x: 0.9, y: LENGTH - 0.1 },
];

function rinkWith(puck: Body): Rink {
  const rink = newRink(0);
  Object.assign(rink.puck, puck);
  for (const [at, place] of AWAY.entries()) Object.assign(rink.mallets[at] as Body, place, { vx: 0, vy: 0 });
  return rink;
}

function play(rink: Rink, steps: number, targets = AWAY): number | undefined {
  for (let at = 0; at < steps; at += 1) {
    const scorer = step(rink, targets);
    if (scorer !== undefined) return scorer;
  }
  return undefined;
}

const energy = ({ vx, vy }: Body): number => vx * vx + vy * vy;

/** Numbers that look random and are always the same. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

describe("the puck", () => {
  test("glides, slows down, and comes back from the sides", () => {
    const rink = rinkWith({ x: 0.5, y: 1, vx: 2, vy: 0 });
    play(rink, 20);
    expect(rink.puck.vx).toBeLessThan(0);
    expect(rink.puck.y).toBeCloseTo(1);
    expect(energy(rink.puck)).toBeLessThan(4);
    play(rink, 60 * STEPS_PER_S);
    expect(energy(rink.puck)).toBeLessThan(1e-6);
  });

  test("goes into the goal, and whoever sits at the other end scores", () => {
    expect(play(rinkWith({ x: 0.5, y: 0.4, vx: 0, vy: -2 }), 60)).toBe(1);
    expect(play(rinkWith({ x: 0.5, y: 1.6, vx: 0, vy: 2 }), 60)).toBe(0);
  });

  test("comes back from the wall beside the goal, and from its posts", () => {
    for (const x of [0.2, (WIDTH - GOAL_WIDTH) / 2 + PUCK_RADIUS / 3]) {
      const rink = rinkWith({ x, y: 0.4, vx: 0, vy: -1.5 });
      expect(play(rink, 30)).toBeUndefined();
      expect(rink.puck.vy).toBeGreaterThan(0);
    }
  });

  test("is hit by a mallet, and faster by a faster one", () => {
    const speeds = [0.004, 0.008].map((way) => {
      const rink = rinkWith({ x: 0.5, y: 0.5, vx: 0, vy: 0 });
      Object.assign(rink.mallets[0], { x: 0.5, y: 0.5 - MALLET_RADIUS - PUCK_RADIUS - 0.001 });
      const targets: [Point, Point] = [{ x: 0.5, y: rink.mallets[0].y + way }, AWAY[1]];
      play(rink, 1, targets);
      return rink.puck.vy;
    });
    expect(speeds[0]).toBeGreaterThan(0.5);
    expect(speeds[1]).toBeGreaterThan((speeds[0] as number) * 1.3);
  });

  test("stays on the table and out of the mallets, whatever the players do", () => {
    for (let seed = 1; seed <= 15; seed += 1) {
      const next = random(seed);
      const rink = rinkWith({ x: next(), y: next() * LENGTH, vx: next() * 8 - 4, vy: next() * 8 - 4 });
      for (let at = 0; at < 600; at += 1) {
        const targets: [Point, Point] = [
          { x: next() * 3 - 1, y: next() * 3 - 1 },
          { x: next() * 3 - 1, y: next() * 3 },
        ];
        if (step(rink, targets) !== undefined) break;
        const { puck, mallets } = rink;
        expect(puck.x).toBeGreaterThanOrEqual(PUCK_RADIUS - 1e-9);
        expect(puck.x).toBeLessThanOrEqual(WIDTH - PUCK_RADIUS + 1e-9);
        expect(Math.abs(puck.y - LENGTH / 2)).toBeLessThanOrEqual(LENGTH / 2 + PUCK_RADIUS + 0.02);
        expect(Math.hypot(puck.vx, puck.vy)).toBeLessThanOrEqual(3.6 + 1e-9);
        for (const [seat, mallet] of mallets.entries()) {
          expect(reach(seat as 0 | 1, mallet)).toEqual({ x: mallet.x, y: mallet.y });
        }
      }
    }
  });
});
