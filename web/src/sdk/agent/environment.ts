/**
 * What an agent takes from the platform: clock, timer, chance, and transports.
 *
 * Owns the seam at which tests put an emulated world in its place.
 */

import type { TransportName } from "../protocol/session/paths";
import { browserPlatform, type Platform } from "./platform";
import { openLongPoll } from "./transport/longpoll";
import type { OpenTransport } from "./transport/transport";
import { openWebSocket } from "./transport/websocket";

export interface Environment extends Platform {
  readonly openTransport: Readonly<Record<TransportName, OpenTransport>>;
}

export const browserEnvironment: Environment = {
  ...browserPlatform,
  openTransport: { websocket: openWebSocket, longpoll: openLongPoll },
};
