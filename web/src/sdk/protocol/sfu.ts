/**
 * How clients and the media worker address each other.
 *
 * Owns the names; what is said stands in `signals.gen.ts`.
 */

/** The name that stands for the media worker, whichever serves the channel; nobody else can have it. */
export const SFU_AGENT = "peerbus:sfu";
/** The type of all that is said to it and by it. */
export const SIGNAL_TYPE = "signal";
