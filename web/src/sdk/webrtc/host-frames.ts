/**
 * What the host of a group and its guests say on the link between them (PROTOCOL.md, section "Host mode").
 *
 * Owns the MessagePack forms of these messages and what is refused. Never looks into the frames of the delivery layer that
 * they carry (`peer-frames`), and never decides anything.
 */

import type { Bytes } from "../crypto/bytes";
import { encodeMessagePack, joinMessagePack, Reader } from "../protocol/messagepack";
import { isObject } from "../protocol/shape";
import { badFrame } from "./peer-frames";

/** The recipient that is whoever is host. */
export const HOST_ROLE = "peerbus:host";
/** How much is joined into one message of a data channel; a single message may be larger. */
const BATCH_BYTES = 16_000;
export const STATE_PIECE_BYTES = 16_000;
export const STATE_BYTES_MAX = 4 * 1_048_576;
const FRAME_BYTES_MAX = 65_536;

/** By sender: its stream, and the last piece of its last whole message to the host by role, and by name. */
export type Done = Map<string, readonly [stream: number, byRole: number, byName: number]>;
/** The term of each host, and the last place of the order that it took over. */
export type Bases = readonly (readonly [term: number, n: number])[];

export const SUBMIT = 0;
export const PASS = 1;
export const HELLO = 2;
export const ACK_ENTRIES = 3;
export const SAFE = 4;
export const TAIL_END = 5;
export const STATE_HAVE = 6;
export const ENTRY = 7;
export const WELCOME = 8;
export const PASSED = 9;
export const FETCH = 10;
export const SYNC = 11;
export const SYNCED = 12;
export const KNOWN = 13;
export const STATE_PIECE = 14;
/** The host's work loop runs. */
export const ALIVE = 15;

interface Told {
  /** That of the host. */
  readonly term: number;
}

/** A place in the order and what stands there. Of no sender it is a marker: a version of the group. */
export interface EntryMessage extends Told {
  readonly kind: typeof ENTRY;
  readonly n: number;
  readonly entryTerm: number;
  readonly sender: string;
  readonly to: readonly string[];
  /** It is for the host of that time, by its role or by its name. */
  readonly isForHost: boolean;
  readonly frame: Uint8Array;
}

/** How far a guest has got. */
export interface Hello extends Told {
  readonly kind: typeof HELLO;
  readonly version: number;
  readonly positionTerm: number;
  readonly position: number;
  readonly stateTerm: number;
  readonly stateVersion: number;
}

/** A part of a snapshot in its encoded form. */
export interface StatePiece extends Told {
  readonly kind: typeof STATE_PIECE;
  readonly stateTerm: number;
  readonly version: number;
  readonly index: number;
  readonly count: number;
  readonly piece: Uint8Array;
}

export type HostLinkMessage =
  | (Told & { readonly kind: typeof SUBMIT; readonly to: readonly string[]; readonly frame: Uint8Array })
  | (Told & { readonly kind: typeof PASS; readonly to: readonly string[] | null; readonly frame: Uint8Array })
  | Hello
  | (Told & {
      readonly kind: typeof ACK_ENTRIES | typeof SAFE | typeof WELCOME | typeof SYNCED;
      readonly n: number;
    })
  | (Told & { readonly kind: typeof TAIL_END | typeof ALIVE })
  | (Told & { readonly kind: typeof STATE_HAVE; readonly stateTerm: number; readonly version: number })
  | EntryMessage
  | (Told & { readonly kind: typeof PASSED; readonly sender: string; readonly frame: Uint8Array })
  | (Told & { readonly kind: typeof FETCH; readonly wantsState: boolean })
  | (Told & {
      readonly kind: typeof SYNC;
      readonly version: number;
      readonly bases: Bases;
      readonly done: Done;
    })
  | (Told & { readonly kind: typeof KNOWN; readonly stable: number; readonly released: number })
  | StatePiece;

/** The bytes of one message. */
export function encodeHostMessage(message: HostLinkMessage): Bytes {
  return encodeMessagePack([message.kind, message.term, ...fieldsOf(message)]);
}

function fieldsOf(message: HostLinkMessage): readonly unknown[] {
  switch (message.kind) {
    case SUBMIT:
    case PASS:
      return [message.to, message.frame];
    case HELLO:
      return [
        message.version,
        message.positionTerm,
        message.position,
        message.stateTerm,
        message.stateVersion,
      ];
    case ACK_ENTRIES:
    case SAFE:
    case WELCOME:
    case SYNCED:
      return [message.n];
    case TAIL_END:
    case ALIVE:
      return [];
    case STATE_HAVE:
      return [message.stateTerm, message.version];
    case ENTRY:
      return [message.n, message.entryTerm, message.sender, message.to, message.isForHost, message.frame];
    case PASSED:
      return [message.sender, message.frame];
    case FETCH:
      return [message.wantsState];
    case SYNC:
      return [message.version, message.bases, Object.fromEntries(message.done)];
    case KNOWN:
      return [message.stable, message.released];
    case STATE_PIECE:
      return [message.stateTerm, message.version, message.index, message.count, message.piece];
  }
}

/** What goes into the data channel: arrays of messages, none above `BATCH_BYTES` unless one message is. */
export function joinHostMessages(messages: readonly Uint8Array[]): Bytes[] {
  const batches: Uint8Array[][] = [];
  let size = 0;
  for (const message of messages) {
    if (batches.length === 0 || size + message.length > BATCH_BYTES) {
      batches.push([]);
      size = 0;
    }
    batches[batches.length - 1]?.push(message);
    size += message.length;
  }
  return batches.map((batch) => joinMessagePack(batch));
}

