/**
 * MessagePack, as far as the protocol uses it (https://github.com/msgpack/msgpack/blob/master/spec.md).
 *
 * Owns the bytes of single values. Never knows what a frame is. Written here because the libraries lose what the
 * protocol has to keep apart: a 64-bit integer beyond 2^53-1 must be refused and not rounded, `__proto__` is a
 * key like any other, and one bad value in a batch must cost its own frame only. Tests run it against a library.
 */

import { ProtocolError } from "./errors";

// A frame of the protocol holds values of up to 64 levels within at most four levels of its own.
const MAX_NESTING = 80;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ENCODER = new TextEncoder();
const TWO_32 = 2 ** 32;

/** A value that was read; with an error it cannot be taken, but what follows it can be read. */
export interface Outcome {
  readonly value: unknown;
  readonly error?: ProtocolError;
}

/**
 * Reads values from bytes, one after the other.
 *
 * Throws `ProtocolError` (`bad_frame`) where the bytes end too early or make no sense, so that nothing can follow.
 */
export class Reader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;
  private complaint: ProtocolError | undefined;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length;
  }

  /** How many items follow if the next value is an array, whose header is then taken; else nothing is. */
  arrayLength(): number | undefined {
    const start = this.at;
    if (start >= this.bytes.length) return undefined;
    const tag = this.unsigned(1);
    if ((tag & 0xf0) === 0x90) return tag & 0x0f;
    if (tag === 0xdc) return this.unsigned(2);
    if (tag === 0xdd) return this.unsigned(4);
    this.at = start;
    return undefined;
  }

  next(): Outcome {
    this.complaint = undefined;
    const value = this.read(0);
    return this.complaint ? { value, error: this.complaint } : { value };
  }

  private read(nesting: number): unknown {
    const tag = this.unsigned(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.map(tag & 0x0f, nesting);
    if (tag < 0xa0) return this.array(tag & 0x0f, nesting);
    if (tag < 0xc0) return this.text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    return this.readLong(tag, nesting);
  }

  private readLong(tag: number, nesting: number): unknown {
    // The widths of a group of tags are powers of two, counted from the group's first tag.
    const width = (first: number): number => 2 ** (tag - first);
    if (tag === 0xc0) return null;
    if (tag === 0xc2 || tag === 0xc3) return tag === 0xc3;
    if (tag >= 0xc4 && tag <= 0xc6) return this.take(this.unsigned(width(0xc4))).slice();
    if (tag >= 0xc7 && tag <= 0xc9) return this.extension(this.unsigned(width(0xc7)));
    if (tag === 0xca) return this.view.getFloat32(this.skip(4));
    if (tag === 0xcb) return this.view.getFloat64(this.skip(8));
    if (tag >= 0xcc && tag <= 0xce) return this.unsigned(width(0xcc));
    if (tag === 0xcf) return this.wide(false);
    if (tag === 0xd0) return this.view.getInt8(this.skip(1));
    if (tag === 0xd1) return this.view.getInt16(this.skip(2));
    if (tag === 0xd2) return this.view.getInt32(this.skip(4));
    if (tag === 0xd3) return this.wide(true);
    if (tag >= 0xd4 && tag <= 0xd8) return this.extension(width(0xd4));
    if (tag >= 0xd9 && tag <= 0xdb) return this.text(this.unsigned(width(0xd9)));
    if (tag === 0xdc || tag === 0xdd) return this.array(this.unsigned(tag === 0xdc ? 2 : 4), nesting);
    if (tag === 0xde || tag === 0xdf) return this.map(this.unsigned(tag === 0xde ? 2 : 4), nesting);
    throw new ProtocolError("bad_frame", `MessagePack has no type 0x${tag.toString(16)}.`);
  }

  private array(length: number, nesting: number): unknown[] {
    this.checkRoom(length, nesting);
    const items: unknown[] = [];
    for (let count = 0; count < length; count++) items.push(this.read(nesting + 1));
    return items;
  }

  private map(length: number, nesting: number): Record<string, unknown> {
    this.checkRoom(2 * length, nesting);
    const object: Record<string, unknown> = {};
    for (let count = 0; count < length; count++) {
      const key = this.read(nesting + 1);
      const value = this.read(nesting + 1);
      if (typeof key === "string") setOwn(object, key, value);
      else this.complaint ??= new ProtocolError("bad_request", "The keys of an object are strings.");
    }
    return object;
  }

  private checkRoom(items: number, nesting: number): void {
    if (nesting >= MAX_NESTING) throw new ProtocolError("bad_frame", "The frame nests too deep to be read.");
    // Every item has a byte at least: a length that cannot be true is found before anything is kept for it.
    if (items > this.bytes.length - this.at) throw truncated();
  }

  private text(length: number): string {
    const bytes = this.take(length);
    try {
      return UTF8.decode(bytes);
    } catch {
      this.complaint ??= new ProtocolError("bad_frame", "A string of the frame is not valid UTF-8.");
      return "";
    }
  }

  private extension(length: number): undefined {
    this.take(length + 1);
    this.complaint ??= new ProtocolError(
      "bad_request",
      "Content is JSON-shaped; MessagePack extensions are not.",
    );
    return undefined;
  }

  private wide(isSigned: boolean): number {
    const at = this.skip(8);
    const value = Number(isSigned ? this.view.getBigInt64(at) : this.view.getBigUint64(at));
    if (!Number.isSafeInteger(value)) this.complaint ??= tooLarge();
    return value;
  }

  private unsigned(width: number): number {
    const at = this.skip(width);
    if (width === 1) return this.view.getUint8(at);
    return width === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  private take(length: number): Uint8Array {
    const start = this.skip(length);
    return this.bytes.subarray(start, start + length);
  }

  private skip(length: number): number {
    const start = this.at;
    if (start + length > this.bytes.length) throw truncated();
    this.at = start + length;
    return start;
  }
}

/** The bytes of a JSON-shaped value that may hold `Uint8Array`; `undefined` members of objects are left out. */
export function encodeMessagePack(value: unknown): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  writer.write(value);
  return writer.bytes();
}

