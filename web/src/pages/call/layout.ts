/**
 * Where the tiles of a call stand.
 *
 * Owns the geometry, in CSS pixels. Never touches an element.
 */

export interface Rect {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** The space there is. */
export interface Space {
  readonly width: number;
  readonly height: number;
}

const GAP = 8;
/** Tiles are not narrower or wider than this: faces are cut off, or lost in the wide. */
const NARROWEST = 4 / 3;
const NARROWEST_UPRIGHT = 3 / 4;
const WIDEST = 16 / 9;
/** Below this width a call of two shows the other one large, and oneself in a corner. */
const PHONE_WIDTH = 600;

/** How the call is shown: everybody alike, or the first tile large and the others in a strip. */
export type Arrangement = "grid" | "stage";

/** A place for each of `count` tiles, the first for the first; in a call of two on a phone the second lies on the first. */
export function placesFor(count: number, space: Space, arrangement: Arrangement): Rect[] {
  if (count === 0 || space.width <= 0 || space.height <= 0) return [];
  const isUpright = space.height > space.width;
  if (count === 1) return isUpright ? [area(space)] : grid(1, area(space));
  if (arrangement === "grid") {
    return count === 2 && isUpright && space.width < PHONE_WIDTH
      ? withCorner(space)
      : grid(count, area(space));
  }
  return stage(count, space, isUpright);
}

function area({ width, height }: Space): Rect {
  return { left: 0, top: 0, width, height };
}

/** Rows of equal tiles, as many columns as make them largest; the last row stands in the middle. */
function grid(count: number, within: Rect): Rect[] {
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cell = {
      width: (within.width - GAP * (columns - 1)) / columns,
      height: (within.height - GAP * (rows - 1)) / rows,
    };
    const { width, height } = clamped(cell, within.height > within.width);
    if (width * height > best.width * best.height) best = { columns, width, height };
  }
  const { columns, width, height } = best;
  const rows = Math.ceil(count / columns);
  const top = within.top + (within.height - rows * height - (rows - 1) * GAP) / 2;
  return Array.from({ length: count }, (_, at) => {
    const row = Math.floor(at / columns);
    const inRow = Math.min(columns, count - row * columns);
    const left = within.left + (within.width - inRow * width - (inRow - 1) * GAP) / 2;
    return rounded({
      left: left + (at - row * columns) * (width + GAP),
      top: top + row * (height + GAP),
      width,
      height,
    });
  });
}

/** The largest size within a cell that is neither too narrow nor too wide. */
function clamped({ width, height }: Space, isUpright: boolean): Space {
  return {
    width: Math.min(width, height * WIDEST),
    height: Math.min(height, width / (isUpright ? NARROWEST_UPRIGHT : NARROWEST)),
  };
}

function stage(count: number, { width, height }: Space, isUpright: boolean): Rect[] {
  const strip = isUpright
    ? Math.min(Math.max(height * 0.22, 88), 180)
    : Math.min(Math.max(width * 0.2, 120), 260);
  const large = isUpright
    ? { left: 0, top: 0, width, height: height - strip - GAP }
    : { left: 0, top: 0, width: width - strip - GAP, height };
  const rest = isUpright
    ? { left: 0, top: height - strip, width, height: strip }
    : { left: width - strip, top: 0, width: strip, height };
  return [rounded(large), ...grid(count - 1, rest)];
}

function withCorner({ width, height }: Space): Rect[] {
  const own = { width: Math.round(width * 0.28), height: Math.round(width * 0.38) };
  return [
    { left: 0, top: 0, width, height },
    { left: width - own.width - 12, top: height - own.height - 12, ...own },
  ];
}

function rounded({ left, top, width, height }: Rect): Rect {
  return {
    left: Math.round(left),
    top: Math.round(top),
    width: Math.floor(width),
    height: Math.floor(height),
  };
}
