import { describe, expect, test } from "vitest";
import { Game } from "../../src/games/air-hockey/game";
import { LENGTH } from "../../src/games/air-hockey/rink";

const STEP_MS = 1000 / 60;

/** Members whose messages take a while. */
class Table {
  readonly games = new Map<string, Game>();
  now = 0;
  delayMs = 30;
  private under: { at: number; from: string; to: string; payload: unknown }[] = [];

  join(...names: string[]): void {
    for (const name of names) {
      this.games.set(name, new Game(name));
      this.told(this.names[0]);
      this.pass(STEP_MS);
    }
  }

  get names(): string[] {
    return [...this.games.keys()];
  }

  told(host: string | undefined, present = this.names): void {
    for (const name of present) this.game(name).membersAre(present, host, this.now);
  }

  game(name: string): Game {
    const game = this.games.get(name);
    if (!game) throw new Error(`Nobody is called ${name}.`);
    return game;
  }

  pass(ms: number, awake = this.names): void {
    const until = this.now + ms;
    while (this.now < until) {
      this.now += STEP_MS;
      const due = this.under.filter(({ at }) => at <= this.now);
      this.under = this.under.filter(({ at }) => at > this.now);
      for (const { from, to, payload } of due) {
        if (awake.includes(to)) this.game(to).receive(from, JSON.parse(JSON.stringify(payload)), this.now);
      }
      for (const name of awake) {
        this.game(name).pass(this.now);
        this.game(name).draw(this.now);
        for (const { payload, to } of this.game(name).toSend()) {
          const others = to === undefined ? this.names.filter((other) => other !== name) : [to];
          for (const other of others) {
            this.under.push({ at: this.now + this.delayMs, from: name, to: other, payload });
          }
        }
      }
    }
  }

  /** The host's puck goes into the goal of this seat. */
  score(host: string, seat: 0 | 1): void {
    const match = this.game(host).match;
    if (!match) throw new Error("There is no match.");
    while (match.phase === "countdown") this.pass(STEP_MS);
    Object.assign(match.rink.puck, {
      x: 0.5,
      y: seat === 0 ? 0.02 : LENGTH - 0.02,
      vx: 0,
      vy: seat === 0 ? -3 : 3,
    });
    this.pass(200);
  }
}

describe("the game", () => {
  test("is seen by all as the host runs it", () => {
    const table = new Table();
    table.join("ada", "bob", "cleo");
    table.pass(300);
    expect(table.names.map((name) => table.game(name).seat)).toEqual([0, 1, undefined]);
    expect(table.names.map((name) => table.game(name).isHost)).toEqual([true, false, false]);
    table.score("ada", 1);
    for (const name of table.names) expect(table.game(name).match?.score).toEqual([1, 0]);
  });

  test("moves a guest's mallet at the host's, and says how long that takes", () => {
    const table = new Table();
    table.join("ada", "bob");
    table.pass(500);
    table.game("bob").aim({ x: 0.2, y: 1.4 });
    table.pass(500);
    expect(table.game("ada").match?.rink.mallets[1]).toMatchObject({ x: 0.2, y: 1.4 });
    expect(table.game("bob").delayMs).toBeGreaterThan(55);
    expect(table.game("bob").delayMs).toBeLessThan(100);
  });

  test("goes on with its score when the host is gone", () => {
    const table = new Table();
    table.join("ada", "bob", "cleo");
    table.pass(300);
    table.score("ada", 1);
    table.score("ada", 0);
    table.score("ada", 1);
    table.games.delete("ada");
    table.told("bob");
    table.pass(300);
    expect(table.game("bob").isHost).toBe(true);
    for (const name of table.names) {
      expect(table.game(name).match).toMatchObject({ score: [2, 1], phase: "waiting" });
    }
    table.join("ada");
    table.told("bob");
    table.pass(300);
    expect([table.game("ada").seat, table.game("ada").match?.score]).toEqual([0, [2, 1]]);
    expect(table.game("bob").match?.phase).toBe("countdown");
  });

  test("is handed over to a host who knows nothing of it", () => {
    const table = new Table();
    table.join("ada", "bob");
    table.pass(300);
    table.score("ada", 1);
    table.games.delete("ada");
    table.told("bob");
    table.pass(300);
    table.games.set("ada", new Game("ada"));
    // Ada has the seat at the head of the table again, and hears so before Bob does.
    table.game("ada").membersAre(["ada", "bob"], "ada", table.now);
    table.pass(400);
    expect(table.game("ada").match).toBeUndefined();
    table.told("ada", ["bob"]);
    table.pass(200);
    for (const name of ["ada", "bob"]) {
      expect(table.game(name).match).toMatchObject({
        score: [1, 0],
        seats: ["ada", "bob"],
        phase: "countdown",
      });
    }
    // With nobody to hand it over a new one begins.
    table.games.delete("bob");
    table.games.set("bob", new Game("bob"));
    table.games.delete("ada");
    table.games.set("ada", new Game("ada"));
    table.told("bob");
    table.pass(1_900);
    expect(table.game("bob").match).toBeUndefined();
    table.pass(300);
    expect(table.game("ada").match).toMatchObject({ score: [0, 0], phase: "countdown" });
  });

  test("believes no host who was replaced while asleep", () => {
    const table = new Table();
    table.join("ada", "bob", "cleo");
    table.pass(300);
    const awake = ["bob", "cleo"];
    table.pass(500, awake);
    for (const name of awake) table.game(name).membersAre(["ada", "bob", "cleo"], "bob", table.now);
    table.pass(500, awake);
    const before = table.game("cleo").match?.at ?? 0;
    table.pass(100);
    expect(table.game("ada").isHost).toBe(true);
    expect(table.game("cleo").match?.at).toBeGreaterThan(before);
    expect(table.game("cleo").match?.at).toBeCloseTo(table.game("bob").match?.at ?? 0, -1);
    table.told("bob");
    table.pass(200);
    expect(table.game("ada").isHost).toBe(false);
    expect(table.game("ada").match?.at).toBeCloseTo(table.game("bob").match?.at ?? 0, -1);
  });

  test("begins again when both players ask the host", () => {
    const table = new Table();
    table.join("ada", "bob", "cleo");
    table.pass(300);
    for (let goals = 0; goals < 7; goals += 1) table.score("ada", 1);
    expect(table.game("bob").match?.phase).toBe("over");
    table.game("cleo").again();
    table.game("bob").again();
    table.pass(200);
    expect(table.game("bob").match?.wantsRematch).toEqual([false, true]);
    table.game("ada").again();
    table.pass(200);
    expect(table.game("bob").match).toMatchObject({ phase: "countdown", score: [0, 0] });
  });

  test("does not mind what is none of its messages", () => {
    const table = new Table();
    table.join("ada", "bob");
    table.pass(300);
    for (const name of table.names) {
      const at = table.game(name).match?.at;
      for (const payload of [
        null,
        1,
        "aim",
        {},
        [],
        ["aim"],
        ["aim", 1, "x", {}],
        ["aim", 1e99, 1, 1],
        ["table", []],
      ]) {
        table.game(name).receive("ada", payload, table.now);
        table.game(name).receive("eve", payload, table.now);
      }
      expect(table.game(name).match?.at).toBe(at);
    }
    table.pass(100);
    expect(table.game("bob").match?.phase).toBe("countdown");
  });
});
