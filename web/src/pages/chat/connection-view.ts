/**
 * The connection on the page: the pill with its countdown, and the notice while something is wrong.
 *
 * Owns these elements. Never decides about the connection.
 */

import type { State } from "../../sdk/agent/records";
import { endWording, pillWording, reconnectingWording, spokenWords } from "../channel/wording";
import { byId } from "../elements/element";
import { type Action, notice, type Wording } from "../elements/notice";

/** What can be done about it. */
export interface Remedies {
  readonly tryNow: () => void;
  readonly rejoin: () => void;
  readonly leave: () => void;
}

export class ConnectionView {
  private readonly pill = byId("connection", HTMLElement);
  private readonly spoken = byId("connection-spoken", HTMLElement);
  private readonly banner = byId("banner", HTMLElement);
  private readonly remedies: Remedies;
  private shown = "";
  private retryAt = 0;
  private clock: ReturnType<typeof setInterval> | undefined;

  constructor(remedies: Remedies) {
    this.remedies = remedies;
    this.banner.replaceChildren();
  }

  show(state: State): void {
    this.retryAt = performance.now() + state.retryInMs;
    clearInterval(this.clock);
    if (state.name === "reconnecting") this.clock = setInterval(() => this.showPill(state), 1_000);
    this.showPill(state);
    this.showBanner(state);
    const words = spokenWords(state);
    if (this.spoken.textContent !== words) this.spoken.textContent = words;
  }

  close(): void {
    clearInterval(this.clock);
  }

  private showPill(state: State): void {
    const { tone, words } = pillWording(state, this.retryAt - performance.now());
    this.pill.className = `pill connection ${tone ? `tone-${tone}` : ""}`;
    this.pill.dataset["state"] = state.name;
    if (this.pill.textContent === words) return;
    const dot = document.createElement("span");
    dot.className = "dot";
    this.pill.replaceChildren(dot, words);
  }

  private showBanner(state: State): void {
    let wording: Wording | undefined;
    if (state.name === "reconnecting") wording = reconnectingWording(state);
    else if (state.name === "closed") wording = endWording(state);
    // What says the same stays, or its buttons would slip away from under a finger with every attempt.
    const mark = wording ? JSON.stringify(wording) : "";
    if (mark === this.shown) return;
    this.shown = mark;
    this.banner.replaceChildren(...(wording ? [notice(wording, this.actions(state))] : []));
  }

  private actions(state: State): Action[] {
    const { tryNow, rejoin, leave } = this.remedies;
    if (state.name === "reconnecting") return [{ label: "Try now", act: tryNow }];
    const back = { label: "Back to the lobby", act: leave };
    if (state.code === "kicked") return [back];
    return [
      { label: state.code === "replaced" ? "Use it here" : "Join again", act: rejoin, isPrimary: true },
      back,
    ];
  }
}
