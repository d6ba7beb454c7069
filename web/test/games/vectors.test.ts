import { describe, expect, test } from "vitest";
import { Game, type Sending } from "../../src/games/air-hockey/game";
import { advance, fromWire, newMatch, toWire, wantRematch } from "../../src/games/air-hockey/match";
import { type Body, type Point, type Rink, type Seat, step } from "../../src/games/air-hockey/rink";
import { vector } from "../vectors";

interface Fall {
  readonly begins: readonly number[];
  readonly stretches: readonly {
    readonly targets: readonly [number, number, number, number];
    readonly steps: number;
    readonly scorer: Seat | null;
    readonly after: readonly number[];
  }[];
}

interface Stretch {
  readonly present: readonly string[];
  readonly count: number;
  readonly puck?: readonly [number, number, number, number];
  readonly again?: string;
  readonly wire: unknown;
}

interface Transcript {
  readonly identity: string;
  readonly goals_to_win: number;
  readonly steps: readonly {
    readonly do: "members" | "aim" | "again" | "receive" | "pass";
    readonly given: readonly unknown[];
    readonly times: number;
    readonly every_ms: number;
    readonly count: number;
    readonly said: readonly unknown[];
    readonly delay_ms: number;
    readonly seat: Seat | null;
  }[];
}

const bodyOf = ([x = 0, y = 0, vx = 0, vy = 0]: readonly number[]): Body => ({ x, y, vx, vy });

function rinkOf(numbers: readonly number[]): Rink {
  const [puck, near, far] = [0, 4, 8].map((at) => bodyOf(numbers.slice(at, at + 4))) as [Body, Body, Body];
  return { puck, mallets: [near, far] };
}

describe("the game, as its twin in Python has it", () => {
  test.each(vector<Fall[]>("games/rink.json"))("moves alike, fall %#", ({ begins, stretches }) => {
    const rink = rinkOf(begins);
    for (const { targets, steps, scorer, after } of stretches) {
      const [x0, y0, x1, y1] = targets;
      let last: Seat | undefined;
      for (let at = 0; at < steps; at += 1) {
        last = step(rink, [
          { x: x0, y: y0 },
          { x: x1, y: y1 },
        ]);
      }
      // A zero has no sign here.
      expect(JSON.stringify(rink)).toBe(JSON.stringify(rinkOf(after)));
      expect(last).toBe(scorer ?? undefined);
    }
  });

  test("has the same rules", () => {
    const match = newMatch(2);
    const targets: ReadonlyMap<string, Point> = new Map([
      ["ada", { x: 0, y: 0 }],
      ["bob", { x: 0, y: 2 }],
    ]);
    for (const { present, count, puck, again, wire } of vector<Stretch[]>("games/match.json")) {
      if (puck) Object.assign(match.rink.puck, bodyOf(puck));
      if (again !== undefined) wantRematch(match, again);
      for (let at = 0; at < count; at += 1) advance(match, present, targets);
      expect(toWire(match)).toEqual(wire);
      expect(toWire(fromWire(wire) ?? newMatch())).toEqual(wire);
    }
  });

  test.each(vector<Transcript[]>("games/game.json"))("says the same as $identity", (transcript) => {
    const game = new Game(transcript.identity, transcript.goals_to_win);
    let now = 0;
    for (const one of transcript.steps) {
      const said: Sending[] = [];
      for (let at = 0; at < one.times; at += 1) {
        now += one.every_ms;
        if (one.do === "members") game.membersAre(...(one.given as [string[], string]), now);
        else if (one.do === "aim") {
          const [x, y] = one.given as [number, number];
          game.aim({ x, y });
        } else if (one.do === "again") game.again();
        else if (one.do === "receive") game.receive(...(one.given as [string, unknown]), now);
        else game.pass(now);
        said.push(...game.toSend());
      }
      const last = said.slice(-1).map(({ payload, to, reliable }) => [payload, to ?? null, reliable]);
      expect([said.length, last]).toEqual([one.count, one.said]);
      expect([game.delayMs, game.seat ?? null]).toEqual([one.delay_ms, one.seat]);
    }
  });
});
