/**
 * What a member says to the server about its group.
 *
 * Owns the form of it, and which refusals matter. Never decides what to say (`peer-group`).
 */

import type { AgentConnection } from "../agent/agent";
import type { ProtocolError } from "../protocol/errors";
import { GROUP_AGENT } from "../protocol/group";
import type { GroupRequest } from "../protocol/groups.gen";
import { SIGNAL_TYPE } from "../protocol/sfu";

export class GroupSpeech {
  private readonly agent: AgentConnection;
  private readonly failed: (error: ProtocolError) => void;

  constructor(agent: AgentConnection, failed: (error: ProtocolError) => void) {
    this.agent = agent;
    this.failed = failed;
  }

  /** A request; rejects with what the server refuses it with. */
  ask(content: GroupRequest): Promise<unknown> {
    const message = {
      content,
      type: SIGNAL_TYPE,
      to: GROUP_AGENT,
      delivery: "live",
      timeoutMs: null,
    } as const;
    return this.agent.sendMessage(message);
  }

  /** Says what the server knows anyhow soon, or what does not matter any more when it gets lost. */
  say(content: GroupRequest): void {
    this.ask(content).catch((error: ProtocolError) => {
      const isLate = error.code === "stale_term" || error.code === "not_found" || error.code === "closed";
      if (!isLate && !error.isRetryable) this.failed(error);
    });
  }

  /** Says what is said again soon. */
  sayLossy(content: GroupRequest): void {
    if (!this.agent.isConnected) return;
    const message = { content, type: SIGNAL_TYPE, to: GROUP_AGENT, delivery: "lossy" } as const;
    this.agent.sendMessage(message).catch(() => undefined);
  }
}
