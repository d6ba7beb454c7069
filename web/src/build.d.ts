/** The version of the distribution; the build puts it in from pyproject.toml. */
declare const __PEERBUS_VERSION__: string;
