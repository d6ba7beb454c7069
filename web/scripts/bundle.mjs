// Bundles one module of this folder for a page, as the build does: `node scripts/bundle.mjs bench/sealing.ts OUTPUT`.
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";
import { esbuildFactories, TARGETS } from "./factory-modules.mjs";

const [entry, outfile] = process.argv.slice(2);
await esbuild.build({
  absWorkingDir: fileURLToPath(new URL("..", import.meta.url)),
  entryPoints: [entry],
  outfile,
  bundle: true,
  minify: true,
  format: "iife",
  target: TARGETS,
  plugins: [esbuildFactories()],
  logLevel: "warning",
});
