/**
 * Frames that only those with the channel's password can see or hear: how one is sealed, and how it is opened.
 *
 * Owns the byte form of sealed frames, the replay windows and the state of a received track. Runs in a worker and never
 * touches a connection (`frame-kernel.ts`); draws no random numbers: key ids are passed in. See PROTOCOL.md, section 14.
 *
 *     sealed = clear bytes ‖ AES-256-GCM(frame key, rest of the frame) with its tag ‖ counter (4) ‖ key id (8)
 */

import { type Bytes, concat, toHex, withLength } from "../crypto/bytes";

/** What can be sealed. */
export type FrameCodec = "vp8" | "opus";
/** How a received track stands; PROTOCOL.md has the table. Only `open` and `sealed` are shown. */
export type EncryptionState = "open" | "waiting" | "sealed" | "undecryptable" | "not_sealed" | "not_opened";
export type RefusalReason = "undecryptable" | "replayed";
/** A frame as it was sealed, or why it is not to be shown. */
export type Opened = { readonly frame: Bytes } | { readonly refused: RefusalReason };

/** Whose frames they are, and of which publication, by its full id. */
export interface FrameOrigin {
  readonly sender: string;
  readonly publication: string;
}

export const KEY_ID_BYTES = 8;
/** A transform that has sealed so many frames takes a new key id. */
export const COUNTER_LIMIT = 2 ** 30;
export const WINDOW = 1_024;
/** So many frames in a row that do not authenticate make a track `undecryptable`. */
export const FAILURES_TO_TELL = 10;

const LABEL = new TextEncoder().encode("peerbus/frame/1");
const TAG_BYTES = 16;
const TRAILER_BYTES = 12;
const NONCE_BYTES = 12;
const STREAMS_MAX = 4_096;
const RETIRED_MAX = 4_096;

/** How many bytes at the beginning of a frame stay readable, so that it can be packetised and forwarded. */
export function clearBytes(codec: FrameCodec, frame: Uint8Array): number {
  const [first] = frame;
  if (codec === "opus" || first === undefined) return 0;
  return Math.min(frame.length, (first & 1) === 0 ? 10 : 3);
}

/** The codec by its name or MIME type; nothing for one that is not sealed. */
export function codecOf(name: string): FrameCodec | undefined {
  const short = name.toLowerCase().replace(/^\w+\//, "");
  return short === "vp8" || short === "opus" ? short : undefined;
}

/** What all frame keys come from. */
export function importMediaKey(mediaKey: Bytes): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", mediaKey, "HKDF", false, ["deriveKey"]);
}

/** The key of all frames under this key id. */
function frameKey(mediaKey: CryptoKey, keyId: Uint8Array): Promise<CryptoKey> {
  return crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: concat(LABEL, keyId) },
    mediaKey,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt", "decrypt"],
  );
}

/** Seals the frames of one publication, from one start of its encoder on. */
export class FrameSealer {
  private readonly mediaKey: CryptoKey;
  private readonly newKeyId: () => Uint8Array;
  private readonly context: Bytes;
  private counter: number;
  private keyId: Uint8Array;
  private key: Promise<CryptoKey>;

  constructor(mediaKey: CryptoKey, newKeyId: () => Uint8Array, origin: FrameOrigin, counter = 0) {
    this.mediaKey = mediaKey;
    this.newKeyId = newKeyId;
    this.context = contextOf(origin);
    this.counter = counter;
    this.keyId = newKeyId();
    this.key = frameKey(mediaKey, this.keyId);
  }

  /** The sealed frame, 28 bytes longer. */
  async seal(codec: FrameCodec, frame: Uint8Array<ArrayBuffer>): Promise<Bytes> {
    if (this.counter >= COUNTER_LIMIT) {
      this.counter = 0;
      this.keyId = this.newKeyId();
      this.key = frameKey(this.mediaKey, this.keyId);
    }
    const trailer = new Uint8Array(TRAILER_BYTES);
    new DataView(trailer.buffer).setUint32(0, this.counter);
    trailer.set(this.keyId, 4);
    this.counter += 1;
    const clear = frame.subarray(0, clearBytes(codec, frame));
    const parameters = parametersOf(clear, trailer, this.context);
    const secret = await crypto.subtle.encrypt(parameters, await this.key, frame.subarray(clear.length));
    return concat(clear, new Uint8Array(secret), trailer);
  }
}

interface Stream {
  readonly keyId: string;
  readonly key: Promise<CryptoKey>;
  readonly window: Window;
}

/** Opens the frames of all publications of a call; outlives its connections. */
export class FrameOpener {
  private readonly mediaKey: CryptoKey;
  /** That of the key id that counts, by publication; the one that was begun last is the last. */
  private readonly streams = new Map<string, Stream>();
  private readonly retired = new Set<string>();

  constructor(mediaKey: CryptoKey) {
    this.mediaKey = mediaKey;
  }

