/**
 * peerbus as a classic script: the globals `AgentConnection` and `peerbus`.
 *
 * Owns the globals only.
 */

import { noteScriptAddress } from "./agent/address";
import { AgentConnection } from "./agent/agent";
import { SealingError } from "./agent/sealing-error";
import { errorInfo, ProtocolError } from "./protocol/errors";

noteScriptAddress((document.currentScript as HTMLScriptElement | null)?.src);

Object.assign(globalThis, {
  AgentConnection,
  peerbus: {
    AgentConnection,
    PeerbusError: ProtocolError,
    SealingError,
    errorInfo,
    version: __PEERBUS_VERSION__,
  },
});
