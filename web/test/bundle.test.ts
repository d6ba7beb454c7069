/** What a page has to load for the SDK, and what it must not contain. */
import { gzipSync } from "node:zlib";
import esbuild from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { esbuildFactories, TARGETS } from "../scripts/factory-modules.mjs";

/** With the WebAssembly of Argon2 in it; 14 KB of it are that, and 5 KB AES for pages on plain http. */
const BUDGET_BYTES = 54_000;

/** Without the agent, which `web-agent.js` brings; 3 KB are the worker that encrypts, 14 KB the modes between peers, 5 KB a host and its successor, 1 KB a simulated network. */
const WEBRTC_BUDGET_BYTES = 47_000;

let text: string;
let webrtc: string;

async function bundled(entry: string): Promise<string> {
  const { outputFiles } = await esbuild.build({
    entryPoints: [new URL(`../src/sdk/${entry}`, import.meta.url).pathname],
    bundle: true,
    minify: true,
    format: "iife",
    target: TARGETS,
    define: { __PEERBUS_VERSION__: '"0.0.0"' },
    plugins: [esbuildFactories()],
    write: false,
  });
  return outputFiles[0]?.text ?? "";
}

beforeAll(async () => {
  text = await bundled("iife.ts");
  webrtc = await bundled("iife-webrtc.ts");
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
    expect(text.match(/AGFzbQ/g)?.length).toBe(1);
  });
});

describe("web-agent.webrtc.js", () => {
  test("stays within its budget", () => {
    const size = gzipSync(webrtc, { level: 9 }).length;
    expect(size).toBeGreaterThan(WEBRTC_BUDGET_BYTES / 2);
    expect(size).toBeLessThanOrEqual(WEBRTC_BUDGET_BYTES);
    expect(webrtc).not.toContain("AGFzbQ");
  });

  test("runs under a strict content security policy", () => {
    expect(webrtc).not.toMatch(/\beval\(|new Function\(|innerHTML|document\.write/);
  });
});
