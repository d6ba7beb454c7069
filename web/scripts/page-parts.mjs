// What several pages have in common is written once, in src/pages/parts. In a page
//
//   <!-- part share-dialog title="Invite" -->
//
// stands for parts/share-dialog.part.html, in which {title} is that text. A part has no parts.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const parts = fileURLToPath(new URL("../src/pages/parts", import.meta.url));
const mark = /^( *)?<!-- part ([a-z-]+)((?: [a-z]+="[^"]*")*) -->/gm;

/** For Vite: the source of a page, imported by `?raw`, has its parts in it. */
export function viteParts() {
  return {
    name: "page-parts",
    enforce: "pre",
    load(id) {
      if (!id.endsWith(".html?raw")) return undefined;
      return `export default ${JSON.stringify(withParts(readFileSync(id.replace("?raw", ""), "utf8")))};`;
    },
  };
}

/** The page with its parts in it, indented as they stand there. Throws for a part or a text that is missing. */
export function withParts(page) {
  return page.replace(mark, (_, indent = "", name, given) => {
    const texts = Object.fromEntries(
      [...given.matchAll(/([a-z]+)="([^"]*)"/g)].map(([, key, text]) => [key, text]),
    );
    const part = readFileSync(join(parts, `${name}.part.html`), "utf8").trimEnd();
    const filled = part.replace(/\{([a-z]+)\}/g, (_hole, key) => {
      if (texts[key] === undefined) throw new Error(`part ${name} needs ${key}="…"`);
      return texts[key];
    });
    return indent + filled.replaceAll("\n", `\n${indent}`);
  });
}
