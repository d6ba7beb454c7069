/**
 * What is inside an envelope: content and metadata of a message, or private attributes, as MessagePack.
 *
 * Owns its form and the checks of what comes out. Never seals or opens. See PROTOCOL.md, section 13.
 */

import { ProtocolError } from "../protocol/errors";
import { encodeMessagePack, Reader } from "../protocol/messagepack";
import { isObject } from "../protocol/shape";
import { checkValue } from "../protocol/values";
import type { Bytes } from "./bytes";

/** Of `content` and `binary` there is exactly one. */
export interface Inside {
  readonly content?: unknown;
  readonly binary?: Uint8Array;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

export type Attributes = Readonly<Record<string, unknown>>;

export function packInside({ content, binary, metadata }: Inside): Bytes {
  // In this order, whatever the order of what is given.
  return encodeMessagePack({ content, binary, metadata });
}

/** Throws `ProtocolError` (`bad_frame`) for anything else. */
export function readInside(plaintext: Uint8Array): Inside {
  const { content, binary, metadata } = readMap(plaintext);
  if ((content === undefined) === (binary === undefined)) throw malformed();
  if (binary !== undefined && !(binary instanceof Uint8Array)) throw malformed();
  if (metadata !== undefined && !isObject(metadata)) throw malformed();
  for (const value of [content, metadata]) checkShape(value);
  return {
    ...(content === undefined ? {} : { content }),
    ...(binary === undefined ? {} : { binary }),
    ...(metadata === undefined ? {} : { metadata }),
  };
}

export function packAttributes(attributes: Attributes): Bytes {
  return encodeMessagePack(attributes);
}

/** Throws `ProtocolError` (`bad_frame`) for anything else. */
export function readAttributes(plaintext: Uint8Array): Attributes {
  const attributes = readMap(plaintext);
  checkShape(attributes);
  return attributes;
}

function readMap(plaintext: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    const reader = new Reader(plaintext);
    const outcome = reader.next();
    if (outcome.error || !reader.isAtEnd) throw malformed();
    value = outcome.value;
  } catch (error) {
    if (error instanceof ProtocolError) throw malformed();
    throw error;
  }
  if (!isObject(value) || value instanceof Uint8Array) throw malformed();
  return value;
}

function checkShape(value: unknown): void {
  try {
    if (value !== undefined) checkValue(value);
  } catch {
    throw malformed();
  }
}

function malformed(): ProtocolError {
  return new ProtocolError("bad_frame", "What a member of this channel has sealed is no message.");
}
