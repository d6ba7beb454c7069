/**
 * The text of a message as nodes: plain text, with addresses as links.
 *
 * Owns what counts as an address. Never makes markup out of text.
 */

import { make } from "../elements/element";

const ADDRESS = /\bhttps?:\/\/[^\s<>"'`]+/gi;
// What usually belongs to the sentence and not to the address at its end.
const SENTENCE_END = /[.,;:!?)\]}»”’]+$/;

/** The pieces of a text: strings, and addresses as `URL`. */
export function pieces(text: string): (string | { readonly address: string })[] {
  const found: (string | { readonly address: string })[] = [];
  let from = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = match[0].replace(SENTENCE_END, "");
    if (!isAddress(address)) continue;
    if (match.index > from) found.push(text.slice(from, match.index));
    found.push({ address });
    from = match.index + address.length;
  }
  if (from < text.length) found.push(text.slice(from));
  return found;
}

export function textNodes(text: string): (Node | string)[] {
  return pieces(text).map((piece) =>
    typeof piece === "string"
      ? piece
      : make("a", { href: piece.address, target: "_blank", rel: "noopener noreferrer" }, piece.address),
  );
}

function isAddress(text: string): boolean {
  try {
    return /^https?:$/.test(new URL(text).protocol);
  } catch {
    return false;
  }
}
