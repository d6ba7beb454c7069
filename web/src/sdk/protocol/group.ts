/**
 * How peers address the server's side of their group, and the times that both sides keep to.
 *
 * Owns which of the constants these are; what is said stands in `groups.gen.ts`.
 */

export {
  GROUP_AGENT,
  HOST_RENEW_MS,
  HOST_TTL_MS,
  LINK_WITHIN_MS,
  PEER_DATA_TYPE,
  PROPOSAL_MS,
  READY_WITHIN_MS,
} from "./constants.gen";
