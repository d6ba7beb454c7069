/**
 * Packs frames into as few transport messages as the server takes.
 *
 * Owns the bounds of a batch. Never sends anything.
 */

import type { Codec, Packet } from "../../protocol/codec";
import type { ClientFrame, ServerFrame } from "../../protocol/frames.gen";

/** What one transport message may hold. */
export interface PacketBounds {
  readonly bytes: number;
  readonly frames: number;
}

/** Room for the head of the batch and the commas in it. */
const FRAME_OVERHEAD_BYTES = 5;

/** The transport messages for `frames`, in order; one that is larger than the bounds travels alone. */
export function packets(
  codec: Codec<ServerFrame>,
  frames: readonly ClientFrame[],
  bounds: PacketBounds,
): Packet[] {
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
    const size = packet.length + FRAME_OVERHEAD_BYTES;
    if (bytes + size > bounds.bytes || batch.length >= bounds.frames) finish();
    batch.push(packet);
    bytes += size;
  }
  finish();
  return result;
}
