/**
 * Paths that were given up for another one, and still take in what comes.
 *
 * Owns them until every peer has said that nothing more comes by them, or `DRAIN_MS` have passed. Never chooses a path
 * (`peer-group`).
 */

import type { Platform } from "../agent/platform";
import type { Path } from "./peer-path";
import type { PeerPort } from "./peer-port";

/** A path that was given up goes at last, whatever may still be on it. */
const DRAIN_MS = 5_000;

interface GivenUp {
  readonly path: Path;
  /** Who has not said yet that nothing more comes by it. */
  readonly missing: Set<string>;
  readonly stopTimer: () => void;
}

export class GivenUpPaths {
  private readonly port: PeerPort;
  private readonly platform: Platform;
  private readonly changed: () => void;
  private all: GivenUp[] = [];

  /** `changed` is called when one of them may be closed. */
  constructor(port: PeerPort, platform: Platform, changed: () => void) {
    this.port = port;
    this.platform = platform;
    this.changed = changed;
  }

  get paths(): readonly Path[] {
    return this.all.map(({ path }) => path);
  }

  /** Tells these peers that nothing more comes by a path, and waits for the same from them. */
  add(path: Path, peers: Iterable<string>): void {
    const missing = new Set(peers);
    for (const identity of missing) {
      const route = path.routeTo(identity);
      if (route) this.port.flush(route, identity);
      else missing.delete(identity);
    }
    const stopTimer = this.platform.startTimer(DRAIN_MS, () => {
      missing.clear();
      this.changed();
    });
    this.all.push({ path, missing, stopTimer });
  }

  /** A peer has said that nothing more comes by a path. */
  flushed(identity: string, by: Path | undefined): void {
    for (const { path, missing } of this.all) if (path === by) missing.delete(identity);
  }

  /** Nobody waits for this peer any more. */
  left(identity: string): void {
    for (const { missing } of this.all) missing.delete(identity);
  }

  /** Those by which nothing more comes; they are no longer among these. */
  takeDrained(): readonly Path[] {
    for (const { path, missing } of this.all) {
      for (const identity of missing) if (!path.routeTo(identity)) missing.delete(identity);
    }
    const drained = this.all.filter(({ missing }) => missing.size === 0);
    this.all = this.all.filter(({ missing }) => missing.size > 0);
    for (const { stopTimer } of drained) stopTimer();
    return drained.map(({ path }) => path);
  }

  /** Nothing is waited for any more. */
  close(reason: string): void {
    for (const { path, stopTimer } of this.all.splice(0)) {
      stopTimer();
      path.close(reason);
    }
  }
}
