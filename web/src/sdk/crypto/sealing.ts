/**
 * The bytes of a sealed channel: keys, envelopes, what an envelope is bound to, retry tags, the safety number.
 *
 * The twin of `peerbus.client.sealing`; both run `tests/vectors/sealing`. Owns every formula of PROTOCOL.md, section
 * 13, and the counters of what this side has sealed. Never draws a random number (crypto-sessions are given in), never
 * decides whether what was opened is new (`seal-window.ts`), and never sees a frame (`agent/sealed-channel.ts`).
 */

import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { ProtocolError } from "../protocol/errors";
import type { GlobFilter } from "../protocol/frames.gen";
import { type Bytes, concat, toHex, utf8, withLength } from "./bytes";
import { type Cipher, cipherOf, type Mac, macOf } from "./ciphers";

export const CRYPTO_SESSION_BYTES = 16;
export const RETRY_TAG_BYTES = 16;
/** A crypto-session seals so many messages of one class; then another one begins. */
export const COUNTER_END = 2 ** 30;
export const MAX_RECIPIENTS = 255;

const VERSION = 1;
const KEY_BYTES = 32;
const KEY_ID_BYTES = 4;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;
const SESSION_AT = 1 + KEY_ID_BYTES;
const COUNTER_AT = SESSION_AT + CRYPTO_SESSION_BYTES;
const COUNT_AT = COUNTER_AT + 8;
const RECIPIENTS_AT = COUNT_AT + 1;
/** What sealing adds to a message that names no recipients' crypto-sessions. */
export const OVERHEAD_BYTES = RECIPIENTS_AT + TAG_BYTES;
const KEYS_KEPT = 1_024;
const SAFETY_DIGITS = 30;
const SAFETY_GROUP = /.{5}/g;

/** The classes of a crypto-session; each has a key and a counter of its own. */
export type SealClass = "durable" | "live" | "lossy" | "attributes";
const CLASS_BYTE: Readonly<Record<SealClass, number>> = { durable: 0, live: 1, lossy: 2, attributes: 3 };

/** What stands in the clear around an envelope, and is authenticated with it. */
export interface Context {
  readonly sender: string;
  readonly type?: string | undefined;
  readonly custom_event_type?: string | undefined;
  readonly to?: readonly string[] | undefined;
  readonly filter?: string | GlobFilter | undefined;
  readonly reply_to?: string | undefined;
  readonly idempotency_key?: string | undefined;
}

/** The clear part of an envelope. */
export interface Header {
  readonly cryptoSession: Bytes;
  readonly counter: number;
  /** The crypto-sessions that a live message to names is for; empty in all others. */
  readonly recipients: readonly Bytes[];
}

/** All that comes from the message key of one channel. */
export class SealingKeys {
  private readonly messageKey: Bytes;
  private readonly channelId: Bytes;
  private readonly keyId: Bytes;
  private readonly retryMac: Mac;
  private readonly ciphers = new Map<string, Cipher>();

  constructor(messageKey: Bytes, channelId: Bytes) {
    this.messageKey = messageKey;
    this.channelId = channelId;
    this.keyId = this.expand(utf8("peerbus/key-id/1")).slice(0, KEY_ID_BYTES);
    this.retryMac = macOf(this.expand(utf8("peerbus/retry/1")));
  }

  /** Thirty digits in six groups: the same for all who have the same channel and password. */
  get safetyNumber(): string {
    const bytes = this.expand(concat(utf8("peerbus/safety/1"), this.channelId)).slice(0, 16);
    const number = BigInt(`0x${toHex(bytes)}`) % 10n ** BigInt(SAFETY_DIGITS);
    return number.toString().padStart(SAFETY_DIGITS, "0").match(SAFETY_GROUP)?.join(" ") ?? "";
  }

