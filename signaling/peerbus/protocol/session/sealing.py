"""
What a client session asks of whoever seals its frames.

Owns the shape of that, and nothing else: keys and bytes are the client's. See PROTOCOL.md, section 13.
"""

from __future__ import annotations

from typing import Protocol

from peerbus.protocol.messages import Connect, Send, Update
from peerbus.protocol.session.roster import Roster


class FrameSealer(Protocol):
    """Seals the frames of one connection object, in the order in which it is asked to."""

    def seal_connect(self, frame: Connect) -> Connect:
        """The frame with the private attributes in it; under a name that the server chooses they come later."""
        ...

    def seal(self, frame: Send | Update, sender: str, roster: Roster) -> Send | Update:
        """The frame as it travels under this name, while these members are here. Raises `ProtocolError`."""
        ...
