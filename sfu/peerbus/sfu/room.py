"""
One room: the participants of one channel's call, and everything they are told.

Owns participants from their first offer to their end, follows their signals, keeps the engine in step with who
publishes and who receives; data messages are `room_data`'s. What is to be told goes out through `tell`; time comes in.
Never touches a socket. See `peerbus.protocol.signals` for what is said.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from peerbus.protocol import signals
from peerbus.protocol.signals import (
    Answer,
    Binding,
    Caller,
    ClientSignal,
    Ended,
    Leave,
    Mute,
    Offer,
    Publications,
    Refused,
    SfuSignal,
    Slots,
    Speaker,
    Unpublish,
)
from peerbus.sfu.connection import Owner, PeerConnection
from peerbus.sfu.data_hook import Hook
from peerbus.sfu.dtls import MESSAGE_BYTES_MAX, DataChannel
from peerbus.sfu.engine import PacketEngine, StreamId
from peerbus.sfu.negotiation import DEFAULT_CODECS, Transport, write_answer
from peerbus.sfu.participant import Participant, Published, Refusal, publications_of
from peerbus.sfu.room_data import RoomData
from peerbus.sfu.router import Offered, Router, SlotKey
from peerbus.sfu.sdp import Description, SdpError, read_offer
from peerbus.sfu.speakers import Speakers

logger = logging.getLogger(__name__)

PARTICIPANTS_MAX: Final = 100


class Host(Protocol):
    """What a room needs of its worker."""

    engine: PacketEngine

    def open_connection(
        self, offer: Description, owner: Owner, now_ms: int
    ) -> tuple[PeerConnection, Transport]:
        """A new connection, which checks find from now on, and its side of the answer."""

    def transport_of(self, connection: PeerConnection) -> Transport:
        """The side of the answer of a connection that there is."""

    def close_connection(self, connection: PeerConnection) -> None:
        """Ends a connection; checks do not find it any more."""

    def new_ssrc(self) -> int:
        """An SSRC that is not in use."""

    def now_ms(self) -> int:
        """The monotonic time."""


class _Link(Owner):
    """Tells the room what happens to one connection of one participant."""

    def __init__(self, room: Room, participant: Participant) -> None:
        self._room = room
        self._participant = participant

    def connected(self) -> None:
        self._room.connected(self._participant)

    def channel_opened(self, channel: DataChannel) -> None:
        self._room.channel_opened(self._participant, channel)

    def progressed(self) -> None:
        self._room.progressed(self._participant)

    def ended(self, code: str, reason: str) -> None:
        self._room.ended(self._participant, code, reason)


class Room:
    """See the module. `tell(identities, signal)` reaches these participants; `hook` checks data, if there is one."""

    def __init__(
        self,
        room: signals.Room,
        host: Host,
        tell: Callable[[list[str], SfuSignal], None],
        hook: Hook | None = None,
    ) -> None:
        self.room = room
        self._host = host
        self._tell = tell
        self._participants: dict[str, Participant] = {}
        self._data: Final = RoomData(self._participants, host.now_ms, hook, room.channel_id.hex())
        self._router = Router()
        self._speakers = Speakers()
        self._version = 0
        self._streams: dict[StreamId, tuple[Participant, Published]] = {}
        self._policy = DEFAULT_CODECS

    @property
    def is_empty(self) -> bool:
        """Whether nobody is in the call."""
        return not self._participants

    @property
    def participants(self) -> int:
        """How many are in the call."""
        return len(self._participants)

    # --- signals ----------------------------------------------------------------------------------------------

    def receive(self, who: signals.Participant, signal: ClientSignal, now_ms: int) -> None:
        """A signal of a participant; whatever is wrong with it is told to it."""
        if isinstance(signal, Offer):
            self._offer(who, signal, now_ms)
            return
        participant = self._participants.get(who.identity)
        if participant is None or participant.connection_id != signal.connection:
            if not isinstance(signal, Leave):
                self._refuse(who.identity, signal.connection, "not_found", "There is no such connection.")
            return
        participant.who = who
        if isinstance(signal, Leave):
            self.remove(who.identity)
            return
        published = participant.published.get(signal.publication)
        if published is None:
            self._refuse(who.identity, signal.connection, "not_found", "There is no such publication.")
        elif isinstance(signal, Mute):
            if published.is_muted != signal.is_muted:
                published.is_muted = signal.is_muted
                self._tell_publications()
        elif isinstance(signal, Unpublish):
            del participant.published[signal.publication]
            self._unpublish([published])
            self._settle(now_ms)
            self._tell_publications()

    def _offer(self, who: signals.Participant, offer: Offer, now_ms: int) -> None:
        participant = self._participants.get(who.identity)
        is_new = participant is None or participant.connection_id != offer.connection
        if participant is not None and not is_new and offer.number <= participant.number:
            # The same offer once more, after a resume; it has been answered.
            return
        try:
            if participant is None and len(self._participants) >= PARTICIPANTS_MAX:
                raise Refusal("room_full", f"A call has room for {PARTICIPANTS_MAX}.")
            description = _read(offer)
            candidate = (
                Participant(who, self._host.new_ssrc) if is_new or participant is None else participant
            )
            candidate.who = who
            plan = candidate.plan(offer, description, self._policy)
        except Refusal as refusal:
            self._refuse(who.identity, offer.connection, refusal.code, refusal.message, offer.number)
            return
        if is_new and participant is not None:
            self._drop(participant, now_ms)
        gone = candidate.follow(plan)
        candidate.number = offer.number
        candidate.connection_id = offer.connection
        if candidate.connection is None:
            self._participants[who.identity] = candidate
            candidate.connection, transport = self._host.open_connection(
                description, _Link(self, candidate), now_ms
            )
        else:
            candidate.connection.restart(description)
            transport = self._host.transport_of(candidate.connection)
        for section in description.sections:
            if section.kind == "application" and not section.is_rejected:
                candidate.connection.open_data(
                    section.sctp_port, min(section.max_message_bytes or MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX)
                )
        sdp = write_answer(
            plan.agreed,
            transport,
            {slot.mid: slot.sources for slot in candidate.slots.values()},
            max_message_bytes=MESSAGE_BYTES_MAX,
        )
        self._tell(
            [who.identity],
            Answer(connection=offer.connection, number=offer.number, sdp=sdp, term=self.room.term),
        )
        if candidate.is_connected:
            self._unpublish(gone)
            self._come_alive(candidate, now_ms)

    def _refuse(
        self, identity: str, connection: str, code: str, message: str, number: int | None = None
    ) -> None:
        refused = Refused(connection=connection, code=code, message=message)
        if number is not None:
            refused = Refused(connection=connection, code=code, message=message, number=number)
        self._tell([identity], refused)

    # --- connections ------------------------------------------------------------------------------------------

    def connected(self, participant: Participant) -> None:
        """Media can flow: what it publishes is there for the others, and its slots for what they publish."""
        participant.is_connected = True
        self._come_alive(participant, self._host.now_ms())

    def _come_alive(self, participant: Participant, now_ms: int) -> None:
        """Gives the engine every stream and leg that it has not yet, and binds."""
        connection = participant.connection
        assert connection is not None
        assert connection.peer is not None
        engine = self._host.engine
        for published in participant.published.values():
            if published.stream is None:
                published.stream = engine.add_stream(connection.peer, participant.stream_spec(published))
                self._streams[published.stream] = (participant, published)
                self._router.publish(Offered(published.id, participant.identity, published.media))
        for slot in participant.slots.values():
            if slot.leg is None:
                slot.leg = engine.add_leg(connection.peer, participant.leg_spec(slot))
        for retired in participant.retired:
            engine.remove_leg(retired)
        participant.retired.clear()
        self._router.set_slots(participant.identity, participant.media_slots())
        self._tell_publications()
        self._settle(now_ms, also=[participant.identity])

    def ended(self, participant: Participant, code: str, reason: str) -> None:
        """A connection is over; its client is told, in case it is still there."""
        if self._participants.get(participant.identity) is not participant:
            return
        connection = participant.connection_id
        self.remove(participant.identity)
        self._tell([participant.identity], Ended(connection=connection, code=code, message=reason))

    def remove(self, identity: str, code: str | None = None, message: str = "") -> None:
        """Somebody leaves the call; with a code it is told why."""
        participant = self._participants.pop(identity, None)
        if participant is None:
            return
        self._drop(participant, self._host.now_ms())
        if code is not None:
            self._tell([identity], Ended(connection=participant.connection_id, code=code, message=message))

    def renew(self, who: signals.Participant) -> None:
        """A participant has another credential: what it publishes and may no longer, ends."""
        participant = self._participants.get(who.identity)
        if participant is None:
            return
        participant.who = who
        forbidden = participant.forbidden()
        for one in forbidden:
            del participant.published[one.id.removeprefix(f"{who.identity}/")]
            self._refuse(who.identity, participant.connection_id, "forbidden", f"{one.id} may not go on.")
        self._unpublish(forbidden)
        if participant.is_connected:
            self._router.set_slots(who.identity, participant.media_slots())
            self._unbind_all_but(participant)
            self._settle(self._host.now_ms(), also=[who.identity])
            if forbidden:
                self._tell_publications()

    def keep_only(self, identities: Iterable[str]) -> None:
        """Everybody else has left the channel while nobody could say so."""
        for identity in self._participants.keys() - set(identities):
            self.remove(identity)

    def close(self) -> None:
        """Ends everybody's connection; whoever holds the room now tells them."""
        for identity in list(self._participants):
            self.remove(identity)
        self._data.close()

    def _drop(self, participant: Participant, now_ms: int) -> None:
        self._data.left(participant)
        self._unpublish(participant.published.values())
        self._router.leave(participant.identity)
        self._speakers.leave(participant.identity)
        if participant.connection is not None:
            self._host.close_connection(participant.connection)
        was_connected, participant.is_connected = participant.is_connected, False
        if was_connected:
            self._settle(now_ms)
            self._tell_publications()

    def _unpublish(self, published: Iterable[Published]) -> None:
        for one in published:
            self._router.unpublish(one.id)
            if one.stream is not None:
                self._streams.pop(one.stream, None)
                self._host.engine.remove_stream(one.stream)
                one.stream = None

    def _unbind_all_but(self, participant: Participant) -> None:
        """Legs of slots that the router knows no more carry nothing."""
        known = {mid for mid, _ in self._router.bindings(participant.identity)}
        for slot in participant.slots.values():
            if slot.mid not in known and slot.leg is not None:
                self._host.engine.bind(slot.leg, None, self._host.now_ms())

    # --- binding ----------------------------------------------------------------------------------------------

    def _settle(self, now_ms: int, also: Iterable[str] = ()) -> None:
        """Lets the router fill slots, has the engine follow, and tells everyone whose slots changed."""
        told = set(also)
        streams = {published.id: stream for stream, (_, published) in self._streams.items()}
        changes = self._router.settle()
        while changes:
            is_refused = False
            for change in changes:
                told.add(change.slot.participant)
                leg = self._participants[change.slot.participant].slots[change.slot.mid].leg
                assert leg is not None
                stream = None if change.publication is None else streams[change.publication]
                if not self._host.engine.bind(leg, stream, now_ms):
                    assert change.publication is not None
                    self._router.refuse(SlotKey(change.slot.participant, change.slot.mid), change.publication)
                    is_refused = True
            changes = self._router.settle() if is_refused else []
        for participant in self._participants.values():
            if participant.is_connected and self._wanting(participant) != participant.wanting_told:
                told.add(participant.identity)
        for identity in told:
            self._tell_slots(self._participants[identity])

    def _wanting(self, participant: Participant) -> int:
        """How many publications it does not get for want of a slot; nothing if it wants none at all."""
        return self._router.wanting(participant.identity) if participant.slots else 0

    def _tell_slots(self, participant: Participant) -> None:
        participant.slots_version += 1
        participant.wanting_told = self._wanting(participant)
        bindings = [
            Binding(mid=mid) if publication is None else Binding(mid=mid, publication=publication)
            for mid, publication in self._router.bindings(participant.identity)
        ]
        self._tell(
            [participant.identity],
            Slots(
                connection=participant.connection_id,
                version=participant.slots_version,
                bindings=bindings,
                wanting=participant.wanting_told,
            ),
        )

    def _tell_publications(self) -> None:
        self._version += 1
        everyone = [one.identity for one in self._participants.values() if one.is_connected]
        if everyone:
            publications = Publications(
                term=self.room.term,
                version=self._version,
                publications=publications_of(self._participants.values()),
                callers=[
                    Caller(identity=one.identity, name=one.who.name)
                    for one in self._participants.values()
                    if one.is_connected
                ],
            )
            self._tell(everyone, publications)

    # --- data -------------------------------------------------------------------------------------------------

    def channel_opened(self, participant: Participant, channel: DataChannel) -> None:
        """One of the two labels; others carry nothing."""
        if channel.label in ("reliable", "lossy") and channel.label not in participant.channels:
            participant.channels[channel.label] = channel
            is_reliable = channel.label == "reliable"
            channel.on_message(functools.partial(self._data.receive, participant, is_reliable))

    def progressed(self, participant: Participant) -> None:
        """There may be room for what waits."""
        participant.send_data(self._host.now_ms())

    # --- time -------------------------------------------------------------------------------------------------

    def expire(self, wall_ms: int) -> None:
        """Ends the connections of those whose credential has ended."""
        for identity, participant in list(self._participants.items()):
            if participant.has_expired(wall_ms):
                self.remove(identity, "expired", "The credential has expired.")

    def hear(self, levels: dict[StreamId, int], now_ms: int) -> None:
        """The levels of the last 100 ms or so, of all rooms' streams."""
        mine: dict[str, int] = {}
        for stream, (participant, published) in self._streams.items():
            loudness = levels.get(stream)
            if loudness is not None and not published.is_muted:
                mine[participant.identity] = max(-loudness, mine.get(participant.identity, -127))
        speaking = self._speakers.update(mine, now_ms)
        if speaking is not None:
            everyone = [one.identity for one in self._participants.values() if one.is_connected]
            if everyone:
                speakers = [Speaker(participant=who, level=level) for who, level in speaking]
                self._tell(everyone, signals.Speakers(speakers=speakers))


def _read(offer: Offer) -> Description:
    try:
        description = read_offer(offer.sdp)
    except SdpError as error:
        raise Refusal("bad_offer", f"The offer cannot be read: {error}.") from None
    if description.setup not in ("actpass", "active"):
        raise Refusal(
            "bad_offer", "The offer wants the SFU to begin the handshake; it must be actpass or active."
        )
    return description
