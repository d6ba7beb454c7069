// Generated from schema.json by scripts/generate-protocol.mjs; do not edit.

import type { OfferedTrack } from "./signals.gen";

/** Who was host, by what a member was told last. */
export interface SeenHost {
  readonly identity: string;
  readonly term: number;
}

/**
 * What a member was told last of its group.
 *
 * Counts where the server knows nothing of the group any more, as after a restart; then the group goes on by it.
 */
export interface Seen {
  readonly term: number;
  readonly mode: "datachannel" | "host" | "mesh" | "relay" | "sfu";
  readonly is_auto?: boolean;
  readonly order?: number;
  readonly host?: SeenHost;
}

/**
 * Be a member, or say anew what one can and has.
 *
 * Sent again after each connect that did not recover the live class, and after a `reset`; answered by a `group`.
 */
export interface EnterSignal {
  readonly kind: "enter";
  readonly mode: "auto" | "datachannel" | "host" | "mesh" | "relay" | "sfu";
  readonly modes: readonly ("datachannel" | "host" | "mesh" | "relay" | "sfu")[];
  readonly has_media?: boolean;
  readonly seen?: Seen;
}

/** Leave the group and stay in the channel. */
export interface ExitSignal {
  readonly kind: "exit";
}

/** Another mode for all. With `auto` the server chooses from now on; any other ends that. */
export interface ProposeSignal {
  readonly kind: "propose";
  readonly mode: "auto" | "datachannel" | "host" | "mesh" | "relay" | "sfu";
  readonly term: number;
}

/** The new path of this member carries data to all others. */
export interface ReadySignal {
  readonly kind: "ready";
  readonly term: number;
}

/** What is proposed can't be done by this member, or not any more. */
export interface VetoSignal {
  readonly kind: "veto";
  readonly term: number;
  readonly reason?: string;
}

/** The host works. May be sent lossy, and without an id. */
export interface RenewHostSignal {
  readonly kind: "renew";
  readonly term: number;
}

/**
 * The host says nothing any more on a link that stands. May be sent lossy, and without an id.
 *
 * Counts until the host renews its lease; said again as long as it is so.
 */
export interface UnheardSignal {
  readonly kind: "unheard";
  readonly term: number;
}

/** A direct link to a member can't be made, or can again. */
export interface ReportSignal {
  readonly kind: "report";
  readonly peer: string;
  readonly is_reachable: boolean;
}

/** A member as the others see it. */
export interface GroupMember {
  readonly identity: string;
  readonly name: string;
  readonly order: number;
  readonly modes: readonly ("datachannel" | "host" | "mesh" | "relay" | "sfu")[];
  readonly has_media: boolean;
}

/** Who is host, and who would follow. */
export interface GroupHost {
  readonly identity: string;
  readonly term: number;
  readonly successor?: string;
}

/** A mode that is to be, as soon as all members are ready. */
export interface GroupProposal {
  readonly mode: "datachannel" | "host" | "mesh" | "relay" | "sfu";
  readonly term: number;
  readonly by: string;
  readonly reason: string;
  readonly waits_ms: number;
  readonly host?: GroupHost;
}

/** The whole truth, whenever any of it is other than before. */
export interface GroupStateSignal {
  readonly kind: "group";
  readonly version: number;
  readonly term: number;
  readonly mode: "datachannel" | "host" | "mesh" | "relay" | "sfu";
  readonly is_auto: boolean;
  readonly reason: string;
  readonly members: readonly GroupMember[];
  readonly is_gathering: boolean;
  readonly host?: GroupHost;
  readonly proposal?: GroupProposal;
}

/** A proposal was rolled back: all is as it was. One that succeeds is told by `group`. */
export interface ProposalEndedSignal {
  readonly kind: "proposal_ended";
  readonly term: number;
  readonly mode: "datachannel" | "host" | "mesh" | "relay" | "sfu";
  readonly code: "host_left" | "not_supported" | "superseded" | "timeout" | "vetoed";
  readonly reason: string;
  readonly by?: string;
}

/** The receiver is no longer in the group, though it is in the channel; it does not enter again by itself. */
export interface RemovedSignal {
  readonly kind: "removed";
  readonly code: string;
  readonly message: string;
}

/** A description of a link, from the member of lower order. */
export interface PeerOfferSignal {
  readonly kind: "peer_offer";
  readonly link: string;
  readonly number: number;
  readonly sdp: string;
  readonly is_restart: boolean;
  readonly can_restart: boolean;
  readonly tracks: readonly OfferedTrack[];
}

/** The answer to the offer `number` of `link`. */
export interface PeerAnswerSignal {
  readonly kind: "peer_answer";
  readonly link: string;
  readonly number: number;
  readonly sdp: string;
  readonly can_restart: boolean;
  readonly tracks: readonly OfferedTrack[];
}

/** A candidate of the sender, or, null, that there are no more (RFC 8838). */
export interface PeerCandidateSignal {
  readonly kind: "peer_candidate";
  readonly link: string;
  readonly candidate: string | null;
  readonly mid: string | null;
  readonly line: number | null;
}

/** The answerer asks for an offer: it has tracks to add, or its path broke. */
export interface PeerWantedSignal {
  readonly kind: "peer_wanted";
  readonly link?: string;
  readonly media: readonly ("audio" | "video")[];
}

/** The link is closed on purpose. */
export interface PeerCloseSignal {
  readonly kind: "peer_close";
  readonly link: string;
  readonly reason: string;
}

export type GroupRequest =
  | EnterSignal
  | ExitSignal
  | ProposeSignal
  | ReadySignal
  | VetoSignal
  | RenewHostSignal
  | UnheardSignal
  | ReportSignal;

export type GroupSignal =
  | GroupStateSignal
  | ProposalEndedSignal
  | RemovedSignal;

export type PeerSignal =
  | PeerOfferSignal
  | PeerAnswerSignal
  | PeerCandidateSignal
  | PeerWantedSignal
  | PeerCloseSignal;
