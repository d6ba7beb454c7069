"""
By which names a credential is known once it has been verified.

Owns nothing but these names; none of them is a secret. Never holds the credential itself.
"""

from __future__ import annotations

from msgspec import Struct


class CredentialIds(Struct, frozen=True):
    """The ids of a credential, and of what it ends with."""

    own: str
    """What people and logs call it: the id of a token that has one, else that of the key."""
    key: str
    """The developer key itself, or the one that signed the token."""
    all: frozenset[str]
    """It ends with each of these: itself, the tokens that it was issued by, the key that signed it."""
