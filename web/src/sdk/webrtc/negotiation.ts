/**
 * Which offer is under way, which is wanted next, and which signals of the SFU still count.
 *
 * Owns the numbering of offers and the terms below which signals are refused. Never makes or applies a description and
 * never sends anything. The client always offers, the SFU always answers (RFC 3264, RFC 8829), one offer at a time: no
 * two can cross.
 */

import type { AnswerSignal, OfferSignal, RefusedSignal } from "../protocol/signals.gen";

/** A description that this side made: what `OfferSignal` says beyond the counting. */
export type Described = Pick<OfferSignal, "sdp"> & Required<Pick<OfferSignal, "tracks" | "slots">>;

/** The offer that is to be made now. */
export interface NextOffer {
  /** With new credentials for the path (RFC 8445, section 9). */
  readonly isIceRestart: boolean;
}

export class Negotiation {
  /** The id of the connection that counts; empty if there is none. */
  connection = "";
  /** The number of the newest offer of this connection. */
  number = 0;
  private term = 0;
  private isWanted = false;
  private isRestartWanted = false;
  private isBusy = false;

  /** A new connection takes the place of the one before; its first offer is wanted at once. */
  begin(connection: string): void {
    this.end();
    this.connection = connection;
    this.isWanted = true;
  }

  /** There is no connection any more. */
  end(): void {
    this.connection = "";
    this.number = 0;
    this.isWanted = false;
    this.isRestartWanted = false;
    this.isBusy = false;
  }

  /** Something changed that an offer has to tell. */
  want({ isIceRestart = false } = {}): void {
    this.isWanted = true;
    this.isRestartWanted ||= isIceRestart;
  }

  /** What to offer now, if something is to be; it counts as under way until it is answered, refused or failed. */
  next(): NextOffer | undefined {
    if (!this.isWanted || this.isBusy || this.connection === "") return undefined;
    const offer = { isIceRestart: this.isRestartWanted };
    this.isBusy = true;
    this.isWanted = false;
    this.isRestartWanted = false;
    return offer;
  }

  /** The signal for the offer that was made. */
  offer(described: Described): OfferSignal {
    this.number += 1;
    return { kind: "offer", connection: this.connection, number: this.number, ...described };
  }

  /** Whether this is the answer that is waited for. */
  takesAnswer({ connection, number, term }: AnswerSignal): boolean {
    return this.isNewest(connection, number) && this.takesTerm(term);
  }

  /** Whether this refuses the offer that is under way, which then is over. */
  takesRefusal({ connection, number }: RefusedSignal): boolean {
    if (number === undefined || !this.isNewest(connection, number)) return false;
    this.settle();
    return true;
  }

  /** The offer under way is done with: its answer was applied, or it never will be. */
  settle(): void {
    this.isBusy = false;
  }

  /** Whether an offer is under way. */
  get isUnderWay(): boolean {
    return this.isBusy;
  }

  /** Whether a signal of this term counts; a higher one makes all lower ones old. */
  takesTerm(term: number): boolean {
    this.term = Math.max(this.term, term);
    return term === this.term;
  }

  private isNewest(connection: string, number: number): boolean {
    return this.isBusy && connection === this.connection && number === this.number;
  }
}
