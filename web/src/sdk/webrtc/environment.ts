/**
 * What a call takes from the platform beyond clock and chance: peer connections, streams, ids, workers.
 *
 * Owns the seam at which tests put fakes in their place.
 */

import { browserPlatform, type Platform } from "../agent/platform";
import { randomBytes, toHex } from "../crypto/bytes";
import { ProtocolError } from "../protocol/errors";
import { browserFrameWorkerMaker, type FrameWorkerMaker } from "./frame-worker";
import { browserMetronomeMaker, type MetronomeMaker } from "./host-metronome";

export interface CallEnvironment extends Platform, FrameWorkerMaker, MetronomeMaker {
  /** Calls after what has come in already; in hidden pages, too. */
  soon(callback: () => void): void;
  /** An id that nobody has used. */
  newId(): string;
  /** Whether peer connections can be opened at all. */
  readonly hasPeerConnections: boolean;
  /** Calls when the page goes, which may come back; gives what stops it. */
  onPageHide(callback: () => void): () => void;
  /** Throws `ProtocolError` (`not_supported`) where the browser has none. */
  openPeerConnection(configuration: RTCConfiguration): RTCPeerConnection;
  makeStream(): MediaStream;
}

export const browserCallEnvironment: CallEnvironment = {
  ...browserPlatform,
  ...browserFrameWorkerMaker,
  ...browserMetronomeMaker,
  soon: makeSoon(),
  newId: () => toHex(randomBytes(8)),
  get hasPeerConnections() {
    return typeof RTCPeerConnection !== "undefined";
  },
  onPageHide(callback) {
    if (typeof window === "undefined") return () => undefined;
    window.addEventListener("pagehide", callback);
    return () => window.removeEventListener("pagehide", callback);
  },
  openPeerConnection(configuration) {
    if (typeof RTCPeerConnection === "undefined") {
      throw new ProtocolError("not_supported", "This browser has no WebRTC, or it is switched off.");
    }
    return new RTCPeerConnection(configuration);
  },
  makeStream: () => new MediaStream(),
};

/** Messages that a page sends to itself are not held back, as timers are. */
function makeSoon(): (callback: () => void) => void {
  const waiting: (() => void)[] = [];
  let channel: MessageChannel | undefined;
  return (callback) => {
    if (!channel) {
      channel = new MessageChannel();
      channel.port1.onmessage = () => waiting.shift()?.();
    }
    waiting.push(callback);
    channel.port2.postMessage(0);
  };
}
