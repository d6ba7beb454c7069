/**
 * Packs frames into as few transport messages as the server takes.
 *
 * Owns the bounds of a batch. Never sends anything.
 */

import type { Codec, Packet } from "../../protocol/codec";
import type { ClientFrame, ServerFrame } from "../../protocol/frames.gen";

// Well below what the server takes, which is a mebibyte unless it is set otherwise.
const PACKET_BYTES = 262_144;
const PACKET_FRAMES = 200;

/** The transport messages for `frames`, in order; one that is large travels alone. */
export function packets(codec: Codec<ServerFrame>, frames: readonly ClientFrame[]): Packet[] {
  const result: Packet[] = [];
  let batch: Packet[] = [];
  let bytes = 0;
  const finish = (): void => {
    const [first] = batch;
    if (first !== undefined) result.push(batch.length === 1 ? first : codec.join(batch));
    batch = [];
    bytes = 0;
  };
  for (const frame of frames) {
    const packet = codec.encode(frame);
    if (bytes + packet.length > PACKET_BYTES || batch.length >= PACKET_FRAMES) finish();
    batch.push(packet);
    bytes += packet.length;
  }
  finish();
  return result;
}
