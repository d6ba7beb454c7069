"""
One user with a real client session in emulated time, and the journal of what that session told.

Owns the client's shell (link, deadlines, keys) and the checks that can be made as events come; `check_end` makes those
that need the world to have come to rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import UNSET

from peerbus.protocol import channel as naming
from peerbus.protocol.codec import EncodingName, Rejected, client_codec, server_codec
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import (
    Ack,
    ClientFrame,
    Connect,
    Error,
    History,
    MembersReply,
    Message,
    Receive,
    Resume,
    Send,
    ServerFrame,
    Update,
)
from peerbus.protocol.secrets import Secret, SecretBytes
from peerbus.protocol.session import outputs
from peerbus.protocol.session.client import ClientSession
from peerbus.protocol.session.settings import ClientSettings
from tests.support.emulated.agenda import Agenda
from tests.support.emulated.path import Path
from tests.support.emulated.reader import Reader
from tests.support.emulated.truth import Truth, check
from tests.support.emulated.websocket import Link

FRAME_BYTES = 1 << 22

# After these nothing has happened, however often the request was written.
NOTHING_DONE = {ErrorCode.BAD_FILTER, ErrorCode.FORBIDDEN, ErrorCode.BAD_REQUEST, ErrorCode.TOO_LARGE}
# After these the last attempt has done nothing; an earlier one, whose reply was lost, may have.
NOTHING_DONE_NOW = {
    ErrorCode.RATE_LIMITED,
    ErrorCode.STORAGE_UNAVAILABLE,
    ErrorCode.UNKNOWN_RECIPIENT,
    ErrorCode.MAILBOX_FULL,
}

OpenLink = Callable[["Person", str, EncodingName], Link]


@dataclass
class Interval:
    """A stretch of the log that was promised without a gap: what came of it, and from where."""

    epoch: str
    start: int
    offsets: list[int] = field(default_factory=list)
    mail: tuple[int, ...] = ()
    """What was in the mailbox; it comes first."""


@dataclass
class Request:
    """A request and what became of it."""

    frame: ClientFrame
    outcome: Ack | Error | object | None = None


class Person:
    """A lineage with a name; sessions of it come and go (`reload`), the journal goes on."""

    def __init__(
        self,
        number: int,
        connect: Connect,
        truth: Truth,
        agenda: Agenda,
        open_link: OpenLink,
        *,
        encoding: EncodingName,
        transports: tuple[Any, ...],
        is_claiming: bool,
        new_key: Callable[[], Secret | None],
        jitter: Callable[[], float],
        is_sealed: bool = False,
    ) -> None:
        self.number = number
        self.path = Path()
        self.connect = connect
        self.types = frozenset(connect.types)
        self.is_claiming = is_claiming
        self.session: ClientSession
        self.requests: dict[tuple[int, int], Request] = {}
        self.link: Link | None = None
        self.life = 0
        self.has_vanished = False
        self.lossy_received = 0
        self._truth = truth
        self._agenda = agenda
        self._open_link = open_link
        self._encoding: EncodingName = encoding
        self._transports = transports
        self._new_key = new_key
        self._jitter = jitter
        self._is_sealed = is_sealed
        self._reader: Reader | None = None
        self._codec = client_codec(encoding, max_bytes=FRAME_BYTES)
        self._to_bytes = server_codec(encoding, max_bytes=FRAME_BYTES)
        self._deadline: int | None = None
        self._raw_offset = 0
        self._raw_replies: Counter[int] = Counter()
        # The journal.
        self.interval: Interval | None = None
        self.live: dict[tuple[str, str], list[int]] = {}
        self._live_place: tuple[str, str] | None = None
        self._writes: Counter[int] = Counter()
        self.attributes = [connect.attributes]
        """What the server may believe: the last that it acknowledged, and what was written since."""
        self._begin(None)

    # --- identity ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        connected = self.session.connected
        return self.connect.agent if connected is None else connected.agent

    @property
    def identity(self) -> str:
        return naming.name_identity(self.name) if self.is_claiming else self.author

    @property
    def author(self) -> str:
        return naming.lineage_identity(naming.lineage(self.connect.lineage_secret.reveal()))

    @property
    def state(self) -> str:
        return self.session.state.name

    # --- what a user does -------------------------------------------------------------------------------------

    def request(self, frame: ClientFrame) -> None:
        """Asks for something; refused at once where the queue is full or the session closed."""
        # Half of them wait as long as it takes: what is lost without a word shows in the end.
        timeout_ms = 60_000 if len(self.requests) % 2 else None
        try:
            size = len(self._to_bytes.encode(frame))
            handle = self.session.request(frame, self._agenda.now_ms, size_bytes=size, timeout_ms=timeout_ms)
        except ProtocolError:
            return
        self.requests[self.life, handle] = Request(frame)
        self.pump()

    def send_lossy(self, frame: Send) -> None:
        """A lossy message without an ack."""
        self.session.send_lossy(frame, self._agenda.now_ms)
        self.pump()

    def send_raw(self, frames: Iterable[ClientFrame]) -> None:
        """Frames past the session machine, as a careless client would; on an open session only."""
        if self.link is not None and self.state == "connected":
            self.link.send(self._to_bytes.join([self._to_bytes.encode(frame) for frame in frames]))

    def close(self) -> None:
        """Leaves."""
        self.session.close(self._agenda.now_ms)
        self.pump()

    def vanish(self) -> None:
        """The program is gone without a word."""
        if self.link is not None:
            self.link.vanish()
            self.link = None
        self.has_vanished = True

    def reload(self, *, hangs_up: bool, keeps_token: bool) -> None:
        """The page is loaded anew, and goes on from what it kept."""
        session = self.session
        if self.link is not None:
            if hangs_up:
                self.link.hang_up()
            else:
                self.link.vanish()
            self.link = None
        for (life, _), request in self.requests.items():
            if life == self.life and request.outcome is None:
                request.outcome = "reloaded"
        self.has_vanished = False
        if keeps_token and session.resume_token:
            self._begin(session.cursors.resume(session.resume_token))
        else:
            self._leave_interval()
            self._begin(None)

    def _begin(self, resume: Resume | None) -> None:
        self.life += 1
        self.attributes.append(self.connect.attributes)
        if resume is None:
            self.interval = None
            self._live_place = None
        if self._is_sealed:
            self._reader = Reader(f"{self.number}.{self.life}", self._truth)
        settings = ClientSettings(
            connect=Connect(
                id=1,
                api_key=self._new_key() or Secret("none"),
                channel=self.connect.channel,
                agent=self.connect.agent,
                lineage_secret=self.connect.lineage_secret,
                resume=resume,
                attributes=self.connect.attributes,
                auto_receive=self.connect.auto_receive,
                types=self.connect.types,
                mode="open" if self._reader is None else "sealed",
                crypto_session=b"" if self._reader is None else self._reader.crypto_session,
            ),
            transports=self._transports,
            can_renew=True,
            give_up_after_ms=None,
        )
        self.session = ClientSession(settings, jitter=self._jitter, sealer=self._reader)
        self.session.start(self._agenda.now_ms)
        self.pump()

    # --- the link ---------------------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """See `ClientEnd`."""
        if link is self.link:
            self._raw_offset = 0
            self._raw_replies.clear()
            self.session.transport_opened(self._agenda.now_ms)
            self.pump()

    def link_received(self, link: Link, messages: list[bytes]) -> None:
        """See `ClientEnd`."""
        for message in messages:
            for frame in self._codec.decode(message):
                # A frame may have ended the link.
                if link is not self.link:
                    return
                assert not isinstance(frame, Rejected), frame
                self._look_at(frame)
                self.session.receive(frame, self._agenda.now_ms)
                self.pump()

    def link_heard(self, link: Link) -> None:
        """See `ClientEnd`."""
        if link is self.link:
            self.session.heard(self._agenda.now_ms)
            self.pump()

    def link_lost(self, link: Link, close_code: int | None, reason: str) -> None:
        """See `ClientEnd`."""
        if link is self.link:
            self.link = None
            self.session.transport_lost(close_code, reason, self._agenda.now_ms)
            self.pump()

    # --- the shell --------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Does what the session asks for, until it asks for nothing."""
        frames = self.session.frames_to_send()
        if frames and self.link is not None:
            self._write(frames)
        for action in self.session.actions_to_do():
            if isinstance(action, outputs.OpenTransport):
                self.link = self._open_link(self, action.transport, self._encoding)
                self.link.open()
            elif isinstance(action, outputs.CloseTransport):
                if self.link is not None:
                    self.link.hang_up()
                    self.link = None
            else:
                self._agenda.after(40, self._renew)
        cursors = self.session.cursors
        place = cursors.live_epoch
        if self.is_claiming and self.session.connected is not None:
            processed = self._truth.processed
            where = cursors.epoch, self.identity
            processed[where] = max(processed[where], cursors.offset)
        self._note(self.session.events(), place)
        self._plan()

    def _write(self, frames: list[ClientFrame]) -> None:
        assert self.link is not None
        codec = self._to_bytes
        if len(frames) > 1 and frames[0].__class__ is not Connect:
            self.link.send(codec.join([codec.encode(frame) for frame in frames]))
        else:
            for frame in frames:
                self.link.send(codec.encode(frame))
        for frame in frames:
            if isinstance(frame, Update):
                self.attributes.append(frame.attributes)
            if isinstance(frame, Send) and frame.id is not UNSET:
                self._writes[self._truth.number_of(frame)] += 1

    def _renew(self) -> None:
        if self.has_vanished or self.state == "closed":
            return
        key = self._new_key()
        if key is None:
            error = Error(code="connect_failed", message="no key now", is_retryable=True)
            self.session.renew_failed(error, self._agenda.now_ms)
        else:
            self.session.renew(key, self._agenda.now_ms)
        self.pump()

    def _plan(self) -> None:
        deadline = self.session.deadline()
        if deadline is not None and deadline != self._deadline:
            self._deadline = deadline
            life = self.life
            self._agenda.after(deadline - self._agenda.now_ms, lambda: self._tick(life, deadline))

    def _tick(self, life: int, deadline: int) -> None:
        if self._deadline == deadline:
            self._deadline = None
        if life == self.life and not self.has_vanished:
            self.session.tick(self._agenda.now_ms)
            self.pump()

    # --- the journal: frames as they came --------------------------------------------------------------------

    def _look_at(self, frame: ServerFrame) -> None:
        """What must hold on the wire, before the client's machine mends anything."""
        if isinstance(frame, Message):
            self._look_at_message(frame)
            if isinstance(frame.offset, int):
                check(frame.offset > self._raw_offset, f"offset {frame.offset} after {self._raw_offset}")
                self._raw_offset = frame.offset
        elif isinstance(frame, Ack | History | MembersReply | Error) and isinstance(frame.id, int):
            self._raw_replies[frame.id] += 1
            check(self._raw_replies[frame.id] == 1, f"request {frame.id} was answered twice")

    def _look_at_message(self, message: Message) -> None:
        number = self._truth.number_of(message)
        check(self.connect.auto_receive, "a message was pushed to one that wants none")
        check(
            not self.types or {message.type, message.custom_event_type} & self.types,
            f"{message.type} was pushed to one that wants {self.types}",
        )
        if message.delivery == "durable":
            epoch = self._epoch()
            assert isinstance(message.offset, int)
            stored = self._truth.log[epoch].get(message.offset)
            check(stored is not None and stored.number == number, f"{number} at {epoch}.{message.offset}")
            assert stored is not None
            check(stored.is_pushed_to(self.identity, self.author, self.types), f"{self.name} got {stored}")
        else:
            check(
                self.identity in self._truth.passing_readers[number],
                f"{self.name} got {number}, which is for {self._truth.passing_readers[number]}",
            )

    def _epoch(self) -> str:
        connected = self.session.connected
        assert connected is not None
        return connected.epoch

    # --- the journal: what the session tells --------------------------------------------------------------------

    def _note(self, events: list[outputs.Event], live_epoch: str) -> None:
        is_live_gap_told = any(isinstance(event, outputs.Gap) and event.live for event in events)
        for event in events:
            if isinstance(event, outputs.Joined):
                self._note_joined(event)
            elif isinstance(event, outputs.Received):
                self._note_message(event.message)
            elif isinstance(event, outputs.Done):
                self._note_outcome(event.handle, event.reply)
            elif isinstance(event, outputs.Failed):
                self._note_outcome(event.handle, event.error)
        connected = self.session.connected
        if connected is not None and self.state == "connected":
            place = connected.session_id, live_epoch
            before, self._live_place = self._live_place, place
            if before is not None and before[1] != place[1]:
                check(is_live_gap_told, "a new live epoch, and nobody was told")
            self.live.setdefault(place, [])

    def _note_joined(self, event: outputs.Joined) -> None:
        connected = self.session.connected
        assert connected is not None
        if event.recovered:
            check(self.interval is not None, "recovered what was never begun")
            assert self.interval is not None
            check(self.interval.epoch == connected.epoch, "recovered in another epoch")
        else:
            self._leave_interval()
            mail = self._truth.mail_of_sessions[connected.session_id] if self.is_claiming else ()
            self.interval = Interval(connected.epoch, connected.head, mail=mail)
            if self.is_claiming:
                unread = self._truth.unread[connected.epoch, self.identity]
                unseen = [offset for offset in unread if offset <= connected.head and offset not in mail]
                check(not unseen, f"{self.name} is not shown the mail {unseen}")
            check(
                connected.mail_after == (mail[0] - 1 if mail else UNSET),
                f"mail after {connected.mail_after}, not {mail}",
            )

    def _note_message(self, message: Message) -> None:
        number = self._truth.number_of(message)
        connected = self.session.connected
        assert connected is not None
        if self._reader is not None:
            self._reader.read(message, connected.epoch)
        if message.delivery == "durable":
            assert isinstance(message.offset, int)
            assert self.interval is not None
            self.interval.offsets.append(message.offset)
        elif message.delivery == "live":
            place = connected.session_id, self.session.cursors.live_epoch
            self.live.setdefault(place, []).append(number)
        else:
            self.lossy_received += 1

    def _note_outcome(self, handle: int, reply: outputs.Reply | Error) -> None:
        request = self.requests[self.life, handle]
        check(request.outcome is None, f"a second outcome: {reply}")
        request.outcome = reply
        frame = request.frame
        if isinstance(frame, Send):
            self._check_send(frame, reply)
        elif isinstance(frame, Update) and isinstance(reply, Ack):
            del self.attributes[: self.attributes.index(frame.attributes)]
        elif isinstance(frame, Receive) and isinstance(reply, History):
            self._check_history(frame, reply)

    def _check_send(self, frame: Send, reply: object) -> None:
        number = self._truth.number_of(frame)
        truth = self._truth
        if isinstance(reply, Ack):
            if frame.delivery == "durable":
                assert isinstance(reply.offset, int)
                assert isinstance(reply.message_id, str)
                epoch = reply.message_id.split(".")[0]
                stored = truth.log[epoch].get(reply.offset)
                check(stored is not None and stored.number == number, f"{number} acked at {reply.message_id}")
            else:
                check(truth.passed_on[number] > 0, f"{number} was acked, and never passed on")
        elif isinstance(reply, Error):
            is_nothing_done = reply.code in NOTHING_DONE or (
                reply.code in NOTHING_DONE_NOW and self._writes[number] == 1
            )
            if is_nothing_done:
                check(number not in truth.passed_on, f"{number} failed by {reply.code}, and was passed on")
            if is_nothing_done or reply.code == ErrorCode.UNKNOWN_RECIPIENT:
                # Durable messages are known by their keys, as long as the log is the same.
                epochs = {epoch for epoch, _ in truth.offsets.get(number, ())}
                check(self._epoch() not in epochs, f"{number} failed by {reply.code}, and was stored")

    def _check_history(self, frame: Receive, reply: History) -> None:
        entries = self._truth.log[reply.epoch]
        offsets = [message.offset for message in reply.messages]
        types = frozenset(frame.types)
        low = reply.tail if frame.after is UNSET else max(reply.tail, int(frame.after) + 1)
        high = reply.head if frame.before is UNSET else min(reply.head, int(frame.before) - 1)
        wanted = [
            offset
            for offset in range(low, high + 1)
            if entries[offset].is_shown_to(self.identity)
            and (not types or {entries[offset].type, entries[offset].custom_event_type} & types)
        ]
        seen: list[int] = wanted[: len(offsets)]
        if frame.after is UNSET:
            seen = wanted[len(wanted) - len(offsets) :]
        check(offsets == seen, f"history {offsets} of {wanted}")
        if reply.is_complete:
            check(offsets == wanted, f"history {offsets} is not all of {wanted}")
        for message in reply.messages:
            assert isinstance(message.offset, int)
            check(
                entries[message.offset].number == self._truth.number_of(message),
                f"another message at {message.offset}",
            )
            if self._reader is not None:
                self._reader.read(message, reply.epoch)

    # --- the end ------------------------------------------------------------------------------------------------

    def _leave_interval(self) -> None:
        """What came until now has no hole; whether it is all was never promised."""
        interval = self.interval
        if interval is not None and self.connect.auto_receive:
            wanted = self._wanted(interval)
            offsets = self._beyond_mail(interval, is_all=False)
            check(
                offsets == wanted[: len(offsets)],
                f"{self.name}: {offsets} of {wanted} in {interval.epoch}",
            )
        self.interval = None

    def _beyond_mail(self, interval: Interval, *, is_all: bool) -> list[int]:
        """The offsets that came after the mail, of which nothing was left out but what somebody else has read."""
        entries = self._truth.log[interval.epoch]
        came = [offset for offset in interval.offsets if offset <= interval.start]
        beyond = interval.offsets[len(came) :]
        mail = [offset for offset in interval.mail if entries[offset].is_of(self.types)]
        check(set(came) <= set(mail) and came == sorted(came), f"{self.name}: mail {came} of {mail}")
        last = mail[-1] if mail and (beyond or is_all) else max(came, default=0)
        unread = self._truth.unread[interval.epoch, self.identity]
        missing = [offset for offset in mail if offset <= last and offset in unread and offset not in came]
        check(not missing, f"{self.name}: the mail {missing} did not come")
        return beyond

    def _wanted(self, interval: Interval) -> list[int]:
        entries = self._truth.log[interval.epoch]
        return [
            offset
            for offset in range(interval.start + 1, len(entries) + 1)
            if entries[offset].is_pushed_to(self.identity, self.author, self.types)
        ]

    def check_end(self, *, is_rested: bool) -> None:
        """`is_rested`: nothing is under way any more, and what was promised has to be there."""
        is_connected = is_rested and self.state == "connected" and not self.has_vanished
        interval = self.interval
        if is_connected and interval is not None and self.connect.auto_receive:
            wanted = self._wanted(interval)
            offsets = self._beyond_mail(interval, is_all=True)
            check(offsets == wanted, f"{self.name}: {offsets}, not {wanted}")
        else:
            self._leave_interval()
        for place, numbers in self.live.items():
            wanted = self._truth.live[place]
            check(
                numbers == wanted[: len(numbers)],
                f"{self.name}: live {numbers} of {wanted} in {place}",
            )
            if is_connected and place == self._live_place:
                check(numbers == wanted, f"{self.name}: live {numbers}, not {wanted} in {place}")
        if is_connected or (self.state == "closed" and not self.has_vanished):
            for request in self.requests.values():
                check(request.outcome is not None, f"{self.name}: no outcome of {request.frame}")
        for number, times in self._truth.passed_on.items():
            if number in self._writes:
                check(times <= self._writes[number], f"{number} was passed on {times} times")


def connect_frame(
    name: str, number: int, *, types: list[str], auto_receive: bool, attributes: dict[str, Any]
) -> Connect:
    """What a person connects with; the key is put in later."""
    return Connect(
        id=1,
        api_key=Secret(),
        channel="room",
        agent=name,
        lineage_secret=SecretBytes(number.to_bytes(16, "big")),
        types=types,
        auto_receive=auto_receive,
        attributes=attributes,
    )


Transport = Literal["websocket", "longpoll"]