  /** By what the server recognises a message that is sent again. */
  async retryTag(idempotencyKey: string, plaintext: Bytes): Promise<Bytes> {
    const tag = await this.retryMac(concat(withLength(idempotencyKey), plaintext));
    return tag.slice(0, RETRY_TAG_BYTES);
  }

  /**
   * The envelope. Whoever calls this sees to it that no counter is used twice: that is `Sealer`.
   *
   * Throws `ProtocolError` (`too_large`) at once for over 255 recipients.
   */
  encrypt(
    sealClass: SealClass,
    cryptoSession: Bytes,
    counter: number,
    plaintext: Bytes,
    context: Context,
    recipients: readonly Uint8Array[] = [],
  ): Promise<Bytes> {
    if (recipients.length > MAX_RECIPIENTS) {
      throw new ProtocolError("too_large", `A sealed live message names at most ${MAX_RECIPIENTS} sessions.`);
    }
    const clear = concat(
      Uint8Array.of(VERSION),
      this.keyId,
      cryptoSession,
      counterBytes(counter),
      Uint8Array.of(recipients.length),
      ...recipients,
    );
    const bound = associatedData(this.channelId, sealClass, clear, context);
    return this.cipher(cryptoSession, sealClass)
      .seal(nonceOf(counter), plaintext, bound)
      .then((sealed) => concat(clear, sealed));
  }

  /** The header and what is inside. Rejects with `ProtocolError`: `not_supported`, `wrong_key`, `tampered`. */
  async decrypt(
    sealClass: SealClass,
    envelope: Uint8Array,
    context: Context,
  ): Promise<{ readonly header: Header; readonly plaintext: Bytes }> {
    const header = this.header(envelope);
    const isToNames = sealClass === "live" && context.to !== undefined;
    if (header.recipients.length > 0 && !isToNames) throw new ProtocolError("tampered");
    const end = RECIPIENTS_AT + header.recipients.length * CRYPTO_SESSION_BYTES;
    const [clear, inside] = [envelope.slice(0, end), envelope.slice(end)];
    const bound = associatedData(this.channelId, sealClass, clear, context);
    const cipher = this.cipher(header.cryptoSession, sealClass);
    const plaintext = await cipher.open(nonceOf(header.counter), inside as Bytes, bound);
    if (!plaintext) throw new ProtocolError("tampered");
    return { header, plaintext };
  }

  private header(envelope: Uint8Array): Header {
    const [version] = envelope;
    if (version === undefined) throw new ProtocolError("tampered");
    if (version !== VERSION) {
      throw new ProtocolError("not_supported", "A sealed message has a form that this version cannot open.");
    }
    if (envelope.length < OVERHEAD_BYTES) throw new ProtocolError("tampered");
    if (this.keyId.some((byte, at) => envelope[1 + at] !== byte)) throw new ProtocolError("wrong_key");
    const view = new DataView(envelope.buffer, envelope.byteOffset, envelope.length);
    const end = RECIPIENTS_AT + view.getUint8(COUNT_AT) * CRYPTO_SESSION_BYTES;
    if (envelope.length < end + TAG_BYTES) throw new ProtocolError("tampered");
    const recipients: Bytes[] = [];
    for (let at = RECIPIENTS_AT; at < end; at += CRYPTO_SESSION_BYTES) {
      recipients.push(Uint8Array.from(envelope.subarray(at, at + CRYPTO_SESSION_BYTES)));
    }
    return {
      cryptoSession: Uint8Array.from(envelope.subarray(SESSION_AT, COUNTER_AT)),
      // Nobody counts beyond 2^30; what is larger than a number holds exactly cannot authenticate either.
      counter: Number(view.getBigUint64(COUNTER_AT)),
      recipients,
    };
  }

