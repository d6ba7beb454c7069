/**
 * What is said of camera and microphone.
 *
 * Owns these sentences. Never opens a device.
 */

import type { DeviceState, Facts } from "./facts";
import { type Finding, finding } from "./finding";

/** Of a Linux system: whose members may use the devices. */
const GROUPS: Readonly<Record<string, string>> = { camera: "video", microphone: "audio" };
const DEVICE_TROUBLE: Readonly<
  Record<Exclude<DeviceState, "ok" | "untried">, (device: string) => readonly [string, string]>
> = {
  none: (device) => [
    `There is no ${device}.`,
    `Connect a ${device}, and see that the system's settings list it; without one you can still see and hear.`,
  ],
  denied: (device) => [
    `The ${device} is blocked for this site.`,
    `Click the lock in the address bar, allow the ${device}, and test again.`,
  ],
  forbidden: (device) => [
    `The system does not let this program use the ${device}.`,
    `Allow it in the system's privacy settings; on Linux, take your user into the group ${GROUPS[device]}.`,
  ],
  busy: (device) => [
    `The ${device} is used by another program.`,
    `Close the program that uses the ${device}, and test again.`,
  ],
  failed: (device) => [
    `The ${device} does not start.`,
    `Unplug the ${device} and plug it in again, or restart the browser.`,
  ],
};

/** A line for each device that was asked about. */
export function deviceFindings({ camera, microphone }: Facts): Finding[] {
  return [
    ...(camera ? [ofDevice("camera", camera)] : []),
    ...(microphone ? [ofDevice("microphone", microphone)] : []),
  ];
}

/** What is wrong with the camera; `undefined` if nothing is known to be. */
export function headlineOfCamera({ camera = "untried" }: Facts): string | undefined {
  return camera === "ok" || camera === "untried" ? undefined : DEVICE_TROUBLE[camera]("camera")[0];
}

function ofDevice(device: string, state: DeviceState): Finding {
  if (state === "ok") return finding(device, "ok", `The ${device} works.`);
  if (state === "untried") {
    return finding(
      device,
      "skipped",
      "Not tested: `peerbus doctor --devices`, or the page /test in a browser, does.",
    );
  }
  const [summary, remedy] = DEVICE_TROUBLE[state](device);
  return finding(device, "warn", summary, remedy);
}
