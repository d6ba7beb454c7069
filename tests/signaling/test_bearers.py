"""Who bears a name when somebody joins by it, and who has to go."""

from __future__ import annotations

import itertools

import pytest

from peerbus.protocol import channel as naming
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, Admission
from peerbus.protocol.messages import Closing, Connect, Kick, Resume
from peerbus.protocol.patterns import EVERY
from peerbus.protocol.secrets import Secret, SecretBytes
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.effects import CloseEffect
from peerbus.signaling.hub import Hub
from peerbus.signaling.joining import Joining
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import ChannelKey, ChannelState
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.membership import Membership
from peerbus.signaling.quota import NO_QUOTA

KEY = ChannelKey("private:p", naming.channel_id("lobby", naming.Mode.OPEN, b""))


class Door:
    """One channel that people join; `claims` is what the log knows."""

    def __init__(self, *claims: str, members: int = 100) -> None:
        self.claims = frozenset(f"name:{name}" for name in claims)
        self.membership = Membership(
            Limits(members_per_channel=members), ack_promise="memory", server="door", new_epoch=lambda: "L"
        )
        self.hub = Hub(self.membership)
        self._numbers = itertools.count(1)

    def join(
        self,
        name: str,
        device: str = "",
        *,
        claims: bool = False,
        sessions: int = 1,
        token: Secret | None = None,
    ) -> Member:
        lineage = naming.lineage((device or name).encode().ljust(16, b"."))
        identity = naming.name_identity(name) if claims else naming.lineage_identity(lineage)
        if claims:
            self.claims |= {identity}
        number = next(self._numbers)
        return self.membership.join(
            Joining(
                connect=Connect(
                    id=1,
                    api_key=Secret("k"),
                    channel="lobby",
                    lineage_secret=SecretBytes(b"." * 16),
                    resume=None if token is None else Resume(token=token),
                ),
                version=1,
                name=name,
                admission=Admission(
                    operations=ALL_OPERATIONS,
                    types=EVERY,
                    is_claimed=claims,
                    sessions=sessions,
                    rate_per_s=None,
                    members=None,
                    expires_ms=None,
                ),
                key=KEY,
                state=ChannelState(
                    epoch="e", head=0, tail=1, locked=False, name="lobby", mode="open", claims=self.claims
                ),
                lineage=lineage,
                identity=identity,
                credential=CredentialIds("k", "k", frozenset({"k"})),
                project="p",
                quota=NO_QUOTA,
                connection=object(),
                peer=Peer(None, None, "corr"),
                session_id=f"s{number}",
                resume_token=Secret(f"t{number}"),
            ),
            0,
        )

    def refused(self, name: str, device: str = "", *, token: Secret | None = None) -> ErrorCode:
        with pytest.raises(ProtocolError) as caught:
            self.join(name, device, token=token)
        return caught.value.code

    def here(self) -> list[str]:
        return sorted(self.membership.members)

    def told(self) -> list[str]:
        """What connections were closed with."""
        closings: list[Closing] = [
            effect.closing
            for effect in self.membership.dispatch.effects_to_do()
            if isinstance(effect, CloseEffect)
        ]
        return [closing.code for closing in closings]


def test_a_claimed_name_is_kept_for_who_was_never_here() -> None:
    door = Door("ann")
    assert door.refused("ann") is ErrorCode.NAME_TAKEN
    door.join("bob")
    door.join("ann", "phone", claims=True)
    assert door.here() == ["s2", "s3"]


def test_who_bore_the_name_as_a_label_loses_it() -> None:
    door = Door(members=2)
    door.join("ann", "squatter")
    door.join("bob")
    ann = door.join("ann", "phone", claims=True)
    assert door.here() == ["s2", "s3"]
    assert door.told() == ["name_taken"]
    # Not even by the token of a session that claims, or as the same client without its claim.
    assert door.refused("ann", "other", token=ann.session.resume_token) is ErrorCode.NAME_TAKEN
    assert door.refused("ann", "phone") is ErrorCode.NAME_TAKEN


def test_the_same_client_that_claims_its_name_by_now_replaces_itself() -> None:
    door = Door()
    door.join("ann", "phone")
    door.join("ann", "phone", claims=True)
    assert (door.here(), door.told()) == (["s2"], ["replaced"])


def test_so_many_devices_and_the_oldest_goes_first() -> None:
    door = Door()
    for device in ("phone", "laptop", "tablet"):
        door.join("ann", device, claims=True, sessions=2)
    assert (door.here(), door.told()) == (["s2", "s3"], ["replaced"])
    door.join("ann", "laptop", claims=True, sessions=2)
    assert (door.here(), door.told()) == (["s3", "s4"], ["replaced"])
    door.join("ann", "watch", claims=True)
    assert (door.here(), door.told()) == (["s5"], ["replaced", "replaced"])


def test_a_locked_channel_takes_another_device_but_no_newcomer_in_place_of_a_label() -> None:
    door = Door()
    door.join("ann", "phone", claims=True)
    door.join("bob", "squatter")
    door.membership.channels[KEY].is_locked = True
    door.join("ann", "laptop", claims=True, sessions=2)
    with pytest.raises(ProtocolError) as caught:
        door.join("bob", "bob's own", claims=True)
    assert caught.value.code is ErrorCode.CHANNEL_LOCKED
    assert door.here() == ["s1", "s2", "s3"]


def test_kicking_one_session_of_a_name_kicks_all_and_nobody_oneself() -> None:
    door = Door()
    phone = door.join("ann", "phone", claims=True, sessions=2)
    door.join("ann", "laptop", claims=True, sessions=2)
    bob = door.join("bob")
    door.hub.receive(phone, Kick(id=2, session_id="s2"), 0)
    assert door.here() == ["s1", "s2", "s3"]
    door.hub.receive(bob, Kick(id=2, session_id="s2"), 0)
    assert door.here() == ["s3"]
    with pytest.raises(ProtocolError) as caught:
        door.join("ann", "tablet", claims=True)
    assert caught.value.code is ErrorCode.KICKED
