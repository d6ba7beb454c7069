// Imports of the form `factory:./module`: the default export is a self-contained function that evaluates the bundle of
// that module and returns its exports. Its source text can therefore also be the program of a worker. Serves esbuild
// (the build) and Vite (the tests).
import { dirname, resolve } from "node:path";
import esbuild from "esbuild";

const PREFIX = "factory:";

/** What both the outer and the inner bundle are made for. */
export const TARGETS = ["chrome110", "firefox115", "safari16.4"];

/** The text of the module that `factory:<path>` stands for. */
async function factoryModule(path, minify) {
  const { outputFiles } = await esbuild.build({
    entryPoints: [path],
    bundle: true,
    format: "iife",
    globalName: "moduleExports",
    minify,
    target: TARGETS,
    write: false,
    loader: { ".wasm": "binary" },
    legalComments: "inline",
  });
  return `export default function () {\n${outputFiles[0].text}\nreturn moduleExports;\n}\n`;
}

const absolute = (specifier, importer) => resolve(dirname(importer), `${specifier.slice(PREFIX.length)}.ts`);

export function esbuildFactories() {
  return {
    name: "factory-modules",
    setup(build) {
      build.onResolve({ filter: /^factory:/ }, ({ path, importer }) => ({
        path: absolute(path, importer),
        namespace: "factory",
      }));
      build.onLoad({ filter: /.*/, namespace: "factory" }, async ({ path }) => ({
        contents: await factoryModule(path, true),
        loader: "js",
        watchFiles: [path],
      }));
    },
  };
}

export function viteFactories() {
  return {
    name: "factory-modules",
    enforce: "pre",
    resolveId(source, importer) {
      return source.startsWith(PREFIX) ? `\0${PREFIX}${absolute(source, importer)}` : null;
    },
    load(id) {
      return id.startsWith(`\0${PREFIX}`) ? factoryModule(id.slice(PREFIX.length + 1), false) : null;
    },
  };
}
