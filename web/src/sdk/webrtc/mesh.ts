/**
 * The negotiation of one link between two peers (PROTOCOL.md, section 16).
 *
 * Owns who offers, which link and which description count, when a link is restarted, replaced or waited for, and when the
 * other side counts as unreachable. Never touches a connection, never sends: it says what is to be done, in order. Ids and
 * time are passed in.
 *
 * The member of lower order always offers, so that no two offers can cross (RFC 3264); candidates trickle (RFC 8838). A
 * link that breaks is sought anew by an ICE restart (RFC 8445, section 2.4) where both sides can, else it is replaced.
 */

import { LINK_WITHIN_MS } from "../protocol/group";
import type {
  PeerAnswerSignal,
  PeerCandidateSignal,
  PeerOfferSignal,
  PeerSignal,
  PeerWantedSignal,
} from "../protocol/groups.gen";
import type { OfferedTrack } from "../protocol/signals.gen";
import type { MediaKind } from "./records";

/** A path that is away for shorter than this comes back by itself often enough. */
export const UNSURE_MS = 1_500;
/** How long an ICE restart may take. */
export const RESTART_WITHIN_MS = 4_000;
const LONGEST_WAIT_MS = 5_000;
const FIRST_WAIT_MS = 500;
/** After so many failures in a row the other side counts as unreachable. */
const UNREACHABLE_AFTER = 2;
const EARLY_MAX = 64;

/** What is to be done now with the one connection of this link. */
export type MeshStep =
  /** A new connection takes the place of any other. */
  | { readonly step: "open"; readonly link: string }
  /** The offers of this and of later links are to have room for these of the other side. */
  | { readonly step: "expect"; readonly media: readonly MediaKind[] }
  /** An offer is to be made; `described` follows. */
  | { readonly step: "offer"; readonly isRestart: boolean }
  /** An offer is to be answered; `described` follows. */
  | { readonly step: "answer"; readonly offer: PeerOfferSignal }
  | { readonly step: "apply"; readonly answer: PeerAnswerSignal }
  | { readonly step: "candidate"; readonly candidate: PeerCandidateSignal }
  | { readonly step: "close" }
  | { readonly step: "send"; readonly signal: PeerSignal }
  /** The other side can't be reached directly, or can again. */
  | { readonly step: "reachable"; readonly isReachable: boolean };

/** What a connection says of its way to the other side. */
export type LinkPath = "up" | "unsure" | "down";

type Phase = "idle" | "connecting" | "up" | "unsure" | "restarting" | "waiting" | "closed";

export interface LinkSettings {
  /** This side has the lower order. */
  readonly isOfferer: boolean;
  readonly canRestart: boolean;
  /** Gives an id that nobody has used. */
  readonly newId: () => string;
}

export class MeshLink {
  /** The link that counts; empty if there is none. */
  link = "";
  private readonly settings: LinkSettings;
  private phase: Phase = "idle";
  private deadline: number | undefined;
  private failures = 0;
  private isReported = false;
  /** The newest offer of the link. */
  private number = 0;
  /** An offer of this side has no answer yet. */
  private isOffered = false;
  private isWanted = false;
  private canOtherRestart = false;
  private hasDescription = false;
  private early: PeerCandidateSignal[] = [];
  private media: readonly MediaKind[] = [];

  constructor(settings: LinkSettings) {
    this.settings = settings;
  }

  /** When `timePassed` is to be called. */
  get deadlineMs(): number | undefined {
    return this.deadline;
  }

  get isOfferer(): boolean {
    return this.settings.isOfferer;
  }

  get isUp(): boolean {
    return this.phase === "up" || this.phase === "unsure";
  }

  /** It was tried often enough. */
  get isUnreachable(): boolean {
    return this.isReported;
  }

  /** The two are in a mesh from now on. */
  begin(nowMs: number): MeshStep[] {
    if (this.phase !== "idle") return [];
    if (this.settings.isOfferer) return this.open(nowMs);
    this.to("connecting", nowMs + LINK_WITHIN_MS);
    return [];
  }

