"""
One connection to the SFU, from its first offer to the moment it is of no use any more.

Owns the making of offers, one at a time, and the watch over the path. Never decides whether another connection follows
(`helper`), and never reads signals itself: what follows from them comes in by `answered`, `refused`, `grow`
and `break_off`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.ice import IceSetup
from peerbus.client.webrtc.negotiation import Negotiation, Refused, is_final
from peerbus.client.webrtc.outgoing import Line
from peerbus.client.webrtc.packet_repair import ASK_AGAIN_MS
from peerbus.client.webrtc.peer import SfuPeer
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.reconnect import PathWatch
from peerbus.protocol.errors import ERRORS
from peerbus.protocol.signals import ClientSignal, Leave, MediaKind, Mute, Unpublish

ANSWER_S: Final = 10.0
"""How long the answer to an offer may take, and the path to come up after it."""
WORKER_AGAIN_S: Final = 0.5
"""After this an offer for which the server knew no worker is sent again."""
_LOOK_S: Final = 1.0


class Broken(Struct, frozen=True, kw_only=True):
    """Why a connection is over."""

    error: PeerbusError
    is_final: bool
    """Another one would end in the same way."""
    is_at_once: bool = False
    """Another one may be tried without waiting."""


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a connection needs of its helper."""

    send: Callable[[dict[str, Any]], Awaitable[Any]]
    """Sends the content of a signal; done when it was passed on to the worker."""
    wait_ready: Callable[[], Awaitable[None]]
    """Returns when the agent is connected."""
    on_up: Callable[[], None]
    """The path stands and the data channels are open, or have room again."""
    on_data: Callable[[bytes], None]
    on_refused: Callable[[Publication, PeerbusError], None]
    """A publication was not taken."""


