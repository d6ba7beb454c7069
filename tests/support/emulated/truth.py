"""
What really happened at the server, written down by somebody who shares no code with the hub.

Owns, for every message, who may see it and where it went: decided here from the names present at the moment it was
taken, by Python's own `re` and `fnmatch`. Checks what the hub stores and passes on, and the bounds of its memory.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from peerbus.protocol.codec import Rejected
from peerbus.protocol.messages import ClientFrame, GlobFilter, Message, Send
from peerbus.signaling.effects import AppendEffect
from peerbus.signaling.fanout import message_of
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import Append, Appended, ChannelState, Claim, Entry, MailRead
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
    author: str = ""
    size: int = 0

    def is_pushed_to(self, identity: str, author: str, types: frozenset[str]) -> bool:
        """Whether a reader gets it without asking."""
        return self.author != author and self.is_shown_to(identity) and self.is_of(types)

    def is_of(self, types: frozenset[str] | None) -> bool:
        """Whether it is of one of the types; of any, where there are none."""
        return not types or self.type in types or self.custom_event_type in types

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
        self.claims: defaultdict[str, set[str]] = defaultdict(set)
        """epoch → the claimed identities that the channel has been told of."""
        self.unread: defaultdict[tuple[str, str], dict[int, Stored]] = defaultdict(dict)
        """(epoch, claimed identity) → the mail that is in its mailbox."""
        self.mail_of_sessions: dict[str, tuple[int, ...]] = {}
        """session → the mail that there was when it began."""
        self.processed: Counter[tuple[str, str]] = Counter()
        """(epoch, claimed identity) → up to where one of its sessions has read."""
        self.sealed: dict[bytes, int] = {}
        """envelope → the number of the message in it, as its author says."""
        self._handled: set[int] = set()
        self._passes: list[int] = []
        self._readers_of: dict[int, tuple[Send, frozenset[str] | None]] = {}
        self._appends: dict[int, Append] = {}
        """Kept, so that no id comes twice."""
        self._expected: dict[int, tuple[Member, str, frozenset[str] | None]] = {}
        self._claimed: defaultdict[str, set[str]] = defaultdict(set)
        self._taken: _Taken | None = None

    def number_of(self, message: Send | Message) -> int:
        """The number of a message, open or sealed."""
        if message.sealed is not UNSET:
            return self.sealed[message.sealed]
        return number_of(message.content, message.binary)

    # --- the witness of the server ----------------------------------------------------------------------------

    def before(self, member: Member, frame: ClientFrame | Rejected) -> None:
        """The hub is about to get a frame."""
        self._taken = None
        if not isinstance(frame, Send):
            return
        claims = self.claims[member.channel.epoch]
        present = list(member.channel.members.values())
        away = {identity[5:] for identity in claims} - {other.name for other in present}
        meant = _meant(frame)
        readers = None
        if meant is not None:
            is_filter = frame.filter is not UNSET
            present = [
                other for other in present if meant(other.name) and not (is_filter and other is member)
            ]
            readers = frozenset(
                [*(other.identity for other in present), *(f"name:{name}" for name in away if meant(name))]
            )
        if frame.delivery == "durable":
            number = self.number_of(frame)
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
        number = self.number_of(taken.frame)
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
        self._appends[id(effect.append)] = effect.append
        self._expected[id(effect.append)] = effect.member, effect.channel.epoch, readers

    def committed(self, append: Append, result: Appended) -> None:
        """The log has stored it."""
        member, epoch, readers = self._expected.pop(id(append))
        check(not append.is_retry, "what may only be a retry was stored")
        entries = self.log[epoch]
        check(result.offset == len(entries) + 1, f"offset {result.offset} after {len(entries)}")
        message = message_of(Entry(0, 0, "", "", None, "", None, append.body), "")
        number = self.number_of(message)
        entries[result.offset] = stored = Stored(
            number,
            append.identity,
            readers,
            append.type,
            append.custom_event_type,
            member.author,
            len(append.body),
        )
        for identity in readers or ():
            self._post(epoch, identity, result.offset, stored, append)
        self.offsets[number].add((epoch, result.offset))

    def _post(self, epoch: str, identity: str, offset: int, stored: Stored, append: Append) -> None:
        """What is for a claimed identity goes to its mailbox, if there is room."""
        if identity not in self._claimed[epoch] or identity == stored.identity:
            return
        mail, limits = self.unread[epoch, identity], self.limits
        has_room = (
            len(mail) < limits.mailbox_messages
            and sum(other.size for other in mail.values()) + stored.size <= limits.mailbox_bytes
        )
        check(has_room or not append.needs_room, f"{stored} was stored without room for it")
        if has_room:
            mail[offset] = stored

    def claimed(self, identity: str, claim: Claim) -> None:
        """The log has a claim, and says what mail there is."""
        epoch = claim.state.epoch
        self._claimed[epoch].add(identity)
        mail = self.unread[epoch, identity]
        check(list(claim.unread) == list(mail), f"{identity} has the mail {claim.unread}, not {list(mail)}")

    def trimmed(self, state: ChannelState) -> None:
        """The log has removed its oldest entries."""
        for (epoch, _), mail in self.unread.items():
            for offset in [offset for offset in mail if epoch == state.epoch and offset < state.tail]:
                del mail[offset]

    def mail_read(self, read: MailRead, epoch: str) -> None:
        """The log is told that mail was read: no more than somebody of that name has got."""
        place = epoch, read.identity
        check(read.upto <= self.processed[place], f"{read} is beyond {self.processed[place]}")
        mail = self.unread[place]
        for offset in [offset for offset in mail if offset <= read.upto and mail[offset].is_of(read.types)]:
            del mail[offset]

    def joining(self, claim: Claim) -> None:
        """The hub is about to hear what the log knows of the channel."""
        self.claims[claim.state.epoch] |= claim.state.claims

    def joined(self, member: Member, claim: Claim) -> None:
        """Somebody was admitted: the name is theirs, and not too many bear it."""
        identity = f"name:{member.name}"
        is_claimed = member.admission.is_claimed
        check(is_claimed or identity not in self.claims[member.channel.epoch], f"{identity} is claimed")
        bearers = [other for other in member.channel.members.values() if other.name == member.name]
        check(all(other.identity == member.identity for other in bearers), f"{identity} is borne by others")
        check(len(bearers) <= member.admission.sessions, f"{len(bearers)} bear {identity}")
        self.mail_of_sessions[member.session.session_id] = claim.unread

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


def _meant(frame: Send) -> Callable[[str], object] | None:
    """Whether a message is for a name; None: it is for everyone."""
    if isinstance(frame.to, list):
        return set(frame.to).__contains__
    if isinstance(frame.filter, GlobFilter):
        glob = frame.filter.glob
        return lambda name: fnmatch.fnmatchcase(name, glob)
    if isinstance(frame.filter, str):
        try:
            return re.compile(frame.filter).fullmatch
        except re.error:
            return lambda name: False
    return None


def _wants(member: Member, frame: Send) -> bool:
    types = member.types
    return member.receives and (types is None or frame.type in types or frame.custom_event_type in types)
