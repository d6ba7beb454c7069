/**
 * What this side publishes: beginning, muting, another track, the end.
 *
 * Owns the publications, and that whatever carries media is told of each change. Never negotiates.
 */

import { ProtocolError } from "../protocol/errors";
import type { Call } from "./call";
import type { PeerGroup } from "./peer-group";
import { Local, type LocalPublication, type PublishOptions, sourceOf } from "./publications";

export class Publishing {
  /** In the order in which they began. */
  readonly all = new Set<Local>();
  private readonly call: () => Call | undefined;
  private readonly group: () => PeerGroup;
  private readonly changed: () => void;
  private lastId = 0;

  constructor(call: () => Call | undefined, group: () => PeerGroup, changed: () => void) {
    this.call = call;
    this.group = group;
    this.changed = changed;
  }

  /** `done` once the others can have it. */
  begin(
    track: MediaStreamTrack,
    options: PublishOptions,
    done: (publication: LocalPublication) => void,
    failed: (error: Error) => void,
  ): void {
    this.lastId += 1;
    const source = options.source ?? sourceOf(track);
    const local = new Local(`${source}-${this.lastId}`, track, source, options, (error) => {
      if (error) failed(error);
      else done(local);
      this.changed();
    });
    if (source === "screen" && track.contentHint === "") track.contentHint = "detail";
    this.watch(local);
    this.all.add(local);
    this.call()?.publish(local);
    this.group().publicationsChanged();
    this.changed();
  }

  end(publication: LocalPublication): void {
    const local = this.own(publication);
    if (!local) return;
    const call = this.call();
    if (call) call.unpublish(local);
    else if (this.all.delete(local)) local.refused(new ProtocolError("closed", "It was unpublished."));
    this.group().publicationsChanged();
    this.changed();
  }

  mute(publication: LocalPublication, isMuted: boolean): void {
    const local = this.own(publication);
    if (!local || local.isMuted === isMuted) return;
    local.isMuted = isMuted;
    this.call()?.mute(local);
    this.group().mesh?.attach(local);
    this.changed();
  }

  /** Throws `ProtocolError` (`bad_request`) for a track of another kind. */
  replaceTrack(publication: LocalPublication, track: MediaStreamTrack): void {
    const local = this.own(publication);
    if (!local) return;
    if (track.kind !== local.media) {
      throw new ProtocolError("bad_request", `The publication is ${local.media}, the track ${track.kind}.`);
    }
    local.track = track;
    this.watch(local);
    this.call()?.connection?.attach(local);
    this.group().mesh?.attach(local);
  }

  endAll(error: ProtocolError): void {
    for (const local of this.all) local.refused(error);
    this.all.clear();
  }

  /** A device that is unplugged, or a screen that is no longer shared, ends its publication. */
  private watch(local: Local): void {
    const { track } = local;
    track.addEventListener("ended", () => {
      if (local.track === track) this.end(local);
    });
  }

  private own(publication: LocalPublication): Local | undefined {
    for (const local of this.all) if (local === publication) return local;
    return undefined;
  }
}
