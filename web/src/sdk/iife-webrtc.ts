/**
 * `web-agent.webrtc.js` as a classic script: the global `WebRTCHelper`, for pages that have `web-agent.js`.
 *
 * Owns the globals only.
 */

import { WebRTCHelper } from "./webrtc/helper";

Object.assign(globalThis, { WebRTCHelper });
