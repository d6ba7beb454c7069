/**
 * The one module that carries the Argon2 WebAssembly (RFC 9106, by hash-wasm).
 *
 * The build wraps its bundle in a function, so that the same bytes serve the page and, as source text, a worker;
 * see `argon2.ts`. Never touches anything but its arguments.
 */

import { argon2id as argon2idWasm } from "hash-wasm";

/** What goes to the worker; the reply is the hash, or the text of what failed. */
export interface Argon2Request {
  readonly password: Uint8Array;
  readonly salt: Uint8Array;
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
  readonly hashBytes: number;
}

export function argon2id(request: Argon2Request): Promise<Uint8Array> {
  return argon2idWasm({
    password: request.password,
    salt: request.salt,
    memorySize: request.memoryKib,
    iterations: request.passes,
    parallelism: request.lanes,
    hashLength: request.hashBytes,
    outputType: "binary",
  });
}
