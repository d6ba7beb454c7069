/**
 * Runs one session machine: its clock, its timer and its transport.
 *
 * Owns the moment at which things happen. Never decides anything, which is the machine's task, and never shows
 * anything to users, which is the agent's.
 */

import { type Codec, clientCodec, Rejected } from "../protocol/codec";
import { NORMAL_CLOSURE, ProtocolError } from "../protocol/errors";
import type { ClientFrame, ErrorFrame, SendFrame } from "../protocol/frames.gen";
import { ClientSession } from "../protocol/session/client";
import { failure } from "../protocol/session/failures";
import type { Action, Event } from "../protocol/session/outputs";
import type { TransportName } from "../protocol/session/paths";
import type { RequestOptions } from "../protocol/session/request-writer";
import type { ClientSettings } from "../protocol/session/settings";
import type { Environment } from "./environment";
import type { Situation } from "./sealed-channel";
import type { PacketBounds } from "./transport/packets";
import { sealingTransport } from "./transport/sealing";
import type { Transport, TransportListener, TransportSettings } from "./transport/transport";

/** What the driver tells, and whom it asks for a new key. */
export interface DriverHooks {
  happened(event: Event): void;
  fetchKey(): Promise<string>;
}

/** Gives frames the form in which they are sent. */
export interface Sealing {
  /** A frame as large as what will be sent in the place of `frame`. */
  standIn(frame: ClientFrame): ClientFrame;
  /** What is sent in its place; rejects with `ProtocolError` where that cannot be made. */
  ready(frame: ClientFrame, situation: Situation): ClientFrame | Promise<ClientFrame>;
}

/** As long as the server has not said what it takes there is nothing to send but `connect`. */
const CONNECT_ALONE: PacketBounds = { bytes: 65_536, frames: 1 };

export class Driver {
  readonly session: ClientSession;
  private readonly environment: Environment;
  private readonly transportSettings: TransportSettings;
  private readonly hooks: DriverHooks;
  private readonly sealing: Sealing | undefined;
  private readonly wantedName: string;
  private readonly codec: Codec<never>;
  private transport: Transport | undefined;
  private stopTimer: (() => void) | undefined;
  private isPaused = false;
  private isFlushing = false;
  private isFlushPlanned = false;

  constructor(
    settings: ClientSettings,
    transportSettings: TransportSettings,
    environment: Environment,
    hooks: DriverHooks,
    sealing?: Sealing,
  ) {
    this.sealing = sealing;
    this.wantedName = settings.connect.agent ?? "";
    this.environment = environment;
    this.transportSettings = transportSettings;
    this.hooks = hooks;
    this.session = new ClientSession(settings, environment.random);
    this.codec = clientCodec(transportSettings.encoding, 0) as Codec<never>;
  }

  start(): void {
    this.session.start(this.now());
    this.flush();
  }

  /** Takes a request; what is asked for in one turn of the event loop travels in one batch. */
  request(frame: ClientFrame, options: RequestOptions = {}): number {
    // The id is not there yet and takes a few bytes more.
    const measured = this.sealing?.standIn(frame) ?? frame;
    const sizeBytes = this.codec.encode({ ...measured, id: Number.MAX_SAFE_INTEGER } as ClientFrame).length;
    const handle = this.session.request(frame, this.now(), { sizeBytes, ...options });
    this.flushSoon();
    return handle;
  }

  /** Sends a lossy message; false when it was dropped. */
  sendLossy(frame: SendFrame): boolean {
    const isSent = this.session.sendLossy(frame, this.now());
    this.flushSoon();
    return isSent;
  }

  renew(apiKey: string): void {
    this.session.renew(apiKey, this.now());
    this.flush();
  }

  /** The network is back, or the page is seen again: no need to wait for the end of a delay. */
  wake(): void {
    this.session.reconnectNow(this.now());
    this.session.tick(this.now());
    this.flush();
  }

  close(): void {
    this.session.close(this.now());
    this.flush();
  }

  /** The page goes: nothing is sent, heard or tried any more, unless it is shown again. */
  pause(): void {
    this.isPaused = true;
    this.stopTimer?.();
    const { transport } = this;
    this.transport = undefined;
    transport?.close(NORMAL_CLOSURE, "The page goes.");
  }

