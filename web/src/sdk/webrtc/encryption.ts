/**
 * End-to-end encryption of one call: whether it is on, and the worker that does it.
 *
 * Owns the decision, which follows the channel unless the program says otherwise, and the life of the worker. Never sees
 * a frame, and never trusts the server about any of this: it asks the agent how the channel was joined.
 */

import type { AgentConnection } from "../agent/agent";
import { ProtocolError } from "../protocol/errors";
import {
  type FrameCounts,
  FrameWorker,
  type FrameWorkerListener,
  type FrameWorkerMaker,
} from "./frame-worker";
import type { EncryptionState, RemotePublication } from "./records";

export class CallEncryption {
  private readonly agent: AgentConnection;
  private readonly wanted: boolean | undefined;
  private readonly maker: FrameWorkerMaker;
  private readonly listener: FrameWorkerListener;
  private worker: FrameWorker | undefined;
  private hasKey = false;
  private named = "";

  /** `wanted` undefined: as the channel. */
  constructor(
    agent: AgentConnection,
    wanted: boolean | undefined,
    maker: FrameWorkerMaker,
    listener: FrameWorkerListener,
  ) {
    this.agent = agent;
    this.wanted = wanted;
    this.maker = maker;
    this.listener = listener;
  }

  /** Whether what is sent is sealed, and only what is sealed is shown. */
  get isOn(): boolean {
    return this.wanted ?? this.agent.isSealed;
  }

  /** What a connection's frames go through; nothing if it is off. Throws `ProtocolError` where it can't be done. */
  frames(): FrameWorker | undefined {
    if (!this.isOn) return undefined;
    this.worker ??= new FrameWorker(this.maker, this.listener);
    return this.worker;
  }

  /** The agent is connected: its key and its names are there. Throws `ProtocolError` where there is no key. */
  check(): void {
    if (!this.isOn || this.hasKey) return;
    const { mediaKey } = this.agent;
    if (!mediaKey) {
      throw new ProtocolError("bad_request", "End-to-end encryption needs a channel with a password.");
    }
    this.hasKey = true;
    this.frames()?.useKey(mediaKey);
  }

  /** Whether the agent bears other names than the last time it was asked. */
  isRenamed(): boolean {
    const names = JSON.stringify([this.agent.agentName, this.agent.identity]);
    const isOther = names !== this.named;
    this.named = names;
    return isOther;
  }

  /** How a received publication stands. */
  stateOf({ id, isSealed }: RemotePublication): EncryptionState {
    if (!this.isOn) return isSealed ? "not_opened" : "open";
    return this.worker?.stateOf(id) ?? (isSealed ? "waiting" : "not_sealed");
  }

  counts(): Promise<FrameCounts> | undefined {
    return this.worker?.counts();
  }

  close(): void {
    this.worker?.close();
  }
}