/** Reads what came on a link. Throws `ProtocolError` (`bad_frame`). */
export function decodeHostMessages(data: Uint8Array): HostLinkMessage[] {
  const reader = new Reader(data);
  const length = reader.arrayLength() ?? -1;
  if (length < 0) throw badFrame("it is no array of messages");
  const messages: HostLinkMessage[] = [];
  for (let count = 0; count < length; count++) {
    const { value, error } = reader.next();
    if (error) throw badFrame(error.message);
    messages.push(messageOf(value));
  }
  if (!reader.isAtEnd) throw badFrame("something follows it");
  return messages;
}

/** The kind of a frame of the delivery layer, by its first bytes; −1 if it is none. */
export function frameKind(frame: Uint8Array): number {
  const [first = 0] = frame;
  const at = first === 0xdc ? 3 : first === 0xdd ? 5 : first >= 0x90 && first <= 0x9f ? 1 : frame.length;
  return frame[at] ?? -1;
}

function messageOf(value: unknown): HostLinkMessage {
  if (!Array.isArray(value)) throw badFrame("a message of a host's link is no array");
  const fields = new Fields(value as readonly unknown[]);
  const kind = fields.number();
  const term = fields.number();
  const message = bodyOf(kind, term, fields);
  return message;
}

function bodyOf(kind: number, term: number, from: Fields): HostLinkMessage {
  switch (kind) {
    case SUBMIT:
      return { kind, term, to: from.names(), frame: from.bytes(FRAME_BYTES_MAX) };
    case PASS:
      return {
        kind,
        term,
        to: from.isNull() ? from.nothing() : from.names(),
        frame: from.bytes(FRAME_BYTES_MAX),
      };
    case HELLO:
      return {
        kind,
        term,
        version: from.number(),
        positionTerm: from.number(),
        position: from.number(),
        stateTerm: from.number(),
        stateVersion: from.number(),
      };
    case ACK_ENTRIES:
    case SAFE:
    case WELCOME:
    case SYNCED:
      return { kind, term, n: from.number() };
    case TAIL_END:
    case ALIVE:
      return { kind, term };
    case STATE_HAVE:
      return { kind, term, stateTerm: from.number(), version: from.number() };
    case ENTRY:
      return {
        kind,
        term,
        n: from.number(),
        entryTerm: from.number(),
        sender: from.name(),
        to: from.names(),
        isForHost: from.flag(),
        frame: from.bytes(FRAME_BYTES_MAX),
      };
    case PASSED:
      return { kind, term, sender: from.name(), frame: from.bytes(FRAME_BYTES_MAX) };
    case FETCH:
      return { kind, term, wantsState: from.flag() };
    case SYNC:
      return { kind, term, version: from.number(), bases: from.bases(), done: from.done() };
    case KNOWN:
      return { kind, term, stable: from.number(), released: from.number() };
    case STATE_PIECE:
      return {
        kind,
        term,
        stateTerm: from.number(),
        version: from.number(),
        index: from.number(),
        count: from.number(1, 1_024),
        piece: from.bytes(STATE_PIECE_BYTES),
      };
    default:
      throw badFrame("the kind of a message on a host's link is none");
  }
}

/** Reads the fields of an array one after the other. Throws `ProtocolError` (`bad_frame`). */
export class Fields {
  private readonly fields: readonly unknown[];
  private at = 0;

  constructor(fields: readonly unknown[]) {
    this.fields = fields;
  }

  number(low = 0, high = Number.MAX_SAFE_INTEGER): number {
    return numberOf(this.next(), low, high);
  }

  flag(): boolean {
    const value = this.next();
    if (typeof value !== "boolean") throw badFrame("a field is not true or false");
    return value;
  }

  name(): string {
    return nameOf(this.next());
  }

  names(): string[] {
    const value = this.next();
    if (!Array.isArray(value) || value.length > 256) throw badFrame("a field has no names");
    return value.map(nameOf);
  }

  bytes(max: number): Uint8Array {
    const value = this.next();
    if (!(value instanceof Uint8Array) || value.length > max) throw badFrame("a field has no bytes");
    return value;
  }

  isNull(): boolean {
    return this.fields[this.at] === null;
  }

  nothing(): null {
    this.next();
    return null;
  }

  bases(): Bases {
    const value = this.next();
    if (!Array.isArray(value) || value.length > 64) throw badFrame("its bases are none");
    return value.map((pair: unknown) => {
      if (!Array.isArray(pair)) throw badFrame("its bases are none");
      return [numberOf(pair[0]), numberOf(pair[1])];
    });
  }

  done(): Done {
    const value = this.next();
    if (!isObject(value)) throw badFrame("what was taken in is not said");
    const done: Done = new Map();
    for (const [sender, triple] of Object.entries(value)) {
      if (!Array.isArray(triple)) throw badFrame("what was taken in is not said");
      done.set(sender, [numberOf(triple[0]), numberOf(triple[1]), numberOf(triple[2])]);
    }
    return done;
  }

  private next(): unknown {
    const value = this.fields[this.at];
    this.at += 1;
    return value;
  }
}

function numberOf(value: unknown, low = 0, high = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < low || value > high) {
    throw badFrame("a field is no number that can be there");
  }
  return value;
}

function nameOf(value: unknown): string {
  if (typeof value !== "string" || value.length > 128) throw badFrame("a field is no name");
  return value;
}
