/**
 * The own picture and sound before the call: what the others will see, how loud one is, and which devices there are.
 *
 * Owns these elements of the lobby. Never joins.
 */

import { byId, make } from "../elements/element";
import { icon } from "../elements/icon";
import { notice } from "../elements/notice";
import { LevelMeter } from "./level-meter";
import type { Device, MediaProblem, OwnMedia } from "./own-media";
import { deviceWording } from "./wording";

const DEVICES = ["camera", "microphone"] as const;
const ICONS = { camera: ["video", "video-off"], microphone: ["mic", "mic-off"] } as const;
const WORDS = { camera: "Camera", microphone: "Mic" } as const;

export class Preview {
  private readonly media: OwnMedia;
  private readonly video = byId("preview-video", HTMLVideoElement);
  private readonly words = byId("preview-words", HTMLElement);
  private readonly problems = byId("device-notice", HTMLElement);
  private readonly meter = new LevelMeter(byId("level", HTMLElement));
  private shownProblem = "";

  constructor(media: OwnMedia) {
    this.media = media;
    this.video.muted = true;
    for (const device of DEVICES) {
      byId(`preview-${device}`, HTMLButtonElement).onclick = () =>
        void media.set(device, !media.state(device).isOn);
      const menu = byId(`choose-${device}`, HTMLSelectElement);
      menu.onchange = () => void media.choose(device, menu.value);
    }
  }

  /** Brings everything up to date. */
  show(): void {
    for (const device of DEVICES) {
      this.showButton(device);
      this.showMenu(device);
    }
    this.showPicture();
    this.showProblems();
    const { isOn, track } = this.media.state("microphone");
    this.meter.measure(isOn ? track : undefined);
  }

  /** The call has begun: nothing is shown or measured here any more. */
  close(): void {
    this.meter.stop();
    this.video.srcObject = null;
  }

  private showPicture(): void {
    const { isOn, isStarting, track } = this.media.state("camera");
    const shown =
      this.video.srcObject instanceof MediaStream ? this.video.srcObject.getTracks()[0] : undefined;
    const wanted = isOn ? track : undefined;
    if (shown !== wanted) this.video.srcObject = wanted ? new MediaStream([wanted]) : null;
    this.video.hidden = !wanted;
    this.words.textContent = wanted ? "" : isStarting ? "Starting the camera…" : "The camera is off";
  }

  private showButton(device: Device): void {
    const { isOn, isStarting } = this.media.state(device);
    const [on, off] = ICONS[device];
    const button = byId(`preview-${device}`, HTMLButtonElement);
    const words = `${WORDS[device]} ${isStarting ? "is starting" : isOn ? "on" : "off"}`;
    button.ariaPressed = String(isOn);
    button.classList.toggle("is-off", !isOn && !isStarting);
    button.replaceChildren(icon(isOn || isStarting ? on : off), make("span", {}, words));
  }

  private showMenu(device: Device): void {
    const menu = byId(`choose-${device}`, HTMLSelectElement);
    const choices = this.media.choicesOf(device);
    const mark = JSON.stringify(choices);
    if (menu.dataset["mark"] !== mark) {
      menu.dataset["mark"] = mark;
      menu.replaceChildren(...choices.map(({ id, label }) => make("option", { value: id }, label)));
    }
    if (choices.length === 0) menu.replaceChildren(make("option", {}, this.withoutChoices(device)));
    else menu.value = this.media.chosenOf(device);
    menu.disabled = choices.length === 0;
  }

  private withoutChoices(device: Device): string {
    const { isStarting, problem } = this.media.state(device);
    if (isStarting) return "Looking for it…";
    return problem ? "None that can be used" : "Switch it on to choose";
  }

  private showProblems(): void {
    const found = DEVICES.flatMap((device) => {
      const { problem } = this.media.state(device);
      return problem ? [[device, problem] as const] : [];
    });
    const mark = JSON.stringify(found);
    if (mark === this.shownProblem) return;
    this.shownProblem = mark;
    const problems = [...new Set(found.map(([, problem]) => problem))];
    this.problems.replaceChildren(...problems.map((problem) => this.notice(problem, found)));
  }

  private notice(problem: MediaProblem, found: readonly (readonly [Device, MediaProblem])[]): HTMLElement {
    const devices = found.filter(([, its]) => its === problem).map(([device]) => device);
    const canRetry = problem !== "insecure" && problem !== "unsupported";
    const retry = (): void => {
      for (const device of devices) void this.media.set(device, true);
    };
    return notice(deviceWording(devices, problem), canRetry ? [{ label: "Try again", act: retry }] : []);
  }
}
