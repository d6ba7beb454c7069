/**
 * The rules for free-form values: content, metadata, attributes.
 *
 * Owns what counts as JSON-shaped in all three of JSON, MessagePack and JavaScript, and when two such values are
 * the same. Never changes one.
 */

import { ProtocolError } from "./errors";
import { isObject } from "./shape";

/** How deep arrays and objects may nest in content, metadata and attributes. */
export const MAX_DEPTH = 64;

// From here on JSON text shows an exponent, or an encoder takes the number for a float: no digits are promised.
const INTEGERS_END = 2 ** 64;
const LONE_SURROGATE = /\p{Cs}/u;

/** The free-form parts that a frame may have. */
interface FreeForm {
  readonly op: string;
  readonly content?: unknown;
  readonly binary?: unknown;
  readonly sealed?: unknown;
  readonly metadata?: unknown;
  readonly attributes?: unknown;
}

/** Throws `ProtocolError` (`bad_request`) unless `value` means the same in JSON, MessagePack and JavaScript. */
export function checkValue(value: unknown, depth = 0): void {
  if (value === null || typeof value === "boolean") return;
  if (typeof value === "string") checkText(value);
  else if (typeof value === "number") checkNumber(value);
  else if (Array.isArray(value)) {
    checkDepth(depth);
    for (const item of value) checkValue(item, depth + 1);
  } else if (isPlain(value)) {
    checkDepth(depth);
    for (const [key, item] of Object.entries(value)) {
      checkText(key);
      if (item !== undefined) checkValue(item, depth + 1);
    }
  } else throw refused(`Content is JSON-shaped; ${kindOf(value)} is not (bytes go alone, as the content).`);
}

/**
 * Checks the free-form values of a frame and that a message carries exactly one of `content`, `binary` and `sealed`.
 *
 * Throws `ProtocolError` (`bad_request`).
 */
export function checkFrame(frame: FreeForm): void {
  const { op, content, binary, sealed, metadata, attributes } = frame;
  if (op === "send" || op === "message") {
    if ([content, binary, sealed].filter((part) => part !== undefined).length !== 1) {
      throw refused("A message has exactly one of content, binary and sealed.");
    }
    if (content !== undefined) checkValue(content);
    if (metadata !== undefined) checkValue(metadata);
  } else if (op === "connect" || op === "update") {
    if (attributes !== undefined) checkValue(attributes);
  }
}

/** Whether two decoded values are the same; the order of an object's keys means nothing. */
export function isSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  return keys.every((key) => Object.hasOwn(right, key) && isSame(left[key], right[key]));
}

function checkText(value: string): void {
  if (LONE_SURROGATE.test(value))
    throw refused("A string holds half a surrogate pair, which has no UTF-8 form.");
}

function checkNumber(value: number): void {
  if (!Number.isFinite(value)) throw refused("NaN and infinities have no JSON form.");
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < INTEGERS_END) {
    throw refused("An integer lies beyond 2^53-1, where a browser loses digits; send it as a string.");
  }
}

function checkDepth(depth: number): void {
  if (depth >= MAX_DEPTH) throw refused(`Values nest deeper than ${MAX_DEPTH} arrays and objects.`);
}

/** Dates, maps and class instances look like objects and arrive as something else. */
function isPlain(value: unknown): value is Record<string, unknown> {
  if (!isObject(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // An object from another frame or realm has another Object.prototype, which again has none above it.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function kindOf(value: unknown): string {
  if (typeof value !== "object" || value === null) return typeof value;
  return value.constructor?.name ?? "this object";
}

function refused(message: string): ProtocolError {
  return new ProtocolError("bad_request", message);
}
