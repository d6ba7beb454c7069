/** Where the hash is computed, and what happens where something is refused. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { argon2id, workerSource } from "../../src/sdk/crypto/argon2";
import type { Argon2Request } from "../../src/sdk/crypto/argon2-kernel";
import { toHex, utf8 } from "../../src/sdk/crypto/bytes";

const REQUEST: Argon2Request = {
  password: utf8("password"),
  salt: utf8("somesalt"),
  memoryKib: 64,
  passes: 1,
  lanes: 1,
  hashBytes: 16,
};

interface Global {
  onmessage?: (event: { data: unknown }) => Promise<void>;
  postMessage?: (data: unknown) => void;
}

/** A worker that runs its program here, on a global object of its own. */
class FakeWorker {
  static programs = 0;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { preventDefault: () => void }) => void) | null = null;
  isTerminated = false;
  private readonly inside: Promise<Global>;

  constructor(address: string) {
    FakeWorker.programs += 1;
    this.inside = fetch(address)
      .then((response) => response.text())
      .then((source) => {
        const global: Global = { postMessage: (data) => this.onmessage?.({ data }) };
        const program = new Function("global", `with (global) { ${source} }`) as (global: Global) => void;
        const scope = new Proxy(global, { has: (_, name) => name === "onmessage" || name === "postMessage" });
        program(scope);
        return global;
      });
  }

  postMessage(data: unknown): void {
    void this.inside.then((global) => global.onmessage?.({ data }));
  }

  terminate(): void {
    this.isTerminated = true;
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
  FakeWorker.programs = 0;
});

describe("Argon2id", () => {
  test("gives the same on the page's thread and in a worker", async () => {
    const here = toHex(await argon2id(REQUEST));
    vi.stubGlobal("Worker", FakeWorker);
    expect(toHex(await argon2id(REQUEST))).toBe(here);
    expect(FakeWorker.programs).toBe(1);
  });

  test("runs on the page's thread where a worker is refused, at once or later", async () => {
    const here = toHex(await argon2id(REQUEST));
    vi.stubGlobal(
      "Worker",
      class {
        constructor() {
          throw new DOMException("refused", "SecurityError");
        }
      },
    );
    expect(toHex(await argon2id(REQUEST))).toBe(here);
    vi.stubGlobal(
      "Worker",
      class {
        onerror: ((event: Event) => void) | null = null;
        postMessage(): void {
          queueMicrotask(() => this.onerror?.(new Event("error", { cancelable: true })));
        }
        terminate(): void {}
      },
    );
    expect(toHex(await argon2id(REQUEST))).toBe(here);
  });

  test("a failure in the worker is a failure, not a reason to try elsewhere", async () => {
    vi.stubGlobal("Worker", FakeWorker);
    await expect(argon2id({ ...REQUEST, memoryKib: 1 })).rejects.toThrow(/memory/i);
  });

  test("says what to do where WebAssembly is refused", async () => {
    class Refused {
      constructor() {
        throw new Error("blocked by CSP");
      }
    }
    vi.stubGlobal("WebAssembly", { Module: Refused });
    await expect(argon2id(REQUEST)).rejects.toMatchObject({
      code: "not_supported",
      message: expect.stringContaining("'wasm-unsafe-eval'"),
    });
  });

  test("the worker's program needs nothing from outside", () => {
    expect(workerSource()).not.toMatch(/\bimport\b|\brequire\(/);
  });
});
