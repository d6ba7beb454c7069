"""
End-to-end encryption of one call: whether it is on, and with what its frames are sealed and opened.

Owns the decision, which follows the channel unless the program says otherwise, and the names under which frames are
sealed. Never sees a frame (`frame_sealing`) and never trusts the server about any of this: it asks the agent how the
channel was joined.
"""

from __future__ import annotations

import os
import secrets
from typing import Final, Protocol
from weakref import WeakSet

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.frame_sealing import (
    KEY_ID_BYTES,
    EncryptionWatch,
    FrameOpener,
    FrameRefused,
    FrameSealer,
    codec_of,
)
from peerbus.client.webrtc.records import RemotePublication
from peerbus.protocol.secrets import SecretBytes


class KeyHolder(Protocol):
    """What is needed of an agent."""

    @property
    def is_sealed(self) -> bool:
        """Whether it joined the channel as a sealed one."""

    @property
    def media_key(self) -> SecretBytes | None:
        """The key; None without a password."""

    @property
    def agent_name(self) -> str:
        """Its name, as everybody sees it."""

    @property
    def identity(self) -> str:
        """Its identity, as everybody sees it."""


class CallEncryption:
    """See the module. Everything but `is_on` needs an agent that was connected."""

    def __init__(self, agent: KeyHolder, *, e2ee: bool | None) -> None:
        """`e2ee` None: as the channel."""
        self._agent: Final = agent
        self._e2ee: Final = e2ee
        self._opener: FrameOpener | None = None
        self._named = ("", "")

    @property
    def is_on(self) -> bool:
        """Whether what is sent is sealed, and only what is sealed is shown."""
        return self._agent.is_sealed if self._e2ee is None else self._e2ee

    def check(self) -> None:
        """Raises `PeerbusError` (`bad_request`) if it is on and there is nothing to encrypt with."""
        if self.is_on:
            self._key()
        self._named = (self._agent.agent_name, self._agent.identity)

    def is_renamed(self) -> bool:
        """Whether the agent bears another name than at the last `check`, so that frames have to be sealed under it."""
        return self.is_on and self._named != (self._agent.agent_name, self._agent.identity)

    def sealer(self, publication: str) -> FrameSealer:
        """For one start of the publication, which has this id among the own ones. A fork takes another key id."""
        sealer = FrameSealer(
            self._key(),
            lambda: secrets.token_bytes(KEY_ID_BYTES),
            sender=self._agent.agent_name,
            publication=f"{self._agent.identity}/{publication}",
        )
        _sealers.add(sealer)
        return sealer

    def watch(self, publication: RemotePublication) -> EncryptionWatch:
        """How a track that begins stands."""
        return EncryptionWatch(is_sealed=publication.is_sealed, is_on=self.is_on)

    def open(
        self, watch: EncryptionWatch, publication: RemotePublication, codec: str, data: bytes
    ) -> tuple[bytes | None, bool]:
        """The frame to show, if it may be shown; and whether `watch` has another state now."""
        if watch.state == "open":
            return data, False
        if not watch.is_opening:
            return None, watch.frame_refused("undecryptable")
        if self._opener is None:
            self._opener = FrameOpener(self._key())
        try:
            name = codec_of(codec)
            if name is None:
                raise FrameRefused("undecryptable")
            frame = self._opener.open(name, data, sender=publication.name, publication=publication.id)
        except FrameRefused as refusal:
            return None, watch.frame_refused(refusal.reason)
        return frame, watch.frame_opened()

    def _key(self) -> SecretBytes:
        key = self._agent.media_key
        if key is None:
            raise PeerbusError(
                ErrorCode.BAD_REQUEST, "End-to-end encryption needs a channel with a password."
            )
        return key


def _forked() -> None:
    for sealer in list(_sealers):
        sealer.begin_anew()


_sealers: Final[WeakSet[FrameSealer]] = WeakSet()
os.register_at_fork(after_in_child=_forked)
