/**
 * How clients and the media worker address each other.
 *
 * Owns which of the constants these are; what is said stands in `signals.gen.ts`.
 */

export { SFU_AGENT, SIGNAL_TYPE } from "./constants.gen";
