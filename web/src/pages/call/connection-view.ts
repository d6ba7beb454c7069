/**
 * The connection of a call on the page: the pill, the notice while something is wrong, and the figures on request.
 *
 * Owns these elements. Never decides about a connection.
 */

import type { AgentConnection } from "../../sdk/agent/agent";
import type { WebRTCHelper } from "../../sdk/webrtc/helper";
import { byId, make } from "../elements/element";
import { type Action, notice } from "../elements/notice";
import { callBanner, callPill, figures } from "./wording";

const FIGURES_EVERY_MS = 1_000;

export interface Remedies {
  readonly rejoin: () => void;
  readonly leave: () => void;
}

export class ConnectionView {
  private readonly agent: AgentConnection;
  private readonly webrtc: WebRTCHelper;
  private readonly remedies: Remedies;
  private readonly pill = byId("connection", HTMLButtonElement);
  private readonly spoken = byId("connection-spoken", HTMLElement);
  private readonly banner = byId("banner", HTMLElement);
  private readonly dialog = byId("figures-dialog", HTMLDialogElement);
  private shown = "";
  private retryAt = 0;
  private clock: ReturnType<typeof setInterval> | undefined;
  private figuresClock: ReturnType<typeof setInterval> | undefined;

  constructor(agent: AgentConnection, webrtc: WebRTCHelper, remedies: Remedies) {
    this.agent = agent;
    this.webrtc = webrtc;
    this.remedies = remedies;
    this.banner.replaceChildren();
    this.pill.onclick = () => void this.openFigures();
  }

  show(): void {
    const { state } = this.webrtc;
    this.retryAt = performance.now() + state.retryInMs;
    clearInterval(this.clock);
    if (state.retryInMs > 0) this.clock = setInterval(() => this.showPill(), 1_000);
    this.showPill();
    this.showBanner();
  }

  close(): void {
    clearInterval(this.clock);
    clearInterval(this.figuresClock);
  }

  private showPill(): void {
    const { state } = this.webrtc;
    const { tone, words } = callPill(this.agent.state, state, this.retryAt - performance.now());
    this.pill.className = `pill connection ${tone ? `tone-${tone}` : ""}`;
    this.pill.dataset["state"] = state.name;
    // Without the countdown, which nobody wants to hear.
    const spoken = words.replace(/ in \d+ s$/, "");
    if (this.spoken.textContent !== spoken) this.spoken.textContent = spoken;
    if (this.pill.textContent === words) return;
    const dot = document.createElement("span");
    dot.className = "dot";
    this.pill.replaceChildren(dot, words);
  }

  private showBanner(): void {
    const { state } = this.webrtc;
    const wording = callBanner(this.agent.state, state);
    const isOver = state.name === "closed" || this.agent.state.name === "closed";
    const mark = wording ? JSON.stringify([wording.code, isOver]) : "";
    if (mark === this.shown) return;
    this.shown = mark;
    const actions = isOver ? this.actionsAtEnd(wording?.code) : this.actionsMeanwhile();
    this.banner.replaceChildren(...(wording ? [notice(wording, actions)] : []));
  }

  private actionsMeanwhile(): Action[] {
    const tryNow = (): void => {
      this.agent.reconnectNow();
      this.webrtc.reconnectNow();
    };
    return [{ label: "Try now", act: tryNow }];
  }

  private actionsAtEnd(code: string | undefined): Action[] {
    const { rejoin, leave } = this.remedies;
    const back = { label: "Back to the lobby", act: leave };
    if (code === "kicked" || code === "not_supported") return [back];
    return [
      { label: code === "replaced" ? "Use it here" : "Join again", act: rejoin, isPrimary: true },
      back,
    ];
  }

  private async openFigures(): Promise<void> {
    const update = async (): Promise<void> => {
      const rows = figures(await this.webrtc.stats()).flatMap(([what, words]) => [
        make("dt", {}, what),
        make("dd", {}, words),
      ]);
      byId("figures", HTMLElement).replaceChildren(...rows);
    };
    await update();
    clearInterval(this.figuresClock);
    this.figuresClock = setInterval(() => void update(), FIGURES_EVERY_MS);
    this.dialog.addEventListener("close", () => clearInterval(this.figuresClock), { once: true });
    this.dialog.showModal();
  }
}
