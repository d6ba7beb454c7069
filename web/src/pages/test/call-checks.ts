/**
 * A real call through the media worker: two members of one channel, both in this page.
 *
 * Owns what is measured: until both are in, data there and back, the first picture, throughput, loss, delay. Never decides
 * what the figures mean (`judgement`).
 */

import { AgentConnection } from "../../sdk/agent/agent";
import { ProtocolError } from "../../sdk/protocol/errors";
import { WebRTCHelper } from "../../sdk/webrtc/helper";
import type { CallAttempt, Quality } from "./facts";

const MEASURE_MS = 1_000;
const PINGS = 40;
const PING_EVERY_MS = 25;
const LATE_MS = 300;
const CHUNK = new Uint8Array(16_000);

/** A call, and what was measured in it. */
export interface Figures {
  readonly call: CallAttempt;
  readonly mbit_per_s?: number;
  readonly quality?: Quality;
}

export interface CallSettings {
  readonly apiKey: string;
  readonly channel: string;
  readonly useWebsocket: boolean;
  readonly iceServers: readonly RTCIceServer[];
  readonly policy: RTCIceTransportPolicy;
  /** How long each step may take. */
  readonly timeoutMs: number;
  /** Throughput and loss, too. */
  readonly isMeasured: boolean;
}

class LateError extends Error {}

/** Brings two into a call. */
export async function tryCall(settings: CallSettings): Promise<Figures> {
  const pair = new Pair(settings);
  const { timeoutMs } = settings;
  try {
    const began = performance.now();
    await inTime(pair.connect(), timeoutMs);
    const ms = since(began);
    const data_ms = await inTime(pair.roundTrip(), timeoutMs);
    const media_ms = await inTime(pair.firstPicture(), timeoutMs).catch(() => undefined);
    const call = { ms, data_ms, ...(media_ms === undefined ? {} : { media_ms }) };
    if (!settings.isMeasured) return { call };
    const mbit_per_s = await pair.throughput();
    // What is still under way of it would hold up what comes next.
    await inTime(pair.roundTrip(timeoutMs), timeoutMs).catch(() => undefined);
    return { call, mbit_per_s, quality: await pair.quality() };
  } catch (error) {
    if (error instanceof LateError) {
      return { call: { error: `Nothing came through within ${timeoutMs / 1000} s.` } };
    }
    if (error instanceof ProtocolError) return { call: { error: error.message, code: error.code } };
    return { call: { error: String(error) } };
  } finally {
    await pair.close();
  }
}

/** Two in a call: the one measures, the other sends back. */
class Pair {
  private readonly settings: CallSettings;
  private readonly agents = [new AgentConnection(), new AgentConnection()] as const;
  private calls: WebRTCHelper[] = [];
  private readonly stops: (() => void)[] = [];
  private pongs: { readonly number: number; readonly at: number }[] = [];
  private onPong: (() => void) | undefined;
  private farBytes = 0;

  constructor(settings: CallSettings) {
    this.settings = settings;
    // What nobody waits for is of no interest here; what fails is seen by what does not come.
    for (const agent of this.agents) agent.onError = () => undefined;
  }

  async connect(): Promise<void> {
    const { apiKey, channel, useWebsocket, iceServers, policy } = this.settings;
    await Promise.all(
      this.agents.map((agent) =>
        agent.connect({ channelName: channel, apiKey, useWebsocket, resumeKey: false }),
      ),
    );
    const options = { mode: "sfu", iceServers, iceTransportPolicy: policy } as const;
    this.calls = this.agents.map((agent) => new WebRTCHelper(agent, options));
    this.near.onDataReceived = (data) => {
      if (typeof data !== "number") return;
      this.pongs.push({ number: data, at: performance.now() });
      this.onPong?.();
    };
    this.far.onDataReceived = (data) => {
      if (data instanceof Uint8Array) this.farBytes += data.length;
      else this.far.sendData(data, { lossy: data !== 0 }).catch(() => undefined);
    };
    await Promise.all(this.calls.map(connected));
  }

