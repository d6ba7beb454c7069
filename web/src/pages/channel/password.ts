/**
 * Makes passwords for channels.
 *
 * Owns their form: 20 characters of an alphabet of 32, 100 random bits. Whoever sees the join token, the server
 * above all, can try guesses without asking anybody, so what a person makes up is not enough.
 */

import { randomBytes } from "../../sdk/crypto/bytes";

// Without i, l, o and u, which are taken for others.
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const GROUPS = 4;
const GROUP_CHARS = 5;

export const PASSWORD_BITS = GROUPS * GROUP_CHARS * Math.log2(ALPHABET.length);

/** A new password, in groups that can be read out: `x7k2m-…`. */
export function makePassword(random: (length: number) => Uint8Array = randomBytes): string {
  const chars = [...random(GROUPS * GROUP_CHARS)].map((byte) => ALPHABET[byte % ALPHABET.length]).join("");
  return chars.match(/.{5}/g)?.join("-") ?? "";
}