  /** What is sent on the link is other than before; `media` is all that is to be sent. */
  want(media: readonly MediaKind[]): MeshStep[] {
    const { link } = this;
    this.media = media;
    if (link === "" || this.phase === "closed") return [];
    if (!this.settings.isOfferer) return [{ step: "send", signal: { kind: "peer_wanted", link, media } }];
    this.isWanted = true;
    return this.next();
  }

  /** The other side says something. */
  signalled(signal: PeerSignal, nowMs: number): MeshStep[] {
    if (this.phase === "closed" || this.phase === "idle") return [];
    switch (signal.kind) {
      case "peer_offer":
        return this.settings.isOfferer ? [] : this.offered(signal, nowMs);
      case "peer_answer":
        return this.answered(signal);
      case "peer_candidate":
        if (signal.link !== this.link) return [];
        if (this.hasDescription) return [{ step: "candidate", candidate: signal }];
        if (this.early.length < EARLY_MAX) this.early.push(signal);
        return [];
      case "peer_wanted":
        return this.settings.isOfferer ? this.wanted(signal, nowMs) : [];
      case "peer_close":
        return signal.link === this.link ? this.lost(nowMs) : [];
    }
  }

  /** The description that was asked for is the local one now. */
  described(link: string, sdp: string, tracks: readonly OfferedTrack[], isRestart: boolean): MeshStep[] {
    if (link !== this.link) return [];
    const said = { link, number: this.number, sdp, can_restart: this.settings.canRestart, tracks };
    if (this.settings.isOfferer) {
      return [{ step: "send", signal: { kind: "peer_offer", ...said, is_restart: isRestart } }];
    }
    return [{ step: "send", signal: { kind: "peer_answer", ...said } }];
  }

  /** The description of the other side was taken. */
  applied(link: string): MeshStep[] {
    if (link !== this.link) return [];
    this.hasDescription = true;
    const steps: MeshStep[] = this.early.map((candidate) => ({ step: "candidate", candidate }));
    this.early = [];
    return [...steps, ...this.next()];
  }

  /** The connection found a candidate of this side, or, null, all of them. */
  found(link: string, candidate: RTCIceCandidateInit | null): MeshStep[] {
    if (link !== this.link) return [];
    const { candidate: text = null, sdpMid: mid = null, sdpMLineIndex: line = null } = candidate ?? {};
    return [{ step: "send", signal: { kind: "peer_candidate", link, candidate: text, mid, line } }];
  }

  pathIs(link: string, path: LinkPath, nowMs: number): MeshStep[] {
    if (link !== this.link || this.phase === "closed" || this.phase === "waiting") return [];
    if (path === "up") {
      this.to("up");
      this.failures = 0;
      if (!this.isReported) return [];
      this.isReported = false;
      return [{ step: "reachable", isReachable: true }];
    }
    if (path === "unsure") {
      if (this.phase === "up") this.to("unsure", nowMs + UNSURE_MS);
      return [];
    }
    return this.isUp ? this.broken(nowMs) : this.phase === "restarting" ? [] : this.failed(nowMs);
  }

  /** The connection could not do what was asked for, or ended. */
  broke(link: string, nowMs: number): MeshStep[] {
    if (link !== this.link || this.phase === "closed" || this.phase === "waiting") return [];
    return this.failed(nowMs);
  }

  timePassed(nowMs: number): MeshStep[] {
    if (this.deadline === undefined || nowMs < this.deadline) return [];
    this.deadline = undefined;
    if (this.phase === "unsure") return this.broken(nowMs);
    if (this.phase === "waiting") return this.again(nowMs);
    return this.failed(nowMs);
  }

  /** It may be worth trying at once. */
  wake(nowMs: number): MeshStep[] {
    if (this.phase === "waiting") return this.again(nowMs);
    return this.phase === "unsure" ? this.broken(nowMs) : [];
  }

  close(reason: string): MeshStep[] {
    if (this.phase === "closed") return [];
    const { link } = this;
    this.to("closed");
    this.link = "";
    if (link === "") return [];
    return [{ step: "send", signal: { kind: "peer_close", link, reason } }, { step: "close" }];
  }