  /** The page is shown again out of the browser's memory. */
  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.session.transportLost(undefined, "The page was away.", this.now());
    this.wake();
  }

  private now(): number {
    return this.environment.nowMs();
  }

  private flushSoon(): void {
    if (this.isFlushPlanned) return;
    this.isFlushPlanned = true;
    queueMicrotask(() => this.flush());
  }

  /** Does what the machine gave out, until it gives out nothing more. */
  private flush(): void {
    this.isFlushPlanned = false;
    // A listener may ask for something in the middle of it; the loop below comes to that.
    if (this.isFlushing || this.isPaused) return;
    this.isFlushing = true;
    try {
      while (this.flushOnce());
    } finally {
      this.isFlushing = false;
    }
    this.setTimer();
  }

  private flushOnce(): boolean {
    const frames = this.session.framesToSend();
    if (frames.length > 0) this.transport?.send(frames, this.bounds);
    const actions = this.session.actionsToDo();
    for (const action of actions) this.perform(action);
    const events = this.session.events();
    for (const event of events) this.hooks.happened(event);
    return frames.length + actions.length + events.length > 0;
  }

  private get bounds(): PacketBounds {
    const limits = this.session.connected?.limits;
    return limits ? { bytes: limits.frame_bytes, frames: limits.batch_frames } : CONNECT_ALONE;
  }

  private perform(action: Action): void {
    switch (action.do) {
      case "open_transport":
        this.openTransport(action.transport);
        break;
      case "close_transport":
        this.transport?.close(action.close_code, action.reason);
        this.transport = undefined;
        break;
      case "fetch_credential":
        void this.fetchKey();
        break;
    }
  }

  private openTransport(name: TransportName): void {
    const opened: { transport?: Transport } = {};
    // What a transport of the past still says is nobody's business any more.
    const whileCurrent = (input: () => void): void => {
      if (opened.transport === undefined || opened.transport !== this.transport) return;
      input();
      this.flush();
    };
    const listener: TransportListener = {
      opened: () => whileCurrent(() => this.session.transportOpened(this.now())),
      heard: () => whileCurrent(() => this.session.heard(this.now())),
      received: (frames) =>
        whileCurrent(() => {
          for (const frame of frames) {
            if (frame instanceof Rejected) this.session.unreadable(frame.error, this.now());
            else this.session.receive(frame, this.now());
          }
        }),
      lost: (closeCode, reason) =>
        whileCurrent(() => {
          this.transport = undefined;
          this.session.transportLost(closeCode, reason, this.now());
        }),
    };
    const transport = this.environment.openTransport[name](this.transportSettings, listener);
    const { sealing } = this;
    opened.transport = sealing
      ? sealingTransport(transport, (frame) => this.sealed(frame, sealing))
      : transport;
    this.transport = opened.transport;
  }

  /** What is sent in the place of a frame; nothing where that cannot be made, and its request has failed. */
  private sealed(frame: ClientFrame, sealing: Sealing): ClientFrame | Promise<ClientFrame | undefined> {
    const { session, wantedName } = this;
    const ready = sealing.ready(frame, {
      agent: session.connected?.agent ?? wantedName,
      get members() {
        return session.roster.present;
      },
    });
    if (!(ready instanceof Promise)) return ready;
    return ready.catch((error: unknown) => {
      if ("id" in frame && frame.id !== undefined) session.withdraw(frame.id, failureOf(error));
      this.flush();
      return undefined;
    });
  }

  private async fetchKey(): Promise<void> {
    try {
      this.session.renew(await this.hooks.fetchKey(), this.now());
    } catch (error) {
      this.session.renewFailed(failureOfKey(error), this.now());
    }
    this.flush();
  }

  private setTimer(): void {
    this.stopTimer?.();
    this.stopTimer = undefined;
    const deadline = this.session.deadline();
    if (deadline === undefined) return;
    this.stopTimer = this.environment.startTimer(Math.max(0, deadline - this.now()), () => {
      this.session.tick(this.now());
      this.flush();
    });
  }
}

/** Why there is no key; what the user's own code throws may pass. */
function failureOfKey(error: unknown): ErrorFrame {
  if (error instanceof ProtocolError) return failureOf(error);
  return failure("connect_failed", `No new key: ${String(error)}`);
}

function failureOf(error: unknown): ErrorFrame {
  if (!(error instanceof ProtocolError)) return failure("internal", String(error));
  return {
    ...failure(error.code, error.message),
    is_retryable: error.isRetryable,
    correlation_id: error.correlationId,
    details: error.details,
    ...(error.retryAfterMs === undefined ? {} : { retry_after_ms: error.retryAfterMs }),
  };
}
