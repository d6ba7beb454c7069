/**
 * What was said in a channel and what happened meanwhile, in order.
 *
 * Owns the entries, their order, what became of own messages, and how they form groups and days. Knows neither the
 * page nor the connection.
 */

import type { Ack, Message } from "../../sdk/agent/records";

/** What became of an own message. `waiting`: for the connection. */
export type Status = "sending" | "waiting" | "stored" | "failed";

/** Why a message could not be sent. */
export interface Failure {
  readonly code: string;
  readonly why: string;
  readonly correlationId: string;
}

export interface Said {
  readonly kind: "message";
  /** Stays the same as long as the entry lives. */
  readonly key: string;
  readonly timeMs: number;
  readonly offset: number | undefined;
  readonly messageId: string | undefined;
  readonly sender: string;
  readonly identity: string;
  readonly isOwn: boolean;
  readonly content: unknown;
  /** To whom; `undefined`: to everyone. */
  readonly to: readonly string[] | undefined;
  /** Sent to those whom a filter matched. */
  readonly isFiltered: boolean;
  readonly status: Status;
  readonly failure: Failure | undefined;
}

export interface Happened {
  readonly kind: "system";
  readonly key: string;
  readonly timeMs: number;
  readonly text: string;
  /** The place of a message that could not be shown. */
  readonly offset: number | undefined;
}

export type Entry = Said | Happened;

/** What is shown, from top to bottom. */
export type Row =
  | { readonly kind: "day"; readonly key: string; readonly timeMs: number }
  | { readonly kind: "system"; readonly key: string; readonly entry: Happened }
  | {
      readonly kind: "message";
      readonly key: string;
      readonly entry: Said;
      /** The first of a group, which tells sender and time. */
      readonly isFirst: boolean;
      /** Whether to say what became of it. */
      readonly showsStatus: boolean;
    };

/** How a moment falls into days and minutes; the local time zone by default. */
export interface Calendar {
  day(timeMs: number): string;
  minute(timeMs: number): string;
}

const localCalendar: Calendar = {
  day: (timeMs) => new Date(timeMs).toDateString(),
  minute: (timeMs) => String(Math.floor(timeMs / 60_000)),
};

export class Transcript {
  private entries: Entry[] = [];
  private readonly messageIds = new Set<string>();
  private lastKey = 0;
  private readonly calendar: Calendar;

  constructor(calendar: Calendar = localCalendar) {
    this.calendar = calendar;
  }

  /** The lowest offset that is shown: history goes on before it. */
  get firstOffset(): number | undefined {
    const offsets = this.entries.map(({ offset }) => offset).filter((offset) => offset !== undefined);
    return offsets.length > 0 ? Math.min(...offsets) : undefined;
  }

  get hasMessages(): boolean {
    return this.entries.some(({ kind, offset }) => kind === "message" || offset !== undefined);
  }

  /** How many messages wait for the connection. */
  get waiting(): number {
    return this.entries.filter((entry) => entry.kind === "message" && entry.status === "waiting").length;
  }

  /** Adds a pushed message; false if it was there already. */
  received(message: Message, isOwn: boolean): boolean {
    if (this.messageIds.has(message.messageId)) return false;
    const entry = this.said(message, isOwn);
    this.entries.splice(this.placeOf(entry.offset), 0, entry);
    return true;
  }

  /** Adds a page of older messages above everything; gives how many were new. */
  older(messages: readonly Message[], isOwn: (message: Message) => boolean): number {
    const fresh = messages.filter((message) => !this.messageIds.has(message.messageId));
    this.entries.unshift(...fresh.map((message) => this.said(message, isOwn(message))));
    return fresh.length;
  }

  /** Adds a message of one's own that is about to be sent; gives its key. */
  own(
    given: Pick<Said, "timeMs" | "sender" | "identity" | "content" | "to"> & { isWaiting: boolean },
  ): string {
    const { isWaiting, ...rest } = given;
    const key = this.nextKey();
    this.entries.push({
      kind: "message",
      key,
      offset: undefined,
      messageId: undefined,
      isOwn: true,
      isFiltered: false,
      status: isWaiting ? "waiting" : "sending",
      failure: undefined,
      ...rest,
    });
    return key;
  }

