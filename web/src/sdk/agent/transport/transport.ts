/**
 * What the session's shell needs of a way to the server.
 *
 * Owns the interface only.
 */

import type { Rejected } from "../../protocol/codec";
import type { ClientFrame, ServerFrame } from "../../protocol/frames.gen";
import type { Encoding } from "../../protocol/shape";
import type { PacketBounds } from "./packets";

/** What a transport reports; nothing any more after `close` was called or `lost` was reported. */
export interface TransportListener {
  opened(): void;
  received(frames: readonly (ServerFrame | Rejected)[]): void;
  /** A sign of life without a frame. */
  heard(): void;
  /** It could not be opened, or ended; without a close code if it just broke. */
  lost(closeCode: number | undefined, reason: string): void;
}

export interface Transport {
  /** Sends frames in order, in as few transport messages as the bounds allow. */
  send(frames: readonly ClientFrame[], bounds: PacketBounds): void;
  /** Ends it, after what was handed to `send` before. */
  close(closeCode: number, reason: string): void;
}

export interface TransportSettings {
  readonly base: string;
  readonly encoding: Encoding;
}

export type OpenTransport = (settings: TransportSettings, listener: TransportListener) => Transport;

/** The largest transport message that is read. */
export const MAX_RECEIVED_BYTES = 16_777_216;
