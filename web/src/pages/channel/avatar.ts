/**
 * The round sign of a person: initial and colour.
 *
 * Owns which colour a person has: the same everywhere, as long as identity and page live.
 */

import { make } from "../elements/element";

const HUES = 8;

export function hueOf(identity: string): number {
  let sum = 0;
  for (const char of identity) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 9973;
  return sum % HUES;
}

/** The first character of a name, as people count characters. */
export function initialOf(name: string): string {
  if (typeof Intl.Segmenter === "function") {
    for (const { segment } of new Intl.Segmenter().segment(name)) return segment;
  }
  return [...name][0] ?? "";
}

export function avatar(name: string, identity: string): HTMLElement {
  return make("span", { class: `avatar hue-${hueOf(identity)}`, "aria-hidden": "true" }, initialOf(name));
}
