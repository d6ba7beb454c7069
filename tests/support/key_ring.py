"""As much of an agent as the encryption of a call needs."""

from __future__ import annotations

from dataclasses import dataclass

from peerbus.protocol.secrets import SecretBytes


@dataclass
class KeyRing:
    """By default in an open channel without a password."""

    is_sealed: bool = False
    media_key: SecretBytes | None = None
    agent_name: str = "ann"
    identity: str = "id-ann"


def sealed_ring(name: str = "ann", key: bytes = b"k" * 32) -> KeyRing:
    """In a sealed channel."""
    return KeyRing(is_sealed=True, media_key=SecretBytes(key), agent_name=name, identity=f"id-{name}")
