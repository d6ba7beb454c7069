/**
 * AES-256-GCM (NIST SP 800-38D) and HMAC-SHA256 (RFC 2104) with one key each.
 *
 * Owns the choice of who computes them: WebCrypto, which is far quicker, above all with much at once, and takes the
 * same time whatever the key; on a page from plain http, where browsers have no `crypto.subtle`, the noble libraries.
 * Never chooses a nonce.
 */

import { gcm } from "@noble/ciphers/aes.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import type { Bytes } from "./bytes";

/** One key of AES-256-GCM; the tag of 16 bytes stands at the end of what is sealed. */
export interface Cipher {
  seal(nonce: Bytes, plaintext: Bytes, bound: Bytes): Promise<Bytes>;
  /** Nothing, if it does not authenticate. */
  open(nonce: Bytes, sealed: Bytes, bound: Bytes): Promise<Bytes | undefined>;
}

/** What computes HMAC-SHA256 with one key. */
export type Mac = (message: Bytes) => Promise<Bytes>;

export function cipherOf(key: Bytes): Cipher {
  return subtle() ? new PlatformCipher(key) : new PortableCipher(key);
}

export function macOf(key: Bytes): Mac {
  const platform = subtle();
  if (!platform) return async (message) => hmac(sha256, key, message) as Bytes;
  const imported = platform.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return async (message) => new Uint8Array(await platform.sign("HMAC", await imported, message));
}

/** Declared as always there, which it is on secure pages alone. */
function subtle(): SubtleCrypto | undefined {
  return globalThis.crypto.subtle as SubtleCrypto | undefined;
}

class PlatformCipher implements Cipher {
  private readonly key: Promise<CryptoKey>;

  constructor(key: Bytes) {
    this.key = crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt", "decrypt"]);
  }

  async seal(nonce: Bytes, plaintext: Bytes, bound: Bytes): Promise<Bytes> {
    return new Uint8Array(await crypto.subtle.encrypt(parameters(nonce, bound), await this.key, plaintext));
  }

  async open(nonce: Bytes, sealed: Bytes, bound: Bytes): Promise<Bytes | undefined> {
    const key = await this.key;
    try {
      return new Uint8Array(await crypto.subtle.decrypt(parameters(nonce, bound), key, sealed));
    } catch {
      // The one thing that can go wrong with a good key, and the platform does not say more.
      return undefined;
    }
  }
}

class PortableCipher implements Cipher {
  private readonly key: Bytes;

  constructor(key: Bytes) {
    this.key = key;
  }

  async seal(nonce: Bytes, plaintext: Bytes, bound: Bytes): Promise<Bytes> {
    return gcm(this.key, nonce, bound).encrypt(plaintext) as Bytes;
  }

  async open(nonce: Bytes, sealed: Bytes, bound: Bytes): Promise<Bytes | undefined> {
    try {
      return gcm(this.key, nonce, bound).decrypt(sealed) as Bytes;
    } catch {
      return undefined;
    }
  }
}

function parameters(nonce: Bytes, bound: Bytes): AesGcmParams {
  return { name: "AES-GCM", iv: nonce, additionalData: bound };
}
