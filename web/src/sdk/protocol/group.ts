/**
 * How peers address the server's side of their group, and the times that both sides keep to.
 *
 * Owns the name and the times; what is said stands in `groups.gen.ts`.
 */

/** The name that requests to a group are sent to, and that its signals come from; nobody else can have it. */
export const GROUP_AGENT = "peerbus:group";
/** The type of messages that carry frames between peers by the server. */
export const PEER_DATA_TYPE = "peer-data";
/** How often a host renews its lease, from its own work loop. */
export const HOST_RENEW_MS = 300;
/** How long a lease is good without being renewed. */
export const HOST_TTL_MS = 1_200;
/** How long all members have to be ready for a mode that was proposed. */
export const PROPOSAL_MS = 8_000;
/** When a member that is not ready yet vetoes, so that its reason is known. */
export const READY_WITHIN_MS = 7_000;
/** How long a link may take to connect before it is replaced. */
export const LINK_WITHIN_MS = 6_000;
