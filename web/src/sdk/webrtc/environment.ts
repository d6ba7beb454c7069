/**
 * What a call takes from the platform beyond what the agent does: peer connections, streams, ids.
 *
 * Owns the seam at which tests put fakes in their place.
 */

import { browserEnvironment, type Environment } from "../agent/environment";
import { randomBytes, toHex } from "../crypto/bytes";
import { ProtocolError } from "../protocol/errors";

export interface CallEnvironment extends Pick<Environment, "nowMs" | "random" | "startTimer" | "onWake"> {
  /** An id that nobody has used. */
  newId(): string;
  /** Throws `ProtocolError` (`not_supported`) where the browser has none. */
  openPeerConnection(configuration: RTCConfiguration): RTCPeerConnection;
  makeStream(): MediaStream;
}

export const browserCallEnvironment: CallEnvironment = {
  ...browserEnvironment,
  newId: () => toHex(randomBytes(8)),
  openPeerConnection(configuration) {
    if (typeof RTCPeerConnection === "undefined") {
      throw new ProtocolError("not_supported", "This browser has no WebRTC, or it is switched off.");
    }
    return new RTCPeerConnection(configuration);
  },
  makeStream: () => new MediaStream(),
};