/** A batch, from values that are encoded already. */
export function joinMessagePack(items: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  writer.length(items.length, 0x90, 16, 0xdc);
  for (const item of items) writer.append(item);
  return writer.bytes();
}

class Writer {
  private buffer = new Uint8Array(256);
  private view = new DataView(this.buffer.buffer);
  private at = 0;

  bytes(): Uint8Array<ArrayBuffer> {
    return this.buffer.slice(0, this.at);
  }

  write(value: unknown): void {
    if (value === null) this.byte(0xc0);
    else if (value === true || value === false) this.byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "number") this.number(value);
    else if (typeof value === "string") this.text(value);
    else if (value instanceof Uint8Array) this.binary(value);
    else if (Array.isArray(value)) this.array(value);
    else if (typeof value === "object") this.map(value as Record<string, unknown>);
    else throw new ProtocolError("bad_request", `Content is JSON-shaped; ${typeof value} is not.`);
  }

  /** The head of an array, map or string: short lengths stand in the tag itself. */
  length(length: number, shortTag: number, shortEnd: number, tag16: number): void {
    if (length < shortEnd) this.byte(shortTag | length);
    else if (length < 0x10000) this.tagged(tag16, 2, length);
    else this.tagged(tag16 + 1, 4, length);
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  private array(items: readonly unknown[]): void {
    this.length(items.length, 0x90, 16, 0xdc);
    for (const item of items) this.write(item);
  }

  private map(object: Record<string, unknown>): void {
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    this.length(entries.length, 0x80, 16, 0xde);
    for (const [key, value] of entries) {
      this.text(key);
      this.write(value);
    }
  }

  private text(text: string): void {
    const bytes = ENCODER.encode(text);
    if (bytes.length >= 32 && bytes.length < 0x100) this.tagged(0xd9, 1, bytes.length);
    else this.length(bytes.length, 0xa0, 32, 0xda);
    this.append(bytes);
  }

  private binary(bytes: Uint8Array): void {
    if (bytes.length < 0x100) this.tagged(0xc4, 1, bytes.length);
    else if (bytes.length < 0x10000) this.tagged(0xc5, 2, bytes.length);
    else this.tagged(0xc6, 4, bytes.length);
    this.append(bytes);
  }

  private number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.byte(0xcb);
      const at = this.grow(8);
      this.view.setFloat64(at, value);
    } else if (value >= 0) this.positive(value);
    else this.negative(value);
  }

  private positive(value: number): void {
    if (value < 0x80) this.byte(value);
    else if (value < 0x100) this.tagged(0xcc, 1, value);
    else if (value < 0x10000) this.tagged(0xcd, 2, value);
    else if (value < TWO_32) this.tagged(0xce, 4, value);
    else {
      this.byte(0xcf);
      const at = this.grow(8);
      this.view.setBigUint64(at, BigInt(value));
    }
  }

  private negative(value: number): void {
    if (value >= -0x20) this.byte(value + 0x100);
    else if (value >= -0x80) this.tagged(0xd0, 1, value + 0x100);
    else if (value >= -0x8000) this.tagged(0xd1, 2, value + 0x10000);
    else if (value >= -TWO_32 / 2) this.tagged(0xd2, 4, value + TWO_32);
    else {
      this.byte(0xd3);
      const at = this.grow(8);
      this.view.setBigInt64(at, BigInt(value));
    }
  }

  private tagged(tag: number, width: 1 | 2 | 4, value: number): void {
    this.byte(tag);
    const at = this.grow(width);
    if (width === 1) this.view.setUint8(at, value);
    else if (width === 2) this.view.setUint16(at, value);
    else this.view.setUint32(at, value);
  }

  private byte(value: number): void {
    const at = this.grow(1);
    this.view.setUint8(at, value);
  }

  private grow(length: number): number {
    this.reserve(length);
    const start = this.at;
    this.at += length;
    return start;
  }

  private reserve(length: number): void {
    const needed = this.at + length;
    if (needed <= this.buffer.length) return;
    const larger = new Uint8Array(Math.max(needed, 2 * this.buffer.length));
    larger.set(this.buffer);
    this.buffer = larger;
    this.view = new DataView(larger.buffer);
  }
}

/** Sets a key that may be `__proto__`, which an assignment would take for the prototype. */
function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else object[key] = value;
}

function truncated(): ProtocolError {
  return new ProtocolError("bad_frame", "The bytes end in the middle of a value.");
}

function tooLarge(): ProtocolError {
  return new ProtocolError(
    "bad_request",
    "An integer lies beyond 2^53-1, where a browser loses digits; send it as a string.",
  );
}
