import { defineConfig } from "vitest/config";
import { viteFactories } from "./scripts/factory-modules.mjs";
import { viteParts } from "./scripts/page-parts.mjs";
import { version } from "./scripts/version.mjs";

export default defineConfig({
  plugins: [viteFactories(), viteParts()],
  define: { __PEERBUS_VERSION__: JSON.stringify(version) },
  test: {
    include: ["test/**/*.test.ts"],
    environment: "node",
    passWithNoTests: true,
    restoreMocks: true,
    // One worker: the tests share two cores with nobody, and run in the same order everywhere.
    fileParallelism: false,
    // A bound against hanging, not a measure: key derivation alone takes seconds on a busy machine.
    testTimeout: 60_000,
  },
});
