// @vitest-environment happy-dom
/** Camera and microphone: what is on, and why one is not. */
import { beforeEach, describe, expect, test } from "vitest";
import { type Device, MediaFailure, OwnMedia } from "../../../src/pages/call/own-media";

class Track extends EventTarget {
  enabled = true;
  readyState = "live";
  readonly kind: string;
  readonly deviceId: string;

  constructor(kind: string, deviceId: string) {
    super();
    this.kind = kind;
    this.deviceId = deviceId;
  }

  getSettings(): object {
    return { deviceId: this.deviceId };
  }

  stop(): void {
    this.readyState = "ended";
  }

  unplug(): void {
    this.stop();
    this.dispatchEvent(new Event("ended"));
  }
}

/** The devices of a machine, as browsers give them. */
class Machine {
  readonly asked: MediaStreamConstraints[] = [];
  /** What asking for a kind meets. */
  readonly refusals: Partial<Record<"audio" | "video" | "screen", string>> = {};
  readonly tracks: Track[] = [];
  private hold: Promise<void> = Promise.resolve();

  /** Lets the next answers wait. */
  holdOn(): () => void {
    let release = (): void => undefined;
    this.hold = new Promise((resolve) => {
      release = resolve;
    });
    return release;
  }

  async getUserMedia(constraints: MediaStreamConstraints): Promise<MediaStream> {
    this.asked.push(constraints);
    await this.hold;
    const tracks = (["audio", "video"] as const).flatMap((kind) => {
      const wanted = constraints[kind] as MediaTrackConstraints | undefined;
      if (!wanted) return [];
      const refusal = this.refusals[kind];
      if (refusal) throw new DOMException("No.", refusal);
      const exact = (wanted.deviceId as { exact?: string } | undefined)?.exact;
      return [new Track(kind, exact ?? `${kind}-1`)];
    });
    this.tracks.push(...tracks);
    return {
      getAudioTracks: () => tracks.filter(({ kind }) => kind === "audio"),
      getVideoTracks: () => tracks.filter(({ kind }) => kind === "video"),
    } as unknown as MediaStream;
  }

  getDisplayMedia(): Promise<MediaStream> {
    const { screen } = this.refusals;
    return screen ? Promise.reject(new DOMException("No.", screen)) : Promise.resolve({} as MediaStream);
  }

  enumerateDevices(): Promise<unknown> {
    return Promise.resolve([
      { kind: "videoinput", deviceId: "video-1", label: "Front" },
      { kind: "videoinput", deviceId: "video-2", label: "" },
      { kind: "audioinput", deviceId: "audio-1", label: "Headset" },
      { kind: "audiooutput", deviceId: "out", label: "Speaker" },
    ]);
  }
}

let machine: Machine;
let media: OwnMedia;
let changes: Device[];

beforeEach(() => {
  localStorage.clear();
  machine = new Machine();
  make();
});

function make(): void {
  media = new OwnMedia(machine as unknown as MediaDevices);
  changes = [];
  media.onChange = (device) => changes.push(device);
}

const isOn = () => [media.state("microphone").isOn, media.state("camera").isOn];
const problems = () => [media.state("microphone").problem, media.state("camera").problem];

describe("the beginning", () => {
  test("asks once for both", async () => {
    await media.start();
    expect(isOn()).toEqual([true, true]);
    expect(machine.asked).toHaveLength(1);
    expect(media.choicesOf("camera")).toEqual([
      { id: "video-1", label: "Front" },
      { id: "video-2", label: "Camera 2" },
    ]);
    expect(media.choicesOf("microphone")).toEqual([{ id: "audio-1", label: "Headset" }]);
    expect(media.chosenOf("camera")).toBe("video-1");
  });

  test("takes what there is where one is missing or in use", async () => {
    machine.refusals.video = "NotFoundError";
    await media.start();
    expect([isOn(), problems()]).toEqual([
      [true, false],
      [undefined, "missing"],
    ]);
    machine.refusals.audio = "NotReadableError";
    make();
    await media.start();
    expect(problems()).toEqual(["busy", "missing"]);
  });

  test("asks no second time where the person said no", async () => {
    machine.refusals.audio = "NotAllowedError";
    await media.start();
    expect(problems()).toEqual(["denied", "denied"]);
    expect(machine.asked).toHaveLength(1);
  });

  test("is told where the browser hides devices", async () => {
    media = new OwnMedia({} as MediaDevices);
    await media.start();
    expect(problems()).toEqual(["unsupported", "unsupported"]);
    expect(media.canShareScreen).toBe(false);
    Object.defineProperty(globalThis, "isSecureContext", { value: false, configurable: true });
    media = new OwnMedia({} as MediaDevices);
    await media.start();
    Reflect.deleteProperty(globalThis, "isSecureContext");
    expect(problems()).toEqual(["insecure", "insecure"]);
  });

  test("is as the last visit was", async () => {
    await media.start();
    await media.set("camera", false);
    media.stop();
    make();
    await media.start();
    expect(isOn()).toEqual([true, false]);
    expect(machine.asked.at(-1)?.video).toBeUndefined();
  });
});

describe("switching", () => {
  test("releases a camera, and silences a microphone", async () => {
    await media.start();
    const [microphone, camera] = machine.tracks;
    await media.set("camera", false);
    await media.set("microphone", false);
    expect([camera?.readyState, microphone?.readyState, microphone?.enabled]).toEqual([
      "ended",
      "live",
      false,
    ]);
    expect(isOn()).toEqual([false, false]);
    expect(media.state("microphone").track).toBeDefined();
    await media.set("microphone", true);
    expect(microphone?.enabled).toBe(true);
    expect(machine.asked).toHaveLength(1);
    await media.set("camera", true);
    expect(machine.asked).toHaveLength(2);
    expect(isOn()).toEqual([true, true]);
  });

  test("off while it is being asked for releases what comes", async () => {
    const release = machine.holdOn();
    const starting = media.start();
    expect(media.state("camera").isStarting).toBe(true);
    await media.set("camera", false);
    release();
    await starting;
    expect(isOn()).toEqual([true, false]);
    expect(machine.tracks.map(({ readyState }) => readyState)).toEqual(["live", "ended"]);
  });

  test("to another device stops the one before; one that fails changes nothing", async () => {
    await media.start();
    await media.choose("camera", "video-2");
    expect(media.chosenOf("camera")).toBe("video-2");
    expect(machine.tracks[1]?.readyState).toBe("ended");
    machine.refusals.video = "NotReadableError";
    await media.choose("camera", "video-1");
    expect(media.state("camera")).toMatchObject({ isOn: true, problem: "busy" });
    expect(media.chosenOf("camera")).toBe("video-2");
  });

  test("is done by whoever pulls the plug", async () => {
    await media.start();
    changes.length = 0;
    machine.tracks[1]?.unplug();
    expect(media.state("camera")).toMatchObject({ isOn: false, problem: "missing" });
    expect(changes).toEqual(["camera"]);
  });

  test("ends for all at the end", async () => {
    await media.start();
    media.stop();
    expect(machine.tracks.map(({ readyState }) => readyState)).toEqual(["ended", "ended"]);
    expect(isOn()).toEqual([false, false]);
  });
});

describe("the screen", () => {
  test("is captured, or not if the person thinks better of it", async () => {
    expect(await media.captureScreen()).toBeDefined();
    machine.refusals.screen = "NotAllowedError";
    expect(await media.captureScreen()).toBeUndefined();
  });

  test("may not be there", async () => {
    machine.refusals.screen = "NotReadableError";
    await expect(media.captureScreen()).rejects.toBeInstanceOf(MediaFailure);
  });
});
