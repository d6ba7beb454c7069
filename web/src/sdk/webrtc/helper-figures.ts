/**
 * The figures of a helper, from the call through the media worker, the links to peers and the delivery of data.
 *
 * Owns what is kept between two times for the rates. Never shapes them: that is `stats` and `peer-stats`.
 */

import type { AgentConnection } from "../agent/agent";
import type { Mode } from "./group-follower";
import type { PeerGroup } from "./peer-group";
import { linkStatsOf, type PeerStats } from "./peer-stats";
import type { CallState, Peer } from "./records";
import { type Counters, type HelperStats, type StatsSubject, statsOf } from "./stats";

export class HelperFigures {
  private readonly agent: AgentConnection;
  private readonly group: PeerGroup;
  private counters: Counters = new Map();

  constructor(agent: AgentConnection, group: PeerGroup) {
    this.agent = agent;
    this.group = group;
  }

  async take(now: {
    readonly state: CallState["name"];
    readonly peers: readonly Peer[];
  }): Promise<HelperStats> {
    const { group } = this;
    const { call } = group;
    const connection = call?.connection;
    const report = new Map<string, { id: string; type: string }>();
    for (const entry of (await connection?.report())?.values() ?? []) report.set(entry.id, entry);
    const frames = await call?.encryption.counts();
    const { identity, agentName: name } = this.agent;
    const { stats, counters } = statsOf(
      report.values(),
      {
        timeMs: Date.now(),
        state: now.state,
        data: group.port.stats,
        sentOn: (mid): StatsSubject | undefined => {
          const local = connection?.publicationOn(mid);
          return local && { id: local.id, source: local.source, isMuted: local.isMuted, identity, name };
        },
        receivedOn: (mid) => call?.reception.carriedBy(mid),
        framesSealedOn: (mid) => frames?.sealed.get(connection?.sealingTransformOn(mid) ?? 0) ?? 0,
        encryptionOf: (id) => {
          const publication = call?.reception.publication(id);
          const state = publication ? (call?.encryption.stateOf(publication) ?? "open") : "open";
          const { opened = 0, refused = 0 } = frames?.received.get(id) ?? {};
          return { state, opened, refused };
        },
      },
      this.counters,
    );
    this.counters = counters;
    const peers = await this.peerStats(now.peers);
    return { ...stats, mode: group.mode, term: group.follower.state?.term, peers };
  }

  private async peerStats(peers: readonly Peer[]): Promise<Record<string, PeerStats>> {
    const { group } = this;
    const stats: Record<string, PeerStats> = {};
    for (const { identity, name } of peers) {
      const link = group.mesh?.links.get(identity);
      const report = link ? linkStatsOf([...(await link.report()).values()]) : {};
      const kind = group.port.routeOf(identity)?.name.split("/", 1)[0];
      const path =
        kind === "worker" ? (group.mode === "sfu" ? "sfu" : "datachannel") : (kind as Mode | undefined);
      const state = group.stateOf(identity) ?? "connected";
      const framesWaiting = group.port.unacknowledged(identity);
      stats[identity] = { name, state, path, framesWaiting, ...report };
    }
    return stats;
  }
}
