/**
 * The requests of a client that have no outcome yet: waiting to be sent, or sent and waiting for the reply.
 *
 * Owns their order, their bounds and their deadlines; this is the offline queue. Never builds or sends a frame.
 *
 * A request gets its id when it is written, and a new, higher one when it is written again, so that ids rise
 * strictly on every session. All else is the same, the idempotency key above all. See PROTOCOL.md, section 5.
 */

import { ProtocolError } from "../errors";
import type { ClientFrame } from "../frames.gen";

/** One request; `ids` are all it was sent under, rising, since a reply to an older one may still come. */
export interface Request {
  readonly handle: number;
  readonly frame: ClientFrame;
  readonly sizeBytes: number;
  readonly expiresMs: number | undefined;
  isQueued: boolean;
  readonly ids: number[];
}

/** All requests without an outcome, at most `maxRequests` and `maxBytes` of them. */
export class RequestBook {
  private readonly maxRequests: number;
  private readonly maxBytes: number;
  private bytes = 0;
  private lastHandle = 0;
  private readonly open = new Map<number, Request>();
  private readonly byId = new Map<number, Request>();
  private readonly queue: Request[] = [];

  constructor(maxRequests: number, maxBytes: number) {
    this.maxRequests = maxRequests;
    this.maxBytes = maxBytes;
  }

  get size(): number {
    return this.open.size;
  }

  /** How many wait to be written. */
  get queued(): number {
    return this.queue.length;
  }

  /** Takes a request and gives its handle. Throws `ProtocolError` (`queue_full`). */
  add(frame: ClientFrame, sizeBytes: number, expiresMs: number | undefined): number {
    if (this.open.size >= this.maxRequests || this.bytes + sizeBytes > this.maxBytes) {
      throw new ProtocolError(
        "queue_full",
        `${this.open.size} requests (${this.bytes} bytes) wait for their outcome already.`,
      );
    }
    this.lastHandle += 1;
    const request: Request = {
      handle: this.lastHandle,
      frame,
      sizeBytes,
      expiresMs,
      isQueued: true,
      ids: [],
    };
    this.open.set(request.handle, request);
    this.bytes += sizeBytes;
    this.queue.push(request);
    return request.handle;
  }

  /** The request to be written next. */
  firstQueued(): Request | undefined {
    return this.queue[0];
  }

  /** The first of the queue was written under this id. */
  written(requestId: number): void {
    const request = this.queue.shift();
    if (!request) return;
    request.isQueued = false;
    request.ids.push(requestId);
    this.byId.set(requestId, request);
  }

  /** The request that a reply belongs to, which is over; `undefined` for one that was given up. */
  answered(requestId: number): Request | undefined {
    const request = this.byId.get(requestId);
    if (request) this.drop(request);
    return request;
  }

  /** Puts what was last sent under a higher id than `beyondId` back, ahead of what was never sent. */
  writeAgain(beyondId: number): void {
    const again = [...this.open.values()].filter(
      (request) => !request.isQueued && lastId(request) > beyondId,
    );
    again.sort((a, b) => lastId(a) - lastId(b));
    for (const request of again) request.isQueued = true;
    this.queue.unshift(...again);
  }

  /** Takes out the requests whose time is over. */
  expired(nowMs: number): Request[] {
    const late = [...this.open.values()].filter((request) => (request.expiresMs ?? Infinity) <= nowMs);
    for (const request of late) this.drop(request);
    return late;
  }

  /** Takes out everything; the session is over. */
  takeAll(): Request[] {
    const all = [...this.open.values()];
    for (const request of all) this.drop(request);
    return all;
  }

  /** Takes one out. */
  drop(request: Request): void {
    this.open.delete(request.handle);
    this.bytes -= request.sizeBytes;
    for (const id of request.ids) this.byId.delete(id);
    if (request.isQueued) this.queue.splice(this.queue.indexOf(request), 1);
  }

  /** When the next request runs out of time. */
  get nextExpiryMs(): number | undefined {
    let next: number | undefined;
    for (const { expiresMs } of this.open.values()) {
      if (expiresMs !== undefined && (next === undefined || expiresMs < next)) next = expiresMs;
    }
    return next;
  }
}

function lastId(request: Request): number {
  return request.ids.at(-1) ?? 0;
}
