/**
 * The page /chat: from the lobby into the room and back.
 *
 * Owns which of the two is shown, the agent of the visit, and the link in the address of the page.
 */

import "../elements/copy";
import "../elements/icon";
import { noteScriptAddress } from "../../sdk/agent/address";
import { AgentConnection } from "../../sdk/agent/agent";
import type { State } from "../../sdk/agent/records";
import type { ProtocolError } from "../../sdk/protocol/errors";
import { wireDialogs } from "../channel/dialogs";
import { deriveEarly } from "../channel/early-keys";
import { type Entrance, Lobby } from "../channel/lobby";
import { failureWording } from "../channel/wording";
import { byId } from "../elements/element";
import { formatLink } from "../link";
import { serverStatus } from "../status";
import { ROOM_TYPES, Room } from "./room";

/** Where a reload finds that this tab was inside. Keys of one's own are not kept, and asked for again. */
const INSIDE_KEY = "peerbus/chat/inside";

const WORDS = {
  title: "Join a channel",
  lead: "Everyone who joins the same channel reads the same messages.",
  closed: "Sealed: only who has the password or the link can join and read. The server cannot.",
  open: "Without one, anybody who knows the channel’s name can join and read.",
};

noteScriptAddress(location.origin);

class Visit {
  private readonly lobby = new Lobby(WORDS, (entrance) => void this.enter(entrance));
  private agent: AgentConnection | undefined;
  private room: Room | undefined;
  private entrance: Entrance | undefined;

  begin(): void {
    wireDialogs();
    this.lobby.readAddress(location.href);
    deriveEarly(this.lobby.entrance);
    addEventListener("hashchange", () => this.addressChanged());
    if (this.wasInside() && this.lobby.entrance.apiKey === "") void this.enter(this.lobby.entrance);
    else {
      this.lobby.focus();
      void serverStatus().then((status) => status && this.lobby.noteDemo(status.demo));
    }
  }

  private async enter(entrance: Entrance): Promise<void> {
    this.entrance = entrance;
    this.lobby.clearProblem();
    this.lobby.attempt = entrance.password ? "Deriving the key from the password…" : "Connecting…";
    const agent = new AgentConnection();
    const room = new Room(agent, {
      link: () => this.link(entrance),
      leave: () => void this.leave(),
      rejoin: () => void this.rejoin(),
    });
    this.agent = agent;
    agent.onState = (state) => this.stateChanged(state, room);
    try {
      await agent.connect({
        channelName: entrance.channel,
        channelPassword: entrance.password,
        sealed: entrance.isSealed ? undefined : false,
        agentName: entrance.name,
        apiKey: entrance.apiKey,
        apiKeyScope: entrance.scope,
        customEventType: ROOM_TYPES,
      });
    } catch (error) {
      if (agent === this.agent) this.refused(error as ProtocolError);
      return;
    }
    this.room = room;
    this.noteInside(true);
    this.show("room");
    room.entered();
  }

  private stateChanged(state: State, room: Room): void {
    if (this.room === room) room.stateChanged(state);
    else if (state.name === "reconnecting") {
      this.lobby.attempt = `Not yet: ${state.why} Trying again.`;
    }
  }

  private refused({ code, message, correlationId }: ProtocolError): void {
    this.noteInside(false);
    this.lobby.attempt = "";
    this.show("lobby");
    this.lobby.failed(failureWording(code, message, correlationId));
  }

  private async leave(): Promise<void> {
    await this.end();
    this.noteInside(false);
    this.show("lobby");
    this.lobby.readAddress(location.href);
    this.lobby.focus();
  }

  /** In with the same name and password once more. */
  private async rejoin(): Promise<void> {
    await this.end();
    this.show("lobby");
    if (this.entrance) await this.enter(this.entrance);
  }

  private async end(): Promise<void> {
    const { agent, room } = this;
    this.agent = undefined;
    this.room = undefined;
    room?.close();
    this.lobby.attempt = "";
    await agent?.disconnect();
  }

  /** Somebody put another link into the address bar. */
  private addressChanged(): void {
    if (this.entrance && this.room && location.href === this.link(this.entrance)) return;
    void this.end().then(() => {
      this.noteInside(false);
      this.show("lobby");
      this.lobby.readAddress(location.href);
      this.lobby.focus();
    });
  }

  private link({ channel, password, scope, isSealed }: Entrance): string {
    const found = this.agent?.channel?.scope ?? "";
    const project = found.startsWith("private:") ? found.slice("private:".length) : "";
    return formatLink({ origin: location.origin, channel, password, project, scope, isSealed });
  }

  private show(part: "lobby" | "room"): void {
    byId("lobby", HTMLElement).hidden = part !== "lobby";
    byId("room", HTMLElement).hidden = part !== "room";
    if (part === "lobby") {
      document.title = "Chat · peerbus";
      return;
    }
    this.lobby.attempt = "";
    this.lobby.remember();
    if (this.entrance) history.replaceState(null, "", this.link(this.entrance));
  }

  private wasInside(): boolean {
    try {
      return sessionStorage.getItem(INSIDE_KEY) === location.hash && location.hash !== "";
    } catch {
      return false;
    }
  }

  private noteInside(isInside: boolean): void {
    try {
      if (isInside && this.entrance?.apiKey === "") {
        sessionStorage.setItem(INSIDE_KEY, new URL(this.link(this.entrance)).hash);
      } else sessionStorage.removeItem(INSIDE_KEY);
    } catch {
      // Without storage a reload leads to the lobby.
    }
  }
}

new Visit().begin();