  private cipher(cryptoSession: Bytes, sealClass: SealClass): Cipher {
    const place = `${toHex(cryptoSession)} ${sealClass}`;
    let cipher = this.ciphers.get(place);
    if (!cipher) {
      const info = concat(utf8("peerbus/seal/1"), cryptoSession, Uint8Array.of(CLASS_BYTE[sealClass]));
      cipher = cipherOf(this.expand(info));
    }
    // The last of the map is the one that was used last.
    this.ciphers.delete(place);
    this.ciphers.set(place, cipher);
    const [oldest] = this.ciphers.keys();
    if (this.ciphers.size > KEYS_KEPT && oldest !== undefined) this.ciphers.delete(oldest);
    return cipher;
  }

  private expand(info: Bytes): Bytes {
    return hkdf(sha256, this.messageKey, undefined, info, KEY_BYTES) as Bytes;
  }
}

/** Seals for one connection object, and counts. */
export class Sealer {
  /** The crypto-session that others know from presence. */
  readonly announced: Bytes;
  private readonly keys: SealingKeys;
  private readonly newSession: () => Bytes;
  private current: Bytes;
  private counters: Record<SealClass, number> = { durable: 0, live: 0, lossy: 0, attributes: 0 };

  /**
   * `newSession` gives 16 random bytes: once for the crypto-session that is announced, and again when a counter has
   * reached its end.
   */
  constructor(keys: SealingKeys, newSession: () => Bytes) {
    this.keys = keys;
    this.newSession = newSession;
    this.announced = newSession();
    this.current = this.announced;
  }

  /**
   * The envelope of a message, or of attributes. Each call takes a counter at once, also one that fails.
   *
   * Throws `ProtocolError` as `SealingKeys.encrypt`; `quota_exceeded` when 2^30 attributes were sealed, which are
   * bound to the announced crypto-session.
   */
  seal(
    sealClass: SealClass,
    plaintext: Bytes,
    context: Context,
    recipients: readonly Uint8Array[] = [],
  ): Promise<Bytes> {
    const isOfAttributes = sealClass === "attributes";
    if (this.counters[sealClass] >= COUNTER_END) {
      if (isOfAttributes) {
        throw new ProtocolError("quota_exceeded", "Connect anew to change attributes any more.");
      }
      this.current = this.newSession();
      this.counters = { ...this.counters, durable: 0, live: 0, lossy: 0 };
    }
    const counter = this.counters[sealClass];
    this.counters[sealClass] = counter + 1;
    const cryptoSession = isOfAttributes ? this.announced : this.current;
    return this.keys.encrypt(sealClass, cryptoSession, counter, plaintext, context, recipients);
  }
}

/** What is authenticated with an envelope: where, in which class, by and for whom it was sealed. */
export function associatedData(
  channelId: Bytes,
  sealClass: SealClass,
  header: Uint8Array,
  context: Context,
): Bytes {
  return concat(
    utf8("peerbus/aad/1"),
    channelId,
    Uint8Array.of(CLASS_BYTE[sealClass]),
    header,
    withLength(context.sender),
    withLength(context.type ?? ""),
    optional(context.custom_event_type),
    recipientsOf(context),
    optional(context.reply_to),
    optional(context.idempotency_key),
  );
}

function recipientsOf({ to, filter }: Context): Bytes {
  if (to !== undefined) {
    const count = new Uint8Array(4);
    new DataView(count.buffer).setUint32(0, to.length);
    return concat(Uint8Array.of(1), count, ...to.map(withLength));
  }
  if (typeof filter === "string") return concat(Uint8Array.of(2), withLength(filter));
  return filter === undefined ? Uint8Array.of(0) : concat(Uint8Array.of(3), withLength(filter.glob));
}

function optional(text: string | undefined): Bytes {
  return text === undefined ? Uint8Array.of(0) : concat(Uint8Array.of(1), withLength(text));
}

function counterBytes(counter: number): Bytes {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(counter));
  return bytes;
}

function nonceOf(counter: number): Bytes {
  const nonce = new Uint8Array(NONCE_BYTES);
  nonce.set(counterBytes(counter), NONCE_BYTES - 8);
  return nonce;
}
