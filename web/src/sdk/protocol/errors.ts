/**
 * Every error code and close code of the wire, in one table.
 *
 * The twin of `peerbus.protocol.errors`, whose table comes here through the schema. Owns the codes, whether a retry
 * can help, the close code each maps to, and the exception that carries one. Never decides when an error happens.
 *
 * Close codes 3000-3499 mean "connect again", 3500-3999 mean "stop, a person or a program has to change something".
 */

import { ERRORS } from "./errors.gen";

/** The stable name of what went wrong; these never change their meaning. */
export type ErrorCode = keyof typeof ERRORS;

/** What a code means for a retry and for a connection. */
export interface ErrorInfo {
  readonly isRetryable: boolean;
  readonly closeCode: number;
  readonly meaning: string;
}

const UNKNOWN = [false, 3501, "The server refused this."] as const;

/** Both sides are done (RFC 6455, section 7.4.1). */
export const NORMAL_CLOSURE = 1000;

export const ERROR_CODES = Object.keys(ERRORS) as ErrorCode[];

/** The row of the table for a code; a code this SDK does not know yet counts as final. */
export function errorInfo(code: string): ErrorInfo {
  const [isRetryable, closeCode, meaning] = isErrorCode(code) ? ERRORS[code] : UNKNOWN;
  return { isRetryable, closeCode, meaning };
}

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code);
}

/** What goes with an error besides its code and text. */
export interface ErrorExtras {
  readonly details?: Readonly<Record<string, unknown>>;
  readonly isRetryable?: boolean;
  readonly retryAfterMs?: number;
  /** Stands in the server's log beside the cause. */
  readonly correlationId?: string;
}

/**
 * A refusal with a stable code.
 *
 * `code` is one of the table's, or one that a newer server knows; `message` is for people and may change.
 */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  readonly code: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly isRetryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly correlationId: string;

  constructor(code: string, message = "", extras: ErrorExtras = {}) {
    super(message || errorInfo(code).meaning);
    this.code = code;
    this.details = extras.details ?? {};
    this.isRetryable = extras.isRetryable ?? errorInfo(code).isRetryable;
    this.retryAfterMs = extras.retryAfterMs;
    this.correlationId = extras.correlationId ?? "";
  }

  /** Each script of the SDK brings this class; an error of one is an error to all. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && value.name === "ProtocolError" && "correlationId" in value;
  }
}

/** Whether a client that was closed with `closeCode` should connect again by itself. */
export function mayReconnect(closeCode: number): boolean {
  if (closeCode >= 3500 && closeCode <= 3999) return false;
  return closeCode !== NORMAL_CLOSURE && closeCode !== 1007 && closeCode !== 1009;
}

/** The error code whose own close code this is, if there is one. */
export function codeOfClose(closeCode: number): ErrorCode | undefined {
  return ERROR_CODES.find((code) => ERRORS[code][1] === closeCode);
}
