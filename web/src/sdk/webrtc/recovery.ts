/**
 * When to open a connection, to restart its ICE, or to replace it, and how the call stands meanwhile.
 *
 * Owns the phases of the connection to the SFU, the waits between attempts and the deadlines. Never touches a
 * connection; chance and time are passed in.
 *
 * A path that is lost is first sought anew on the same connection (ICE restart, RFC 8445, section 9), which costs no
 * new handshake; if that does not help in time, a new connection takes its place.
 */

import type { CallState } from "./records";

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 10_000;
/** From an offer that reached the SFU to a connection that stands. */
export const OPEN_TIMEOUT_MS = 10_000;
/** A path that is away for shorter than this comes back by itself often enough. */
export const UNSURE_MS = 1_000;
/** How long an ICE restart may take, once the SFU has its offer. */
export const RESTART_TIMEOUT_MS = 5_000;

/** What to do now: open a connection in the place of any other, or make an offer with an ICE restart. */
export type Step = "open" | "restart_ice" | undefined;

/** What a peer connection says of its path. */
export type Path = "up" | "unsure" | "down";

type Phase = "idle" | "opening" | "up" | "unsure" | "restarting" | "waiting" | "closed";

export class Recovery {
  private phase: Phase = "idle";
  private deadline: number | undefined;
  private attempts = 0;
  private wasUp = false;
  private code = "";
  private why = "";
  private readonly random: () => number;

  constructor(random: () => number) {
    this.random = random;
  }

  /** When `timePassed` is to be called. */
  get deadlineMs(): number | undefined {
    return this.deadline;
  }

  state(nowMs: number): CallState {
    const { phase, code, why, deadline } = this;
    const name =
      phase === "idle" || phase === "closed"
        ? phase
        : phase === "up" || phase === "unsure"
          ? "connected"
          : this.wasUp
            ? "reconnecting"
            : "connecting";
    const retryInMs = phase === "waiting" ? Math.max(0, (deadline ?? nowMs) - nowMs) : 0;
    return { name, code, why, retryInMs };
  }

  get isOver(): boolean {
    return this.phase === "closed";
  }

  /** Whether a connection stands, or is thought to. */
  get isUp(): boolean {
    return this.phase === "up" || this.phase === "unsure";
  }

  /** Whether the connection goes on though an offer was refused by this: that the server knows no worker ends no path. */
  outlasts(code: string): boolean {
    return code === "no_worker" && this.isUp;
  }

  /** The agent is on its way into a channel. */
  begin(): Step {
    return this.phase === "idle" ? this.open() : undefined;
  }

  /** The newest offer is with the SFU: from here on it has to answer in time. */
  offered(nowMs: number): void {
    if (this.phase === "opening") this.deadline ??= nowMs + OPEN_TIMEOUT_MS;
    else if (this.phase === "restarting") this.deadline ??= nowMs + RESTART_TIMEOUT_MS;
  }

  /** The path of the connection that counts changed. */
  pathIs(path: Path, nowMs: number): Step {
    if (this.phase === "idle" || this.phase === "waiting" || this.phase === "closed") return undefined;
    if (path === "up") {
      this.to("up");
      this.attempts = 0;
      this.wasUp = true;
      this.code = "";
      this.why = "";
    } else if (this.phase === "opening") {
      if (path === "down")
        return this.lost("connect_failed", "The media worker could not be reached.", nowMs);
    } else if (this.phase === "up" && path === "unsure") this.to("unsure", nowMs + UNSURE_MS);
    else if (path === "down" && this.phase !== "restarting") return this.restart();
    return undefined;
  }

  /** The connection is of no use any more, or could not be opened: another one is to take its place. */
  lost(code: string, why: string, nowMs: number, retryAfterMs = 0): Step {
    if (this.phase === "idle" || this.phase === "closed") return undefined;
    this.code = code;
    this.why = why;
    this.to("waiting", nowMs + Math.max(this.nextDelayMs(), retryAfterMs));
    return undefined;
  }

  /** Nothing is tried any more. */
  finish(code: string, why: string): void {
    if (this.phase === "closed") return;
    this.code = code;
    this.why = why;
    this.to("closed");
  }

  /** It may be worth trying at once: the network is back, or the page is looked at again. */
  wake(): Step {
    if (this.phase === "waiting") return this.open();
    return this.phase === "unsure" ? this.restart() : undefined;
  }

  /** The time is `nowMs`; acts if the deadline has come. */
  timePassed(nowMs: number): Step {
    if (this.deadline === undefined || nowMs < this.deadline) return undefined;
    this.deadline = undefined;
    if (this.phase === "waiting") return this.open();
    if (this.phase === "unsure") return this.restart();
    if (this.phase === "opening")
      return this.lost("timeout", "The connection did not come up in time.", nowMs);
    return this.lost("connection_lost", "The path to the media worker is lost.", nowMs);
  }

  private open(): Step {
    this.to("opening");
    return "open";
  }

  private restart(): Step {
    this.to("restarting");
    this.code = "connection_lost";
    this.why = "The path to the media worker is lost.";
    return "restart_ice";
  }

  private to(phase: Phase, deadline?: number): void {
    this.phase = phase;
    this.deadline = deadline;
  }

  /** The first wait is up to 250 ms, so that not a whole call comes back at one moment; then they double. */
  private nextDelayMs(): number {
    const chance = this.random();
    this.attempts += 1;
    if (this.attempts === 1) return Math.floor(FIRST_DELAY_MS * chance);
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(this.attempts - 1, 10));
    return Math.floor(longest * (0.5 + chance / 2));
  }
}
