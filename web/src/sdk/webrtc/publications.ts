/**
 * The tracks that this side sends.
 *
 * Owns what is published, under which ids, and who waits to hear that it is. Never touches a connection.
 */

import type { ProtocolError } from "../protocol/errors";
import type { MediaKind, Source } from "./records";

/** What `publish` takes besides the media. */
export interface PublishOptions {
  /** By default `microphone` or `camera`, or what the browser says of a captured screen. */
  readonly source?: Source | undefined;
  /** The most that a video is sent with. By default 1.5 Mb/s, a screen 2.5 Mb/s. */
  readonly maxBitsPerS?: number | undefined;
  /** Begins muted. */
  readonly isMuted?: boolean | undefined;
}

/** A track that this side sends. */
export interface LocalPublication {
  /** Unique among the own ones; the others see it as `<identity>/<id>`. */
  readonly id: string;
  readonly media: MediaKind;
  readonly source: Source;
  readonly track: MediaStreamTrack;
  readonly isMuted: boolean;
  /** The SFU has taken it. It is published again by itself after a loss of the connection. */
  readonly isPublished: boolean;
}

const CAMERA_BITS_PER_S = 1_500_000;
const SCREEN_BITS_PER_S = 2_500_000;

export class Local implements LocalPublication {
  readonly id: string;
  readonly media: MediaKind;
  readonly source: Source;
  readonly maxBitsPerS: number | undefined;
  track: MediaStreamTrack;
  isMuted: boolean;
  isPublished = false;
  /** Whoever waits for the first answer that names it. */
  private readonly settle: (error?: ProtocolError) => void;

  constructor(
    id: string,
    track: MediaStreamTrack,
    source: Source,
    options: PublishOptions,
    settle: (error?: ProtocolError) => void,
  ) {
    this.id = id;
    this.track = track;
    this.media = track.kind === "audio" ? "audio" : "video";
    this.source = source;
    this.isMuted = options.isMuted ?? false;
    this.maxBitsPerS =
      this.media === "audio"
        ? undefined
        : (options.maxBitsPerS ?? (source === "screen" ? SCREEN_BITS_PER_S : CAMERA_BITS_PER_S));
    this.settle = settle;
  }

  taken(): void {
    this.isPublished = true;
    this.settle();
  }

  refused(error: ProtocolError): void {
    this.isPublished = false;
    this.settle(error);
  }
}

/** What a track shows or plays, unless it is said; `isWithScreen`: it came in one stream with a captured screen. */
export function sourceOf(track: MediaStreamTrack, isWithScreen = isScreen(track)): Source {
  if (track.kind === "audio") return isWithScreen ? "screen_audio" : "microphone";
  return isScreen(track) ? "screen" : "camera";
}

/** Browsers say so of the tracks that `getDisplayMedia` gives (Screen Capture, section 5.4). */
export function isScreen(track: MediaStreamTrack): boolean {
  return track.kind === "video" && "displaySurface" in track.getSettings();
}
