/**
 * The own camera, microphone and screen.
 *
 * Owns the devices: which are on, which were chosen, and why one is not there. A camera that is off is released, so that
 * its light goes out; a microphone that is off stays, silent, so that it is back at once. Never publishes anything.
 */

export type Device = "camera" | "microphone";

/** Why a device is not there. */
export type MediaProblem = "insecure" | "unsupported" | "denied" | "missing" | "busy" | "failed";

/** What is known of one of the two. */
export interface DeviceState {
  readonly isOn: boolean;
  /** It is being asked for. */
  readonly isStarting: boolean;
  readonly track: MediaStreamTrack | undefined;
  readonly problem: MediaProblem | undefined;
}

export interface Choice {
  readonly id: string;
  readonly label: string;
}

const KIND = { camera: "videoinput", microphone: "audioinput" } as const;
const WANTED_KEY = "peerbus/call/wanted";
const CAMERA: MediaTrackConstraints = {
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 30 },
};
const MICROPHONE: MediaTrackConstraints = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
};
const OFF: DeviceState = { isOn: false, isStarting: false, track: undefined, problem: undefined };

export class OwnMedia {
  /** Told whenever something about a device changes. */
  onChange: ((device: Device) => void) | undefined;
  /** Told when the devices that can be chosen change. */
  onChoices: (() => void) | undefined;
  private readonly states: Record<Device, DeviceState> = { camera: OFF, microphone: OFF };
  private readonly chosen: Record<Device, string> = { camera: "", microphone: "" };
  /** The one that was in use last, for the menu. */
  private readonly last: Record<Device, string> = { camera: "", microphone: "" };
  /** Rises with everything that is asked of a device, so that an answer to an older question can tell. */
  private readonly turns: Record<Device, number> = { camera: 0, microphone: 0 };
  private readonly choices: Record<Device, readonly Choice[]> = { camera: [], microphone: [] };
  private readonly devices: MediaDevices | undefined;

  /** Without `devices` the browser hides them, as it does from pages by plain http. */
  constructor(devices: MediaDevices | undefined = globalThis.navigator?.mediaDevices) {
    this.devices = devices;
    devices?.addEventListener?.("devicechange", () => void this.listChoices());
  }

  state(device: Device): DeviceState {
    return this.states[device];
  }

  /** The devices of a kind; their names are known once one may be used. */
  choicesOf(device: Device): readonly Choice[] {
    return this.choices[device];
  }

  chosenOf(device: Device): string {
    return this.last[device];
  }

  get canShareScreen(): boolean {
    return typeof this.devices?.getDisplayMedia === "function";
  }

  /** Begins with what was on at the last visit: both, at first. One question to the person for both. */
  async start(): Promise<void> {
    const wanted = remembered();
    const kinds = (["microphone", "camera"] as const).filter((device) => wanted[device]);
    if (kinds.length === 2) {
      const turns = { ...this.turns };
      for (const device of kinds) this.to(device, { ...OFF, isStarting: true });
      const both = await this.ask({
        audio: this.constraints("microphone"),
        video: this.constraints("camera"),
      });
      if (!(both instanceof MediaFailure)) {
        for (const device of kinds) this.took(device, both, turns[device]);
        await this.listChoices();
        return;
      }
      // One of them may be there all the same, except where it is the person or the browser who refuses.
      if (both.problem !== "missing" && both.problem !== "busy" && both.problem !== "failed") {
        for (const device of kinds) {
          if (this.turns[device] === turns[device]) this.to(device, { ...OFF, problem: both.problem });
        }
        return;
      }
    }
    for (const device of kinds) await this.switchOn(device);
  }

  async set(device: Device, isOn: boolean): Promise<void> {
    remember({ ...remembered(), [device]: isOn });
    if (!isOn) this.switchOff(device);
    else if (device === "microphone" && this.states.microphone.track?.readyState === "live") {
      this.states.microphone.track.enabled = true;
      this.to(device, { ...this.states.microphone, isOn: true });
    } else await this.switchOn(device);
  }

  /** Takes another device of the kind, on from now. */
  async choose(device: Device, id: string): Promise<void> {
    this.chosen[device] = id;
    remember({ ...remembered(), [device]: true });
    await this.switchOn(device);
  }

  /** The screen, a window or a tab; `undefined` if the person changed their mind. Throws `MediaFailure`. */
  async captureScreen(): Promise<MediaStream | undefined> {
    try {
      return await this.devices?.getDisplayMedia({
        video: { frameRate: { ideal: 15, max: 30 } },
        audio: true,
      });
    } catch (error) {
      const { problem } = failureOf(error);
      if (problem === "denied") return undefined;
      throw new MediaFailure(problem);
    }
  }