  /** Until the two know of each other the first ones may be for nobody, and are sent again. */
  async roundTrip(againMs = LATE_MS): Promise<number> {
    for (;;) {
      const began = performance.now();
      this.near.sendData(0).catch(() => undefined);
      const came = new Promise<boolean>((done) => {
        this.onPong = () => done(true);
        setTimeout(() => done(false), againMs);
      });
      if (await came) return since(began);
    }
  }

  async firstPicture(): Promise<number> {
    const began = performance.now();
    const shown = new Promise<void>((done) => {
      this.far.onTrack = (track) => {
        const video = document.createElement("video");
        video.muted = true;
        video.srcObject = new MediaStream([track]);
        video.onloadeddata = () => done();
        video.play().catch(() => undefined);
        this.stops.push(() => {
          video.srcObject = null;
        });
      };
    });
    await this.near.publish(this.testPicture());
    await shown;
    return since(began);
  }

  async throughput(): Promise<number> {
    const [began, before] = [performance.now(), this.farBytes];
    while (performance.now() - began < MEASURE_MS) await this.near.sendData(CHUNK);
    const seconds = (performance.now() - began) / 1000;
    return Number((((this.farBytes - before) * 8) / seconds / 1e6).toFixed(2));
  }

  async quality(): Promise<Quality> {
    this.pongs = [];
    const sent = new Map<number, number>();
    for (let number = 1; number <= PINGS; number += 1) {
      sent.set(number, performance.now());
      this.near.sendData(number, { lossy: true }).catch(() => undefined);
      await pause(PING_EVERY_MS);
    }
    await pause(LATE_MS);
    const delays = this.pongs.flatMap(({ number, at }) => {
      const began = sent.get(number);
      return began === undefined ? [] : [at - began];
    });
    if (delays.length === 0) return { sent: PINGS, received: 0 };
    const changes = delays.slice(1).map((delay, at) => Math.abs(delay - (delays[at] ?? delay)));
    return { sent: PINGS, received: delays.length, rtt_ms: mean(delays), jitter_ms: mean(changes) };
  }

  async close(): Promise<void> {
    for (const stop of this.stops) stop();
    for (const call of this.calls) call.close();
    await Promise.all(this.agents.map((agent) => agent.disconnect()));
  }

  private get near(): WebRTCHelper {
    return this.calls[0] as WebRTCHelper;
  }

  private get far(): WebRTCHelper {
    return this.calls[1] as WebRTCHelper;
  }

  /** A bar that runs over a dark ground. */
  private testPicture(): MediaStreamTrack {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: 320, height: 240 });
    const context = canvas.getContext("2d");
    let left = 0;
    const draw = (): void => {
      if (!context) return;
      context.fillStyle = "#222";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.fillStyle = "#eee";
      left = (left + 8) % canvas.width;
      context.fillRect(left, 0, 32, canvas.height);
    };
    draw();
    const timer = setInterval(draw, 66);
    const [track] = canvas.captureStream(15).getVideoTracks();
    if (!track) throw new ProtocolError("not_supported", "This browser cannot make a test picture.");
    this.stops.push(() => {
      clearInterval(timer);
      track.stop();
    });
    return track;
  }
}

/** Resolves when a call stands; rejects with why it never will. */
function connected(call: WebRTCHelper): Promise<void> {
  return new Promise((done, failed) => {
    const look = (): void => {
      const { name, code, why } = call.state;
      if (name === "connected") done();
      else if (name === "closed" || code === "no_worker") failed(new ProtocolError(code, why));
    };
    call.on("state", look);
    look();
  });
}

function inTime<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  const late = new Promise<never>((_, failed) => {
    setTimeout(() => failed(new LateError()), timeoutMs);
  });
  return Promise.race([work, late]);
}

const since = (began: number): number => Math.round(performance.now() - began);
const pause = (ms: number): Promise<void> => new Promise((go) => setTimeout(go, ms));
const mean = (values: readonly number[]): number =>
  Number((values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)).toFixed(1));
