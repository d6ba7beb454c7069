/** The version of the distribution; put in by the build. */
declare const __PEERBUS_VERSION__: string;
