// Builds everything a browser loads, into the folder that the server serves and the wheel carries. The layout of that
// folder is told in signaling/peerbus/signaling/assets.py. Also writes the npm package, into dist/npm.
//
// - src/sdk/index.ts       -> sdk/peerbus.mjs, with type declarations
// - src/sdk/iife.ts        -> sdk/web-agent.js, a classic script
// - src/sdk/iife-webrtc.ts -> sdk/web-agent.webrtc.js, a classic script
// - src/pages/**/*.html    -> pages/<name>.html; `chat.html` and `chat/index.html` are both the page /chat. The scripts
//   and stylesheets a page names by relative paths are bundled, and the names in it replaced; what pages have in common
//   is put in from pages/parts.
// - static/*               -> static/*
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import esbuild from "esbuild";
import { esbuildFactories, TARGETS } from "./scripts/factory-modules.mjs";
import { withParts } from "./scripts/page-parts.mjs";
import { version } from "./scripts/version.mjs";

const root = dirname(fileURLToPath(import.meta.url));
const repository = dirname(root);
const destination = join(repository, "signaling/peerbus/signaling/web");
const work = join(root, "dist/next");
const npmPackage = join(root, "dist/npm");
const pagesSource = join(root, "src/pages");

const common = {
  absWorkingDir: root,
  bundle: true,
  target: TARGETS,
  minify: true,
  sourcemap: "linked",
  charset: "utf8",
  legalComments: "inline",
  define: { __PEERBUS_VERSION__: JSON.stringify(version) },
  loader: { ".svg": "text", ".woff2": "file", ".png": "file" },
  plugins: [esbuildFactories()],
  logLevel: "warning",
};

const LIBS =
  "/* peerbus needs no other libraries. This file is here so that pages which load it keep working. */\n";

/** The SDK has type errors, which the compiler has printed. */
class TypeErrors extends Error {}

async function buildSdk() {
  const script = (entry, name) =>
    esbuild.build({
      ...common,
      entryPoints: [`src/sdk/${entry}`],
      outfile: join(work, "sdk", name),
      format: "iife",
    });
  await Promise.all([
    esbuild.build({
      ...common,
      entryPoints: ["src/sdk/index.ts"],
      outfile: join(work, "sdk/peerbus.mjs"),
      format: "esm",
    }),
    script("iife.ts", "web-agent.js"),
    script("iife-webrtc.ts", "web-agent.webrtc.js"),
  ]);
  writeFileSync(join(work, "sdk/web-agent.libs.js"), LIBS);
  declareTypes(join(work, "sdk/types"));
  writeFileSync(join(work, "sdk/peerbus.d.mts"), 'export * from "./types/index.js";\n');
}

function declareTypes(folder) {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const { status } = spawnSync(process.execPath, [tsc, "-p", "tsconfig.sdk.json", "--outDir", folder], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) throw new TypeErrors();
  // Relative imports get the extension that Node's own resolution asks for.
  for (const path of filesUnder(folder)) {
    const withExtension = (_, before, target, after) => {
      const file = resolve(dirname(path), target);
      if (existsSync(`${file}.d.ts`)) return `${before}${target}.js${after}`;
      if (existsSync(join(file, "index.d.ts"))) return `${before}${target}/index.js${after}`;
      throw new Error(`${path} imports ${target}, which was not declared.`);
    };
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace(/((?:from|import) ?\(?")(\.{1,2}\/[^"]+)(")/g, withExtension));
  }
}

async function buildPages() {
  const pages = filesUnder(pagesSource).filter(
    (path) => path.endsWith(".html") && !path.endsWith(".part.html"),
  );
  const texts = new Map(pages.map((page) => [page, withParts(readFileSync(page, "utf8"))]));
  const reference = /(<(?:script|link)\b[^>]*?\b(?:src|href)=")(\.{1,2}\/[^"]+)(")/g;
  const entries = new Set();
  for (const [page, text] of texts) {
    for (const [, , target] of text.matchAll(reference)) entries.add(resolve(dirname(page), target));
  }
  const built = entries.size ? await bundlePages([...entries]) : new Map();
  for (const [page, text] of texts) {
    const html = text.replace(
      reference,
      (_, before, target, after) => before + built.get(resolve(dirname(page), target)) + after,
    );
    const name = relative(pagesSource, page)
      .split(sep)
      .join("/")
      .replace(/(?<=.)\/index\.html$/, ".html");
    write(join(work, "pages", name), html);
  }
}

/** From the absolute path of each entry to the address it is served under. */
async function bundlePages(entryPoints) {
  const { metafile } = await esbuild.build({
    ...common,
    entryPoints,
    outdir: join(work, "assets"),
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    publicPath: "/assets",
    format: "esm",
    splitting: true,
    metafile: true,
  });
  const outputs = Object.entries(metafile.outputs).filter(([, { entryPoint }]) => entryPoint);
  return new Map(
    outputs.map(([path, { entryPoint }]) => [
      resolve(root, entryPoint),
      `/assets/${relative(join(work, "assets"), resolve(root, path))}`,
    ]),
  );
}

function writeNpmPackage() {
  rmSync(npmPackage, { recursive: true, force: true });
  for (const name of ["peerbus.mjs", "peerbus.mjs.map", "peerbus.d.mts", "types"]) {
    cpSync(join(work, "sdk", name), join(npmPackage, name), { recursive: true });
  }
  cpSync(join(repository, "LICENSE"), join(npmPackage, "LICENSE"));
  cpSync(join(root, "README.md"), join(npmPackage, "README.md"));
  const description = {
    name: "peerbus",
    version,
    description: "Messaging, presence and WebRTC signaling for browsers, by a peerbus server",
    license: "MIT",
    type: "module",
    sideEffects: false,
    exports: { ".": { types: "./peerbus.d.mts", default: "./peerbus.mjs" } },
  };
  writeFileSync(join(npmPackage, "package.json"), `${JSON.stringify(description, null, 2)}\n`);
}

function filesUnder(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function write(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

async function main() {
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, "sdk"), { recursive: true });
  await Promise.all([buildSdk(), buildPages()]);
  if (existsSync(join(root, "static")))
    cpSync(join(root, "static"), join(work, "static"), { recursive: true });
  writeNpmPackage();
  const files = filesUnder(work).map((path) => relative(work, path).split(sep).join("/"));
  write(join(work, "manifest.json"), `${JSON.stringify({ version, files }, null, 1)}\n`);
  // A server that runs meanwhile never sees half of a build.
  rmSync(destination, { recursive: true, force: true });
  renameSync(work, destination);
  process.stdout.write(
    `Web assets ${version}: ${files.length} files in ${relative(repository, destination)}\n`,
  );
}

main().catch((error) => {
  // esbuild and tsc have said already what is wrong with the sources.
  if (!("errors" in error) && !(error instanceof TypeErrors)) throw error;
  process.exitCode = 1;
});
