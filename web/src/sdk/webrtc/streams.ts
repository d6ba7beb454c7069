/**
 * One `MediaStream` for all tracks of a peer that belong together.
 *
 * Owns which tracks do: camera, microphone and others; a captured screen and its sound. Lives as long as one of them.
 */

import type { RemotePublication } from "./records";

const SCREEN = new Set(["screen", "screen_audio"]);

export class Streams {
  private readonly streams = new Map<string, MediaStream>();
  private readonly makeStream: () => MediaStream;

  constructor(makeStream: () => MediaStream) {
    this.makeStream = makeStream;
  }

  /** Puts a track into the stream it belongs to, which it gives. */
  add(publication: RemotePublication, track: MediaStreamTrack): MediaStream {
    const key = keyOf(publication);
    const stream = this.streams.get(key) ?? this.makeStream();
    this.streams.set(key, stream);
    stream.addTrack(track);
    return stream;
  }

  remove(publication: RemotePublication, track: MediaStreamTrack): void {
    const key = keyOf(publication);
    const stream = this.streams.get(key);
    stream?.removeTrack(track);
    if (stream?.getTracks().length === 0) this.streams.delete(key);
  }
}

function keyOf({ identity, source }: RemotePublication): string {
  return `${SCREEN.has(source) ? "screen" : "main"} ${identity}`;
}