class CallConnection:
    """See the module. `run` does everything, and cleans up however it ends."""

    def __init__(
        self,
        negotiation: Negotiation,
        publications: list[Publication],
        surroundings: Surroundings,
        encryption: CallEncryption,
        *,
        slots: dict[MediaKind, int],
        ice: IceSetup,
        on_loopback: bool,
    ) -> None:
        """`publications` is the helper's own list; `slots` is how many there are at first."""
        self.id: Final = secrets.token_hex(8)
        self.slots: Final = dict(slots)
        self._negotiation: Final = negotiation
        self._publications: Final = publications
        self._around: Final = surroundings
        self._encryption: Final = encryption
        self._lines: Final[dict[Publication, Line]] = {}
        self._is_wanted: Final = asyncio.Event()
        self._answer: asyncio.Future[str | Refused] | None = None
        self._is_up: Final = asyncio.Event()
        self._broken: Final[asyncio.Future[Broken]] = asyncio.get_running_loop().create_future()
        self.peer: Final = SfuPeer(
            ice=ice,
            on_loopback=on_loopback,
            on_state=self._state_changed,
            on_data=surroundings.on_data,
            on_room=self._room_came,
        )

    @property
    def is_up(self) -> bool:
        """Whether media and data flow."""
        return self._is_up.is_set() and not self._broken.done()

    @property
    def was_up(self) -> bool:
        """Whether media and data have ever flowed."""
        return self._is_up.is_set()

    def line_of(self, publication: Publication) -> Line | None:
        """The line that a publication is on."""
        return self._lines.get(publication)

    async def run(self) -> Broken:
        """Until it is of no use any more; nothing of it is left then."""
        self._negotiation.begin(self.id)
        self.want_offer()
        tasks = [
            asyncio.create_task(self._guarded(self._offer_for_ever), name="peerbus-offers"),
            asyncio.create_task(self._guarded(self._watch), name="peerbus-path"),
            asyncio.create_task(self._guarded(self._repair), name="peerbus-repair"),
        ]
        try:
            return await self._broken
        finally:
            for task in tasks:
                task.cancel()
            for publication in self._lines:
                publication.feed.put_on(None)
            await self.peer.close()

    # --- what the helper asks for -------------------------------------------------------------------------------

    def want_offer(self) -> None:
        """Something changed that an offer has to tell."""
        self._is_wanted.set()

    def rename(self) -> None:
        """The agent bears another name: frames are sealed under it from now on, and the SFU is told."""
        self._encryption.check()
        for publication, line in self._lines.items():
            self.peer.seal_line(line, self._encryption.sealer(publication.id))
        self.want_offer()

    def grow(self, counts: dict[MediaKind, int]) -> None:
        """There should be so many slots."""
        self.slots.update(counts)
        self.want_offer()

    async def mute(self, publication: Publication) -> None:
        """Tells whether it is muted now, unless an offer to come says so. Raises `PeerbusError`."""
        if publication in self._lines:
            signal = Mute(connection=self.id, publication=publication.id, is_muted=publication.is_muted)
            await self._send(signal)

    async def unpublish(self, publication: Publication) -> None:
        """Takes it off its line, which another may use. Raises `PeerbusError`."""
        line = self._lines.pop(publication, None)
        if line is not None:
            publication.feed.put_on(None)
            self.peer.give_back(line)
            await self._send(Unpublish(connection=self.id, publication=publication.id))

    async def leave(self) -> None:
        """Tells the SFU that this is the end. Raises `PeerbusError`."""
        await self._send(Leave(connection=self.id))

    def break_off(self, broken: Broken) -> None:
        """It is of no use any more."""
        if not self._broken.done():
            self._broken.set_result(broken)

    # --- what follows from signals ------------------------------------------------------------------------------

    def answered(self, sdp: str) -> None:
        """The answer to the offer that is under way."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(sdp)

    def refused(self, refusal: Refused) -> None:
        """The offer that is under way was refused."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(refusal)

    # --- offers -------------------------------------------------------------------------------------------------

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work whose failure is that of the connection, however it fails."""
        try:
            await work()
        except PeerbusError as error:
            is_lasting = not error.is_retryable and error.code is not ErrorCode.BAD_FRAME
            self.break_off(Broken(error=error, is_final=is_lasting))
        except Exception as error:  # noqa: BLE001 - aiortc; the next connection may do better
            text = f"The connection failed: {type(error).__name__}: {error}"
            self.break_off(Broken(error=PeerbusError(ErrorCode.INTERNAL, text), is_final=False))

    async def _offer_for_ever(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            await self._around.wait_ready()
            try:
                await self._offer()
            except PeerbusError as error:
                if error.code is not ErrorCode.TIMEOUT or not self._is_up.is_set():
                    raise
                self.want_offer()  # It, or its answer, was lost with signaling; `_watch` looks after the path.

    async def _offer(self) -> None:
        """One offer, and what comes of it."""
        is_sealed = self._encryption.is_on
        self._encryption.check()
        for publication in self._publications:
            if publication not in self._lines and not publication.is_ended:
                line = self._lines[publication] = self.peer.add_line(publication.media, is_sealed=is_sealed)
                if is_sealed:
                    self.peer.seal_line(line, self._encryption.sealer(publication.id))
                publication.feed.put_on(line)
        self.peer.add_slots(self.slots, are_sealed=is_sealed)
        sdp = await self.peer.make_offer()
        offered = {self.peer.mid_of(line): publication for publication, line in self._lines.items()}
        tracks = {mid: publication.offered(mid, is_sealed=is_sealed) for mid, publication in offered.items()}
        answer = await self._exchange(self._negotiation.offer(sdp, tracks))
        if isinstance(answer, Refused):
            self._take_refusal(answer)
            return
        rejected = await self.peer.take_answer(answer)
        for mid, publication in offered.items():
            if mid in rejected:
                self._give_up(
                    publication, refusal_error("codec_not_supported", "The SFU rejected the track.")
                )
            else:
                publication.taken()

    async def _exchange(self, offer: ClientSignal) -> str | Refused:
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self._send_patiently(offer)
            async with asyncio.timeout(ANSWER_S):
                return await self._answer
        except TimeoutError:
            raise PeerbusError(ErrorCode.TIMEOUT, "The SFU did not answer in time.") from None
        finally:
            self._answer = None

    async def _send_patiently(self, offer: ClientSignal) -> None:
        """A server that was started again may not know the worker yet over which media flows all the while."""
        while True:
            try:
                await self._send(offer)
            except PeerbusError as error:
                if error.code is not ErrorCode.NO_WORKER or not self._is_up.is_set():
                    raise
                await asyncio.sleep(WORKER_AGAIN_S)
            else:
                return

    def _take_refusal(self, refusal: Refused) -> None:
        """Publications that may be the reason are given up, the new ones first; else the connection is."""
        error = refusal_error(refusal.code, refusal.message, refusal.details)
        blamed: list[Publication] = []
        if refusal.code in _BLAMES_TRACKS:
            blamed = [publication for publication in self._lines if not publication.is_published]
            blamed = blamed or list(self._lines)
        for publication in blamed:
            self._give_up(publication, error)
        if refusal.is_first:
            is_lasting = not blamed and (is_final(refusal.code) or refusal.code in _BLAMES_TRACKS)
            self.break_off(Broken(error=error, is_final=is_lasting, is_at_once=bool(blamed)))
        elif not blamed:
            self.break_off(Broken(error=error, is_final=False))

    def _give_up(self, publication: Publication, error: PeerbusError) -> None:
        publication.feed.put_on(None)
        line = self._lines.pop(publication, None)
        if line is not None:
            self.peer.give_back(line)
        self._around.on_refused(publication, error)

    async def _send(self, signal: ClientSignal) -> None:
        await self._around.send(msgspec.to_builtins(signal))

    # --- the path -----------------------------------------------------------------------------------------------

    def _state_changed(self, state: str) -> None:
        if state in ("failed", "closed"):
            error = PeerbusError(ErrorCode.CONNECT_FAILED, "The path to the SFU was lost, or never came up.")
            self.break_off(Broken(error=error, is_final=False))

    def _room_came(self) -> None:
        if self.peer.reliable_buffered is not None and self.peer.lossy_buffered is not None:
            self._is_up.set()
            self._around.on_up()

    async def _repair(self) -> None:
        """Asks again for lost packets, as long as the connection lives."""
        await self._is_up.wait()
        while True:
            await asyncio.sleep(ASK_AGAIN_MS / 1000)
            self.peer.repair(_now_ms())

    async def _watch(self) -> None:
        """Breaks the connection off when it does not come up, and when its path is lost."""
        await self._around.wait_ready()
        try:
            async with asyncio.timeout(2 * ANSWER_S):
                await self._is_up.wait()
        except TimeoutError:
            raise PeerbusError(ErrorCode.CONNECT_FAILED, "The path to the SFU did not come up.") from None
        watch = PathWatch(_now_ms())
        while True:
            await asyncio.sleep(_LOOK_S)
            counts = await self.peer.transport_counts()
            if watch.look(_now_ms(), counts.packets_received) and await self.peer.path_answers():
                watch.answered(_now_ms())
            if watch.is_lost(_now_ms()):
                raise PeerbusError(ErrorCode.CONNECT_FAILED, "The path to the SFU was lost.")


_BLAMES_TRACKS: Final = frozenset(
    {"bad_offer", "codec_not_supported", "e2ee_codec", "forbidden", "too_many_tracks"}
)
"""Refusals that may be about what is published; the same offer would meet them again."""


def refusal_error(code: str, message: str, details: dict[str, Any] | None = None) -> PeerbusError:
    """The exception for a refusal; a code that is none of the wire's stands in the message."""
    try:
        known = ErrorCode(code)
    except ValueError:
        return PeerbusError(
            ErrorCode.BAD_REQUEST,
            f"{code}: {message}",
            details={**(details or {}), "code": code},
            is_retryable=False,
        )
    return PeerbusError(known, message, details=details, is_retryable=ERRORS[known].is_retryable)


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
