/**
 * Calls made before there is a session to make them to: right after a `connect` that nobody awaited.
 *
 * Owns their order and their number. Never makes one twice.
 */

import { ProtocolError } from "../protocol/errors";
import type { Driver } from "./driver";

const MAX_CALLS = 1_000;

interface Call {
  readonly make: (driver: Driver) => void;
  readonly fail: (error: Error) => void;
}

export class EarlyCalls {
  private calls: Call[] = [];

  get size(): number {
    return this.calls.length;
  }

  /** Keeps a call. Throws `ProtocolError` (`queue_full`). */
  add(make: Call["make"], fail: Call["fail"]): void {
    if (this.calls.length >= MAX_CALLS) {
      throw new ProtocolError("queue_full", `${MAX_CALLS} requests wait for the connection already.`);
    }
    this.calls.push({ make, fail });
  }

  /** There is a session: makes all of them, in order. */
  makeAll(driver: Driver): void {
    for (const { make } of this.calls.splice(0)) make(driver);
  }

  /** There will be none. */
  failAll(error: Error): void {
    for (const { fail } of this.calls.splice(0)) fail(error);
  }
}
