/** What the build puts in: see build.mjs. */

/** The version of the distribution, from pyproject.toml. */
declare const __PEERBUS_VERSION__: string;

/** A module bundled as a classic script and imported as its text, for a worker made from a Blob. */
declare module "*?inline-worker" {
  const source: string;
  export default source;
}

/** A stylesheet imported by a page's script; the build writes it beside the script. */
declare module "*.css";

/** An SVG imported as its text. */
declare module "*.svg" {
  const text: string;
  export default text;
}
