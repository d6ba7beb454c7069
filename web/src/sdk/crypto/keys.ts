/**
 * What is derived from a channel's name and password.
 *
 * Owns the key derivation: Argon2id over the password, then HKDF-SHA256 (RFC 5869) for each purpose. All of it
 * works without `crypto.subtle`, which a page on plain http does not have. Never sends anything.
 */

import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { argon2id } from "./argon2";
import { type Bytes, concat, utf8, withLength } from "./bytes";

const KDF_LABEL = "peerbus/kdf/1";
const KEY_LABEL = "peerbus/1/";
const KEY_BYTES = 32;
const SALT_BYTES = 16;
const MEMORY_KIB = 64 * 1024;
const PASSES = 3;
const LANES = 1;
const CACHED_ROOTS = 8;

/** What a derived key is for; `join` makes the join token. */
export type KeyLabel = "join" | "message" | "storage" | "media" | "signal";

// Deriving costs a second on a phone, and reconnecting must not pay it again.
const roots = new Map<string, Promise<Bytes>>();

/** The 32-byte root secret of a channel; a pair that was derived before is not derived again. */
export function rootSecret(channelName: string, password: string): Promise<Bytes> {
  const pair = JSON.stringify([channelName.normalize("NFC"), password.normalize("NFC")]);
  const known = roots.get(pair);
  if (known) return known;
  const root = deriveRoot(channelName, password);
  roots.set(pair, root);
  root.catch(() => roots.delete(pair));
  const [oldest] = roots.keys();
  if (roots.size > CACHED_ROOTS && oldest !== undefined) roots.delete(oldest);
  return root;
}

/** One key out of a root secret. */
export function deriveKey(root: Uint8Array, label: KeyLabel): Bytes {
  return hkdf(sha256, root, undefined, utf8(KEY_LABEL + label), KEY_BYTES) as Bytes;
}

/** What proves to the server that a client knows the password: 32 bytes, or none without a password. */
export async function joinToken(channelName: string, password: string): Promise<Bytes> {
  if (password === "") return new Uint8Array(0);
  return deriveKey(await rootSecret(channelName, password), "join");
}

/** The salt of a channel's key derivation. */
export function kdfSalt(channelName: string): Bytes {
  return sha256(concat(utf8(KDF_LABEL), withLength(channelName))).slice(0, SALT_BYTES) as Bytes;
}

async function deriveRoot(channelName: string, password: string): Promise<Bytes> {
  const hash = await argon2id({
    password: utf8(password),
    salt: kdfSalt(channelName),
    memoryKib: MEMORY_KIB,
    passes: PASSES,
    lanes: LANES,
    hashBytes: KEY_BYTES,
  });
  return Uint8Array.from(hash);
}
