/**
 * The one module that carries the Argon2 WebAssembly (RFC 9106): the reference implementation in C, built with SIMD by
 * `@phi-ag/argon2`.
 *
 * The build wraps its bundle in a function, so that the same bytes serve the page and, as source text, a worker;
 * see `argon2.ts`. The functions of the module are called directly, since that package's own wrapper counts characters
 * of a password where bytes are meant. Never touches anything but its arguments.
 */

/*! Argon2 reference implementation, CC0 or Apache 2.0; as WebAssembly by @phi-ag/argon2, MIT License (c) 2024 Peter Hirn */
import wasm from "@phi-ag/argon2/argon2.wasm";

/** What goes to the worker; the reply is the hash, or the text of what failed. */
export interface Argon2Request {
  readonly password: Uint8Array;
  readonly salt: Uint8Array;
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
  readonly hashBytes: number;
}

/** What the module exports, as far as it is used: `argon2.h` of the reference implementation. */
interface Exports {
  readonly memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(length: number): number;
  argon2_hash(
    passes: number,
    memoryKib: number,
    lanes: number,
    password: number,
    passwordBytes: number,
    salt: number,
    saltBytes: number,
    hash: number,
    hashBytes: number,
    encoded: number,
    encodedBytes: number,
    type: number,
    version: number,
  ): number;
  argon2_error_message(code: number): number;
}

const ARGON2ID = 2;
const VERSION = 0x13;
const NULL = 0;

/** The hash. The instance is used once: its memory, with what was derived in it, goes with it. */
export async function argon2id(request: Argon2Request): Promise<Uint8Array> {
  const { instance } = await WebAssembly.instantiate(wasm, {});
  const module = instance.exports as unknown as Exports;
  module._initialize();
  const { password, salt, passes, memoryKib, lanes, hashBytes } = request;
  const [passwordAt, saltAt, hashAt] = [
    copied(module, password),
    copied(module, salt),
    module.malloc(hashBytes),
  ];
  const code = module.argon2_hash(
    passes,
    memoryKib,
    lanes,
    passwordAt,
    password.length,
    saltAt,
    salt.length,
    hashAt,
    hashBytes,
    NULL,
    0,
    ARGON2ID,
    VERSION,
  );
  if (code !== 0) throw new Error(`Argon2: ${textAt(module, module.argon2_error_message(code))}`);
  return new Uint8Array(module.memory.buffer, hashAt, hashBytes).slice();
}

/** Where a copy of the bytes lies in the module's memory. */
function copied(module: Exports, bytes: Uint8Array): number {
  const at = module.malloc(Math.max(1, bytes.length));
  new Uint8Array(module.memory.buffer).set(bytes, at);
  return at;
}

function textAt(module: Exports, start: number): string {
  const memory = new Uint8Array(module.memory.buffer);
  return new TextDecoder().decode(memory.slice(start, memory.indexOf(0, start)));
}
