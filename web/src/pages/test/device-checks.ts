/**
 * Whether camera and microphone start.
 *
 * Owns asking for each by itself, and letting it go at once.
 */

import type { DeviceState } from "./facts";

const STATES: Readonly<Record<string, DeviceState>> = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "none",
  OverconstrainedError: "none",
  NotReadableError: "busy",
  AbortError: "busy",
};

/** How a device is; the browser may ask the person first. */
export async function tryDevice(device: "camera" | "microphone"): Promise<DeviceState> {
  try {
    const stream = await navigator.mediaDevices.getUserMedia(
      device === "camera" ? { video: true } : { audio: true },
    );
    for (const track of stream.getTracks()) track.stop();
    return "ok";
  } catch (error) {
    const { name, message } = error as Error;
    // As Chromium says it of macOS and Windows: the site may, the browser may not.
    if (name === "NotAllowedError" && /\bsystem\b/i.test(message)) return "forbidden";
    return STATES[name] ?? "failed";
  }
}
