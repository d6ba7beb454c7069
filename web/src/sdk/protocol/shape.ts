/**
 * Describes what a value on the wire looks like, reads it strictly and writes it sparingly.
 *
 * Owns types, ranges, defaults and how bytes travel in each encoding. Never knows a frame; `shapes.gen.ts`, which is
 * generated from the schema, puts these pieces together. What does not fit is a `ProtocolError` (`bad_frame`).
 */

import { fromBase64, toBase64 } from "../crypto/bytes";
import { ProtocolError } from "./errors";

export type Encoding = "json" | "msgpack";

/** One kind of value: `at` is its path, for the error text. */
export interface Shape {
  /** The value as the program sees it, from what JSON or MessagePack gave; missing fields get their default. */
  read(value: unknown, at: string, encoding: Encoding): unknown;
  /** The value as JSON or MessagePack takes it; fields with their default are left out. */
  write(value: unknown, encoding: Encoding): unknown;
}

export interface Field {
  readonly shape: Shape;
  readonly isRequired: boolean;
  /** Absent for a field that is simply not there when it is missing. */
  readonly initial?: () => unknown;
}

type Check = (value: unknown) => string | undefined;

function checked(check: Check): Shape {
  return {
    read(value, at) {
      const complaint = check(value);
      if (complaint !== undefined) throw unfit(complaint, at);
      return value;
    },
    write: (value) => value,
  };
}

/** Any JSON-shaped value; `values.ts` checks what is inside. */
export const anything: Shape = checked(() => undefined);

export const flag: Shape = checked((value) => (typeof value === "boolean" ? undefined : "a boolean"));

export const object: Shape = checked((value) => (isObject(value) ? undefined : "an object"));

export function integer(minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER): Shape {
  return checked((value) => {
    if (!Number.isSafeInteger(value)) return "an integer";
    const number = value as number;
    return number < minimum || number > maximum ? `an integer from ${minimum} to ${maximum}` : undefined;
  });
}

export const number: Shape = checked((value) => (Number.isFinite(value) ? undefined : "a number"));

/** A string; its length counts code points. */
export function text(minimum = 0, maximum = Number.POSITIVE_INFINITY): Shape {
  return checked((value) => {
    if (typeof value !== "string") return "a string";
    if (value.length < minimum) return `a string of at least ${minimum} characters`;
    if (value.length > maximum && [...value].length > maximum)
      return `a string of at most ${maximum} characters`;
    return undefined;
  });
}

export function literal(...allowed: readonly string[]): Shape {
  return checked((value) =>
    typeof value === "string" && allowed.includes(value) ? undefined : `one of ${allowed.join(", ")}`,
  );
}

/** Binary in MessagePack, base64 in JSON. */
export const bytes: Shape = {
  read(value, at, encoding) {
    if (encoding === "msgpack") {
      if (value instanceof Uint8Array) return value;
      throw unfit("bytes", at);
    }
    if (typeof value !== "string") throw unfit("base64", at);
    try {
      return fromBase64(value);
    } catch {
      throw unfit("base64", at);
    }
  },
  write: (value, encoding) => (encoding === "json" ? toBase64(value as Uint8Array) : value),
};

export function list(item: Shape): Shape {
  return {
    read(value, at, encoding) {
      if (!Array.isArray(value)) throw unfit("an array", at);
      return value.map((entry, index) => item.read(entry, `${at}[${index}]`, encoding));
    },
    write: (value, encoding) => (value as unknown[]).map((entry) => item.write(entry, encoding)),
  };
}

export function nullable(shape: Shape): Shape {
  return {
    read: (value, at, encoding) => (value === null ? null : shape.read(value, at, encoding)),
    write: (value, encoding) => (value === null ? null : shape.write(value, encoding)),
  };
}

/** A string of one shape, or an object of another. */
export function textOr(textShape: Shape, objectShape: Shape): Shape {
  const pick = (value: unknown): Shape => (typeof value === "string" ? textShape : objectShape);
  return {
    read: (value, at, encoding) => pick(value).read(value, at, encoding),
    write: (value, encoding) => pick(value).write(value, encoding),
  };
}

/** A field that has to be there. */
export function required(shape: Shape): Field {
  return { shape, isRequired: true };
}

/** A field that may be missing, and is `initial` then, or stays away. */
export function optional(shape: Shape, initial?: () => unknown): Field {
  return initial ? { shape, isRequired: false, initial } : { shape, isRequired: false };
}

/** An object with named fields, a frame or a signal if it has a tag; other fields are ignored, so that a newer peer
 * can add some. */
export function struct(
  tag: string | null,
  fields: Readonly<Record<string, Field>>,
  tagField: "op" | "kind" = "op",
): Shape {
  const entries = Object.entries(fields);
  return {
    read(value, at, encoding) {
      if (!isObject(value)) throw unfit("an object", at);
      const result: Record<string, unknown> = tag === null ? {} : { [tagField]: tag };
      for (const [name, field] of entries) {
        const path = `${at}.${name}`;
        if (Object.hasOwn(value, name)) result[name] = field.shape.read(value[name], path, encoding);
        else if (field.isRequired) throw unfit("a value, but it is missing", path);
        else if (field.initial) result[name] = field.initial();
      }
      return result;
    },
    write(value, encoding) {
      const given = value as Record<string, unknown>;
      const result: Record<string, unknown> = tag === null ? {} : { [tagField]: tag };
      for (const [name, field] of entries) {
        const item = given[name];
        if (item !== undefined && !isInitial(item, field)) result[name] = field.shape.write(item, encoding);
      }
      return result;
    },
  };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}

function isInitial(value: unknown, field: Field): boolean {
  if (!field.initial) return false;
  const initial = field.initial();
  return (
    value === initial || (typeof initial === "object" && JSON.stringify(value) === JSON.stringify(initial))
  );
}

function unfit(expected: string, at: string): ProtocolError {
  return new ProtocolError("bad_frame", `Expected ${expected} at ${at}.`);
}
