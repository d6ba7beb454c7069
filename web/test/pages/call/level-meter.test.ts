/** From samples to a share of the bar. */
import { expect, test } from "vitest";
import { levelOf } from "../../../src/pages/call/level-meter";

const wave = (amplitude: number) => Array.from({ length: 480 }, (_, at) => amplitude * Math.sin(at / 7));

test("silence is nothing, loud is full, and louder is more", () => {
  expect(levelOf([])).toBe(0);
  expect(levelOf(wave(0))).toBe(0);
  expect(levelOf(wave(0.0005))).toBe(0);
  expect(levelOf(wave(0.01))).toBeGreaterThan(0.1);
  expect(levelOf(wave(0.1))).toBeGreaterThan(levelOf(wave(0.01)));
  expect(levelOf(wave(1))).toBe(1);
});
