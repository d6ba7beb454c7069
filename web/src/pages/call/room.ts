/**
 * The call on the page: one connected helper, its tiles and its buttons.
 *
 * Owns what ties devices and helper to the elements. Never decides about a connection, and finds no words; see
 * `wording.ts`.
 */

import type { AgentConnection } from "../../sdk/agent/agent";
import type { ProtocolError } from "../../sdk/protocol/errors";
import type { WebRTCHelper } from "../../sdk/webrtc/helper";
import type { LocalPublication } from "../../sdk/webrtc/publications";
import { closeDialogs, showOpenness, showShare } from "../channel/dialogs";
import { byId, make } from "../elements/element";
import { icon } from "../elements/icon";
import { type Action, notice, type Wording } from "../elements/notice";
import { ConnectionView } from "./connection-view";
import { Controls } from "./controls";
import { Gestures, type Reaction } from "./gestures";
import { type Device, MediaFailure, type OwnMedia } from "./own-media";
import { showPeople } from "./people";
import { tilesOf } from "./tile-model";
import { Tiles } from "./tiles";
import { callFailureWording, deviceWording, hiddenWording, mediaOpenness, peopleWords } from "./wording";

const SOURCES = { camera: "camera", microphone: "microphone" } as const;

export interface RoomCallbacks {
  /** The link to this call. */
  readonly link: () => string;
  /** Back to the lobby. */
  readonly leave: () => void;
  /** Join again, as after a loss for good. */
  readonly rejoin: () => void;
}

export class Room {
  private readonly agent: AgentConnection;
  private readonly webrtc: WebRTCHelper;
  private readonly media: OwnMedia;
  private readonly callbacks: RoomCallbacks;
  private readonly tiles: Tiles;
  private readonly gestures: Gestures;
  private readonly controls: Controls;
  private readonly connection: ConnectionView;
  private readonly notices = byId("notices", HTMLElement);
  private readonly published: Partial<Record<Device, LocalPublication>> = {};
  private screen: MediaStream | undefined;
  private ownCamera: MediaStream | undefined;
  private speaking: ReadonlySet<string> = new Set();
  private pinned: string | undefined;
  /** Of whom it was said that nothing of them is shown. */
  private readonly hidden: Record<string, string> = {};
  private isDrawing = false;
  private isClosed = false;

  constructor(agent: AgentConnection, webrtc: WebRTCHelper, media: OwnMedia, callbacks: RoomCallbacks) {
    this.agent = agent;
    this.webrtc = webrtc;
    this.media = media;
    this.callbacks = callbacks;
    this.notices.replaceChildren();
    this.tiles = new Tiles(byId("tiles", HTMLElement), {
      pin: (key) => {
        this.pinned = this.pinned === key ? undefined : key;
        this.draw();
      },
      held: () => this.tellHeldSound(),
    });
    this.gestures = new Gestures(webrtc, () => agent.identity, {
      handsChanged: () => this.draw(),
      reacted: (identity, reaction) => this.showReaction(identity, reaction),
    });
    this.controls = new Controls({
      toggle: (device) => void this.toggle(device),
      choose: (device, id) => void media.choose(device, id),
      share: () => void this.toggleScreen(),
      hand: () => this.gestures.raise(!this.gestures.isOwnHandUp),
      react: (reaction) => this.gestures.react(reaction),
      leave: callbacks.leave,
    });
    const { leave, rejoin } = callbacks;
    this.connection = new ConnectionView(agent, webrtc, { rejoin, leave });
    webrtc.on("state", () => this.stateChanged());
    for (const event of ["track", "trackEnded", "peers", "publications", "encryptionState"] as const) {
      webrtc.on(event, () => this.draw());
    }
    webrtc.on("activeSpeaker", (speakers) => {
      this.speaking = new Set(speakers.map(({ identity }) => identity));
      this.draw();
    });
    webrtc.onError = (error) => this.tellTrouble(error);
    agent.onError = (error) => this.tellTrouble(error);
    agent.on("channel", () => this.showHead());
    // Published before the connection stands, so that the first offer has it.
    for (const device of ["microphone", "camera"] as const) this.publish(device);
  }

  /** The agent is in. */
  entered(): void {
    this.wireHead();
    this.showHead();
    this.controls.showChoices(this.media);
    // What was switched on while the agent was on its way.
    for (const device of ["microphone", "camera"] as const) this.deviceChanged(device);
    this.stateChanged();
  }