  async open(codec: FrameCodec, sealed: Uint8Array<ArrayBuffer>, origin: FrameOrigin): Promise<Opened> {
    const end = sealed.length - TRAILER_BYTES;
    if (end < TAG_BYTES) return { refused: "undecryptable" };
    const trailer = sealed.subarray(end);
    const keyId = toHex(trailer.subarray(4));
    if (this.retired.has(keyId)) return { refused: "replayed" };
    const known = this.streams.get(origin.publication);
    const stream = known?.keyId === keyId ? known : this.begun(keyId, trailer.subarray(4));
    const clear = sealed.subarray(0, Math.min(clearBytes(codec, sealed.subarray(0, end)), end - TAG_BYTES));
    const parameters = parametersOf(clear, trailer, contextOf(origin));
    const secret = sealed.subarray(clear.length, end);
    let rest: ArrayBuffer;
    try {
      rest = await crypto.subtle.decrypt(parameters, await stream.key, secret);
    } catch {
      // The one thing that can go wrong with a good key, and the platform does not say more.
      return { refused: "undecryptable" };
    }
    // Meanwhile another frame may have taken over.
    if (
      this.retired.has(keyId) ||
      !this.counting(origin.publication, stream).window.takes(counterOf(trailer))
    ) {
      return { refused: "replayed" };
    }
    return { frame: concat(clear, new Uint8Array(rest)) };
  }

  private begun(keyId: string, bytes: Uint8Array): Stream {
    return { keyId, key: frameKey(this.mediaKey, bytes), window: new Window() };
  }

  /** The stream that counts, now that a frame of this one has authenticated. */
  private counting(publication: string, stream: Stream): Stream {
    const { streams } = this;
    const before = streams.get(publication);
    if (before?.keyId === stream.keyId) return before;
    this.retire(publication);
    streams.set(publication, stream);
    const [oldest] = streams.keys();
    if (streams.size > STREAMS_MAX && oldest !== undefined) this.retire(oldest);
    return stream;
  }

  /** What comes under its key id from now on is old. */
  private retire(publication: string): void {
    const stream = this.streams.get(publication);
    if (!stream) return;
    this.streams.delete(publication);
    this.retired.add(stream.keyId);
    const [oldest] = this.retired;
    if (this.retired.size > RETIRED_MAX && oldest !== undefined) this.retired.delete(oldest);
  }
}

/** Which of the newest 1024 counters were seen. */
export class Window {
  private highest = -1;
  /** By counter modulo the size: the counter that was seen there last. */
  private readonly seen = new Int32Array(WINDOW).fill(-1);

  /** Whether the counter is new, and not too old to tell; it is noted. */
  takes(counter: number): boolean {
    const at = counter % WINDOW;
    if (counter <= this.highest - WINDOW || this.seen[at] === counter) return false;
    this.seen[at] = counter;
    this.highest = Math.max(this.highest, counter);
    return true;
  }
}

/** How one received track stands, and how many of its frames were opened or refused. */
export class EncryptionWatch {
  state: EncryptionState;
  opened = 0;
  /** Frames that were not shown: those that did not authenticate, and those that were `replayed`. */
  refused = 0;
  private failures = 0;

  /** `isSealed`: its sender says so. `isOn`: this side encrypts. */
  constructor(isSealed: boolean, isOn: boolean) {
    if (isOn) this.state = isSealed ? "waiting" : "not_sealed";
    else this.state = isSealed ? "not_opened" : "open";
  }

  /** Whether frames are to be opened; else they pass (`open`) or are refused unseen. */
  get isOpening(): boolean {
    return this.state === "waiting" || this.state === "sealed" || this.state === "undecryptable";
  }

  /** Whether the state changed by it. */
  frameOpened(): boolean {
    this.opened += 1;
    this.failures = 0;
    return this.become("sealed");
  }

  /** Whether the state changed by it. */
  frameRefused(reason: RefusalReason): boolean {
    this.refused += 1;
    if (reason === "replayed" || !this.isOpening) return false;
    this.failures += 1;
    return this.failures >= FAILURES_TO_TELL && this.become("undecryptable");
  }

  private become(state: EncryptionState): boolean {
    const hasChanged = this.state !== state;
    this.state = state;
    return hasChanged;
  }
}

function contextOf({ sender, publication }: FrameOrigin): Bytes {
  return concat(withLength(sender), withLength(publication));
}

function counterOf(trailer: Uint8Array<ArrayBuffer>): number {
  return new DataView(trailer.buffer, trailer.byteOffset).getUint32(0);
}

function parametersOf(clear: Uint8Array, trailer: Uint8Array, context: Uint8Array): AesGcmParams {
  const nonce = new Uint8Array(NONCE_BYTES);
  nonce.set(trailer.subarray(0, 4), NONCE_BYTES - 4);
  return { name: "AES-GCM", iv: nonce, additionalData: concat(clear, trailer, context) };
}
