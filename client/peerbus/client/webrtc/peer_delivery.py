"""
Delivery between peers, above every way there is to carry frames (PROTOCOL.md, section 16).

Owns the whole of it for one helper: its own stream to all peers and what comes from each, acknowledgements included.
Reliable messages arrive once and in order per sender, whichever paths they took. Never sends, never reads a clock: the
shell says on which path a peer is reached, hands in frames, and asks by `take` what goes out now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc import peer_frames
from peerbus.client.webrtc.peer_frames import ACK, AGAIN, FLUSHED, Lossy, Reliable, encode_mark
from peerbus.client.webrtc.peer_receiving import Bad, Delivered, Event, Flushed, Receiving
from peerbus.client.webrtc.peer_sending import Outgoing, Sending

__all__ = ["Bad", "Delivered", "Delivery", "Event", "Flushed", "Outgoing"]


class Delivery:
    """See the module. Times are milliseconds of any clock that never goes back."""

    def __init__(self, identity: str, stream: int) -> None:
        """`identity` is the own one; `stream` a random number from 1 to 2^32 − 1."""
        self.identity = identity
        self._sending: Final = Sending(stream)
        self._senders: Final[dict[str, Receiving]] = {}
        self._asks: Final[list[str]] = []

    @property
    def stream(self) -> int:
        """The number of the own stream."""
        return self._sending.stream

    @property
    def kept_bytes(self) -> int:
        """How much is not acknowledged by everybody it was for."""
        return self._sending.kept_bytes

    def unacknowledged(self, peer: str) -> int:
        """How many frames this peer has not acknowledged."""
        recipient = self._sending.recipients.get(peer)
        return 0 if recipient is None else len(recipient.turns)

    # --- messages -----------------------------------------------------------------------------------------------

    def send(self, number: int, to: Sequence[str], payload: Any, *, is_lossy: bool, now_ms: int) -> None:
        """
        Takes a message for these peers; `number` comes back by `take_settled`.

        Raises `PeerbusError`: `bad_request` (no MessagePack form), `too_large`, `queue_full`.
        """
        if is_lossy:
            self._sending.send_lossy(number, to, payload, now_ms)
        else:
            self._sending.send_reliable(number, to, payload)

    def take_settled(self) -> tuple[list[int], list[int]]:
        """The messages that were handed over, and those that were dropped, since it was asked before."""
        sending = self._sending
        settled = sorted(sending.handed), sorted(sending.dropped)
        sending.handed, sending.dropped = [], []
        return settled

    # --- paths --------------------------------------------------------------------------------------------------

    def set_path(self, peer: str, path: str | None) -> None:
        """
        The peer is reached by `path` from now on, and what it has not acknowledged goes there once more.

        Also called when the path of this name is a new one. None: there is no path.
        """
        self._sending.set_path(peer, path)
        self._acknowledge_again(peer)

    def left(self, peer: str) -> None:
        """The peer is gone; what was for it, and what was known of it, is forgotten."""
        self.left_as_recipient(peer)
        self.left_as_sender(peer)

    def left_as_recipient(self, peer: str) -> None:
        """Nothing is kept for the peer any more; what it sent may still be under way by others."""
        self._sending.left(peer)

    def left_as_sender(self, peer: str) -> None:
        """Nothing that the peer has sent is under way any more."""
        self._senders.pop(peer, None)

    def ask(self, peer: str) -> None:
        """Has the peer send again what did not arrive: the way from it was replaced, or had a gap."""
        if peer not in self._asks:
            self._asks.append(peer)

    def take(
        self, path: str, now_ms: int, *, reliable_room: int | None, lossy_room: int | None
    ) -> list[Outgoing]:
        """What goes onto a path now, given how many bytes may go there (None: it is not open)."""
        self.tick(now_ms)
        out: list[Outgoing] = []
        if reliable_room is not None:
            out += self._marks(path, now_ms)
            out += self._sending.take_reliable(path, reliable_room, now_ms)
        if lossy_room is not None:
            out += self._sending.take_lossy(path, lossy_room)
        return out

    def flush(self) -> bytes:
        """The last frame on a path that is given up."""
        return encode_mark(FLUSHED, self._sending.stream, self._sending.seq)

    def tick(self, now_ms: int) -> None:
        """Does what is due, but for what goes onto paths; `take` does it, too."""
        self._sending.tick(now_ms)

    @property
    def deadline_ms(self) -> int | None:
        """When to call `tick`, and `take` for every path."""
        due = [] if self._sending.deadline_ms is None else [self._sending.deadline_ms]
        for peer, receiving in self._senders.items():
            if self._path_of(peer) is not None:
                due += [at for at in (receiving.ack_due_ms, receiving.again_due_ms) if at is not None]
        return min(due, default=None)

    # --- what comes in ------------------------------------------------------------------------------------------

    def receive(self, sender: str, frame: bytes, now_ms: int) -> list[Event]:
        """Takes a frame, from whichever path; gives what is to be told. Never raises."""
        try:
            read = peer_frames.decode_frame(frame, self.identity)
        except PeerbusError as error:
            return [Bad(sender, error)]
        if isinstance(read, Reliable):
            return self._receiving(sender).reliable(read, now_ms)
        if isinstance(read, Lossy):
            return self._receiving(sender).lossy(read)
        if read.kind == ACK:
            self._sending.acknowledged(sender, read.stream, read.seq, now_ms)
        elif read.kind == AGAIN:
            self._sending.asked(sender, read.stream, read.seq, now_ms)
            self._acknowledge_again(sender)
        elif self._receiving(sender).follows(read.stream):
            return [Flushed(sender, read.seq)]
        return []

    # --- inside -------------------------------------------------------------------------------------------------

    def _receiving(self, sender: str) -> Receiving:
        if sender not in self._senders:
            self._senders[sender] = Receiving(sender)
        return self._senders[sender]

    def _acknowledge_again(self, peer: str) -> None:
        """What was sent to it may be lost, acknowledgements, too."""
        receiving = self._senders.get(peer)
        if receiving is not None and receiving.last:
            receiving.ack_due_ms = 0

    def _path_of(self, peer: str) -> str | None:
        recipient = self._sending.recipients.get(peer)
        return None if recipient is None else recipient.path

    def _marks(self, path: str, now_ms: int) -> list[Outgoing]:
        """Acknowledgements and requests that are due on a path."""
        out: list[Outgoing] = []
        for peer, receiving in self._senders.items():
            if self._path_of(peer) != path:
                continue
            if receiving.ack_due_ms is not None and now_ms >= receiving.ack_due_ms:
                out.append(
                    Outgoing((peer,), encode_mark(ACK, receiving.stream, receiving.last), is_lossy=False)
                )
                receiving.acknowledged()
            if (
                receiving.again_due_ms is not None
                and now_ms >= receiving.again_due_ms
                and peer not in self._asks
            ):
                out.append(
                    Outgoing((peer,), encode_mark(AGAIN, receiving.stream, receiving.last), is_lossy=False)
                )
                receiving.asked(now_ms)
        for peer in [peer for peer in self._asks if self._path_of(peer) == path]:
            self._asks.remove(peer)
            known = self._senders.get(peer)
            stream, last = (0, 0) if known is None else (known.stream, known.last)
            out.append(Outgoing((peer,), encode_mark(AGAIN, stream, last), is_lossy=False))
            if known is not None:
                known.asked(now_ms)
        return out
