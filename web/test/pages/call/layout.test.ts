/** Where the tiles stand. */
import { describe, expect, test } from "vitest";
import { type Arrangement, placesFor, type Rect, type Space } from "../../../src/pages/call/layout";

const DESKTOP = { width: 1256, height: 640 };
const PHONE = { width: 374, height: 690 };
const SPACES: readonly (readonly [string, Space])[] = [
  ["a desktop", DESKTOP],
  ["a phone", PHONE],
  ["a phone on its side", { width: 800, height: 260 }],
  ["a wide window", { width: 2400, height: 500 }],
];
const ARRANGEMENTS: readonly Arrangement[] = ["grid", "stage"];

const right = ({ left, width }: Rect): number => left + width;
const bottom = ({ top, height }: Rect): number => top + height;

function overlap(a: Rect, b: Rect): boolean {
  return a.left < right(b) && b.left < right(a) && a.top < bottom(b) && b.top < bottom(a);
}

describe.each(SPACES)("%s", (_, space) => {
  test.each(ARRANGEMENTS)("has a place within for everybody, and none upon another: %s", (arrangement) => {
    for (let count = 1; count <= 20; count++) {
      const places = placesFor(count, space, arrangement);
      expect(places).toHaveLength(count);
      for (const [at, place] of places.entries()) {
        expect(Math.min(place.left, place.top)).toBeGreaterThanOrEqual(0);
        expect(right(place)).toBeLessThanOrEqual(space.width + 1);
        expect(bottom(place)).toBeLessThanOrEqual(space.height + 1);
        expect(Math.min(place.width, place.height)).toBeGreaterThan(20);
        const others = places.slice(at + 1);
        const isCorner = space === PHONE && count === 2 && arrangement === "grid";
        if (!isCorner) expect(others.some((other) => overlap(place, other))).toBe(false);
      }
    }
  });
});

describe("the grid", () => {
  test("is two side by side on a desktop", () => {
    const [one, two] = placesFor(2, DESKTOP, "grid");
    expect([one?.top, one?.width, one?.height]).toEqual([two?.top, two?.width, two?.height]);
  });

  test("has rows that are full but for the last, which stands in the middle", () => {
    const places = placesFor(5, DESKTOP, "grid");
    const rows = new Set(places.map(({ top }) => top));
    expect(rows.size).toBe(2);
    const last = places.slice(3);
    const margins = [last[0]?.left ?? 0, DESKTOP.width - right(last[1] as Rect)];
    expect(Math.abs((margins[0] ?? 0) - (margins[1] ?? 0))).toBeLessThanOrEqual(2);
  });

  test("cuts faces nowhere", () => {
    for (let count = 1; count <= 9; count++) {
      for (const { width, height } of placesFor(count, DESKTOP, "grid")) {
        expect(width / height).toBeGreaterThan(1.3);
        expect(width / height).toBeLessThan(1.79);
      }
    }
  });

  test("gives a call of two on a phone to the other one", () => {
    const [other, own] = placesFor(2, PHONE, "grid") as [Rect, Rect];
    expect(other).toEqual({ left: 0, top: 0, ...PHONE });
    expect(own.width).toBeLessThan(PHONE.width / 3);
    expect(bottom(own)).toBeLessThan(PHONE.height);
  });
});

test("the stage is large, the strip beside or below it", () => {
  const [large, ...strip] = placesFor(4, DESKTOP, "stage") as [Rect, ...Rect[]];
  expect(large.width).toBeGreaterThan(DESKTOP.width * 0.7);
  expect(strip.every(({ left }) => left > large.width)).toBe(true);
  const [upright, ...below] = placesFor(4, PHONE, "stage") as [Rect, ...Rect[]];
  expect(upright.width).toBe(PHONE.width);
  expect(below.every(({ top }) => top > upright.height)).toBe(true);
});

test("nothing has no place", () => {
  expect(placesFor(0, DESKTOP, "grid")).toEqual([]);
  expect(placesFor(3, { width: 0, height: 100 }, "grid")).toEqual([]);
});
