/**
 * Turns frames into bytes or text and back, in JSON and in MessagePack.
 *
 * The twin of `peerbus.protocol.codec`; `tests/vectors/messages` holds the two together. Owns the two encodings,
 * batches and the size limit. Never knows what a frame means.
 */

import { ProtocolError } from "./errors";
import type { AnyFrame, ClientFrame, ServerFrame } from "./frames.gen";
import { encodeMessagePack, joinMessagePack, type Outcome, Reader } from "./messagepack";
import { type Encoding, isObject, type Shape } from "./shape";
import { CLIENT_FRAMES, SERVER_FRAMES } from "./shapes.gen";
import { checkFrame } from "./values";

export const SUBPROTOCOLS: Readonly<Record<Encoding, string>> = {
  msgpack: "peerbus.v1.msgpack",
  json: "peerbus.v1.json",
};

export const CONTENT_TYPES: Readonly<Record<Encoding, string>> = {
  msgpack: "application/msgpack",
  json: "application/json",
};

export const MAX_BATCH_FRAMES = 256;

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** What one transport message is made of: text for JSON, bytes for MessagePack. */
export type Packet = string | Uint8Array<ArrayBuffer>;

/** A frame that could not be read: the reason, and the request id if it had a readable one. */
export class Rejected {
  readonly error: ProtocolError;
  readonly id: number | undefined;

  constructor(error: ProtocolError, id?: number) {
    this.error = error;
    this.id = id;
  }
}

type Shapes = Readonly<Record<string, Shape>>;

/**
 * One encoding, for one direction.
 *
 * `decode` gives one item per frame of the transport message: the frame, or a `Rejected` in its place, so that
 * one bad frame of a batch costs only itself.
 */
export class Codec<F extends AnyFrame> {
  readonly encoding: Encoding;
  private readonly shapes: Shapes;
  private readonly maxBytes: number;

  constructor(encoding: Encoding, shapes: Shapes, maxBytes: number) {
    this.encoding = encoding;
    this.shapes = shapes;
    this.maxBytes = maxBytes;
  }

  /** The text or bytes of one frame, of either direction. */
  encode(frame: AnyFrame): Packet {
    const shape = CLIENT_FRAMES[frame.op] ?? SERVER_FRAMES[frame.op];
    if (!shape) throw new ProtocolError("bad_frame", `There is no frame "${frame.op}".`);
    const value = shape.write(frame, this.encoding);
    return this.encoding === "json" ? JSON.stringify(value) : encodeMessagePack(value);
  }

  /** A batch, from frames that are encoded already. */
  join(frames: readonly Packet[]): Packet {
    if (this.encoding === "json") return `[${frames.join(",")}]`;
    return joinMessagePack(frames.filter((frame) => typeof frame !== "string"));
  }

  /** The frames of one transport message, in order; never throws for bad input. */
  decode(data: string | Uint8Array): (F | Rejected)[] {
    if (data.length > this.maxBytes) {
      const text = `${data.length} bytes in one transport message; at most ${this.maxBytes} are taken.`;
      return [new Rejected(new ProtocolError("too_large", text))];
    }
    const items = this.encoding === "json" ? parseJson(data) : parseMessagePack(data);
    if (items.length === 0)
      return [new Rejected(new ProtocolError("bad_frame", "A batch has one frame at least."))];
    if (items.length > MAX_BATCH_FRAMES) {
      const text = `${items.length} frames in one batch; at most ${MAX_BATCH_FRAMES} are taken.`;
      return [new Rejected(new ProtocolError("too_large", text))];
    }
    return items.map(({ value, error }) =>
      error ? new Rejected(error, savedId(value)) : this.readFrame(value),
    );
  }

  /**
   * The frames of a long-poll response, `{n, frames}`; `n` numbers the response.
   *
   * Throws `ProtocolError` (`bad_frame`) for what is no such response.
   */
  decodeNumbered(data: Uint8Array): { n: number; frames: (F | Rejected)[] } {
    const [item] = this.encoding === "json" ? parseJson(data) : parseMessagePack(data);
    if (!item || item.error) throw item?.error ?? new ProtocolError("bad_frame");
    const { value } = item;
    if (!isObject(value) || !Number.isSafeInteger(value["n"]) || !Array.isArray(value["frames"])) {
      throw new ProtocolError("bad_frame", "A long-poll response is a map of n and frames.");
    }
    return { n: value["n"] as number, frames: value["frames"].map((frame) => this.readFrame(frame)) };
  }

  /** The frame that an already decoded JSON or MessagePack value stands for. */
  readFrame(value: unknown): F | Rejected {
    try {
      const frame = this.shapeOf(value).read(value, "$", this.encoding) as F;
      checkFrame(frame);
      return frame;
    } catch (error) {
      return new Rejected(asProtocolError(error), savedId(value));
    }
  }

  private shapeOf(value: unknown): Shape {
    if (!isObject(value)) throw new ProtocolError("bad_frame", "A frame is an object.");
    const { op } = value;
    if (typeof op !== "string") throw new ProtocolError("bad_frame", "A frame has a tag `op`, a string.");
    const shape = Object.hasOwn(this.shapes, op) ? this.shapes[op] : undefined;
    if (!shape)
      throw new ProtocolError("bad_frame", `There is no frame "${op.slice(0, 64)}" in this direction.`);
    return shape;
  }
}

/** What a client needs: encodes any frame, decodes the server's. */
export function clientCodec(encoding: Encoding, maxBytes: number): Codec<ServerFrame> {
  return new Codec<ServerFrame>(encoding, SERVER_FRAMES, maxBytes);
}

/** What a server needs: encodes any frame, decodes the client's. */
export function serverCodec(encoding: Encoding, maxBytes: number): Codec<ClientFrame> {
  return new Codec<ClientFrame>(encoding, CLIENT_FRAMES, maxBytes);
}

function parseJson(data: string | Uint8Array): Outcome[] {
  try {
    const value: unknown = JSON.parse(typeof data === "string" ? data : UTF8.decode(data));
    return (Array.isArray(value) ? value : [value]).map((item) => ({ value: item }));
  } catch (error) {
    return [{ value: undefined, error: asProtocolError(error) }];
  }
}

function parseMessagePack(data: string | Uint8Array): Outcome[] {
  if (typeof data === "string")
    return [{ value: undefined, error: new ProtocolError("bad_frame", "MessagePack is binary.") }];
  const reader = new Reader(data);
  const items: Outcome[] = [];
  try {
    const length = reader.arrayLength() ?? 1;
    for (let count = 0; count < length && count <= MAX_BATCH_FRAMES; count++) items.push(reader.next());
    if (items.length <= MAX_BATCH_FRAMES && !reader.isAtEnd) {
      throw new ProtocolError("bad_frame", "Something follows the last frame.");
    }
    return items;
  } catch (error) {
    return [{ value: undefined, error: asProtocolError(error) }];
  }
}

function asProtocolError(error: unknown): ProtocolError {
  if (error instanceof ProtocolError) return error;
  // JSON.parse and TextDecoder say what they found; RangeError is a stack that ran out.
  return new ProtocolError("bad_frame", error instanceof Error ? error.message.slice(0, 300) : "");
}

function savedId(value: unknown): number | undefined {
  if (!isObject(value) || !Number.isSafeInteger(value["id"])) return undefined;
  const id = value["id"] as number;
  return id >= 1 ? id : undefined;
}
