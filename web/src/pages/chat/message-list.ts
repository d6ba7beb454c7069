/**
 * The list of messages on the page.
 *
 * Owns the elements of rows, kept as long as nothing about them changes, and where the list is scrolled to. Never
 * decides what is shown; see `transcript.ts`.
 */

import { avatar } from "../channel/avatar";
import { failureWording, listed } from "../channel/wording";
import { make } from "../elements/element";
import { icon } from "../elements/icon";
import { textNodes } from "./text";
import type { Row, Said } from "./transcript";

/** So near to the end one counts as being there. */
const NEAR_END_PX = 80;

/** The element of a row, and what it was made from. */
interface Shown {
  readonly element: HTMLElement;
  readonly mark: string;
  statusMark: string;
}

type MessageRow = Extract<Row, { kind: "message" }>;

export class MessageList {
  private readonly list: HTMLElement;
  private readonly scroller: HTMLElement;
  private readonly retry: (key: string) => void;
  private readonly shown = new Map<string, Shown>();
  // A keyboard that comes up, or a composer that grows, must not hide the last message.
  private readonly resizing = new ResizeObserver(() => {
    if (this.isAtEnd) this.toEnd();
  });
  private isAtEnd = true;

  constructor(list: HTMLElement, scroller: HTMLElement, retry: (key: string) => void) {
    this.list = list;
    this.scroller = scroller;
    this.retry = retry;
    scroller.addEventListener("scroll", this.noteScroll, { passive: true });
    this.resizing.observe(scroller);
  }

  /** Lets the elements of the page go. */
  close(): void {
    this.scroller.removeEventListener("scroll", this.noteScroll);
    this.resizing.disconnect();
  }

  /** Whether the newest message is in sight. */
  get isNearEnd(): boolean {
    return this.isAtEnd;
  }

  toEnd(): void {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.isAtEnd = true;
  }

  /** Shows these rows, and keeps what is read in its place. */
  show(rows: readonly Row[]): void {
    const { scrollTop, scrollHeight } = this.scroller;
    const firstBefore = this.list.firstElementChild;
    let next: Element | null = this.list.firstElementChild;
    const keep = new Set<string>();
    for (const row of rows) {
      keep.add(row.key);
      const before = this.shown.get(row.key)?.element;
      const element = this.elementOf(row);
      if (before && before !== element) before.replaceWith(element);
      if (before === next) next = element;
      if (element === next) next = next.nextElementSibling;
      else this.list.insertBefore(element, next);
    }
    for (const [key, { element }] of this.shown) {
      if (keep.has(key)) continue;
      element.remove();
      this.shown.delete(key);
    }
    if (this.isAtEnd) this.toEnd();
    else if (firstBefore !== this.list.firstElementChild) {
      this.scroller.scrollTop = scrollTop + this.scroller.scrollHeight - scrollHeight;
    }
  }

  private readonly noteScroll = (): void => {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  };

  /** The element of a row: the one that is there as far as it says the same, else a new one. */
  private elementOf(row: Row): HTMLElement {
    const mark = markOf(row);
    const statusMark = statusMarkOf(row);
    const known = this.shown.get(row.key);
    if (known?.mark === mark) {
      if (row.kind === "message" && known.statusMark !== statusMark) this.updateStatus(known.element, row);
      known.statusMark = statusMark;
      return known.element;
    }
    const element = this.render(row);
    this.shown.set(row.key, { element, mark, statusMark });
    return element;
  }

  /** Changes the status alone, so that a screen reader does not read the message again. */
  private updateStatus(element: HTMLElement, { entry, showsStatus }: MessageRow): void {
    element.dataset["status"] = entry.status;
    if (entry.offset !== undefined) element.dataset["offset"] = String(entry.offset);
    element.querySelector(".message-status")?.remove();
    if (showsStatus) element.append(this.status(entry));
  }

  private render(row: Row): HTMLElement {
    if (row.kind === "day") return make("li", { class: "day" }, dayWords(row.timeMs));
    if (row.kind === "system") {
      return make("li", { class: "system", "data-testid": "system" }, row.entry.text);
    }
    return this.renderMessage(row);
  }