  /** The server has stored an own message: it takes its place among the others. */
  stored(key: string, ack: Pick<Ack, "offset" | "timeMs" | "messageId">): void {
    const entry = this.take(key);
    if (!entry) return;
    // A resent message may have come back with the history already.
    const { offset, messageId } = ack;
    if (messageId !== undefined && this.messageIds.has(messageId)) return;
    if (messageId !== undefined) this.messageIds.add(messageId);
    const timeMs = ack.timeMs ?? entry.timeMs;
    const after: Said = { ...entry, offset, messageId, timeMs, status: "stored", failure: undefined };
    this.entries.splice(this.placeOf(offset), 0, after);
  }

  failed(key: string, failure: Failure): void {
    this.change(key, { status: "failed", failure });
  }

  /** A message that had failed is sent once more. */
  retried(key: string, isWaiting: boolean): void {
    this.change(key, { status: isWaiting ? "waiting" : "sending", failure: undefined });
  }

  /** The connection came or went: messages without an outcome are on their way, or wait for it. */
  connectionChanged(isConnected: boolean): void {
    this.entries = this.entries.map((entry) =>
      isPending(entry) ? { ...entry, status: isConnected ? "sending" : "waiting" } : entry,
    );
  }

  /** Adds a line about what happened; with an offset in the place of the message there, once. */
  happened(text: string, timeMs: number, offset?: number): void {
    if (offset !== undefined && this.entries.some((entry) => entry.offset === offset)) return;
    const entry: Happened = { kind: "system", key: this.nextKey(), timeMs, text, offset };
    this.entries.splice(this.placeOf(offset), 0, entry);
  }

  find(key: string): Said | undefined {
    return this.entries.find((entry): entry is Said => entry.kind === "message" && entry.key === key);
  }

  /** Drops what was stored, to be read again; what has no outcome yet stays. */
  forgetStored(): void {
    this.entries = this.entries.filter(({ offset }) => offset === undefined);
    this.messageIds.clear();
  }

  rows(): Row[] {
    const rows: Row[] = [];
    const lastOwn = this.entries.filter((entry) => entry.kind === "message" && entry.isOwn).at(-1)?.key;
    let before: Entry | undefined;
    let day = "";
    for (const entry of this.entries) {
      const thisDay = this.calendar.day(entry.timeMs);
      if (thisDay !== day) {
        rows.push({ kind: "day", key: `day ${entry.key}`, timeMs: entry.timeMs });
        before = undefined;
      }
      day = thisDay;
      if (entry.kind === "system") rows.push({ kind: "system", key: entry.key, entry });
      else {
        const isFirst = !this.isSameGroup(before, entry);
        const showsStatus = entry.isOwn && (entry.status !== "stored" || entry.key === lastOwn);
        rows.push({ kind: "message", key: entry.key, entry, isFirst, showsStatus });
      }
      before = entry;
    }
    return rows;
  }

  private isSameGroup(before: Entry | undefined, entry: Said): boolean {
    return (
      before?.kind === "message" &&
      before.identity === entry.identity &&
      before.sender === entry.sender &&
      before.isFiltered === entry.isFiltered &&
      JSON.stringify(before.to) === JSON.stringify(entry.to) &&
      this.calendar.minute(before.timeMs) === this.calendar.minute(entry.timeMs)
    );
  }

  private said(message: Message, isOwn: boolean): Said {
    this.messageIds.add(message.messageId);
    return {
      kind: "message",
      key: this.nextKey(),
      timeMs: message.timeMs,
      offset: message.offset,
      messageId: message.messageId,
      sender: message.sender,
      identity: message.identity,
      isOwn,
      content: message.content,
      to: message.to,
      isFiltered: message.filter !== undefined,
      status: "stored",
      failure: undefined,
    };
  }

  /** Where a message with this offset belongs: behind all lower ones, and before what has no outcome yet. */
  private placeOf(offset: number | undefined): number {
    let place = this.entries.length;
    for (; place > 0; place--) {
      const entry = this.entries[place - 1];
      if (!entry) break;
      const isLater = offset !== undefined && (entry.offset ?? -1) > offset;
      if (!isPending(entry) && !isLater) break;
    }
    return place;
  }

  private take(key: string): Said | undefined {
    const entry = this.find(key);
    this.entries = this.entries.filter((other) => other !== entry);
    return entry;
  }

  private change(key: string, changes: Partial<Said>): void {
    this.entries = this.entries.map((entry) =>
      entry.kind === "message" && entry.key === key ? { ...entry, ...changes } : entry,
    );
  }

  private nextKey(): string {
    this.lastKey += 1;
    return `e${this.lastKey}`;
  }
}

function isPending(entry: Entry): boolean {
  return entry.kind === "message" && (entry.status === "sending" || entry.status === "waiting");
}
