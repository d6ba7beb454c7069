/**
 * How loud a microphone is, as a bar.
 *
 * Owns the measuring: fifteen times a second, from 0 to 1. Browsers let sound be analysed only after a click or a key
 * in the page, or while it records; until then the bar is empty.
 */

const EVERY_MS = 66;
/** What counts as silence, and as full scale, in dB. */
const QUIET_DB = -60;
const LOUD_DB = -10;

export class LevelMeter {
  private readonly bar: HTMLElement;
  private context: AudioContext | undefined;
  private source: MediaStreamAudioSourceNode | undefined;
  private timer: ReturnType<typeof setInterval> | undefined;
  private track: MediaStreamTrack | undefined;

  /** `bar` shows the level by its CSS variable `--level`. */
  constructor(bar: HTMLElement) {
    this.bar = bar;
  }

  /** Measures this track from now on; none: nothing. */
  measure(track: MediaStreamTrack | undefined): void {
    if (track === this.track) return;
    this.stop();
    this.track = track;
    if (!track || typeof AudioContext === "undefined") return;
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    this.source = context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(analyser);
    this.context = context;
    const samples = new Float32Array(analyser.fftSize);
    this.timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      this.show(levelOf(samples));
    }, EVERY_MS);
    if (context.state === "suspended") addEventListener("pointerdown", this.resume, { once: true });
  }

  stop(): void {
    clearInterval(this.timer);
    removeEventListener("pointerdown", this.resume);
    this.source?.disconnect();
    // One that is closed already refuses to be closed again.
    this.context?.close().catch(() => undefined);
    this.context = undefined;
    this.track = undefined;
    this.show(0);
  }

  private readonly resume = (): void => {
    this.context?.resume().catch(() => undefined);
  };

  private show(level: number): void {
    this.bar.style.setProperty("--level", level.toFixed(3));
    this.bar.dataset["level"] = level.toFixed(2);
  }
}

/** From samples to a share of the bar. */
export function levelOf(samples: ArrayLike<number>): number {
  let sum = 0;
  for (let at = 0; at < samples.length; at++) sum += (samples[at] ?? 0) ** 2;
  if (sum === 0) return 0;
  const db = 10 * Math.log10(sum / samples.length);
  return Math.min(1, Math.max(0, (db - QUIET_DB) / (LOUD_DB - QUIET_DB)));
}
