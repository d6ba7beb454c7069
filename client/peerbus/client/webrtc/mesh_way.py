"""
The way of mode `mesh`: a link to every other member.

Owns the links, and the order in which what `mesh` says is done to each. Never decides anything about them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.records import Message
from peerbus.client.webrtc import mesh
from peerbus.client.webrtc.call_parts import CallParts
from peerbus.client.webrtc.mesh import LinkPath, MeshLink, Step
from peerbus.client.webrtc.mesh_media import MeshMedia
from peerbus.client.webrtc.packet_repair import ASK_AGAIN_MS
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.client.webrtc.peer_link import PeerLink
from peerbus.client.webrtc.peer_speech import PeerSpeech
from peerbus.client.webrtc.reconnect import PathWatch
from peerbus.client.webrtc.sfu_call import is_loopback
from peerbus.client.webrtc.ways import NO_ROOM, Rooms, WayEvents
from peerbus.protocol.groups import GroupMember, Mode, PeerSignal, PeerWanted
from peerbus.protocol.signals import MediaKind

CARRY_AFTER_MS: Final = 2_000
"""A new peer to which no link stands for so long is carried another way, if that is allowed, until one does."""
SILENCE_MS: Final = 3_000
"""A link that was silent for so long is lost: data can go another way then."""
_LOOK_MS: Final = 1_000


class _Spoke:
    """One peer, and the link to it as it comes and goes."""

    def __init__(self, member: GroupMember, machine: MeshLink, speech: PeerSpeech, now_ms: int) -> None:
        self.member: Final = member
        self.speech: Final = speech
        self.machine: Final = machine
        self.link: PeerLink | None = None
        self.attempt = 0
        self.was_up = False
        self.wants: list[MediaKind] = []
        """What the other side sends, or wants to."""
        self.down_since_ms: int | None = now_ms
        self.timer: asyncio.TimerHandle | None = None
        self.jobs: Final[asyncio.Queue[tuple[str, Callable[[PeerLink], Awaitable[None]]]]] = asyncio.Queue()
        self.worker: asyncio.Task[None] | None = None
        self.watch: asyncio.Task[None] | None = None


class MeshWay:
    """
    See the module. `report` is told whom no link reaches.

    Links of another `scope` are not its own: two ways may have a link each to one peer. Without `has_media` they carry
    data only.
    """

    mode: Final[Mode] = "mesh"

    def __init__(
        self,
        parts: CallParts,
        events: WayEvents,
        report: Callable[[str, bool], None],
        on_close: Callable[[MeshWay], None],
        *,
        scope: str = "",
        has_media: bool = True,
    ) -> None:
        self.failure: PeerbusError | None = None
        self._parts: Final = parts
        self._events: Final = events
        self._report: Final = report
        self._on_close: Final = on_close
        self._spokes: Final[dict[str, _Spoke]] = {}
        self._order = -1
        self._is_closed = False
        self._is_retired = False
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._scope: Final = scope
        self._media: Final = MeshMedia(parts, is_on=has_media)
        parts.agent.add_listener("peer_signal", self._signal_came)

    # --- the way ------------------------------------------------------------------------------------------------

    def follow(self, members: Mapping[str, GroupMember], order: int) -> None:
        """See `Way`."""
        if self._is_closed or self._is_retired:
            return
        for identity, spoke in list(self._spokes.items()):
            now = members.get(identity)
            if now is None or now.order != spoke.member.order or order != self._order:
                del self._spokes[identity]
                self._end(spoke, "left")
        self._order = order
        for identity, member in members.items():
            if identity not in self._spokes:
                self._begin(member)

    def path_of(self, peer: str) -> str | None:
        """See `Way`."""
        spoke = self._spokes.get(peer)
        if spoke is None or spoke.link is None or not spoke.machine.is_up or not spoke.link.is_open:
            return None
        return spoke.link.name

    def can_carry(self, peer: str) -> bool:
        """See `Way`."""
        spoke = self._spokes.get(peer)
        if spoke is None or spoke.down_since_ms is None:
            return True
        is_slow = _now_ms() >= spoke.down_since_ms + CARRY_AFTER_MS
        return not spoke.was_up and not is_slow and not spoke.machine.is_unreachable

    def rooms(self, path: str) -> Rooms:
        """See `Way`."""
        link = self._link_named(path)
        return NO_ROOM if link is None else link.rooms()

    def send(self, path: str, frames: Sequence[Outgoing]) -> None:
        """See `Way`."""
        link = self._link_named(path)
        if link is not None:
            link.send(frames)

    async def round_trip_ms(self, peer: str) -> float | None:
        """See `Way`."""
        spoke = self._spokes.get(peer)
        return None if spoke is None or spoke.link is None else await spoke.link.round_trip_ms()

    def retire(self) -> None:
        """See `Way`. The others are not told: their links may be wanted again, and signals name no way."""
        self._is_retired = True
        for identity, spoke in list(self._spokes.items()):
            if not spoke.machine.is_up:
                self._give_up(identity, spoke)

    def revive(self) -> None:
        """See `Way`."""
        self._is_retired = False
        self._media.again()

    async def close(self) -> None:
        """See `Way`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._on_close(self)
        self._parts.agent.remove_listener("peer_signal", self._signal_came)
        for spoke in list(self._spokes.values()):
            self._end(spoke, "over")
        self._spokes.clear()
        self._media.close()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def publications_changed(self) -> None:
        """What is published, or muted, is other than before."""
        if self._is_closed:
            return
        self._media.look()
        for spoke in self._spokes.values():
            self._obey(spoke, spoke.machine.want(self._media.kinds))

    def _link_named(self, path: str) -> PeerLink | None:
        for spoke in self._spokes.values():
            if spoke.link is not None and spoke.link.name == path:
                return spoke.link
        return None

    # --- links --------------------------------------------------------------------------------------------------

    def _begin(self, member: GroupMember) -> None:
        machine = MeshLink(is_offerer=self._order < member.order, new_id=lambda: secrets.token_hex(8))
        speech = PeerSpeech(self._parts.agent, member.name, self._events.on_error)
        spoke = self._spokes[member.identity] = _Spoke(member, machine, speech, _now_ms())
        spoke.worker = self._task(self._work(spoke))
        self._look_later()
        self._obey(spoke, machine.begin(_now_ms()))

    def _end(self, spoke: _Spoke, reason: str) -> None:
        self._obey(spoke, spoke.machine.close(reason))
        if spoke.timer is not None:
            spoke.timer.cancel()
        if spoke.worker is not None:
            spoke.worker.cancel()
        spoke.speech.close()

    def _signal_came(self, message: Message) -> None:
        spoke = self._spokes.get(message.identity)
        if spoke is None:
            return
        try:
            signal: PeerSignal = msgspec.convert(message.content, PeerSignal)
        except msgspec.ValidationError:
            return  # A peer that speaks otherwise is one that can't be reached so.
        own = _unscoped(signal, self._scope)
        if own is not None:
            self._obey(spoke, spoke.machine.signalled(own, _now_ms()))

    def _obey(self, spoke: _Spoke, steps: list[Step]) -> None:
        """Does what is to be done for one link, and sees to its deadline."""
        was_up = spoke.link is not None
        for step in steps:
            if self._is_retired and isinstance(step, mesh.Open):
                break
            self._do(spoke, step)
        if self._is_retired and was_up and not spoke.machine.is_up:
            self._give_up(spoke.member.identity, spoke)
            return
        if spoke.machine.is_up:
            spoke.down_since_ms = None
            spoke.was_up = True
        elif spoke.down_since_ms is None:
            spoke.down_since_ms = _now_ms()
            self._look_later()
        if spoke.timer is not None:
            spoke.timer.cancel()
            spoke.timer = None
        deadline_ms = spoke.machine.deadline_ms
        if deadline_ms is not None and not self._is_closed:
            spoke.timer = asyncio.get_running_loop().call_at(deadline_ms / 1000, self._timed, spoke)

    def _give_up(self, identity: str, spoke: _Spoke) -> None:
        if self._spokes.get(identity) is spoke:
            del self._spokes[identity]
            self._end(spoke, "over")

    def _timed(self, spoke: _Spoke) -> None:
        self._obey(spoke, spoke.machine.time_passed(_now_ms() + 1))

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(CARRY_AFTER_MS / 1000, self._changed)

    def _changed(self) -> None:
        if not self._is_closed:
            self._events.on_change()

    def _do(self, spoke: _Spoke, step: Step) -> None:
        link_id = spoke.machine.link
        if isinstance(step, mesh.Open):
            self._drop(spoke)
            spoke.jobs.put_nowait((step.link, _nothing))
        elif isinstance(step, mesh.Shut):
            self._drop(spoke)
        elif isinstance(step, mesh.Say):
            spoke.speech.say(_scoped(step.signal, self._scope))
        elif isinstance(step, mesh.Reachable):
            self._report(spoke.member.identity, step.is_reachable)
            self._changed()
        elif isinstance(step, mesh.MakeRoom):
            spoke.wants = step.media
        elif isinstance(step, mesh.MakeOffer):

            async def offer(link: PeerLink) -> None:
                link.publish(self._media.lines, is_offerer=True)
                link.make_room(spoke.wants)
                sdp = await link.offer()
                self._obey(spoke, spoke.machine.described(link_id, sdp, link.tracks))

            spoke.jobs.put_nowait((link_id, offer))
        elif isinstance(step, mesh.MakeAnswer):

            async def answer(link: PeerLink) -> None:
                needs_room = link.publish(self._media.lines, is_offerer=False)
                sdp = await link.answer(step.offer.sdp)
                self._obey(spoke, spoke.machine.described(link_id, sdp, link.tracks))
                self._obey(spoke, spoke.machine.applied(link_id))
                self._media.said(spoke.member, link, step.offer.tracks)
                if needs_room and link.publish(self._media.lines, is_offerer=False):
                    self._obey(spoke, spoke.machine.want(self._media.kinds))

            spoke.jobs.put_nowait((link_id, answer))
        elif isinstance(step, mesh.Apply):

            async def apply(link: PeerLink) -> None:
                await link.apply(step.answer.sdp)
                self._obey(spoke, spoke.machine.applied(link_id))
                self._media.said(spoke.member, link, step.answer.tracks)

            spoke.jobs.put_nowait((link_id, apply))
        else:

            async def add(link: PeerLink) -> None:
                await link.add(step.candidate.candidate, step.candidate.mid, step.candidate.line)

            spoke.jobs.put_nowait((link_id, add))

    async def _work(self, spoke: _Spoke) -> None:
        """What is done to the connections of one peer, one thing after the other."""
        while True:
            link_id, job = await spoke.jobs.get()
            if link_id != spoke.machine.link:
                continue
            try:
                if spoke.link is None:
                    await self._open(spoke, link_id)
                if spoke.link is not None and link_id == spoke.machine.link:
                    await job(spoke.link)
            except Exception as error:  # noqa: BLE001 - aiortc; the next link may do better
                if not isinstance(error, PeerbusError):
                    text = f"A link failed: {type(error).__name__}: {error}"
                    error = PeerbusError(ErrorCode.INTERNAL, text)
                self._events.on_error(error)
                self._obey(spoke, spoke.machine.broke(link_id, _now_ms()))

    async def _open(self, spoke: _Spoke, link_id: str) -> None:
        ice = await self._parts.ice.setup(attempt=spoke.attempt, has_stun=True)
        if link_id != spoke.machine.link:
            return

        def path_is(path: LinkPath) -> None:
            if spoke.link is link:
                if path == "up":
                    spoke.attempt = 0
                self._obey(spoke, spoke.machine.path_is(link_id, path, _now_ms()))
                self._changed()

        def frame_came(frame: bytes) -> None:
            if spoke.link is link:
                self._events.on_frame(spoke.member.identity, frame)

        link = PeerLink(
            f"mesh {link_id}",
            ice,
            on_loopback=is_loopback(self._parts.agent.api),
            on_path=path_is,
            on_frame=frame_came,
            on_room=self._changed,
        )
        spoke.attempt += 1
        spoke.link = link
        spoke.watch = self._task(self._watch(spoke, link, link_id))

    async def _watch(self, spoke: _Spoke, link: PeerLink, link_id: str) -> None:
        """Notices a path that went silent, long before ICE does, and asks again for packets that are missing."""
        watch = PathWatch(_now_ms(), silence_ms=SILENCE_MS)
        next_look_ms = _now_ms()
        while spoke.link is link:
            await asyncio.sleep(ASK_AGAIN_MS / 1000)
            link.repair(_now_ms())
            if _now_ms() < next_look_ms:
                continue
            next_look_ms = _now_ms() + _LOOK_MS
            if spoke.link is not link or not link.is_open:
                watch = PathWatch(_now_ms(), silence_ms=SILENCE_MS)
                continue
            if watch.look(_now_ms(), link.packets_received) and await link.path_answers():
                watch.answered(_now_ms())
            if watch.is_lost(_now_ms()) and spoke.link is link:
                self._obey(spoke, spoke.machine.path_is(link_id, "down", _now_ms()))
                self._changed()

    def _drop(self, spoke: _Spoke) -> None:
        link, spoke.link = spoke.link, None
        if link is None:
            return
        if spoke.watch is not None:
            spoke.watch.cancel()
        self._media.ended(link)
        self._task(link.close())
        self._changed()

    def _task(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="peerbus-link")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _scoped(signal: PeerSignal, scope: str) -> PeerSignal:
    """The signal as it is told: the ids of links that are not of a mesh begin with what they are of."""
    if not scope:
        return signal
    link = "" if signal.link is UNSET else signal.link
    return msgspec.structs.replace(signal, link=scope + link)


def _unscoped(signal: PeerSignal, scope: str) -> PeerSignal | None:
    """The signal, if it is of a link of this scope."""
    told = "" if signal.link is UNSET else signal.link
    before, mark, link = told.rpartition(":")
    if before + mark != scope:
        return None
    if isinstance(signal, PeerWanted):
        return msgspec.structs.replace(signal, link=link or UNSET)
    return msgspec.structs.replace(signal, link=link)


async def _nothing(link: PeerLink) -> None:
    """The link is there: that was all."""


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
