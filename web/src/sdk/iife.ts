/**
 * peerbus as a classic script: the globals `AgentConnection` and `peerbus`.
 *
 * Owns the globals only.
 */

import { noteScriptAddress } from "./agent/address";
import { AgentConnection } from "./agent/agent";
import { errorInfo, ProtocolError } from "./protocol/errors";

noteScriptAddress((document.currentScript as HTMLScriptElement | null)?.src);

Object.assign(globalThis, {
  AgentConnection,
  peerbus: { AgentConnection, PeerbusError: ProtocolError, errorInfo, version: __PEERBUS_VERSION__ },
});
