/**
 * What the server's word on the group means for this member (PROTOCOL.md, section 16).
 *
 * Owns the newest state of the group, which of its versions count, and the difference that each makes: who came, who left,
 * which mode holds, which one is to be built. Never sends, never builds and never reads a clock.
 */

import type {
  GroupHost,
  GroupMember,
  GroupProposal,
  GroupStateSignal,
  ProposalEndedSignal,
  Seen,
} from "../protocol/groups.gen";

/** How data and media travel. */
export type Mode = GroupStateSignal["mode"];
/** What can be asked for: with `auto` the server chooses. */
export type WantedMode = Mode | "auto";

/** Something is other than before. The order in which they come is the one in which to follow them. */
export type GroupChange =
  /** Everybody else is new to this member, itself included: what was known of them is void. */
  | { readonly change: "entered" }
  | { readonly change: "left"; readonly member: GroupMember }
  | { readonly change: "joined"; readonly member: GroupMember }
  /** A mode holds: the first one, or another. */
  | { readonly change: "mode"; readonly mode: Mode; readonly term: number; readonly reason: string }
  | { readonly change: "host"; readonly host: GroupHost | undefined }
  /** A path of this mode is to be built beside the present one. */
  | { readonly change: "proposed"; readonly proposal: GroupProposal }
  /** What was proposed will not be. */
  | { readonly change: "ended"; readonly term: number; readonly why: ProposalEndedSignal | undefined };

export class GroupFollower {
  /** The newest state; `undefined` before the first. */
  state: GroupStateSignal | undefined;
  /** By identity, without this member; who is missing while the server gathers them anew is still among them. */
  readonly others = new Map<string, GroupMember>();
  private identity = "";
  private order = -1;
  private proposal: GroupProposal | undefined;
  private isWithdrawn = false;

  /** What the server has to know of it, in case that it forgot. */
  get seen(): Seen | undefined {
    if (!this.state) return undefined;
    const { term, mode, is_auto, host } = this.state;
    return {
      term,
      mode,
      ...(is_auto ? { is_auto } : {}),
      ...(this.order >= 0 ? { order: this.order } : {}),
      ...(host ? { host: { identity: host.identity, term: host.term } } : {}),
    };
  }

  /** The own order in the group, by which the earlier one of two offers. */
  get ownOrder(): number {
    return this.order;
  }

  /** The server told the whole truth, to this member. */
  told(state: GroupStateSignal, identity: string): GroupChange[] {
    if (this.state && state.version < this.state.version && identity === this.identity) return [];
    const own = state.members.find((member) => member.identity === identity);
    if (!own) return [];
    const before = this.state;
    const changes: GroupChange[] = [];
    if (own.order !== this.order || identity !== this.identity) {
      changes.push(...this.everybodyLeft(), { change: "entered" });
    }
    this.identity = identity;
    this.order = own.order;
    this.state = state;
    changes.push(...this.members(state));
    if (state.term !== before?.term || state.mode !== before.mode) {
      if (this.proposal?.term !== state.term) changes.push(...this.drop());
      this.proposal = undefined;
      const { mode, term, reason } = state;
      changes.push({ change: "mode", mode, term, reason });
    }
    const { host } = state;
    if (host?.identity !== before?.host?.identity || host?.term !== before?.host?.term) {
      changes.push({ change: "host", host });
    }
    changes.push(...this.proposed(state.proposal));
    return changes;
  }

  /** A proposal came to nothing. */
  ended(signal: ProposalEndedSignal): GroupChange[] {
    if (signal.term !== this.proposal?.term) return [];
    this.proposal = undefined;
    return [{ change: "ended", term: signal.term, why: signal }];
  }

  /** This member is in the group no longer. */
  out(): GroupChange[] {
    const changes = [...this.drop(), ...this.everybodyLeft()];
    this.state = undefined;
    this.order = -1;
    return changes;
  }

  private members(state: GroupStateSignal): GroupChange[] {
    const changes: GroupChange[] = [];
    const here = new Map(state.members.map((member) => [member.identity, member]));
    for (const [identity, member] of this.others) {
      const now = here.get(identity);
      // Under another order it has begun anew.
      if (now ? now.order === member.order : state.is_gathering) continue;
      this.others.delete(identity);
      changes.push({ change: "left", member });
    }
    for (const [identity, member] of here) {
      if (identity === this.identity) continue;
      if (!this.others.has(identity)) changes.push({ change: "joined", member });
      this.others.set(identity, member);
    }
    return changes;
  }

  private proposed(proposal: GroupProposal | undefined): GroupChange[] {
    if (!proposal) {
      // Why it ended follows; if not even the next state finds that told, it was lost.
      const isLost = this.isWithdrawn;
      this.isWithdrawn = this.proposal !== undefined && !isLost;
      return isLost ? this.drop() : [];
    }
    this.isWithdrawn = false;
    if (proposal.term === this.proposal?.term) return [];
    const changes = this.drop();
    this.proposal = proposal;
    changes.push({ change: "proposed", proposal });
    return changes;
  }

  private drop(): GroupChange[] {
    const { proposal } = this;
    this.proposal = undefined;
    return proposal ? [{ change: "ended", term: proposal.term, why: undefined }] : [];
  }

  private everybodyLeft(): GroupChange[] {
    const members = [...this.others.values()];
    this.others.clear();
    return members.map((member) => ({ change: "left", member }));
  }
}
