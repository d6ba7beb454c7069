"""
What really happened at the server, written down by somebody who shares no code with the hub.

Owns, for every message, who may see it and where it went: decided here from the names present at the moment it was
taken, by Python's own `re` and `fnmatch`. Checks what the hub stores and passes on, and the bounds of its memory.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from peerbus.protocol.codec import Rejected
from peerbus.protocol.messages import ClientFrame, GlobFilter, Send
from peerbus.signaling.effects import AppendEffect
from peerbus.signaling.fanout import message_of
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import Append, Appended, Entry
from peerbus.signaling.member import Member


def check(holds: object, text: str) -> None:
    """Raises AssertionError with the text."""
    if not holds:
        raise AssertionError(text)


def number_of(content: Any, binary: Any) -> int:
    """The number that every message of a simulation bears, in whatever form."""
    if isinstance(binary, bytes):
        return int(binary.split(b":", 1)[0])
    if isinstance(content, str):
        return int(content.split(":", 1)[0])
    number: int = content["n"]
    return number


@dataclass(frozen=True)
class Stored:
    """One entry of the log, as it had to be. `readers` None: everyone."""

    number: int
    identity: str
    readers: frozenset[str] | None
    type: str
    custom_event_type: str | None

    def is_pushed_to(self, identity: str, types: frozenset[str]) -> bool:
        """Whether a reader gets it without asking."""
        return (
            identity != self.identity
            and (self.readers is None or identity in self.readers)
            and (not types or self.type in types or self.custom_event_type in types)
        )

    def is_shown_to(self, identity: str) -> bool:
        """Whether a reader gets it by asking for history."""
        return identity == self.identity or self.readers is None or identity in self.readers


@dataclass
class _Taken:
    """A live or lossy message while the hub handles it."""

    frame: Send
    targets: list[tuple[Member, str]]
    """The members that get it, each with its live epoch before."""
    sent_count: int


class Truth:
    """One world's record. The numbers of messages are unique in it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.log: defaultdict[str, dict[int, Stored]] = defaultdict(dict)
        """epoch → offset → entry."""
        self.offsets: defaultdict[int, set[tuple[str, int]]] = defaultdict(set)
        """number → where it stands in the log."""
        self.live: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        """(session, live epoch) → the live messages that were passed on to it, in order."""
        self.passed_on: Counter[int] = Counter()
        """number → how often it was passed on (not stored)."""
        self.passing_readers: defaultdict[int, set[str]] = defaultdict(set)
        """number → identities it was passed on to."""
        self.authors: dict[int, int] = {}
        """number → who wrote it; numbers of one author rise in the order of writing."""
        self.out_of_order: set[int] = set()
        """Numbers that may come later than their turn: sent once more by their author, or refused at first."""
        self._handled: set[int] = set()
        self._passes: list[int] = []
        self._readers_of: dict[int, tuple[Send, frozenset[str] | None]] = {}
        self._expected: dict[int, tuple[Append, str, frozenset[str] | None]] = {}
        self._taken: _Taken | None = None

    # --- the witness of the server ----------------------------------------------------------------------------

    def before(self, member: Member, frame: ClientFrame | Rejected) -> None:
        """The hub is about to get a frame."""
        self._taken = None
        if not isinstance(frame, Send):
            return
        present = list(member.channel.members.values())
        named = _named(frame, [other.name for other in present], member.name)
        readers = None
        if named is not None:
            present = [other for other in present if other.name in named]
            readers = frozenset(other.identity for other in present)
        if frame.delivery == "durable":
            number = number_of(frame.content, frame.binary)
            if number in self._handled:
                self.out_of_order.add(number)
            self._handled.add(number)
            self._readers_of[id(frame)] = frame, readers
            return
        targets = [
            (other, other.session.live_epoch)
            for other in present
            if other is not member and _wants(other, frame)
        ]
        self._taken = _Taken(frame, targets, member.sent_count)

    def after(self, member: Member, frame: ClientFrame | Rejected) -> None:
        """The hub has handled it."""
        taken = self._taken
        if taken is None:
            return
        number = number_of(taken.frame.content, taken.frame.binary)
        if member.sent_count == taken.sent_count:
            # If the refusal is lost, it is sent again.
            self.out_of_order.add(number)
            return
        self.passed_on[number] += 1
        if taken.frame.delivery == "live":
            self._passes.append(number)
        for target, epoch in taken.targets:
            self.passing_readers[number].add(target.identity)
            # Where the class overflowed by it, it is lost, and the target is told of a new epoch.
            is_kept = target.session.live_epoch == epoch and not target.session.outbox.live_is_lost
            if taken.frame.delivery == "live" and is_kept:
                self.live[target.session.session_id, epoch].append(number)

    def appending(self, effect: AppendEffect) -> None:
        """The hub wants something stored."""
        _, readers = self._readers_of.pop(id(effect.frame))
        if effect.unless_known is None:
            recipients = effect.append.recipients
            identities = None if recipients is None else frozenset(recipients)
            check(identities == readers, f"resolved {identities}, not {readers}: {effect.frame}")
        self._expected[id(effect.append)] = effect.append, effect.channel.epoch, readers

    def committed(self, append: Append, result: Appended) -> None:
        """The log has stored it."""
        _, epoch, readers = self._expected.pop(id(append))
        check(not append.is_retry, "what may only be a retry was stored")
        entries = self.log[epoch]
        check(result.offset == len(entries) + 1, f"offset {result.offset} after {len(entries)}")
        message = message_of(Entry(0, 0, "", "", None, "", None, append.body), "")
        number = number_of(message.content, message.binary)
        entries[result.offset] = Stored(
            number, append.identity, readers, append.type, append.custom_event_type
        )
        self.offsets[number].add((epoch, result.offset))

    def pushed(self, members: list[Member]) -> None:
        """Something was put into these outboxes: none is larger than it may be."""
        limits = self.limits
        for member in members:
            outbox = member.session.outbox
            check(outbox._live_bytes <= limits.live_kept_bytes, "live bytes")
            check(len(outbox._live) <= limits.live_kept_frames, "live frames")
            check(outbox._live_bytes == sum(f.size_bytes for f in outbox._live), "live bytes are counted")
            check(len(outbox._lossy) <= limits.lossy_pending_frames, "lossy frames")
            check(outbox._lossy_bytes <= limits.lossy_pending_bytes or len(outbox._lossy) == 1, "lossy bytes")
            most = max(limits.durable_pending_frames, limits.history_page)
            check(len(outbox._durable) <= most, f"{len(outbox._durable)} durable frames")
            check(
                outbox._durable_bytes == sum(f.size_bytes for _, f in outbox._durable),
                "durable bytes are counted",
            )
            check(len(outbox._control) <= 1, "control frames")

    def check_order(self) -> None:
        """What one author wrote was taken in that order, counting each message when it was taken first."""
        self._check_rising(self._passes, "passed on")
        for epoch, entries in self.log.items():
            self._check_rising([entries[offset].number for offset in sorted(entries)], f"stored in {epoch}")

    def _check_rising(self, numbers: list[int], where: str) -> None:
        last: dict[int, int] = {}
        seen: set[int] = set()
        for number in numbers:
            if number in seen or number in self.out_of_order:
                continue
            seen.add(number)
            author = self.authors[number]
            check(number > last.get(author, 0), f"{number} after {last.get(author)}, {where}")
            last[author] = number


def _named(frame: Send, names: list[str], sender: str) -> set[str] | None:
    """The names that a message is for; None: everyone."""
    if isinstance(frame.to, list):
        return set(frame.to)
    if isinstance(frame.filter, GlobFilter):
        glob = frame.filter.glob
        return {name for name in names if name != sender and fnmatch.fnmatchcase(name, glob)}
    if isinstance(frame.filter, str):
        expression = frame.filter
        try:
            return {name for name in names if name != sender and re.fullmatch(expression, name)}
        except re.error:
            return set()
    return None


def _wants(member: Member, frame: Send) -> bool:
    types = member.types
    return member.receives and (types is None or frame.type in types or frame.custom_event_type in types)