  stateChanged(): void {
    this.connection.show();
    this.draw();
  }

  deviceChanged(device: Device): void {
    this.publish(device);
    const { problem, isStarting } = this.media.state(device);
    if (problem && !isStarting) this.tell(deviceWording([device], problem), this.retry(device));
    else this.untell("media_");
    this.draw();
  }

  choicesChanged(): void {
    this.controls.showChoices(this.media);
  }

  /** The page is used for something else from here on. */
  close(): void {
    this.isClosed = true;
    this.stopSharing();
    this.tiles.close();
    this.connection.close();
    this.controls.close();
    closeDialogs();
  }

  // --- what one sends ----------------------------------------------------------------------------------------

  private async toggle(device: Device): Promise<void> {
    const { isOn, isStarting } = this.media.state(device);
    if (!isStarting) await this.media.set(device, !isOn);
  }

  /** Brings the publication of a device to where the device is. */
  private publish(device: Device): void {
    const { track, isOn } = this.media.state(device);
    const published = this.published[device];
    const isStill = published !== undefined && this.webrtc.publications.includes(published);
    if (isStill) {
      if (track && published.track !== track) this.webrtc.replaceTrack(published, track);
      this.webrtc.mute(published, !isOn);
    } else if (track && this.webrtc.state.name !== "closed") {
      const known = new Set(this.webrtc.publications);
      // What comes of it the state of the publication tells, and `onError` where it fails.
      void this.webrtc.publish(track, { source: SOURCES[device], isMuted: !isOn });
      const publication = this.webrtc.publications.find((one) => !known.has(one));
      if (publication) this.published[device] = publication;
    }
  }

  private async toggleScreen(): Promise<void> {
    if (this.screen) {
      this.stopSharing();
      return;
    }
    try {
      const screen = await this.media.captureScreen();
      if (!screen || this.isClosed) {
        for (const track of screen?.getTracks() ?? []) track.stop();
        return;
      }
      this.screen = screen;
      // The browser has a button of its own that ends the sharing.
      screen.getVideoTracks()[0]?.addEventListener("ended", () => this.stopSharing());
      void this.webrtc.publish(screen);
    } catch (error) {
      if (!(error instanceof MediaFailure)) throw error;
      this.tell({
        tone: "warn",
        title: "The screen can’t be shared",
        text:
          "The browser or the system does not allow it. On a Mac, allow screen recording for this browser in the " +
          "system’s privacy settings; then try again.",
        code: `screen_${error.problem}`,
      });
    }
    this.draw();
  }

  private stopSharing(): void {
    const tracks = this.screen?.getTracks() ?? [];
    this.screen = undefined;
    for (const publication of this.webrtc.publications) {
      if (tracks.includes(publication.track)) this.webrtc.unpublish(publication);
    }
    for (const track of tracks) track.stop();
    this.draw();
  }

  private showReaction(identity: string, reaction: Reaction): void {
    this.tiles.react(identity === this.agent.identity ? "own" : identity, reaction);
  }

  // --- head, notices -----------------------------------------------------------------------------------------

  private wireHead(): void {
    byId("share-open", HTMLButtonElement).onclick = () => this.share();
    byId("alone-share", HTMLButtonElement).onclick = () => this.share();
    byId("openness", HTMLButtonElement).onclick = () => {
      const { channel, safetyNumber } = this.agent;
      if (!channel) return;
      showOpenness(channel, mediaOpenness(channel, this.webrtc.isEncrypted).text, safetyNumber);
    };
    byId("people-open", HTMLButtonElement).onclick = () => {
      this.showPeople();
      byId("people-dialog", HTMLDialogElement).showModal();
    };
  }

  private share(): void {
    const link = this.callbacks.link();
    showShare(link, this.agent.channel?.hasPassword ?? false, `peerbus bot --link '${link}'`);
  }

  private showHead(): void {
    const { channel } = this.agent;
    if (!channel) return;
    byId("channel-name", HTMLElement).textContent = channel.name;
    const { badge, shortBadge, sign } = mediaOpenness(channel, this.webrtc.isEncrypted);
    byId("openness", HTMLElement).replaceChildren(
      icon(sign),
      make("span", { class: "wide-only" }, badge),
      make("span", { class: "narrow-only" }, shortBadge),
    );
  }

