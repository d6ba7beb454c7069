/**
 * Whether signaling can be reached, by each of its transports by itself.
 *
 * Owns one handshake for each attempt. Never decides what a failure means (`judgement`), and keeps no session.
 */

import { openLongPoll } from "../../sdk/agent/transport/longpoll";
import type { OpenTransport, Transport } from "../../sdk/agent/transport/transport";
import { openWebSocket } from "../../sdk/agent/transport/websocket";
import { randomBytes } from "../../sdk/crypto/bytes";
import { Rejected } from "../../sdk/protocol/codec";
import type { ConnectedFrame, ServerFrame } from "../../sdk/protocol/frames.gen";
import type { TransportName } from "../../sdk/protocol/session/paths";
import type { Attempt } from "./facts";

const NORMAL_CLOSURE = 1000;
const BOUNDS = { bytes: 65_536, frames: 1 };
const OPEN: Readonly<Record<TransportName, OpenTransport>> = {
  websocket: openWebSocket,
  longpoll: openLongPoll,
};

export interface Handshake {
  readonly attempt: Attempt;
  /** Stands in the server's log; empty if the server never answered. */
  readonly correlationId: string;
  readonly connected?: ConnectedFrame;
}

/** Joins a channel over one transport, and leaves it. */
export async function trySignaling(
  name: TransportName,
  given: {
    readonly base: string;
    readonly apiKey: string;
    readonly channel: string;
    readonly client: string;
    readonly timeoutMs: number;
  },
): Promise<Handshake> {
  const began = performance.now();
  let transport: Transport | undefined;
  let correlationId = "";
  const outcome = await new Promise<ConnectedFrame | Attempt>((done) => {
    const late = { error: `No answer within ${given.timeoutMs / 1000} s.` };
    setTimeout(() => done(late), given.timeoutMs);
    transport = OPEN[name](
      { base: given.base, encoding: "json" },
      {
        opened: () =>
          transport?.send(
            [
              {
                op: "connect",
                id: 1,
                api_key: given.apiKey,
                channel: given.channel,
                lineage_secret: randomBytes(16),
                auto_receive: false,
                client: given.client,
              },
            ],
            BOUNDS,
          ),
        received: (frames) => {
          for (const frame of frames) {
            const end = endOf(frame);
            if (!(frame instanceof Rejected) && frame.op === "error") correlationId = frame.correlation_id;
            if (end) done(end);
          }
        },
        heard: () => undefined,
        lost: (code, reason) => {
          const what = reason || "The connection ended.";
          done({ error: code === undefined ? what : `${what} (close code ${code})` });
        },
      },
    );
  });
  const isConnected = "op" in outcome;
  if (isConnected) transport?.send([{ op: "bye" }], BOUNDS);
  transport?.close(NORMAL_CLOSURE, "bye");
  if (!isConnected) return { attempt: outcome, correlationId };
  const attempt = { ms: Math.round(performance.now() - began) };
  return { attempt, correlationId: outcome.correlation_id, connected: outcome };
}

function endOf(frame: ServerFrame | Rejected): ConnectedFrame | Attempt | undefined {
  if (frame instanceof Rejected) return { error: frame.error.message, code: frame.error.code };
  if (frame.op === "connected") return frame;
  if (frame.op === "error") return { error: frame.message, code: frame.code };
  if (frame.op === "closing") return { error: frame.reason, code: frame.code };
  return undefined;
}
