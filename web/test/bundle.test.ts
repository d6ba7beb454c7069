/** What a page has to load for the SDK, and what it must not contain. */
import { gzipSync } from "node:zlib";
import esbuild from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { esbuildFactories, TARGETS } from "../scripts/factory-modules.mjs";

/** With the WebAssembly of Argon2 in it; 11 KB of it are that. */
const BUDGET_BYTES = 40_000;

let text: string;

beforeAll(async () => {
  const { outputFiles } = await esbuild.build({
    entryPoints: [new URL("../src/sdk/iife.ts", import.meta.url).pathname],
    bundle: true,
    minify: true,
    format: "iife",
    target: TARGETS,
    define: { __PEERBUS_VERSION__: '"0.0.0"' },
    plugins: [esbuildFactories()],
    write: false,
  });
  text = outputFiles[0]?.text ?? "";
});

describe("web-agent.js", () => {
  test("stays within its budget", () => {
    const size = gzipSync(text, { level: 9 }).length;
    expect(size).toBeGreaterThan(BUDGET_BYTES / 2);
    expect(size).toBeLessThanOrEqual(BUDGET_BYTES);
  });

  test("runs under a strict content security policy", () => {
    expect(text).not.toMatch(/\beval\(|new Function\(|innerHTML|document\.write/);
  });

  test("carries the Argon2 kernel once", () => {
    expect(text.match(/AGFzbQ/g)?.length).toBe(2);
  });
});
