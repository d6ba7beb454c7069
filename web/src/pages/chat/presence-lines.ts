/**
 * The lines about who comes, goes and is away.
 *
 * Owns what is worth a line: a reload of somebody's page is not. Never shows anything itself.
 */

import type { Member, Presence } from "../../sdk/agent/records";
import { departureWords, listed } from "../channel/wording";

const SPEAK_OF_AWAY_MS = 4_000;

/** What is known of the channel. */
export interface Company {
  readonly sessionId: string;
  readonly members: readonly Member[];
}

export class PresenceLines {
  private readonly company: Company;
  private readonly say: (text: string) => void;
  /** Who is away, until it was said with the timer that will say it. */
  private readonly away = new Map<string, ReturnType<typeof setTimeout> | undefined>();

  constructor(company: Company, say: (text: string) => void) {
    this.company = company;
    this.say = say;
  }

  /** One is in: who is away already is no news. */
  entered(): void {
    for (const { sessionId, state } of this.company.members) {
      if (state === "away") this.away.set(sessionId, undefined);
    }
  }

  changed({ joined, updated, left }: Presence): void {
    const { members, sessionId: ownSession } = this.company;
    const gone = new Set(left.map(({ name }) => name));
    const come = joined.filter(({ name, sessionId }) => sessionId !== ownSession && !gone.has(name));
    if (come.length > 0) this.say(`${listed(come.map(({ name }) => name))} joined`);
    for (const member of updated) this.tellAway(member);
    for (const departure of left) {
      const { sessionId, name } = departure;
      this.noLongerAway(sessionId);
      // Whoever came back under a new session, as after a restart of the server, was not away for others.
      const isStillHere = members.some((member) => member.name === name);
      if (sessionId !== ownSession && !isStillHere) this.say(departureWords(departure));
    }
  }

  close(): void {
    for (const timer of this.away.values()) clearTimeout(timer);
  }

  private tellAway({ sessionId, name, state }: Member): void {
    if (sessionId === this.company.sessionId) return;
    if (state === "present") {
      if (this.noLongerAway(sessionId)) this.say(`${name} is back`);
    } else if (!this.away.has(sessionId)) {
      const tell = (): void => {
        this.away.set(sessionId, undefined);
        this.say(`${name} lost the connection and may come back`);
      };
      this.away.set(sessionId, setTimeout(tell, SPEAK_OF_AWAY_MS));
    }
  }

  /** Whether somebody was away so long that it was said. */
  private noLongerAway(sessionId: string): boolean {
    const timer = this.away.get(sessionId);
    const wasTold = this.away.has(sessionId) && timer === undefined;
    clearTimeout(timer);
    this.away.delete(sessionId);
    return wasTold;
  }
}
