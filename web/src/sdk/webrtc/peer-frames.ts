/**
 * The frames that peers send each other, byte by byte (PROTOCOL.md, section 16).
 *
 * Owns their MessagePack forms, the forms of payloads, and what is refused. Never keeps anything: `peer-delivery` knows
 * which frames follow which.
 */

import type { Bytes } from "../crypto/bytes";
import { ProtocolError } from "../protocol/errors";
import { encodeMessagePack, joinMessagePack, type Outcome, Reader } from "../protocol/messagepack";
import { isObject } from "../protocol/shape";
import { checkValue } from "../protocol/values";

/** A larger frame is dropped unread. */
export const FRAME_BYTES_MAX = 65_536;
/** Larger messages are sent in pieces of this size; lossy ones are refused. */
export const PIECE_BYTES = 16_000;
export const MESSAGE_BYTES_MAX = 64 * 1_048_576;
/** Lossy messages share a frame up to this size, which one datagram can carry. */
export const LOSSY_FRAME_BYTES = 1_100;
const STREAM_MAX = 2 ** 32 - 1;

/** Of the flags: more pieces of the message follow. */
export const MORE = 1;
/** Of the flags: this piece goes on with a message. */
export const CONTINUES = 8;
/** Of the flags: it keeps its place in the order, and tells nothing, since a check of the server refused its message. */
export const VOID = 16;
export const VALUE = 0;
export const TEXT = 1;
export const BINARY = 2;
const FLAGS_MAX = 31;

export const RELIABLE = 0;
export const LOSSY = 1;
export const ACK = 2;
export const FLUSHED = 3;
export const AGAIN = 4;

/** One piece of a message that must arrive, in order. */
export interface Reliable {
  readonly kind: typeof RELIABLE;
  readonly stream: number;
  readonly seq: number;
  /** The `seq` of the frame before it that was for the receiver. */
  readonly prev: number;
  readonly flags: number;
  readonly body: Uint8Array;
}

/** Messages that may be lost. */
export interface Lossy {
  readonly kind: typeof LOSSY;
  readonly stream: number;
  readonly payloads: readonly Outcome[];
}

/** An acknowledgement, the end of a path, or the request to send again; up to a frame. */
export interface Mark {
  readonly kind: typeof ACK | typeof FLUSHED | typeof AGAIN;
  readonly stream: number;
  readonly seq: number;
}

export type Frame = Reliable | Lossy | Mark;

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// --- frames -----------------------------------------------------------------------------------------------

/** A piece of a message; `prev` as in the section. */
export function encodeReliable(
  stream: number,
  seq: number,
  prev: ReadonlyMap<string, number>,
  flags: number,
  body: Uint8Array,
): Bytes {
  const before = prev.size === 0 ? null : Object.fromEntries(prev);
  return encodeMessagePack([RELIABLE, stream, seq, before, flags, body]);
}

/** Messages in their MessagePack form. */
export function encodeLossy(stream: number, payloads: readonly Uint8Array[]): Bytes {
  return joinMessagePack([encodeMessagePack(LOSSY), encodeMessagePack(stream), ...payloads]);
}

export function encodeMark(kind: Mark["kind"], stream: number, seq: number): Bytes {
  return encodeMessagePack([kind, stream, seq]);
}

/** Reads a frame for `receiver`. Throws `ProtocolError` (`bad_frame`) for what is none. */
export function decodeFrame(data: Uint8Array, receiver: string): Frame {
  if (data.length > FRAME_BYTES_MAX) throw badFrame(`it has ${data.length} bytes`);
  const fields = fieldsOf(data);
  const [kind, stream, seq] = fields.map(({ value }) => value);
  if (!isNumber(kind, 0, AGAIN) || !isNumber(stream, kind === AGAIN ? 0 : 1, STREAM_MAX)) {
    throw badFrame("its kind or its stream is none");
  }
  if (kind === LOSSY) return { kind, stream, payloads: fields.slice(2) };
  if (kind === RELIABLE) return reliableOf(stream, fields, receiver);
  if (fields.length !== 3 || !isNumber(seq, 0)) throw badFrame("it has no place in a stream");
  return { kind: kind as Mark["kind"], stream, seq };
}

function fieldsOf(data: Uint8Array): Outcome[] {
  const reader = new Reader(data);
  const length = reader.arrayLength() ?? 0;
  if (length < 3) throw badFrame("it is no array of three or more");
  const fields: Outcome[] = [];
  for (let count = 0; count < length; count++) {
    const field = reader.next();
    if (field.error) throw badFrame(field.error.message);
    fields.push(field);
  }
  if (!reader.isAtEnd) throw badFrame("something follows it");
  return fields;
}

