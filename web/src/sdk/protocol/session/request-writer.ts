/**
 * The requests of a client on their way: which is written when, under which id, and what became of it.
 *
 * Owns their ids, their pace and their outcomes. Never decides whether there is a session (that is `client`), which it
 * gives its frames and events to by `send` and `tell`. See PROTOCOL.md, sections 2 and 5.
 */

import type { ClientFrame, ConnectedFrame, ErrorFrame, SendFrame } from "../frames.gen";
import type { Credential } from "./credential";
import { failure } from "./failures";
import type { Event, Reply } from "./outputs";
import { Pace } from "./pace";
import { type Request, RequestBook } from "./requests";
import type { ClientSettings } from "./settings";

/** What may go with a request. */
export interface RequestOptions {
  /** About what it takes on the wire. */
  readonly sizeBytes?: number;
  /** Left out it is the settings'; null is no end. */
  readonly timeoutMs?: number | null;
}

/** That of one session. All times are in milliseconds. */
export class RequestWriter {
  private readonly settings: ClientSettings;
  private readonly credential: Credential;
  private readonly send: (frame: ClientFrame, now: number) => void;
  private readonly tell: (event: Event) => void;
  private readonly book: RequestBook;
  private lastId = 0;
  private renewHandle = 0;
  private pace = new Pace(1, 0);
  private lossyPace = new Pace(1, 0);

  constructor(
    settings: ClientSettings,
    credential: Credential,
    send: (frame: ClientFrame, now: number) => void,
    tell: (event: Event) => void,
  ) {
    this.settings = settings;
    this.credential = credential;
    this.send = send;
    this.tell = tell;
    this.book = new RequestBook(settings.maxRequests, settings.maxRequestBytes);
  }

  // --- what can be asked ---------------------------------------------------------------------------------

  /** How many requests have no outcome yet. */
  get size(): number {
    return this.book.size;
  }

  /** How many of them wait to be written. */
  get queued(): number {
    return this.book.queued;
  }

  /** When the next one runs out of time. */
  get nextExpiryMs(): number | undefined {
    return this.book.nextExpiryMs;
  }

  /** When the next may be written, as far as the pace is concerned. */
  get readyAt(): number {
    return this.pace.readyAt;
  }

  // --- what comes in -------------------------------------------------------------------------------------

  /** An id above all that were used. */
  nextId(): number {
    this.lastId += 1;
    return this.lastId;
  }

  /** Takes a request, and gives its handle. Throws `ProtocolError` (`queue_full`). */
  add(frame: ClientFrame, now: number, options: RequestOptions = {}): number {
    const timeoutMs = options.timeoutMs === undefined ? this.settings.requestTimeoutMs : options.timeoutMs;
    return this.book.add(frame, options.sizeBytes ?? 0, timeoutMs === null ? undefined : now + timeoutMs);
  }

  /** Tells the server of a new key; of several that wait the newest is written. */
  askRenewal(apiKey: string, now: number): void {
    if (this.renewHandle === 0) this.renewHandle = this.add({ op: "renew", id: 1, api_key: apiKey }, now);
  }

  /** What the server has not got, as far as it says, is written again. */
  joined(frame: ConnectedFrame, now: number, isSameSession: boolean): void {
    this.lastId = Math.max(this.lastId, frame.received_id);
    if (!isSameSession || frame.limits.send_rate_per_s !== this.pace.ratePerS) {
      this.pace = new Pace(frame.limits.send_rate_per_s, now);
      this.lossyPace = new Pace(frame.limits.lossy_rate_per_s, now);
    }
    this.book.writeAgain(frame.live_recovered ? frame.received_id : 0);
  }

  /** Replies may have been lost. */
  writeAllAgain(): void {
    this.book.writeAgain(0);
  }

  /** Tells the outcome of the request that a reply belongs to; which that was, where it was done. */
  answered(frame: Reply | ErrorFrame): Request | undefined {
    const request = frame.id === undefined ? undefined : this.book.answered(frame.id);
    if (frame.op === "error") {
      if (request) this.fail(request, frame);
      else if (frame.id === undefined) this.tell({ event: "trouble", error: frame });
      return undefined;
    }
    if (!request) return undefined;
    if (request.handle === this.renewHandle) this.renewHandle = 0;
    else this.tell({ event: "done", handle: request.handle, reply: frame });
    return request;
  }

  /** What was given out to be sent under this id cannot be sent: it fails. */
  withdraw(requestId: number, error: ErrorFrame): void {
    const request = this.book.answered(requestId);
    if (request) this.fail(request, error);
  }

  /** Fails those whose time is over. */
  expire(now: number): void {
    for (const late of this.book.expired(now)) this.fail(late, failure("timeout"));
  }

  /** The session is over, and with it all requests without an outcome. */
  end(error: ErrorFrame): void {
    const text = `Closed before the outcome was known: ${error.message}`;
    for (const request of this.book.takeAll()) {
      if (request.handle !== this.renewHandle) this.fail(request, failure("closed", text));
    }
  }

  private fail(request: Request, error: ErrorFrame): void {
    if (request.handle === this.renewHandle) {
      this.renewHandle = 0;
      this.tell({ event: "trouble", error });
    } else this.tell({ event: "failed", handle: request.handle, error });
  }

  // --- writing -------------------------------------------------------------------------------------------

  /** A lossy message, without an id; false when it was dropped. */
  writeLossy(frame: SendFrame, now: number): boolean {
    if (!this.lossyPace.take(now)) return false;
    const { id: _, ...unasked } = frame;
    this.send(unasked, now);
    return true;
  }

  /** Writes what may be written on this session, in order. */
  write(now: number, connected: ConnectedFrame): void {
    const limit = connected.limits.frame_bytes;
    for (;;) {
      const request = this.book.firstQueued();
      if (!request) return;
      if (request.sizeBytes > limit) {
        this.book.drop(request);
        const text = `${request.sizeBytes} bytes; the server takes at most ${limit} in one frame.`;
        this.fail(request, failure("too_large", text));
        continue;
      }
      if (!this.pace.take(now)) return;
      const id = this.nextId();
      // A newer key may have come while the request waited.
      const frame =
        request.frame.op === "renew" ? { ...request.frame, api_key: this.credential.apiKey } : request.frame;
      this.book.written(id);
      this.send({ ...frame, id } as ClientFrame, now);
    }
  }
}