  /** Releases all of it. */
  stop(): void {
    for (const device of ["camera", "microphone"] as const) {
      this.turns[device] += 1;
      this.states[device].track?.stop();
      this.states[device] = OFF;
    }
  }

  private async switchOn(device: Device): Promise<void> {
    this.turns[device] += 1;
    const turn = this.turns[device];
    const before = this.states[device];
    this.to(device, { ...before, isStarting: true, problem: undefined });
    const constraints = this.constraints(device);
    const stream = await this.ask(device === "camera" ? { video: constraints } : { audio: constraints });
    if (stream instanceof MediaFailure) {
      // With an old device that still works the person goes on.
      const isAlive = before.track?.readyState === "live";
      if (turn === this.turns[device]) {
        this.to(device, { ...(isAlive ? before : OFF), isStarting: false, problem: stream.problem });
      }
      return;
    }
    before.track?.stop();
    this.took(device, stream, turn);
    await this.listChoices();
  }

  private switchOff(device: Device): void {
    this.turns[device] += 1;
    const { track } = this.states[device];
    if (device === "microphone" && track) {
      track.enabled = false;
      this.to(device, { ...OFF, track });
    } else {
      track?.stop();
      this.to(device, OFF);
    }
  }

  private took(device: Device, stream: MediaStream, turn: number): void {
    const track = (device === "camera" ? stream.getVideoTracks() : stream.getAudioTracks())[0];
    if (turn !== this.turns[device]) {
      track?.stop();
      return;
    }
    this.last[device] = track?.getSettings().deviceId ?? "";
    track?.addEventListener("ended", () => {
      // Unplugged, or taken away by the system.
      if (this.states[device].track === track) this.to(device, { ...OFF, problem: "missing" });
    });
    this.to(device, { ...OFF, isOn: track !== undefined, track });
  }

  private constraints(device: Device): MediaTrackConstraints {
    const id = this.chosen[device];
    return {
      ...(device === "camera" ? CAMERA : MICROPHONE),
      ...(id ? { deviceId: { exact: id } } : {}),
    };
  }

  private async ask(constraints: MediaStreamConstraints): Promise<MediaStream | MediaFailure> {
    if (!this.devices?.getUserMedia) {
      return new MediaFailure(globalThis.isSecureContext === false ? "insecure" : "unsupported");
    }
    try {
      return await this.devices.getUserMedia(constraints);
    } catch (error) {
      return failureOf(error);
    }
  }

  private async listChoices(): Promise<void> {
    const all = (await this.devices?.enumerateDevices().catch(() => [])) ?? [];
    for (const device of ["camera", "microphone"] as const) {
      this.choices[device] = all
        .filter(({ kind, deviceId }) => kind === KIND[device] && deviceId !== "")
        .map(({ deviceId, label }, at) => ({
          id: deviceId,
          label: label || `${device === "camera" ? "Camera" : "Microphone"} ${at + 1}`,
        }));
    }
    this.onChoices?.();
  }

  private to(device: Device, state: DeviceState): void {
    this.states[device] = state;
    this.onChange?.(device);
  }
}

/** A device cannot be used. */
export class MediaFailure extends Error {
  readonly problem: MediaProblem;

  constructor(problem: MediaProblem) {
    super(problem);
    this.problem = problem;
  }
}

/** From the browser's error (Media Capture and Streams, section 10.1) to what a person can do about it. */
function failureOf(error: unknown): MediaFailure {
  const problems: Readonly<Record<string, MediaProblem>> = {
    NotAllowedError: "denied",
    SecurityError: "denied",
    NotFoundError: "missing",
    OverconstrainedError: "missing",
    NotReadableError: "busy",
    AbortError: "busy",
  };
  return new MediaFailure(problems[(error as { readonly name?: string }).name ?? ""] ?? "failed");
}

function remembered(): Record<Device, boolean> {
  try {
    const stored = JSON.parse(localStorage.getItem(WANTED_KEY) ?? "{}") as Partial<Record<Device, boolean>>;
    return { camera: stored.camera !== false, microphone: stored.microphone !== false };
  } catch {
    return { camera: true, microphone: true };
  }
}

function remember(wanted: Record<Device, boolean>): void {
  try {
    localStorage.setItem(WANTED_KEY, JSON.stringify(wanted));
  } catch {
    // Without storage both are on again at the next visit.
  }
}
