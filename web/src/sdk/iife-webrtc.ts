/**
 * `web-agent.webrtc.js` as a classic script: the global `WebRTCHelper`.
 *
 * Owns the name, so that pages written for it load; calls between peers come with a later version.
 */

class WebRTCHelper {
  constructor() {
    throw new Error(
      "WebRTCHelper comes with a later version of peerbus. Until then send data with agent.sendMessage, " +
        'with delivery "live" or "lossy".',
    );
  }
}

Object.assign(globalThis, { WebRTCHelper });
