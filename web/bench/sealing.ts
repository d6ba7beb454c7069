/**
 * Measures in a page what sealing and opening one message takes; for `tests/bench/sealing_browsers.py`.
 *
 * Owns the figures, in microseconds for each message of 1 kB, with all that belongs to a frame.
 */

import { type Opened, SealedChannel } from "../src/sdk/agent/sealed-channel";
import { SealingKeys } from "../src/sdk/crypto/sealing";
import type { MessageFrame, SendFrame } from "../src/sdk/protocol/frames.gen";
import type { Event } from "../src/sdk/protocol/session/outputs";

const ROUNDS = 7;
const MESSAGES = 500;
const SITUATION = { agent: "alice", members: [] };
const SEND = { op: "send", delivery: "live", type: "chat-text", content: "x".repeat(1_000) } as const;

interface Figures {
  /** Each begun when the one before is done. */
  readonly sealUs: number;
  readonly openUs: number;
  /** All begun at once. */
  readonly sealManyUs: number;
  readonly openManyUs: number;
}

function channel(): SealedChannel {
  return new SealedChannel(new SealingKeys(new Uint8Array(32), new Uint8Array(32)));
}

/** The median over some rounds, for one of `MESSAGES`. */
async function microseconds(round: () => Promise<unknown>): Promise<number> {
  const found: number[] = [];
  for (let count = 0; count < ROUNDS; count++) {
    const began = performance.now();
    await round();
    found.push(((performance.now() - began) / MESSAGES) * 1_000);
  }
  return found.sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}

async function measured(): Promise<Figures> {
  const alice = channel();
  const seal = (): Promise<SendFrame> =>
    Promise.resolve(alice.ready(alice.enclosed(SEND), SITUATION)) as Promise<SendFrame>;
  const sealed = await Promise.all(Array.from({ length: MESSAGES }, seal));
  const events = sealed.map(({ content: _, id: __, ...around }): Event => {
    const message: MessageFrame = {
      ...around,
      op: "message",
      delivery: "live",
      type: "chat-text",
      message_id: "m",
      time_ms: 1,
      sender: "alice",
      identity: "lineage:alice",
    };
    return { event: "message", message };
  });
  const openAll = async (isAtOnce: boolean): Promise<void> => {
    const bob = channel();
    const judge = (isOpen: (() => Opened) | undefined): void => {
      if (!isOpen?.().event) throw new Error("It did not open.");
    };
    const open = (event: Event): Promise<() => Opened> | undefined => bob.opened(event, "e", () => []);
    if (isAtOnce) for (const opening of events.map(open)) judge(await opening);
    else for (const event of events) judge(await open(event));
  };
  return {
    sealUs: await microseconds(async () => {
      for (let count = 0; count < MESSAGES; count++) await seal();
    }),
    openUs: await microseconds(() => openAll(false)),
    sealManyUs: await microseconds(() => Promise.all(Array.from({ length: MESSAGES }, seal))),
    openManyUs: await microseconds(() => openAll(true)),
  };
}

Object.assign(globalThis, { measured });
