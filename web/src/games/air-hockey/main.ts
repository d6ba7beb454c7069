/**
 * The page /games/air-hockey: from the lobby to the table and back.
 *
 * Owns which of the two is shown, the agent and the helper of the visit, the loop, and what stands around the table.
 */

import "../../pages/elements/copy";
import "../../pages/elements/icon";
import { showShare, wireDialogs } from "../../pages/channel/dialogs";
import { deriveEarly } from "../../pages/channel/early-keys";
import { type Entrance, Lobby } from "../../pages/channel/lobby";
import { failureWording } from "../../pages/channel/wording";
import { byId } from "../../pages/elements/element";
import { notice } from "../../pages/elements/notice";
import { formatLink } from "../../pages/link";
import { serverStatus } from "../../pages/status";
import { noteScriptAddress } from "../../sdk/agent/address";
import { AgentConnection } from "../../sdk/agent/agent";
import type { ProtocolError } from "../../sdk/protocol/errors";
import { SIGNAL_TYPE } from "../../sdk/protocol/sfu";
import { WebRTCHelper, type WebRTCOptions } from "../../sdk/webrtc/helper";
import { Game } from "./game";
import { Hand } from "./hand";
import { NetworkMenu, networkWords, simulationOf } from "./network";
import { type Point, reach } from "./rink";
import { tick } from "./ticker";
import { View } from "./view";
import { MODE_CHOICES, modeWords, pathWords, scoreWords, statusWords } from "./wording";

type Mode = NonNullable<WebRTCOptions["mode"]>;

const WORDS = {
  title: "Air hockey",
  lead: "Two play, everybody else watches. Whoever enters the same channel meets at the same table.",
  closed: "Only who has the password or the link can join. The server cannot read the game.",
  open: "Without one, anybody who knows the channel’s name can join.",
};
const FIGURES_EVERY_MS = 500;

noteScriptAddress(location.origin);

/** At the table, until left. */
class Sitting {
  readonly agent: AgentConnection;
  readonly webrtc: WebRTCHelper;
  private readonly game: Game;
  private readonly view: View;
  private readonly network: NetworkMenu;
  private readonly hand: Hand;
  private readonly stopTicking: () => void;
  private frame = 0;
  private frames = 0;
  private figuresAtMs = performance.now();
  private passedAtMs = performance.now();

  constructor(
    agent: AgentConnection,
    webrtc: WebRTCHelper,
    view: View,
    network: NetworkMenu,
    goalsToWin: number,
  ) {
    this.agent = agent;
    this.network = network;
    this.webrtc = webrtc;
    this.view = view;
    this.game = new Game(agent.identity, goalsToWin);
    const canvas = byId("table", HTMLCanvasElement);
    this.hand = new Hand(
      {
        canvas,
        pointed: (event) => view.pointed(event),
        moved: (from, right, up) => view.moved(from, right, up),
      },
      { x: 0.5, y: 1 },
    );
    webrtc.onDataReceived = (data, _, peer) => this.game.receive(peer.identity, data, performance.now());
    this.stopTicking = tick(() => this.pass());
    this.frame = requestAnimationFrame(() => this.draw());
  }

  again(): void {
    this.game.again();
    this.send();
  }

  close(): void {
    this.stopTicking();
    cancelAnimationFrame(this.frame);
    this.hand.close();
  }

  private pass(): void {
    const now = performance.now();
    const { game, hand } = this;
    const { seat } = game;
    const wanted = hand.at(Math.min(0.1, (now - this.passedAtMs) / 1000));
    this.passedAtMs = now;
    if (seat !== undefined) {
      const place: Point = reach(seat, wanted);
      hand.held(place);
      game.aim(place);
    }
    const present = this.present();
    game.membersAre(present, this.webrtc.isConnected() ? this.hostAmong(present) : undefined, now);
    game.pass(now);
    this.send();
  }

