// Generated from schema.json by scripts/generate-protocol.mjs; do not edit.
// What each is for is said in protocol/groups.py, messages.py and signals.py.

export const SIGNAL_TYPE = "signal";
export const SFU_AGENT = "peerbus:sfu";
export const GROUP_AGENT = "peerbus:group";
export const PEER_DATA_TYPE = "peer-data";
export const HOST_RENEW_MS = 300;
export const HOST_TTL_MS = 1200;
export const HOST_ALIVE_MS = 100;
export const HOST_UNHEARD_MS = 400;
export const PROPOSAL_MS = 8000;
export const READY_WITHIN_MS = 7000;
export const LINK_WITHIN_MS = 6000;
