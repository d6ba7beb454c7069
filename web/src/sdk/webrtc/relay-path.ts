/**
 * Frames between peers as messages of the agent: mode `relay`, and the way to whoever can't be reached directly.
 *
 * Owns how frames are put together into messages, and the pace that keeps room for the agent's other messages. Never
 * keeps a frame for long: while a message is on its way to the server the delivery above keeps what comes after it, and
 * more goes into the next one.
 */

import type { AgentConnection } from "../agent/agent";
import type { Platform } from "../agent/platform";
import type { Message } from "../agent/records";
import type { Bytes } from "../crypto/bytes";
import { sessionAddress } from "../protocol/channel";
import { ProtocolError } from "../protocol/errors";
import { PEER_DATA_TYPE } from "../protocol/group";
import type { OutgoingFrame } from "./peer-delivery";
import { ACK, joinFrames, splitFrames } from "./peer-frames";
import type { Path, PathListener, Route } from "./peer-path";

/** What one message carries, at most about. */
const MESSAGE_BYTES = 96 * 1_024;
/** Of what the server takes of an agent, this much is used; the rest is for its other messages. */
const SHARE = 0.8;
const DEFAULT_LIMITS = { send_rate_per_s: 50, lossy_rate_per_s: 200, message_bytes: 262_144 };
const RETRY_MS = 250;

/** Frames that go to the same members in one message. */
interface Parcel {
  readonly to: readonly string[];
  readonly frames: Bytes[];
  bytes: number;
}

export class RelayPath implements Path, Route {
  readonly name = "relay";
  private readonly agent: AgentConnection;
  private readonly platform: Platform;
  private readonly listener: PathListener;
  private readonly stops: (() => void)[];
  /** What the server has not acknowledged. */
  private readonly waiting: Parcel[] = [];
  private isSending = false;
  private nextMs = 0;
  private nextLossyMs = 0;
  private stopTimer: (() => void) | undefined;
  private timerMs = Number.POSITIVE_INFINITY;
  private isClosed = false;

  constructor(agent: AgentConnection, platform: Platform, listener: PathListener) {
    this.agent = agent;
    this.platform = platform;
    this.listener = listener;
    this.stops = [
      agent.on("peer", (message) => this.heard(message)),
      agent.on("presence", () => listener.writable()),
    ];
  }

  follow(): void {
    // Whoever is in the channel is reached by it.
  }

  routeTo(): Route {
    return this;
  }

  isUnreachable(): boolean {
    return false;
  }

  room(isLossy: boolean): number | undefined {
    if (this.isClosed || !this.agent.isConnected) return undefined;
    const nowMs = this.platform.nowMs();
    if (isLossy) return nowMs < this.nextLossyMs ? this.wait(this.nextLossyMs) : 16_384;
    if (this.isSending) return undefined;
    return nowMs < this.nextMs ? this.wait(this.nextMs) : this.limit("message_bytes");
  }

  send(frames: readonly OutgoingFrame[]): void {
    const nowMs = this.platform.nowMs();
    const lossy = frames.filter(({ isLossy }) => isLossy);
    for (const { to, frames: own } of parcelsOf(lossy, MESSAGE_BYTES)) {
      this.nextLossyMs = Math.max(this.nextLossyMs, nowMs) + this.interval("lossy_rate_per_s");
      this.post(to, own, "lossy").catch(() => undefined);
    }
    const reliable = frames.filter(({ isLossy }) => !isLossy);
    this.waiting.push(...parcelsOf(reliable, this.limit("message_bytes")));
    void this.pump();
  }

  close(): void {
    this.isClosed = true;
    for (const stop of this.stops.splice(0)) stop();
    this.stopTimer?.();
    this.waiting.length = 0;
  }

  private async pump(): Promise<void> {
    if (this.isSending) return;
    this.isSending = true;
    for (let parcel = this.waiting[0]; parcel && !this.isClosed; parcel = this.waiting[0]) {
      this.nextMs = Math.max(this.nextMs, this.platform.nowMs()) + this.interval("send_rate_per_s");
      try {
        await this.post(parcel.to, parcel.frames, "live");
      } catch (error) {
        const { isRetryable, retryAfterMs, code } = error as ProtocolError;
        // What is lost otherwise, as to somebody who has just left, is the delivery's affair.
        if (isRetryable && code !== "closed" && !this.isClosed) {
          await new Promise<void>((go) => this.platform.startTimer(retryAfterMs || RETRY_MS, go));
          continue;
        }
      }
      this.waiting.shift();
    }
    this.isSending = false;
    if (!this.isClosed) this.listener.writable();
  }

  private async post(
    identities: readonly string[],
    frames: readonly Bytes[],
    delivery: "live" | "lossy",
  ): Promise<void> {
    const to = this.agent.members
      .filter(({ identity }) => identities.includes(identity))
      .map(({ sessionId }) => sessionAddress(sessionId));
    if (to.length === 0) return;
    const content = joinFrames(frames);
    await this.agent.sendMessage({ content, type: PEER_DATA_TYPE, to, delivery, timeoutMs: null });
  }

  private heard({ type, content, identity }: Message): void {
    if (type !== PEER_DATA_TYPE || !(content instanceof Uint8Array)) return;
    let frames: readonly Uint8Array[] = [content];
    try {
      frames = splitFrames(content);
    } catch (error) {
      // The delivery says what is wrong with it.
      if (!(error instanceof ProtocolError)) throw error;
    }
    for (const frame of frames) this.listener.received(identity, frame);
  }

  /** Nothing now; there will be room at `atMs`. */
  private wait(atMs: number): undefined {
    if (atMs >= this.timerMs) return undefined;
    this.stopTimer?.();
    this.timerMs = atMs;
    this.stopTimer = this.platform.startTimer(Math.max(0, atMs - this.platform.nowMs()), () => {
      this.timerMs = Number.POSITIVE_INFINITY;
      this.listener.writable();
    });
    return undefined;
  }

  private interval(rate: "send_rate_per_s" | "lossy_rate_per_s"): number {
    return Math.ceil(1_000 / (SHARE * (this.agent.limits ?? DEFAULT_LIMITS)[rate]));
  }

  private limit(name: "message_bytes"): number {
    return Math.min(MESSAGE_BYTES, (this.agent.limits ?? DEFAULT_LIMITS)[name] / 2);
  }
}

/** Puts frames into as few messages as keep their order for each recipient. */
function parcelsOf(frames: readonly OutgoingFrame[], limitBytes: number): Parcel[] {
  const parcels: Parcel[] = [];
  // Whoever an acknowledgement is not for finds that it is of another's stream: all go together.
  const acks = frames.filter(isAck);
  if (acks.length > 0) {
    const to = [...new Set(acks.flatMap((one) => one.to))];
    const own = acks.map(({ frame }) => frame);
    parcels.push({ to, frames: own, bytes: own.reduce((sum, { length }) => sum + length, 0) });
  }
  for (const { to, frame } of frames.filter((one) => !isAck(one))) {
    const last = parcels.at(-1);
    const isSame = last && to.length === last.to.length && to.every((one) => last.to.includes(one));
    if (last && isSame && last.bytes + frame.length <= limitBytes) {
      last.frames.push(frame);
      last.bytes += frame.length;
    } else parcels.push({ to, frames: [frame], bytes: frame.length });
  }
  return parcels;
}

function isAck({ frame }: OutgoingFrame): boolean {
  return frame[0] === 0x93 && frame[1] === ACK;
}