  // --- descriptions ----------------------------------------------------------------------------------------

  private offered(offer: PeerOfferSignal, nowMs: number): MeshStep[] {
    const steps: MeshStep[] = [];
    if (offer.link !== this.link) {
      this.renew(offer.link);
      this.to("connecting", nowMs + LINK_WITHIN_MS);
      steps.push({ step: "open", link: offer.link });
    } else if (offer.number <= this.number) return [];
    this.number = offer.number;
    this.canOtherRestart = offer.can_restart;
    if (offer.is_restart) this.to("restarting", nowMs + RESTART_WITHIN_MS);
    steps.push({ step: "answer", offer });
    return steps;
  }

  private answered(answer: PeerAnswerSignal): MeshStep[] {
    if (!this.isOffered || answer.link !== this.link || answer.number !== this.number) return [];
    this.isOffered = false;
    this.canOtherRestart = answer.can_restart;
    return [{ step: "apply", answer }];
  }

  private next(isRestart = false): MeshStep[] {
    if (!this.settings.isOfferer || this.isOffered || !(this.isWanted || isRestart)) return [];
    this.isOffered = true;
    this.isWanted = false;
    this.number += 1;
    return [{ step: "offer", isRestart }];
  }

  private wanted({ link, media }: PeerWantedSignal, nowMs: number): MeshStep[] {
    const room: MeshStep = { step: "expect", media };
    // Where both found it broken, one new link will do.
    if (link === undefined) return this.phase === "connecting" ? [room] : [room, ...this.open(nowMs)];
    if (link !== this.link) return [room];
    this.isWanted = true;
    return [room, ...this.next()];
  }

  // --- links -----------------------------------------------------------------------------------------------

  private open(nowMs: number): MeshStep[] {
    this.renew(this.settings.newId());
    this.to("connecting", nowMs + LINK_WITHIN_MS);
    this.isWanted = true;
    return [{ step: "open", link: this.link }, ...this.next()];
  }

  private renew(link: string): void {
    this.link = link;
    this.number = 0;
    this.isOffered = false;
    this.isWanted = false;
    this.canOtherRestart = false;
    this.hasDescription = false;
    this.early = [];
  }

  /** A link that stood stands no more. */
  private broken(nowMs: number): MeshStep[] {
    const canRestart = this.settings.canRestart && this.canOtherRestart;
    if (!canRestart || this.isOffered) return this.failed(nowMs);
    this.to("restarting", nowMs + RESTART_WITHIN_MS);
    return this.next(true);
  }

  /** The other side closed it. */
  private lost(nowMs: number): MeshStep[] {
    this.to("waiting", nowMs + FIRST_WAIT_MS);
    this.link = "";
    return [{ step: "close" }];
  }

  private failed(nowMs: number): MeshStep[] {
    const wasUp = this.failures === 0 && this.phase !== "connecting";
    if (!wasUp) this.failures += 1;
    const steps: MeshStep[] = [{ step: "close" }];
    if (this.link !== "" && !this.settings.isOfferer) {
      // Who offered would wait for it in vain, and answer no wish for another meanwhile.
      steps.push({ step: "send", signal: { kind: "peer_close", link: this.link, reason: "failed" } });
    }
    this.link = "";
    if (this.failures >= UNREACHABLE_AFTER && !this.isReported) {
      this.isReported = true;
      steps.push({ step: "reachable", isReachable: false });
    }
    if (this.failures <= 1) return [...steps, ...this.again(nowMs)];
    this.to("waiting", nowMs + Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.failures - 2)));
    return steps;
  }

  private again(nowMs: number): MeshStep[] {
    if (this.settings.isOfferer) return this.open(nowMs);
    this.to("connecting", nowMs + LINK_WITHIN_MS);
    return [{ step: "send", signal: { kind: "peer_wanted", media: this.media } }];
  }

  private to(phase: Phase, deadline?: number): void {
    this.phase = phase;
    this.deadline = deadline;
  }
}