function reliableOf(stream: number, fields: readonly Outcome[], receiver: string): Reliable {
  if (fields.length !== 6) throw badFrame("it has not six fields");
  const [, , seq, prevs, flags, body] = fields.map(({ value }) => value);
  if (!isNumber(seq, 1) || !isNumber(flags, 0, FLAGS_MAX)) {
    throw badFrame("its number or its flags are none");
  }
  if (!(body instanceof Uint8Array) || body.length > PIECE_BYTES || kindOf(flags) > BINARY) {
    throw badFrame("its body is none");
  }
  if (prevs !== null && !isObject(prevs)) throw badFrame("what came before it is not said");
  const prev = prevs !== null && Object.hasOwn(prevs, receiver) ? prevs[receiver] : seq - 1;
  if (!isNumber(prev, 0, seq - 1)) throw badFrame("what came before it is not said");
  return { kind: RELIABLE, stream, seq, prev, flags, body };
}

// --- several frames as one message -------------------------------------------------------------------------

/** Frames for a path that carries few, large messages. */
export function joinFrames(frames: readonly Bytes[]): Bytes {
  return encodeMessagePack(frames);
}

/** What `joinFrames` made. Throws `ProtocolError` (`bad_frame`) where it is neither a frame nor an array of frames. */
export function splitFrames(data: Uint8Array): readonly Uint8Array[] {
  const reader = new Reader(data);
  const length = reader.arrayLength() ?? 0;
  const frames: Uint8Array[] = [];
  for (let count = 0; count < length; count++) {
    const { value } = reader.next();
    if (value instanceof Uint8Array) frames.push(value);
    else if (count === 0) return [data];
    else throw badFrame("it stands among others that are none");
  }
  if (!reader.isAtEnd) throw badFrame("something follows it");
  return frames;
}

/** Whether bytes are a frame, rather than what somebody sends who knows none. */
export function isFrame(data: Uint8Array): boolean {
  try {
    decodeFrame(data, "");
    return true;
  } catch (error) {
    if (error instanceof ProtocolError) return false;
    throw error;
  }
}

// --- payloads ---------------------------------------------------------------------------------------------

/** Whether this is a lossy frame, or would be if it is none. */
export function isLossyFrame(data: Uint8Array): boolean {
  // An array of up to 15, or of more with its length in two or four bytes; then the kind.
  const kindAt = data[0] === 0xdc ? 3 : data[0] === 0xdd ? 5 : 1;
  return data[kindAt] === LOSSY;
}

/** What a message is, as its flags say. */
export function kindOf(flags: number): number {
  return (flags >> 1) & 3;
}

/** What a payload is, and its bytes. Throws `ProtocolError`: `bad_request`, `too_large`. */
export function formOf(payload: unknown): { readonly kind: number; readonly data: Uint8Array } {
  const value = withBytes(payload);
  let form: { readonly kind: number; readonly data: Uint8Array };
  if (value instanceof Uint8Array) form = { kind: BINARY, data: value };
  else {
    checkValue(value);
    if (typeof value === "string") form = { kind: TEXT, data: ENCODER.encode(value) };
    else form = { kind: VALUE, data: encodeMessagePack(value) };
  }
  if (form.data.length > MESSAGE_BYTES_MAX) throw tooLarge(form.data.length, MESSAGE_BYTES_MAX);
  return form;
}

/** The bytes of a payload in a lossy frame. Throws `ProtocolError`: `bad_request`, `too_large`. */
export function lossyFormOf(payload: unknown): Bytes {
  const value = withBytes(payload);
  if (!(value instanceof Uint8Array)) checkValue(value);
  const data = encodeMessagePack(value);
  if (data.length > PIECE_BYTES) throw tooLarge(data.length, PIECE_BYTES);
  return data;
}

/** The payload that has these bytes. Throws `ProtocolError` (`bad_frame`). */
export function payloadOf(kind: number, data: Uint8Array): unknown {
  if (kind === BINARY) return data;
  if (kind === TEXT) {
    try {
      return DECODER.decode(data);
    } catch {
      throw badFrame("its text is no UTF-8");
    }
  }
  const reader = new Reader(data);
  const { value, error } = reader.next();
  if (error) throw badFrame(error.message);
  if (!reader.isAtEnd) throw badFrame("something follows its value");
  return value;
}

export function badFrame(why: string): ProtocolError {
  return new ProtocolError("bad_frame", `A frame of a peer could not be read: ${why}.`);
}

export function tooLarge(sizeBytes: number, limitBytes: number): ProtocolError {
  const text = `Such a message has at most ${limitBytes} bytes; this one has ${sizeBytes}.`;
  return new ProtocolError("too_large", text, {
    details: { limit_bytes: limitBytes, size_bytes: sizeBytes },
  });
}

/** Bytes in any form that browsers have for them. */
function withBytes(payload: unknown): unknown {
  if (payload instanceof ArrayBuffer) return new Uint8Array(payload);
  if (!ArrayBuffer.isView(payload) || payload instanceof Uint8Array) return payload;
  return new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
}

function isNumber(value: unknown, low: number, high = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high;
}
