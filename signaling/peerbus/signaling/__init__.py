"""The signaling server: channels, named agents, the message log, presence and keys."""
