/**
 * The page /call: from the lobby into the call and back.
 *
 * Owns which of the two is shown, the agent and the call of the visit, and the link in the address of the page.
 */

import "../elements/copy";
import "../elements/icon";
import { noteScriptAddress } from "../../sdk/agent/address";
import { AgentConnection } from "../../sdk/agent/agent";
import type { ProtocolError } from "../../sdk/protocol/errors";
import { SIGNAL_TYPE } from "../../sdk/protocol/sfu";
import { WebRTCHelper } from "../../sdk/webrtc/helper";
import { wireDialogs } from "../channel/dialogs";
import { deriveEarly } from "../channel/early-keys";
import { type Entrance, Lobby } from "../channel/lobby";
import { failureWording } from "../channel/wording";
import { byId } from "../elements/element";
import { formatLink } from "../link";
import { serverStatus } from "../status";
import { OwnMedia } from "./own-media";
import { Preview } from "./preview";
import { Room } from "./room";

const WORDS = {
  title: "Join a call",
  lead: "Everyone who joins the same channel sees and hears each other.",
  closed:
    "Encrypted end to end: only who has the password or the link can join, see and hear. The server cannot.",
  open: "Without one, anybody who knows the channel’s name can join, and the server could see and hear.",
};

noteScriptAddress(location.origin);

class Visit {
  private readonly media = new OwnMedia();
  private readonly preview = new Preview(this.media);
  private readonly lobby = new Lobby(WORDS, (entrance) => void this.enter(entrance));
  private agent: AgentConnection | undefined;
  private webrtc: WebRTCHelper | undefined;
  private room: Room | undefined;
  private entrance: Entrance | undefined;

  begin(): void {
    wireDialogs();
    this.lobby.readAddress(location.href);
    deriveEarly(this.lobby.entrance);
    this.lobby.focus();
    this.media.onChange = (device) => (this.room ? this.room.deviceChanged(device) : this.preview.show());
    this.media.onChoices = () => (this.room ? this.room.choicesChanged() : this.preview.show());
    this.preview.show();
    void this.media.start();
    addEventListener("hashchange", () => this.addressChanged());
    // Whoever closes the window has left the call; the others need not wait until the connection is missed.
    addEventListener("pagehide", () => this.webrtc?.close());
    void serverStatus().then((status) => status && this.lobby.noteDemo(status.demo));
  }

  private async enter(entrance: Entrance): Promise<void> {
    this.entrance = entrance;
    this.lobby.clearProblem();
    this.lobby.attempt = entrance.password ? "Deriving the key from the password…" : "Connecting…";
    const agent = new AgentConnection();
    const webrtc = new WebRTCHelper(agent, { mode: "sfu" });
    this.agent = agent;
    this.webrtc = webrtc;
    agent.onState = (state) => {
      if (agent !== this.agent) return;
      if (this.room) this.room.stateChanged();
      else if (state.name === "reconnecting") this.lobby.attempt = `Not yet: ${state.why} Trying again.`;
    };
    const room = new Room(agent, webrtc, this.media, {
      link: () => this.link(entrance),
      leave: () => void this.leave(),
      rejoin: () => void this.rejoin(),
    });
    try {
      await agent.connect({
        channelName: entrance.channel,
        channelPassword: entrance.password,
        sealed: entrance.isSealed ? undefined : false,
        agentName: entrance.name,
        apiKey: entrance.apiKey,
        apiKeyScope: entrance.scope,
        // Messages of the channel's chat are not shown here.
        customEventType: SIGNAL_TYPE,
      });
    } catch (error) {
      room.close();
      webrtc.close();
      if (agent === this.agent) this.refused(error as ProtocolError);
      return;
    }
    this.room = room;
    this.preview.close();
    this.show("room");
    room.entered();
  }

  private refused({ code, message, correlationId }: ProtocolError): void {
    this.agent = undefined;
    this.webrtc = undefined;
    this.lobby.attempt = "";
    this.show("lobby");
    this.lobby.failed(failureWording(code, message, correlationId));
  }

  private async leave(): Promise<void> {
    await this.end();
    this.show("lobby");
    this.lobby.readAddress(location.href);
    this.lobby.focus();
    this.preview.show();
    void this.media.start();
  }

  /** In with the same name and password once more. */
  private async rejoin(): Promise<void> {
    await this.end(false);
    this.show("lobby");
    if (this.entrance) await this.enter(this.entrance);
  }

  private async end(releasesDevices = true): Promise<void> {
    const { agent, webrtc, room } = this;
    this.agent = undefined;
    this.webrtc = undefined;
    this.room = undefined;
    room?.close();
    webrtc?.close();
    if (releasesDevices) this.media.stop();
    this.lobby.attempt = "";
    await agent?.disconnect();
  }

  /** Somebody put another link into the address bar. */
  private addressChanged(): void {
    if (this.entrance && this.room && location.href === this.link(this.entrance)) return;
    if (this.room) void this.leave();
    else this.lobby.readAddress(location.href);
  }

  private link({ channel, password, scope, isSealed }: Entrance): string {
    const found = this.agent?.channel?.scope ?? "";
    const project = found.startsWith("private:") ? found.slice("private:".length) : "";
    return formatLink({ origin: location.origin, page: "call", channel, password, project, scope, isSealed });
  }

  private show(part: "lobby" | "room"): void {
    byId("lobby", HTMLElement).hidden = part !== "lobby";
    byId("room", HTMLElement).hidden = part !== "room";
    if (part === "lobby") {
      document.title = "Call · peerbus";
      return;
    }
    this.lobby.attempt = "";
    this.lobby.remember();
    document.title = `${this.agent?.channel?.name ?? "Call"} · peerbus`;
    if (this.entrance) history.replaceState(null, "", this.link(this.entrance));
  }
}

new Visit().begin();
