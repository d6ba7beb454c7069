"""
What the terminal chat prints: messages, who comes and goes, and every state and failure in words.

Owns the wording. Never prints, and never lets text of others through unescaped (`terminal_text`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from enum import Enum
from typing import Any, Final

from peerbus.client.errors import SealingError
from peerbus.client.records import Member, Message, Presence
from peerbus.client.terminal_text import lines, one_line
from peerbus.protocol.errors import ErrorCode
from peerbus.protocol.messages import ChannelInfo, Departure
from peerbus.protocol.session.outputs import State

MAX_NAMES: Final = 12
"""So many names stand in one line; the others are counted."""

_CONTINUED: Final = "      | "
_TRANSPORTS: Final = {"websocket": "WebSocket", "longpoll": "long-poll"}
_MEANING: Final = {
    "open": "there is no password, and the server can read what is written.",
    "locked, readable by the server": "only who knows the password gets in; the server can read what is written.",
    "sealed": "only who knows the password can read what is written.",
}
_DEPARTURES: Final = {
    "left": "{} left.",
    "lost": "{} lost the connection and is gone.",
    "replaced": "{} connected anew.",
    "kicked": "{} was removed.",
    "expired": "{} is gone: the key has expired.",
    "closed": "{} was disconnected by the server.",
}
_REMEDIES: Final = {
    ErrorCode.NAME_TAKEN: "Choose another name with --name, or leave --name out.",
    ErrorCode.NAME_INVALID: "Choose another name with --name, or check the channel in the link.",
    ErrorCode.UNAUTHORIZED: "Check the key in --api-key or PEERBUS_API_KEY.",
    ErrorCode.USED_UP: "Ask for a key of your own, and give it with --api-key or PEERBUS_API_KEY.",
    ErrorCode.REVOKED: "Ask for another key, and give it with --api-key or PEERBUS_API_KEY.",
    ErrorCode.EXPIRED: "Start again with a new key.",
    ErrorCode.FORBIDDEN: "Ask for a key that allows it.",
    ErrorCode.CHANNEL_LOCKED: "Ask those inside to unlock it.",
    ErrorCode.CHANNEL_FULL: "Try again later.",
    ErrorCode.UNKNOWN_RECIPIENT: "/who lists who is here.",
    ErrorCode.NOT_FOUND: "Give a key with --api-key or PEERBUS_API_KEY.",
    ErrorCode.CONNECT_FAILED: "Check the address in the link, and whether the server runs.",
    ErrorCode.UNSUPPORTED_VERSION: "Update peerbus here or on the server.",
}


class Kind(Enum):
    """What a line is: what somebody said, what happened, or what went wrong."""

    MESSAGE = "message"
    NOTICE = "notice"
    TROUBLE = "trouble"


@dataclass(frozen=True)
class Line:
    """One line for the terminal, without its end; safe to print."""

    kind: Kind
    text: str


class ChatLines:
    """
    The lines of one chat. It remembers who "you" are, who was away, and the day of the last message.

    `zone` is the time zone to show times in (None: that of the machine), `today` the day that needs no saying.
    """

    def __init__(self, zone: tzinfo | None, today: date) -> None:
        self._zone = zone
        self._day = today
        self._session_id = ""
        self._identity = ""
        self._name = ""
        self._away: set[str] = set()
        self._was_connected = False

    def joined(
        self, *, name: str, identity: str, session_id: str, channel: ChannelInfo, members: Sequence[Member]
    ) -> list[Line]:
        """The server has taken us: as whom, what the channel is, who is here. Nothing of it is said twice."""
        is_first = not self._session_id
        self._name, self._identity, self._session_id = name, identity, session_id
        self._away = {member.session_id for member in members if member.state == "away"}
        if not is_first:
            return []
        return [_notice(f"You are {one_line(name)}."), *self.channel(channel), self.members(members)]

    def channel(self, channel: ChannelInfo) -> list[Line]:
        """Who may come in, and who may read."""
        openness = _openness(channel)
        found = [_notice(f"“{one_line(channel.name)}” is {openness}: {_MEANING[openness]}")]
        return [*found, self.lock(is_locked=True)] if channel.is_locked else found

    def lock(self, *, is_locked: bool) -> Line:
        """The channel was closed to newcomers, or opened again."""
        return _notice("Newcomers are kept out." if is_locked else "Newcomers may come in again.")

    def members(self, members: Sequence[Member]) -> Line:
        """Who is here."""
        shown = [self._described(member) for member in members]
        return _notice(f"{len(shown)} here: {_listed(shown)}.")

    def status(self, state: State, channel: ChannelInfo | None, members: int) -> str:
        """The line that always stands at the bottom: which channel, who may read, the connection, how many."""
        path = _TRANSPORTS.get(state.transport or "", "")
        parts = [] if channel is None else [one_line(channel.name), _openness(channel)]
        parts.append(f"{state.name} over {path}" if path else state.name)
        return " · ".join([*parts, f"{members} here"])

    def nothing_yet(self) -> Line:
        """The channel has no history."""
        return _notice("Nothing was said here yet.")

    def nobody_here(self) -> Line:
        """A channel with a password in which there is nobody and nothing: another password is another channel."""
        return _notice("Nobody here, and nothing was said yet; is the password right?")

    def safety(self, number: str) -> list[Line]:
        """The safety number, or why there is none."""
        if not number:
            return [_notice("This channel is not sealed, so there is no safety number.")]
        return [
            _notice(f"Safety number: {number}"),
            _notice("Whoever reads out the same digits is in this channel by the same password."),
        ]

    def unopened(self, error: SealingError) -> list[Line]:
        """Something that is not shown, since it cannot be told to be what somebody here has sent."""
        what = "A message" if error.delivery is not None else "Something private"
        text = f"{what} of {one_line(error.sender)} could not be opened, and is not shown:"
        return [Line(Kind.TROUBLE, f"— {text} {one_line(error.message)} ({one_line(error.code)})")]

    def message(self, message: Message) -> list[Line]:
        """What somebody, or another device of ours, said."""
        sender = "you" if message.identity == self._identity else one_line(message.sender)
        return self._said(message.time_ms, sender, self._recipients(message), _body(message))

    def own(self, text: str, to: str, time_ms: int) -> list[Line]:
        """What was typed here."""
        return self._said(time_ms, "you", one_line(to), text)

    def presence(self, presence: Presence) -> list[Line]:
        """Who came, went, lost the connection or is back."""
        found = []
        if joined := [m for m in presence.joined if m.session_id != self._session_id]:
            found.append(_notice(f"{_listed([one_line(m.name) for m in joined])} joined."))
        found += [line for member in presence.updated for line in self._updated(member)]
        for reason in _DEPARTURES:
            gone = [one_line(d.name) for d in presence.left if d.reason == reason and self._is_other(d)]
            # One sentence is about one person, except for what many do at once.
            found += [_notice(_DEPARTURES[reason].format(name)) for name in gone[:MAX_NAMES]]
            if len(gone) > MAX_NAMES:
                found.append(_notice(f"{len(gone) - MAX_NAMES} more went as well."))
        self._away -= {departure.session_id for departure in presence.left}
        return found

    def state(self, state: State) -> list[Line]:
        """Where the connection stands; nothing when it was closed from here."""
        if state.name == "connected":
            again = " again" if self._was_connected else ""
            self._was_connected = True
            path = _TRANSPORTS.get(state.transport or "", "")
            return [_notice(f"Connected{again}{' over ' + path if path else ''}.")]
        if state.name == "reconnecting" and state.retry_in_ms:
            what = "Connection lost" if self._was_connected else "No connection yet"
            return [_notice(f"{what}: {one_line(state.why)} Trying again in {_seconds(state.retry_in_ms)}.")]
        if state.name == "closed" and state.code != ErrorCode.CLOSED:
            return self.refused("Closed", state.code, state.why, state.correlation_id)
        return []

    def refused(self, what: str, code: str, why: str, correlation_id: str = "") -> list[Line]:
        """A failure: what happened, what to do, and the code and id to ask the operator with."""
        remedy = next((text for known, text in _REMEDIES.items() if known == code), "")
        if "certificate" in why.lower():
            remedy = (
                "If it is the server's own making, give its file: SSL_CERT_FILE=<data folder>/tls/cert.pem"
            )
        told = f"({one_line(code)}{', ' + one_line(correlation_id) if correlation_id else ''})"
        sentences = [f"{what}: {one_line(why)}", remedy, told]
        return [Line(Kind.TROUBLE, "— " + " ".join(part for part in sentences if part))]

    def gap(self) -> Line:
        """Messages may have been missed."""
        return Line(Kind.TROUBLE, "— Messages may be missing here: the connection was away for too long.")

    def _said(self, time_ms: int, sender: str, to: str, text: str) -> list[Line]:
        at = _local(time_ms, self._zone)
        found = []
        if at is not None and at.date() != self._day:
            self._day = at.date()
            found.append(_notice(f"{at:%A}, {at.day} {at:%B} {at.year}"))
        head = f"{at:%H:%M}" if at is not None else "--:--"
        first, *rest = lines(text)
        found.append(Line(Kind.MESSAGE, f"{head} {sender}{' → ' + to if to else ''}: {first}"))
        return found + [Line(Kind.MESSAGE, _CONTINUED + line) for line in rest]

    def _recipients(self, message: Message) -> str:
        if message.to is not None:
            return _listed(["you" if name == self._name else one_line(name) for name in message.to])
        return "" if message.filter is None else "some"

    def _described(self, member: Member) -> str:
        name = f"{one_line(member.name)} (claimed)" if member.is_claimed else one_line(member.name)
        if member.session_id == self._session_id:
            return f"{name} (you)"
        return name + (" (away)" if member.state == "away" else "")

    def _updated(self, member: Member) -> list[Line]:
        if member.session_id == self._session_id:
            return []
        was_away = member.session_id in self._away
        if member.state == "away" and not was_away:
            self._away.add(member.session_id)
            return [_notice(f"{one_line(member.name)} lost the connection and may come back.")]
        if member.state == "present" and was_away:
            self._away.remove(member.session_id)
            return [_notice(f"{one_line(member.name)} is back.")]
        return []

    def _is_other(self, departure: Departure) -> bool:
        return departure.session_id != self._session_id


def _openness(channel: ChannelInfo) -> str:
    if channel.mode == "sealed":
        return "sealed"
    return "locked, readable by the server" if channel.has_password else "open"


def _notice(text: str) -> Line:
    return Line(Kind.NOTICE, f"— {text}")


def _listed(names: Sequence[str]) -> str:
    if len(names) <= MAX_NAMES:
        return ", ".join(names)
    return f"{', '.join(names[:MAX_NAMES])} and {len(names) - MAX_NAMES} more"


def _body(message: Message) -> str:
    content: Any = message.content
    if isinstance(content, bytes):
        return f"({len(content):,} bytes of binary data)"
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _seconds(time_ms: int) -> str:
    return f"{time_ms / 1000:.1f} s" if time_ms < 10_000 else f"{time_ms // 1000} s"


def _local(time_ms: int, zone: tzinfo | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(time_ms / 1000, zone)
    except (ValueError, OverflowError, OSError):
        # A server may say anything; a time outside the calendar is no time.
        return None
