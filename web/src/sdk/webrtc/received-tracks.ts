/**
 * The tracks that are received now, whichever way they come.
 *
 * Owns which track stands for a publication, and the streams that they belong to. A publication may come two ways for a
 * moment, when its path is replaced: the newer track takes the place of the older one.
 */

import type { ReceivedTrack } from "./peer-link";
import type { MediaKind, Peer, RemotePublication, TrackEvent } from "./records";
import { Streams } from "./streams";

/** The way by which a track comes: the call, or the link to a peer. */
export type TrackWay = "call" | "link";

export interface TrackListener {
  began(event: TrackEvent): void;
  ended(event: TrackEvent): void;
}

interface Received {
  readonly publication: RemotePublication;
  readonly event: TrackEvent;
  readonly way: TrackWay;
}

export class ReceivedTracks {
  private readonly streams: Streams;
  private readonly listener: TrackListener;
  private readonly received = new Map<string, Received>();
  /** What peers say that they send by their links, by identity. */
  private readonly linked = new Map<string, RemotePublication[]>();

  constructor(makeStream: () => MediaStream, listener: TrackListener) {
    this.streams = new Streams(makeStream);
    this.listener = listener;
  }

  get events(): readonly TrackEvent[] {
    return [...this.received.values()].map(({ event }) => event);
  }

  /** What this peer sends by its link. */
  linkedOf(identity: string): readonly RemotePublication[] {
    return this.linked.get(identity) ?? [];
  }

  began(publication: RemotePublication, track: MediaStreamTrack, way: TrackWay, peer: Peer): void {
    const before = this.received.get(publication.id);
    if (before?.event.track === track) return;
    const stream = this.streams.add(publication, track);
    if (before) this.ended(publication.id, before.way);
    const event = { track, info: { publication, peer, stream } };
    this.received.set(publication.id, { publication, event, way });
    this.listener.began(event);
  }

  /** It does not come this way any more; it may have come another way since. */
  ended(id: string, way: TrackWay): void {
    const received = this.received.get(id);
    if (received?.way !== way) return;
    this.received.delete(id);
    this.streams.remove(received.publication, received.event.track);
    this.listener.ended(received.event);
  }

  /** What a peer sends by its link is this now. */
  link(peer: Peer, tracks: readonly ReceivedTrack[]): void {
    const { identity, name } = peer;
    const before = this.linkedOf(identity);
    const now = tracks.map(({ said, media, track }) => ({
      publication: publicationOf(identity, name, said, media),
      track,
    }));
    const publications = now.map(({ publication }) => publication);
    if (now.length > 0) this.linked.set(identity, publications);
    else this.linked.delete(identity);
    for (const { publication, track } of now) {
      this.began(publication, track, "link", { ...peer, publications });
    }
    for (const { id } of before) {
      if (!publications.some((one) => one.id === id)) this.ended(id, "link");
    }
  }
}

function publicationOf(
  identity: string,
  name: string,
  said: ReceivedTrack["said"],
  media: MediaKind,
): RemotePublication {
  return {
    id: `${identity}/${said.publication}`,
    identity,
    name,
    media,
    source: said.source ?? "other",
    isMuted: said.is_muted ?? false,
    // What goes from peer to peer is sealed by the connection itself.
    isSealed: false,
  };
}