  private send(): void {
    for (const { payload, to, reliable } of this.game.toSend()) {
      // What can't be sent now is told again with the next state; failures of the way stand in the pill.
      this.webrtc.sendData(payload, to ?? null, { reliable }).catch(() => undefined);
    }
  }

  /** Who takes part, the longest in the channel first. */
  private present(): string[] {
    const others = new Set(this.webrtc.peers.map(({ identity }) => identity));
    others.add(this.agent.identity);
    return this.agent.members.map(({ identity }) => identity).filter((identity) => others.has(identity));
  }

  /** The group's host, or in a mode that has none whoever is here the longest. */
  private hostAmong(present: readonly string[]): string | undefined {
    if (this.webrtc.mode !== "host") return present[0];
    const { host } = this.webrtc;
    return host !== undefined && present.includes(host) ? host : undefined;
  }

  private draw(): void {
    const now = performance.now();
    this.frame = requestAnimationFrame(() => this.draw());
    this.view.draw(this.game.draw(now), this.game.seat);
    this.frames += 1;
    const passedMs = now - this.figuresAtMs;
    this.tell(now);
    if (passedMs < FIGURES_EVERY_MS) return;
    this.figuresAtMs = now;
    const fps = Math.round((this.frames * 1000) / passedMs);
    this.frames = 0;
    const delayMs = Math.round(this.game.delayMs);
    const figures = byId("figures", HTMLElement);
    const { isHost, seat } = this.game;
    const simulated = networkWords(this.network.choice);
    figures.textContent = pathWords(this.webrtc.mode, isHost, seat !== undefined, delayMs, fps, simulated);
    Object.assign(figures.dataset, {
      fps: String(fps),
      delay: String(delayMs),
      host: String(isHost),
    });
  }

  private tell(now: number): void {
    const { match, seat } = this.game;
    const { left, right, spoken } = scoreWords(match, seat);
    set("score-left", left);
    set("score-right", right);
    set("score-spoken", spoken);
    const names = new Map(this.agent.members.map(({ identity, name }) => [identity, name]));
    set("status", statusWords(match, seat, names, this.game.silentMs(now)));
    const again = byId("again", HTMLButtonElement);
    again.hidden = match?.phase !== "over" || seat === undefined || match.wantsRematch[seat];
    byId("table", HTMLCanvasElement).dataset["phase"] = match?.phase ?? "";
  }
}

class Visit {
  private readonly lobby = new Lobby(WORDS, (entrance) => void this.enter(entrance));
  private readonly view = new View(byId("table", HTMLCanvasElement));
  private readonly network = new NetworkMenu(() => this.simulate());
  private sitting: Sitting | undefined;
  private entrance: Entrance | undefined;

  begin(): void {
    for (const id of ["mode", "menu-mode"]) {
      const select = byId(id, HTMLSelectElement);
      select.replaceChildren(...MODE_CHOICES.map(([value, words]) => new Option(words, value)));
    }
    wireDialogs();
    this.lobby.readAddress(location.href);
    deriveEarly(this.lobby.entrance);
    this.lobby.focus();
    byId("leave", HTMLButtonElement).onclick = () => void this.leave();
    byId("again", HTMLButtonElement).onclick = () => this.sitting?.again();
    byId("share-open", HTMLButtonElement).onclick = () => this.share();
    byId("menu-open", HTMLButtonElement).onclick = () => byId("menu-dialog", HTMLDialogElement).showModal();
    byId("menu-mode", HTMLSelectElement).onchange = () => void this.switchMode();
    addEventListener("pagehide", () => this.sitting?.webrtc.close());
    void serverStatus().then((status) => status && this.lobby.noteDemo(status.demo));
  }

