/**
 * Runs Argon2id off the page's thread where that is allowed.
 *
 * Owns the worker: it is made from a Blob of the kernel's own source text, because the SDK may come from another
 * origin than the page and a worker may not. A page whose Content-Security-Policy refuses such workers gets the
 * hash all the same, computed on its own thread (about half a second in which it does not react). WebAssembly
 * itself has to be allowed (`script-src 'wasm-unsafe-eval'`).
 */

import argon2Kernel from "factory:./argon2-kernel";
import { ProtocolError } from "../protocol/errors";
import type { Argon2Request } from "./argon2-kernel";

interface WorkerReply {
  readonly hash?: Uint8Array;
  readonly failure?: string;
}

/** A worker that could not be started, as opposed to a hash that could not be computed. */
class WorkerRefused extends Error {}

/** The shortest module there is: magic number and version. */
const EMPTY_MODULE = Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);

/** Argon2id as described by `request`; throws `ProtocolError` (`not_supported`) where WebAssembly is refused. */
export async function argon2id(request: Argon2Request): Promise<Uint8Array> {
  checkWebAssembly();
  try {
    return await inWorker(request);
  } catch (error) {
    if (!(error instanceof WorkerRefused)) throw error;
  }
  return argon2Kernel().argon2id(request);
}

/** The text of the worker's program. */
export function workerSource(): string {
  return `const kernel = (${argon2Kernel})();
onmessage = async ({ data }) => {
  try { postMessage({ hash: await kernel.argon2id(data) }); }
  catch (error) { postMessage({ failure: String(error) }); }
};`;
}

function checkWebAssembly(): void {
  try {
    // A page that refuses it does so here, and not somewhere in the middle.
    void new WebAssembly.Module(EMPTY_MODULE);
  } catch {
    throw new ProtocolError(
      "not_supported",
      "This page does not allow WebAssembly, without which no key can be derived from a password. " +
        "Add 'wasm-unsafe-eval' to the script-src of its Content-Security-Policy.",
    );
  }
}

async function inWorker(request: Argon2Request): Promise<Uint8Array> {
  if (typeof Worker === "undefined" || typeof URL.createObjectURL !== "function") throw new WorkerRefused();
  const address = URL.createObjectURL(new Blob([workerSource()], { type: "text/javascript" }));
  let worker: Worker | undefined;
  try {
    worker = startWorker(address);
    return await answer(worker, request);
  } finally {
    worker?.terminate();
    URL.revokeObjectURL(address);
  }
}

function startWorker(address: string): Worker {
  try {
    return new Worker(address);
  } catch {
    throw new WorkerRefused();
  }
}

function answer(worker: Worker, request: Argon2Request): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<WorkerReply>) => {
      if (data.hash) resolve(data.hash);
      else reject(new Error(data.failure ?? "The Argon2 worker gave no reason."));
    };
    // A refused Blob worker says so only here, and later.
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new WorkerRefused());
    };
    worker.postMessage(request);
  });
}
