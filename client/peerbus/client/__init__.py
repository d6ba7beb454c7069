"""The Python client of peerbus and the `peerbus` command."""
