/**
 * Measures in a page what sealing and opening one frame of a call takes; for `tests/bench/media_sealing.py`.
 *
 * Owns the figures, in microseconds for each frame, one begun when the one before is done, as a transform does it.
 */

import { type FrameCodec, FrameOpener, FrameSealer, importMediaKey } from "../src/sdk/webrtc/frame-sealing";

const ROUNDS = 7;
const FRAMES = 500;
const ORIGIN = { sender: "alice", publication: "lineage:alice/camera-1" };

interface Figures {
  readonly sealUs: number;
  readonly openUs: number;
}

function median(found: number[]): number {
  return found.sort((a, b) => a - b)[found.length >> 1] ?? 0;
}

async function measured(codec: FrameCodec, bytes: number): Promise<Figures> {
  const mediaKey = await importMediaKey(new Uint8Array(32));
  const sealer = new FrameSealer(mediaKey, () => crypto.getRandomValues(new Uint8Array(8)), ORIGIN);
  const opener = new FrameOpener(mediaKey);
  const frame = new Uint8Array(bytes).fill(1);
  const sealUs: number[] = [];
  const openUs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const sealed: Uint8Array<ArrayBuffer>[] = [];
    let began = performance.now();
    for (let count = 0; count < FRAMES; count++) sealed.push(await sealer.seal(codec, frame));
    sealUs.push(((performance.now() - began) / FRAMES) * 1_000);
    began = performance.now();
    for (const one of sealed) {
      if ("refused" in (await opener.open(codec, one, ORIGIN))) throw new Error("It does not open.");
    }
    openUs.push(((performance.now() - began) / FRAMES) * 1_000);
  }
  return { sealUs: median(sealUs), openUs: median(openUs) };
}

Object.assign(globalThis, { measured });
