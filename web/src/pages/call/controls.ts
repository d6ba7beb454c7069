/**
 * The bar with the buttons of a call.
 *
 * Owns the buttons, the keys that do the same, and the menu of devices and reactions. Never touches a device.
 */

import { byId, make } from "../elements/element";
import { type IconName, icon } from "../elements/icon";
import { REACTIONS, type Reaction } from "./gestures";
import type { Device, DeviceState, OwnMedia } from "./own-media";

export interface ControlCallbacks {
  readonly toggle: (device: Device) => void;
  readonly choose: (device: Device, id: string) => void;
  readonly share: () => void;
  readonly hand: () => void;
  readonly react: (reaction: Reaction) => void;
  readonly leave: () => void;
}

/** What the buttons show. */
export interface ControlState {
  readonly camera: DeviceState;
  readonly microphone: DeviceState;
  readonly canShare: boolean;
  readonly isSharing: boolean;
  readonly isHandUp: boolean;
}

const REACTION_WORDS: Readonly<Record<Reaction, string>> = {
  "thumbs-up": "Thumbs up",
  heart: "Heart",
  "party-popper": "Celebrate",
  smile: "Smile",
};
const DEVICES = ["camera", "microphone"] as const;

export class Controls {
  private readonly callbacks: ControlCallbacks;
  private readonly menu = byId("react-menu", HTMLElement);

  constructor(callbacks: ControlCallbacks) {
    this.callbacks = callbacks;
    const { toggle, choose, share, hand, leave } = callbacks;
    button("microphone").onclick = () => toggle("microphone");
    button("camera").onclick = () => toggle("camera");
    button("screen").onclick = share;
    button("hand").onclick = hand;
    button("leave").onclick = leave;
    button("devices").onclick = () => byId("devices-dialog", HTMLDialogElement).showModal();
    button("react").onclick = () => this.showMenu(this.menu.hidden === true);
    this.menu.replaceChildren(...REACTIONS.map((reaction) => this.reactionButton(reaction)));
    for (const device of DEVICES) {
      const menu = byId(`use-${device}`, HTMLSelectElement);
      menu.onchange = () => choose(device, menu.value);
    }
    document.addEventListener("keydown", this.pressed);
    document.addEventListener("pointerdown", this.pointed);
  }

  show({ camera, microphone, canShare, isSharing, isHandUp }: ControlState): void {
    face("microphone", deviceIcon(microphone, "mic", "mic-off"), microphone.isOn ? "Mute" : "Unmute");
    face("camera", deviceIcon(camera, "video", "video-off"), camera.isOn ? "Stop video" : "Start video");
    face(
      "screen",
      isSharing ? "screen-share-off" : "screen-share",
      isSharing ? "Stop sharing" : "Share screen",
    );
    face("hand", "hand", isHandUp ? "Lower hand" : "Raise hand");
    for (const [id, { isOn, isStarting }] of [
      ["microphone", microphone],
      ["camera", camera],
    ] as const) {
      button(id).ariaPressed = String(isOn);
      button(id).classList.toggle("is-off", !isOn && !isStarting);
      button(id).ariaBusy = String(isStarting);
    }
    button("screen").hidden = !canShare;
    button("screen").ariaPressed = String(isSharing);
    button("screen").classList.toggle("is-on", isSharing);
    button("hand").ariaPressed = String(isHandUp);
    button("hand").classList.toggle("is-on", isHandUp);
  }

  showChoices(media: OwnMedia): void {
    for (const device of DEVICES) {
      const menu = byId(`use-${device}`, HTMLSelectElement);
      const choices = media.choicesOf(device);
      menu.disabled = choices.length === 0;
      menu.replaceChildren(...choices.map(({ id, label }) => make("option", { value: id }, label)));
      if (choices.length === 0) menu.replaceChildren(make("option", {}, "Switch it on to choose"));
      else menu.value = media.chosenOf(device);
    }
  }

  close(): void {
    this.showMenu(false);
    document.removeEventListener("keydown", this.pressed);
    document.removeEventListener("pointerdown", this.pointed);
  }

  private readonly pressed = (event: KeyboardEvent): void => {
    if (event.key === "Escape") this.showMenu(false);
    const isTyping = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
    const isCommand = event.ctrlKey || event.metaKey || event.altKey || event.repeat;
    if (isTyping || isCommand || document.querySelector("dialog[open]")) return;
    if (event.key === "m") this.callbacks.toggle("microphone");
    else if (event.key === "v") this.callbacks.toggle("camera");
  };

  private readonly pointed = (event: PointerEvent): void => {
    const isInside = event.target instanceof Node && byId("react-box", HTMLElement).contains(event.target);
    if (!isInside) this.showMenu(false);
  };

  private showMenu(isOpen: boolean): void {
    this.menu.hidden = !isOpen;
    button("react").ariaExpanded = String(isOpen);
    if (isOpen) this.menu.querySelector("button")?.focus();
  }

  private reactionButton(reaction: Reaction): HTMLElement {
    const words = REACTION_WORDS[reaction];
    const element = make(
      "button",
      { type: "button", class: "button plain icon-only", "aria-label": words, title: words },
      icon(reaction),
    );
    element.addEventListener("click", () => {
      this.showMenu(false);
      this.callbacks.react(reaction);
    });
    return element;
  }
}

function button(id: string): HTMLButtonElement {
  return byId(id, HTMLButtonElement);
}

function deviceIcon({ isOn, isStarting }: DeviceState, on: IconName, off: IconName): IconName {
  return isOn || isStarting ? on : off;
}

function face(id: string, name: IconName, words: string): void {
  const element = button(id);
  if (element.dataset["face"] === `${name} ${words}`) return;
  element.dataset["face"] = `${name} ${words}`;
  element.title = words;
  element.replaceChildren(icon(name), make("span", { class: "control-words" }, words));
}
