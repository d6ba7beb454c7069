"""The wire of peerbus, without I/O: frames, codecs, sessions, addressing, grants. Imports nobody else in peerbus."""
