/**
 * Where the player's hand is: finger, mouse or arrow keys.
 *
 * Owns listening to them. A finger's mallet is a little ahead of it, so that the thumb does not cover it.
 */

import type { Point } from "./rink";

const KEY_SPEED = 1.6;
const AHEAD = 0.09;
const KEYS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

/** What the hand needs to know of the table as it lies there. */
export interface Surface {
  readonly canvas: HTMLElement;
  /** The place on the table under an event. */
  readonly pointed: (event: PointerEvent) => Point;
  /** The way from a place to the one that lies `right` and `up` of it on the screen, in table widths. */
  readonly moved: (from: Point, right: number, up: number) => Point;
}

export class Hand {
  private readonly surface: Surface;
  private readonly pressed = new Set<string>();
  private readonly stop = new AbortController();
  private place: Point;

  constructor(surface: Surface, start: Point) {
    this.surface = surface;
    this.place = start;
    const { signal } = this.stop;
    const move = (event: PointerEvent): void => {
      this.pressed.clear();
      const at = this.surface.pointed(event);
      this.place = event.pointerType === "mouse" ? at : this.surface.moved(at, 0, AHEAD);
    };
    surface.canvas.addEventListener("pointermove", move, { signal });
    surface.canvas.addEventListener("pointerdown", move, { signal });
    addEventListener("keydown", (event) => this.key(event, true), { signal });
    addEventListener("keyup", (event) => this.key(event, false), { signal });
    addEventListener("blur", () => this.pressed.clear(), { signal });
  }

  /** Where the mallet is wanted, after so many seconds more of the keys that are held. */
  at(seconds: number): Point {
    let [right, up] = [0, 0];
    for (const key of this.pressed) {
      const [x, y] = KEYS[key] ?? [0, 0];
      right += x;
      up += y;
    }
    if (right || up) {
      this.place = this.surface.moved(this.place, right * KEY_SPEED * seconds, up * KEY_SPEED * seconds);
    }
    return this.place;
  }

  /** The mallet can't go further than this; keys go on from there. */
  held(place: Point): void {
    if (this.pressed.size > 0) this.place = place;
  }

  close(): void {
    this.stop.abort();
  }

  private key(event: KeyboardEvent, isDown: boolean): void {
    const { target, key } = event;
    if (!KEYS[key] || target instanceof HTMLInputElement || target instanceof HTMLSelectElement) return;
    if (document.querySelector("dialog[open]")) return;
    event.preventDefault();
    if (isDown) this.pressed.add(key);
    else this.pressed.delete(key);
  }
}
