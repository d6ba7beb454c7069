/**
 * Who is in the channel, as this client knows it.
 *
 * Owns the member list and the differences between two of them. Never asks for it. See PROTOCOL.md, section 5.
 */

import type { Member, PresenceFrame } from "../frames.gen";
import { isSame } from "../values";

/** The members by session id; the client itself is among them if the server lists it. */
export class Roster {
  private byId = new Map<string, Member>();
  /** As the server last listed them, which may be newer: what happened while one was away is told in replays. */
  private listed = new Map<string, Member>();

  /** A copy, by join order. */
  get members(): Member[] {
    return [...this.byId.values()].sort(
      (a, b) => a.order - b.order || (a.session_id < b.session_id ? -1 : 1),
    );
  }

  /** Who is there to be sent something. */
  get present(): Member[] {
    return [...this.listed.values()];
  }

  /** Whom the server lists when a connection begins. */
  list(members: readonly Member[]): void {
    this.listed = new Map(members.map((member) => [member.session_id, member]));
  }

  /** What the server pushed. */
  apply(presence: PresenceFrame): void {
    for (const known of [this.byId, this.listed]) {
      for (const member of [...presence.joined, ...presence.updated]) known.set(member.session_id, member);
      for (const departure of presence.left) known.delete(departure.session_id);
    }
  }

  /**
   * Takes a full list in place of the old one; gives what changed, without the client's own sessions.
   *
   * Who is gone left at a moment nobody saw, so the reason is `lost`.
   */
  replace(members: readonly Member[], ownSessions: ReadonlySet<string>): PresenceFrame {
    const old = this.byId;
    this.list(members);
    this.byId = new Map(members.map((member) => [member.session_id, member]));
    const others = members.filter((member) => !ownSessions.has(member.session_id));
    const gone = [...old.values()].filter(
      (member) => !this.byId.has(member.session_id) && !ownSessions.has(member.session_id),
    );
    return {
      op: "presence",
      joined: others.filter((member) => !old.has(member.session_id)),
      updated: others.filter((member) => {
        const before = old.get(member.session_id);
        return before !== undefined && !isSame(before, member);
      }),
      left: gone.map((member) => ({ session_id: member.session_id, name: member.name, reason: "lost" })),
    };
  }
}

/** Whether nothing changed. */
export function isEmpty(presence: PresenceFrame): boolean {
  return presence.joined.length + presence.updated.length + presence.left.length === 0;
}