  private async enter(entrance: Entrance): Promise<void> {
    this.entrance = entrance;
    this.lobby.clearProblem();
    this.lobby.attempt = entrance.password ? "Deriving the key from the password…" : "Connecting…";
    const agent = new AgentConnection();
    try {
      await agent.connect({
        channelName: entrance.channel,
        channelPassword: entrance.password,
        sealed: entrance.isSealed ? undefined : false,
        agentName: entrance.name,
        apiKey: entrance.apiKey,
        apiKeyScope: entrance.scope,
        // Messages of the channel's chat are not shown here.
        types: [SIGNAL_TYPE],
      });
    } catch (error) {
      const { code, message, correlationId } = error as ProtocolError;
      this.lobby.attempt = "";
      this.lobby.failed(failureWording(code, message, correlationId));
      return;
    }
    const webrtc = new WebRTCHelper(agent, { mode: byId("mode", HTMLSelectElement).value as Mode });
    const goalsToWin = Number(byId("goals", HTMLSelectElement).value);
    this.sitting = new Sitting(agent, webrtc, this.view, this.network, goalsToWin);
    this.simulate();
    agent.onState = () => this.tellState();
    webrtc.onState = () => this.tellState();
    webrtc.onModeChange = () => this.tellState();
    webrtc.onError = (error) => this.tellProblem(error);
    byId("problem", HTMLElement).replaceChildren();
    this.show("room");
    this.tellState();
    history.replaceState(null, "", this.link());
  }

  private async leave(): Promise<void> {
    const { sitting } = this;
    this.sitting = undefined;
    this.show("lobby");
    sitting?.close();
    sitting?.webrtc.close();
    this.lobby.attempt = "";
    this.lobby.focus();
    await sitting?.agent.disconnect();
  }

  private async switchMode(): Promise<void> {
    const select = byId("menu-mode", HTMLSelectElement);
    byId("problem", HTMLElement).replaceChildren();
    try {
      await this.sitting?.webrtc.switchMode(select.value as Mode);
    } catch (error) {
      this.tellProblem(error as ProtocolError);
    }
    this.tellState();
  }

  private simulate(): void {
    this.sitting?.webrtc.simulate(simulationOf(this.network.choice));
  }

  private share(): void {
    const link = this.link();
    showShare(link, this.entrance?.password !== "", `peerbus chat '${link}'`);
  }

  private tellState(): void {
    const { sitting } = this;
    if (!sitting) return;
    const { agent, webrtc } = sitting;
    const { tone, words } = modeWords(agent.state, webrtc.state, webrtc.mode);
    const pill = byId("connection", HTMLElement);
    const dot = document.createElement("span");
    dot.className = "dot";
    pill.className = `pill tone-${tone}`;
    pill.dataset["mode"] = webrtc.mode ?? "";
    if (pill.textContent !== words) pill.replaceChildren(dot, words);
    if (webrtc.mode) byId("menu-mode", HTMLSelectElement).value = webrtc.mode;
    if (agent.state.name === "closed") {
      const { code, why, correlationId } = agent.state;
      this.lobby.attempt = "";
      void this.leave().then(() => this.lobby.failed(failureWording(code, why, correlationId)));
    }
  }

  private tellProblem({ code, message, correlationId }: ProtocolError): void {
    byId("problem", HTMLElement).replaceChildren(notice(failureWording(code, message, correlationId)));
  }

  private link(): string {
    const { channel = "", password = "", scope = "private", isSealed = true } = this.entrance ?? {};
    const found = this.sitting?.agent.channel?.scope ?? "";
    const project = found.startsWith("private:") ? found.slice("private:".length) : "";
    return formatLink({
      origin: location.origin,
      page: "games/air-hockey",
      channel,
      password,
      project,
      scope,
      isSealed,
    });
  }

  private show(part: "lobby" | "room"): void {
    byId("lobby", HTMLElement).hidden = part !== "lobby";
    byId("room", HTMLElement).hidden = part !== "room";
    if (part === "room") {
      this.lobby.attempt = "";
      this.lobby.remember();
      byId("channel-name", HTMLElement).textContent = this.sitting?.agent.channel?.name ?? "";
    }
  }
}

function set(id: string, text: string): void {
  const element = byId(id, HTMLElement);
  if (element.textContent !== text) element.textContent = text;
}

new Visit().begin();
