/**
 * The session over plain HTTP requests, where WebSockets don't get through. See PROTOCOL.md, section 8.
 *
 * Owns the poll that is always under way, the numbered posts and their repetition. Never decides what a frame means
 * or whether to connect again.
 */

import { CONTENT_TYPES, type Codec, clientCodec, type Packet, Rejected } from "../../protocol/codec";
import { errorInfo, ProtocolError } from "../../protocol/errors";
import type { ClientFrame, ConnectedFrame, ErrorFrame, ServerFrame } from "../../protocol/frames.gen";
import { longPollAddress } from "../address";
import { problemOf } from "../problem";
import { type PacketBounds, packets } from "./packets";
import {
  MAX_RECEIVED_BYTES,
  type Transport,
  type TransportListener,
  type TransportSettings,
} from "./transport";

/** How often in a row a request of a running session may fail before the session counts as lost. */
const TRIES = 4;
const PAUSE_MS = 500;
/** So much outlives the page if it is sent while it goes; a browser allows all its requests 64 KiB together. */
const LAST_WORDS_BYTES = 2_048;

/** The session's address is gone, or the server refused the request. */
class Refused extends Error {
  readonly frame: ErrorFrame;

  constructor(frame: ErrorFrame) {
    super(frame.message);
    this.frame = frame;
  }
}

/** A response: its number and what it carries. */
interface Numbered {
  readonly n: number;
  readonly frames: readonly (ServerFrame | Rejected)[];
}

export function openLongPoll(settings: TransportSettings, listener: TransportListener): Transport {
  const transport = new LongPoll(settings, listener);
  // There is nothing to open: the first request carries the first frames.
  queueMicrotask(() => transport.begin());
  return transport;
}

class LongPoll implements Transport {
  private readonly base: string;
  private readonly codec: Codec<ServerFrame>;
  private readonly listener: TransportListener;
  private readonly polling = new AbortController();
  private readonly posts: Packet[] = [];
  private session: ConnectedFrame | undefined;
  private isOver = false;
  private isPosting = false;
  private posted = 0;
  private acked = 0;

  constructor({ base, encoding }: TransportSettings, listener: TransportListener) {
    this.base = base;
    this.codec = clientCodec(encoding, MAX_RECEIVED_BYTES);
    this.listener = listener;
  }

  begin(): void {
    if (!this.isOver) this.listener.opened();
  }

  send(frames: readonly ClientFrame[], bounds: PacketBounds): void {
    this.posts.push(...packets(this.codec, frames, bounds));
    if (!this.isPosting) void this.post();
  }

  close(): void {
    this.isOver = true;
    this.polling.abort();
  }

  /** Sends what there is, one request after the other; the first makes the session. */
  private async post(): Promise<void> {
    this.isPosting = true;
    try {
      for (let body = this.posts[0]; body !== undefined; body = this.posts[0]) {
        if (this.session) await this.postNext(this.session, body);
        else await this.connect(body);
        this.posts.shift();
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.isPosting = false;
    }
  }

  private async connect(body: Packet): Promise<void> {
    const response = await fetch(longPollAddress(this.base), this.requestOf(body));
    if (!response.ok) {
      const problem = await problemOf(response);
      if (!problem) throw new Error(`The server could not be reached (HTTP ${response.status}).`);
      this.listener.received([problem]);
      return;
    }
    const { frames } = await this.read(response);
    const connected = frames.find((frame) => !(frame instanceof Rejected) && frame.op === "connected");
    this.session = connected as ConnectedFrame | undefined;
    if (this.isOver) return;
    this.acked = 1;
    this.listener.received(frames);
    if (this.session) void this.poll(this.session);
  }

  private async postNext(session: ConnectedFrame, body: Packet): Promise<void> {
    const number = this.posted + 1;
    await this.persistently(async () => {
      const address = `${longPollAddress(this.base, session.session_id)}?post=${number}`;
      const response = await fetch(address, {
        ...this.requestOf(body, session),
        keepalive: body.length <= LAST_WORDS_BYTES,
      });
      await expectSuccess(response);
    });
    // That a post is taken is no sign of life: the poll's connection may be half-open all the same.
    this.posted = number;
  }

  private async poll(session: ConnectedFrame): Promise<void> {
    try {
      while (!this.isOver) await this.pollOnce(session);
    } catch (error) {
      this.fail(error);
    }
  }

  private async pollOnce(session: ConnectedFrame): Promise<void> {
    const { n, frames } = await this.persistently(async () => {
      const address = `${longPollAddress(this.base, session.session_id)}?ack=${this.acked}`;
      const response = await fetch(address, {
        headers: this.headers(session),
        credentials: "omit",
        cache: "no-store",
        signal: this.polling.signal,
      });
      await expectSuccess(response);
      return this.read(response);
    });
    if (this.isOver) return;
    // 0 comes from a poll that a newer one has ended, and is no number to acknowledge.
    this.acked = Math.max(this.acked, n);
    if (frames.length > 0) this.listener.received(frames);
    else this.listener.heard();
  }

  /** Does `attempt` again when the network fails; a repeated poll or post is answered as the first was. */
  private async persistently<T>(attempt: () => Promise<T>): Promise<T> {
    for (let failures = 1; ; failures++) {
      try {
        return await attempt();
      } catch (error) {
        if (error instanceof Refused || this.polling.signal.aborted || failures >= TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * failures));
      }
    }
  }

  private async read(response: Response): Promise<Numbered> {
    const body = new Uint8Array(await response.arrayBuffer());
    try {
      return this.codec.decodeNumbered(body);
    } catch (error) {
      if (error instanceof ProtocolError) return { n: 0, frames: [new Rejected(error)] };
      throw error;
    }
  }

  private requestOf(body: Packet, session?: ConnectedFrame): RequestInit {
    return { method: "POST", body, headers: this.headers(session), credentials: "omit", cache: "no-store" };
  }

  private headers(session?: ConnectedFrame): Record<string, string> {
    const type = CONTENT_TYPES[this.codec.encoding];
    const headers: Record<string, string> = { "Content-Type": type, Accept: type };
    if (session) headers["Authorization"] = `Bearer ${session.resume_token}`;
    return headers;
  }

  private fail(error: unknown): void {
    if (this.isOver) return;
    this.isOver = true;
    this.polling.abort();
    if (error instanceof Refused) this.listener.lost(errorInfo(error.frame.code).closeCode, error.message);
    // What fetch says differs between browsers and helps nobody.
    else this.listener.lost(undefined, error instanceof TypeError ? "" : String((error as Error).message));
  }
}

async function expectSuccess(response: Response): Promise<void> {
  if (response.ok) return;
  const problem = await problemOf(response);
  if (problem) throw new Refused(problem);
  throw new Error(`Something answered in the place of the server (HTTP ${response.status}).`);
}
