/**
 * The classic script `web-agent.webrtc.js`: puts `WebRTCHelper` on the page.
 *
 * Direct connections between peers are not part of peerbus yet. The name is here so that a page which uses it hears
 * that, instead of a ReferenceError.
 */

class WebRTCHelper {
  constructor() {
    throw new Error("WebRTCHelper: this version of peerbus has no WebRTC connections yet.");
  }
}

Object.assign(globalThis, { WebRTCHelper });
