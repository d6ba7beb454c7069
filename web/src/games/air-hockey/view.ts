/**
 * How the table lies on the screen, and drawing it.
 *
 * Owns the canvas. The own side is at the bottom of a tall screen, and on the left of a wide one. Never knows the rules.
 */

import {
  GOAL_WIDTH,
  LENGTH,
  MALLET_RADIUS,
  type Point,
  PUCK_RADIUS,
  type Rink,
  type Seat,
  WIDTH,
} from "./rink";

/** Around the table, in its widths. */
const MARGIN = 0.06;

/** From the table to a screen of this size and back. */
export class Placement {
  private readonly isWide: boolean;
  private readonly isTurned: boolean;
  readonly scale: number;
  private readonly left: number;
  private readonly top: number;

  constructor(width: number, height: number, seat: Seat | undefined) {
    this.isWide = width > height;
    this.isTurned = seat === 1;
    const [across, along] = this.isWide ? [height, width] : [width, height];
    this.scale = Math.max(1, Math.min(across / (WIDTH + 2 * MARGIN), along / (LENGTH + 2 * MARGIN)));
    const [columns, rows] = this.isWide ? [LENGTH, WIDTH] : [WIDTH, LENGTH];
    this.left = (width - columns * this.scale) / 2;
    this.top = (height - rows * this.scale) / 2;
  }

  toScreen({ x, y }: Point): Point {
    const [across, along] = this.isTurned ? [WIDTH - x, LENGTH - y] : [x, y];
    return this.isWide
      ? { x: this.left + along * this.scale, y: this.top + across * this.scale }
      : { x: this.left + across * this.scale, y: this.top + (LENGTH - along) * this.scale };
  }

  toTable(at: Point): Point {
    const [right, down] = [(at.x - this.left) / this.scale, (at.y - this.top) / this.scale];
    const [across, along] = this.isWide ? [down, right] : [right, LENGTH - down];
    return this.isTurned ? { x: WIDTH - across, y: LENGTH - along } : { x: across, y: along };
  }
}

export class View {
  private readonly canvas: HTMLCanvasElement;
  private readonly pen: CanvasRenderingContext2D;
  private placement: Placement;
  private colours: Readonly<Record<string, string>> = {};

  constructor(canvas: HTMLCanvasElement) {
    const pen = canvas.getContext("2d");
    if (!pen) throw new Error("This browser cannot draw on a canvas.");
    this.canvas = canvas;
    this.pen = pen;
    this.placement = new Placement(1, 1, undefined);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.readColours());
    this.readColours();
  }

  /** Where on the table somebody points. */
  pointed({ clientX, clientY }: { clientX: number; clientY: number }): Point {
    const { left, top } = this.canvas.getBoundingClientRect();
    return this.placement.toTable({ x: clientX - left, y: clientY - top });
  }

  /** The place that lies so far to the right and up on the screen, in widths of the table. */
  moved(from: Point, right: number, up: number): Point {
    const { x, y } = this.placement.toScreen(from);
    const { scale } = this.placement;
    return this.placement.toTable({ x: x + right * scale, y: y - up * scale });
  }

  draw(rink: Rink | undefined, seat: Seat | undefined): void {
    const { canvas, pen } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    const density = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * density) || canvas.height !== Math.round(height * density)) {
      canvas.width = Math.round(width * density);
      canvas.height = Math.round(height * density);
    }
    this.placement = new Placement(width, height, seat);
    pen.setTransform(density, 0, 0, density, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.drawTable();
    if (!rink) return;
    const own = seat ?? 0;
    for (const at of [0, 1] as const) {
      this.drawDisc(rink.mallets[at], MALLET_RADIUS, at === own ? "accent" : "bad", MALLET_RADIUS * 0.45);
    }
    this.drawDisc(rink.puck, PUCK_RADIUS, "text", 0);
    // For programs that look on: where everything is, in pixels of the canvas.
    canvas.dataset["puck"] = this.pixels(rink.puck);
    canvas.dataset["mallets"] = rink.mallets.map((mallet) => this.pixels(mallet)).join(" ");
  }

  private pixels(at: Point): string {
    const { x, y } = this.placement.toScreen(at);
    return `${Math.round(x)} ${Math.round(y)}`;
  }

  private readColours(): void {
    const style = getComputedStyle(document.documentElement);
    const names = ["surface", "border-strong", "accent", "bad", "text", "accent-tint", "bad-tint"];
    this.colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`)]));
  }

  private colour(name: string): string {
    return this.colours[name] ?? "gray";
  }

  private drawTable(): void {
    const { pen, placement } = this;
    const edge = MARGIN / 3;
    const corner = placement.toScreen({ x: -edge, y: -edge });
    const other = placement.toScreen({ x: WIDTH + edge, y: LENGTH + edge });
    const [left, top] = [Math.min(corner.x, other.x), Math.min(corner.y, other.y)];
    pen.beginPath();
    pen.roundRect(
      left,
      top,
      Math.abs(corner.x - other.x),
      Math.abs(corner.y - other.y),
      placement.scale * 0.04,
    );
    pen.fillStyle = this.colour("surface");
    pen.fill();
    pen.strokeStyle = this.colour("border-strong");
    pen.lineWidth = 2;
    pen.stroke();
    this.line({ x: 0, y: LENGTH / 2 }, { x: WIDTH, y: LENGTH / 2 }, 2);
    const middle = placement.toScreen({ x: WIDTH / 2, y: LENGTH / 2 });
    pen.beginPath();
    pen.arc(middle.x, middle.y, 0.16 * placement.scale, 0, 2 * Math.PI);
    pen.stroke();
    for (const [y, name] of [
      [-edge, this.placementOwn() === 0 ? "accent" : "bad"],
      [LENGTH + edge, this.placementOwn() === 0 ? "bad" : "accent"],
    ] as const) {
      pen.strokeStyle = this.colour(name);
      this.line({ x: (WIDTH - GOAL_WIDTH) / 2, y }, { x: (WIDTH + GOAL_WIDTH) / 2, y }, 6);
      pen.strokeStyle = this.colour("border-strong");
    }
  }

  /** Whose side is the near one. */
  private placementOwn(): Seat {
    const near = this.placement.toScreen({ x: 0, y: 0 });
    const far = this.placement.toScreen({ x: 0, y: LENGTH });
    return near.y > far.y || near.x < far.x ? 0 : 1;
  }

  private line(from: Point, to: Point, width: number): void {
    const [start, end] = [this.placement.toScreen(from), this.placement.toScreen(to)];
    this.pen.lineWidth = width;
    this.pen.beginPath();
    this.pen.moveTo(start.x, start.y);
    this.pen.lineTo(end.x, end.y);
    this.pen.stroke();
  }

  private drawDisc(at: Point, radius: number, colour: string, knob: number): void {
    const { pen, placement } = this;
    const { x, y } = placement.toScreen(at);
    pen.fillStyle = this.colour(colour);
    pen.beginPath();
    pen.arc(x, y, radius * placement.scale, 0, 2 * Math.PI);
    pen.fill();
    if (knob === 0) return;
    pen.fillStyle = this.colour("surface");
    pen.beginPath();
    pen.arc(x, y, knob * placement.scale, 0, 2 * Math.PI);
    pen.fill();
  }
}
