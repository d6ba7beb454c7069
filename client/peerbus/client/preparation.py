"""
What has to be done before a session can begin: the first frame, and the keys of a channel with a password.

Owns how a call of `connect` becomes a `connect` frame, and a sealed channel. Never opens a connection.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import NamedTuple

from msgspec import structs

from peerbus.client import options as asked
from peerbus.client.crypto import ChannelKeys, derive_keys, new_sealer
from peerbus.client.options import DEMO_KEY, ConnectOptions
from peerbus.client.sealed_channel import SealedChannel
from peerbus.client.sealing import SealingKeys
from peerbus.protocol.channel import Mode, channel_id
from peerbus.protocol.messages import Attributes, Connect
from peerbus.protocol.secrets import Secret, SecretBytes


class Prepared(NamedTuple):
    """What a session begins with."""

    frame: Connect
    media_key: SecretBytes | None = None
    sealed: SealedChannel | None = None


def connect_frame(
    channel_name: str,
    agent_name: str,
    options: ConnectOptions,
    *,
    api_key: str | None,
    lineage_secret: SecretBytes,
    wanted: list[str],
) -> Connect:
    """The first frame, as far as it is known without keys; `wanted` are the types that the user asked for."""
    scope = options.get("api_key_scope", "private")
    asked.check_choice("api_key_scope", scope, asked.Scope)
    asked.check_poll_source(options.get("poll_source"))
    return Connect(
        id=1,
        api_key=Secret("" if api_key is None or api_key == DEMO_KEY else api_key),
        scope=scope,
        channel=channel_name,
        channel_id=asked.channel_id_bytes(options.get("channel_id")),
        agent=agent_name,
        lineage_secret=lineage_secret,
        attributes=dict(options.get("attributes") or {}),
        capabilities=list(options.get("capabilities") or []),
        auto_receive=options.get("auto_receive", True),
        types=asked.with_peers(wanted),
        client=f"peerbus-python/{version('peerbus')}",
    )


async def prepare(frame: Connect, password: str | None, private: Attributes | None) -> Prepared:
    """
    Derives the keys of the channel; with `private` attributes (maybe none at all) it is sealed, else only locked.

    Raises `ProtocolError` for a password that cannot be used.
    """
    if not password:
        return Prepared(frame)
    keys = await derive_keys(frame.channel, password)
    frame = structs.replace(frame, join_token=keys.join)
    if private is None:
        return Prepared(frame, keys.media)
    return _sealed(frame, keys, private)


def _sealed(frame: Connect, keys: ChannelKeys, private: Attributes) -> Prepared:
    """From here on the channel is sealed, whatever the server says of it."""
    own_id = channel_id(frame.channel, Mode.SEALED, keys.join.reveal())
    sealing_keys = SealingKeys(keys.message, own_id)
    sealed = SealedChannel(sealing_keys, new_sealer(sealing_keys), private)
    frame = structs.replace(
        frame,
        mode="sealed",
        channel_id=frame.channel_id or own_id,
        crypto_session=sealed.crypto_session,
    )
    return Prepared(frame, keys.media, sealed)
