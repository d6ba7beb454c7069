"""
What the host's application takes in because it is the host's: messages to the host, by its role or by its name, and
those that a new host has to take in once more because they came after the state that it goes on from.

Owns which messages are not whole yet, and which came last of each sender. The order of the log is the order here; what
is a double by its number is dropped. Never decides what is fed, nor what the application is told (`host_serving`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from peerbus.client.webrtc import peer_frames
from peerbus.client.webrtc.peer_frames import ACK, Reliable, encode_mark
from peerbus.client.webrtc.peer_receiving import Event, Receiving

Done: TypeAlias = dict[str, tuple[int, int, int]]
"""By sender: its stream, and the last piece of its last whole message to the host by role, and by name."""


class HostInbox:
    """See the module."""

    def __init__(self, done: Mapping[str, tuple[int, int, int]]) -> None:
        """`done`: what was taken in already."""
        self.done: Final[Done] = dict(done)
        self._senders: Final[dict[tuple[str, bool], Receiving]] = {}
        self._begun: Final[dict[tuple[str, bool], int]] = {}
        self._owed: Final[dict[str, int]] = {}
        for sender, (stream, by_role, by_name) in done.items():
            for is_role, seq in ((True, by_role), (False, by_name)):
                receiving = self._receiving(sender, is_role)
                receiving.follows(stream)
                receiving.last = seq

    def feed(self, n: int, sender: str, frame: Reliable, now_ms: int, *, is_role: bool) -> list[Event]:
        """Takes the frame at place `n`; gives the message that is whole by it."""
        receiving = self._receiving(sender, is_role)
        is_new = frame.stream != receiving.stream or frame.seq > receiving.last
        # The log has all that came before, or it is in the state: nothing is waited for.
        frame = Reliable(frame.stream, frame.seq, 0, frame.flags, frame.body)
        events = receiving.reliable(frame, now_ms)
        if is_new and receiving.stream == frame.stream:
            if frame.flags & peer_frames.MORE:
                self._begun.setdefault((sender, is_role), n)
            else:
                self._begun.pop((sender, is_role), None)
                note_done(self.done, sender, frame, is_role=is_role)
        return events

    def owe(self, sender: str, at_ms: int) -> None:
        """A frame to the host's role was taken in: its sender is to be told by then."""
        self._owed.setdefault(sender, at_ms)

    def acks(self, now_ms: int) -> list[tuple[str, bytes]]:
        """The acknowledgements that are due, by sender."""
        due = [sender for sender, at_ms in self._owed.items() if now_ms >= at_ms]
        marks = []
        for sender in due:
            del self._owed[sender]
            receiving = self._receiving(sender, is_role=True)
            if receiving.stream:
                marks.append((sender, encode_mark(ACK, receiving.stream, receiving.last)))
        return marks

    def floor(self, n: int) -> int:
        """The first place that is needed for what is not whole at `n`."""
        return min([n + 1, *self._begun.values()])

    def forget(self, sender: str) -> None:
        """It is gone; if it comes back it begins anew."""
        self.done.pop(sender, None)
        self._owed.pop(sender, None)
        for is_role in (True, False):
            self._senders.pop((sender, is_role), None)
            self._begun.pop((sender, is_role), None)

    @property
    def deadline_ms(self) -> int | None:
        """When acknowledgements are due."""
        return min(self._owed.values(), default=None)

    def _receiving(self, sender: str, is_role: bool) -> Receiving:
        key = (sender, is_role)
        if key not in self._senders:
            self._senders[key] = Receiving(sender)
        return self._senders[key]


def note_done(done: Done, sender: str, frame: Reliable, *, is_role: bool) -> None:
    """A frame to the host was taken in. Only the last piece of a message counts."""
    if frame.flags & peer_frames.MORE:
        return
    stream, by_role, by_name = done.get(sender, (frame.stream, 0, 0))
    if stream != frame.stream:
        by_role = by_name = 0
    if is_role:
        by_role = max(by_role, frame.seq)
    else:
        by_name = max(by_name, frame.seq)
    done[sender] = (frame.stream, by_role, by_name)