  private renderMessage({ entry, isFirst, showsStatus }: MessageRow): HTMLElement {
    const classes = ["message", isFirst && "first", entry.isOwn && "own", isDirect(entry) && "direct"];
    const parts: Node[] = [];
    if (isFirst && !entry.isOwn) parts.push(avatar(entry.sender, entry.identity));
    if (isFirst) parts.push(head(entry));
    parts.push(bubble(entry));
    if (showsStatus) parts.push(this.status(entry));
    return make(
      "li",
      {
        class: classes.filter(Boolean).join(" "),
        "data-testid": "message",
        "data-sender": entry.sender,
        "data-own": String(entry.isOwn),
        "data-direct": String(isDirect(entry)),
        "data-status": entry.status,
        "data-offset": entry.offset === undefined ? undefined : String(entry.offset),
      },
      ...parts,
    );
  }

  private status(entry: Said): HTMLElement {
    // Only a failure is worth interrupting somebody.
    const live = entry.status === "failed" ? "polite" : "off";
    const line = make("p", { class: "message-status", "data-testid": "status", "aria-live": live });
    switch (entry.status) {
      case "sending":
        line.append(icon("clock"), "Sending…");
        break;
      case "waiting":
        line.append(icon("clock"), "Waits for the connection");
        break;
      case "stored":
        line.append(icon("check"), "Stored");
        break;
      case "failed":
        line.append(...this.failure(entry));
        break;
    }
    return line;
  }

  private failure({ key, failure }: Said): (Node | string)[] {
    const wording = failureWording(failure?.code ?? "", failure?.why ?? "", failure?.correlationId);
    const quoted = [wording.code, wording.correlationId].filter(Boolean).join(" · ");
    const again = make(
      "button",
      { type: "button", class: "button compact", "data-testid": "retry" },
      "Try again",
    );
    again.addEventListener("click", () => this.retry(key));
    return [
      icon("triangle-alert"),
      `Not sent. ${wording.title}. ${wording.text} `,
      make("code", {}, quoted),
      again,
    ];
  }
}

/** What a row looks like as a text, its status apart: rows with the same mark look the same. */
function markOf(row: Row): string {
  if (row.kind !== "message") return row.key;
  return `${row.isFirst} ${row.isFirst ? Math.floor(row.entry.timeMs / 60_000) : ""}`;
}

function statusMarkOf(row: Row): string {
  if (row.kind !== "message") return "";
  const { status, failure, offset } = row.entry;
  return JSON.stringify([row.showsStatus, status, failure, offset]);
}

function isDirect(entry: Said): boolean {
  return entry.to !== undefined || entry.isFiltered;
}

function head(entry: Said): HTMLElement {
  const time = new Date(entry.timeMs);
  const parts: Node[] = [];
  if (!entry.isOwn) parts.push(make("span", { class: "message-sender" }, entry.sender));
  if (isDirect(entry)) parts.push(make("span", { class: "message-audience" }, audience(entry)));
  parts.push(
    make(
      "time",
      { class: "message-time", datetime: time.toISOString(), title: time.toLocaleString() },
      time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }),
    ),
  );
  const who = entry.isOwn ? [make("span", { class: "unseen" }, "You:")] : [];
  return make("div", { class: "message-head" }, ...who, ...parts);
}

function audience({ isOwn, to }: Said): string {
  if (!to) return isOwn ? "to some" : "to some, you among them";
  if (isOwn) return `only to ${listed(to)}`;
  return to.length === 1 ? "only to you" : `only to ${listed(to)}`;
}

function bubble({ content }: Said): HTMLElement {
  if (typeof content === "string") return make("div", { class: "bubble" }, ...textNodes(content));
  const text =
    content instanceof Uint8Array
      ? `${content.length} bytes of binary data`
      : JSON.stringify(content, null, 2);
  return make("div", { class: "bubble data" }, text);
}

function dayWords(timeMs: number): string {
  const day = new Date(timeMs);
  const now = new Date();
  const daysAgo = Math.round((startOfDay(now) - startOfDay(day)) / 86_400_000);
  if (daysAgo === 0) return "Today";
  if (daysAgo === 1) return "Yesterday";
  const year = day.getFullYear() === now.getFullYear() ? {} : ({ year: "numeric" } as const);
  return day.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", ...year });
}

function startOfDay(date: Date): number {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}