  private showPeople(): void {
    showPeople(byId("people-list", HTMLElement), {
      ownName: this.agent.agentName,
      ownIdentity: this.agent.identity,
      isOwnMicrophoneOn: this.media.state("microphone").isOn,
      peers: this.webrtc.peers,
      encryptionOf: (publication) => this.webrtc.encryptionOf(publication),
      handsUp: this.gestures.handsUp,
    });
  }

  private tellTrouble(error: ProtocolError): void {
    // The end of the call has a notice of its own.
    if (this.isClosed || this.webrtc.state.name === "closed" || error.code === "closed") return;
    this.tell(callFailureWording(error.code, error.message, error.correlationId));
  }

  private tellHeldSound(): void {
    const wording: Wording = {
      tone: "warn",
      title: "Your browser holds the sound back",
      text: "It plays sound only after a click in the page.",
      code: "sound_held",
    };
    const play = (): void => {
      this.tiles.play();
      this.untell("sound_held");
    };
    this.tell(wording, [{ label: "Play the sound", act: play, isPrimary: true }]);
  }

  /** Says of whom nothing is shown, once for each change of who that is. */
  private tellHidden(state: "undecryptable" | "not_sealed"): void {
    const names = this.webrtc.peers
      .filter(({ publications }) => publications.some((one) => this.webrtc.encryptionOf(one) === state))
      .map(({ name }) => name);
    const mark = names.join("\n");
    if ((this.hidden[state] ?? "") === mark) return;
    this.hidden[state] = mark;
    this.untell(`call_${state}`);
    const wording = hiddenWording(state, names);
    if (wording) this.tell(wording);
  }

  private retry(device: Device): Action[] {
    return [{ label: "Try again", act: () => void this.media.set(device, true) }];
  }

  private tell(wording: Wording, actions: readonly Action[] = []): void {
    // One of a kind is enough.
    if (wording.code) this.untell(wording.code);
    const shown = notice(wording, [...actions, { label: "Dismiss", act: () => shown.remove() }]);
    this.notices.append(shown);
  }

  private untell(code: string): void {
    for (const shown of this.notices.querySelectorAll(`[data-code^="${CSS.escape(code)}"]`)) shown.remove();
  }

  // --- drawing -----------------------------------------------------------------------------------------------

  /** Brings the page up to date, once for all that happens in one turn. */
  private draw(): void {
    if (this.isDrawing || this.isClosed) return;
    this.isDrawing = true;
    queueMicrotask(() => {
      this.isDrawing = false;
      if (!this.isClosed) this.drawNow();
    });
  }

  private drawNow(): void {
    const { agent, webrtc, media } = this;
    const { peers } = webrtc;
    const { tiles, hasStage } = tilesOf({
      own: {
        identity: agent.identity,
        name: agent.agentName,
        camera: this.cameraStream(),
        isMicrophoneOn: media.state("microphone").isOn,
        isSharing: this.screen !== undefined,
      },
      peers,
      tracks: webrtc.tracks,
      encryptionOf: (publication) => webrtc.encryptionOf(publication),
      speaking: this.speaking,
      handsUp: this.gestures.handsUp,
      pinned: this.pinned,
      isLost: webrtc.state.name === "reconnecting",
    });
    this.tiles.show(tiles, hasStage, this.pinned);
    this.controls.show({
      camera: media.state("camera"),
      microphone: media.state("microphone"),
      canShare: media.canShareScreen,
      isSharing: this.screen !== undefined,
      isHandUp: this.gestures.isOwnHandUp,
    });
    this.tellHidden("undecryptable");
    this.tellHidden("not_sealed");
    byId("alone", HTMLElement).hidden = peers.length > 0 || !webrtc.isConnected();
    const count = peers.length + 1;
    byId("people-open", HTMLElement).replaceChildren(
      icon("users"),
      make("span", { class: "numbers wide-only" }, peopleWords(count)),
      make("span", { class: "numbers narrow-only", "aria-hidden": "true" }, String(count)),
    );
    if (byId("people-dialog", HTMLDialogElement).open) this.showPeople();
  }

  private cameraStream(): MediaStream | undefined {
    const { isOn, track } = this.media.state("camera");
    if (!isOn || !track) this.ownCamera = undefined;
    else if (this.ownCamera?.getTracks()[0] !== track) this.ownCamera = new MediaStream([track]);
    return this.ownCamera;
  }
}
