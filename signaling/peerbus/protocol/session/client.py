"""
The client's side of a session: handshake, requests, resume, keepalive, reconnecting.

Owns every decision about when to connect, what to send and what to tell the user. Never opens a socket, reads
a clock or draws a random number: a shell reports what happened with the time, then takes, in this order,
`frames_to_send()`, `actions_to_do()` and `events()`, and calls `tick` at `deadline()`. See PROTOCOL.md,
sections 2 to 7; `tests/vectors/sessions/` has it by example.

    session = ClientSession(settings, jitter=random.random)
    session.start(now)
    ...                                  # the shell opens the transport that actions_to_do() asked for
    session.transport_opened(now)        # frames_to_send() is now [connect]
    session.receive(frame, now)          # events() is now [joined, state]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, UnsetType, structs

from peerbus.protocol.addressing import name_of
from peerbus.protocol.channel import is_name_identity
from peerbus.protocol.errors import (
    ERRORS,
    NORMAL_CLOSURE,
    ErrorCode,
    ProtocolError,
    may_reconnect,
)
from peerbus.protocol.messages import (
    Ack,
    Attributes,
    Bye,
    ChannelUpdate,
    ClientFrame,
    Closing,
    Connected,
    Error,
    Expiring,
    History,
    IceServersReply,
    Member,
    MembersReply,
    Message,
    Ping,
    Presence,
    Reset,
    Send,
    ServerFrame,
    Update,
)
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session import failures, outputs
from peerbus.protocol.session.attempts import Attempts
from peerbus.protocol.session.credential import Credential
from peerbus.protocol.session.cursors import Cursors
from peerbus.protocol.session.keepalive import Keepalive
from peerbus.protocol.session.outputs import Action, Event, State
from peerbus.protocol.session.paths import TransportChoice
from peerbus.protocol.session.request_writer import RequestWriter
from peerbus.protocol.session.roster import Roster, is_empty
from peerbus.protocol.session.sealing import FrameSealer
from peerbus.protocol.session.settings import ClientSettings

MAIL_READ_MS: Final = 200
"""How long after mail came the server is told that it was read."""

Phase: TypeAlias = Literal["idle", "credential", "waiting", "opening", "handshake", "open", "closed"]
"""
`credential`: waits for a key. `waiting`: for the time of the next attempt. `opening`: for the transport.
`handshake`: for `connected`. `open`: the session is up.
"""


class ClientSession:
    """
    One session of one client. Not thread-safe, not reusable once closed.

    Inputs: `start`, `transport_opened`, `receive`, `heard`, `unreadable`, `transport_lost`, `request`,
    `send_lossy`, `renew`, `renew_failed`, `reconnect_now`, `tick`, `close`. All take the time in
    milliseconds, which never falls.
    """

    def __init__(
        self,
        settings: ClientSettings,
        *,
        jitter: Callable[[], float],
        sealer: FrameSealer | None = None,
    ) -> None:
        """With a `sealer` the channel is sealed, and its frames go through that."""
        self._settings: Final = settings
        self._sealer: Final = sealer
        self._attempts: Final = Attempts(settings, jitter)
        self._credential: Final = Credential(settings.connect.api_key)
        self._choice = TransportChoice(settings.transports)
        self._cursors = Cursors(settings.connect.resume)
        self._token = settings.connect.resume.token if settings.connect.resume else Secret()
        self._writer: Final = RequestWriter(
            settings, self._credential, sealer, send=self._send, tell=self._note
        )
        self._roster = Roster()
        self._attributes = settings.connect.attributes
        self._phase: Phase = "idle"
        self._state = State(name="idle")
        self._connected: Connected | None = None
        self._connect_id = 0
        self._keepalive = Keepalive(0, 0, 0)
        # Outputs.
        self._frames: list[ClientFrame] = []
        self._actions: list[Action] = []
        self._events: list[Event] = []

    # --- what can be asked ------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The last state that was told."""
        return self._state

    @property
    def connected(self) -> Connected | None:
        """What the server said when it last took this client; None before."""
        return self._connected

    @property
    def cursors(self) -> Cursors:
        """How far this client has read."""
        return self._cursors

    @property
    def roster(self) -> Roster:
        """Who is in the channel."""
        return self._roster

    @property
    def attributes(self) -> Attributes:
        """The own attributes that a new session begins with."""
        return self._attributes

    @property
    def open_requests(self) -> int:
        """How many requests have no outcome yet."""
        return len(self._writer)

    @property
    def queued_requests(self) -> int:
        """How many of them wait to be sent."""
        return self._writer.queued

    @property
    def resume_token(self) -> Secret:
        """What proves that a later connect is the same client; empty before the first `connected`."""
        return self._token

    def frames_to_send(self) -> list[ClientFrame]:
        """Drains the frames to be sent, in order; they may travel in one batch."""
        frames, self._frames = self._frames, []
        return frames

    def actions_to_do(self) -> list[Action]:
        """Drains the actions, to be done in order, after the frames were sent."""
        actions, self._actions = self._actions, []
        return actions

    def events(self) -> list[Event]:
        """Drains the events."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> int | None:
        """When `tick` is to be called at the latest, in milliseconds; None: there is no need to."""
        times: list[int | None] = [self._writer.next_expiry_ms, self._credential.fetch_at]
        if self._phase not in ("idle", "closed", "open"):
            times.append(self._attempts.give_up_at)
        if self._phase == "waiting":
            times.append(self._attempts.retry_at)
        elif self._phase in ("opening", "handshake"):
            times.append(self._attempts.ends_at)
        elif self._phase == "open":
            times += [self._keepalive.ping_at, self._keepalive.silent_at]
            if self._writer.queued:
                times.append(self._writer.ready_at)
        return min((time for time in times if time is not None), default=None)

    # --- the user ---------------------------------------------------------------------------------------

    def start(self, now: int) -> None:
        """Connects; only once."""
        if self._phase != "idle":
            raise ProtocolError(ErrorCode.CLOSED, "A session is started once; make a new one.")
        self._attempts.begin(now)
        self._tell(State(name="connecting"))
        if not self._credential.api_key and self._settings.can_renew:
            self._phase = "credential"
            self._fetch_credential(now, now)
        else:
            self._open(now)

    def request(
        self,
        frame: ClientFrame,
        now: int,
        *,
        size_bytes: int = 0,
        timeout_ms: int | UnsetType | None = UNSET,
    ) -> int:
        """
        Takes a request, in any state but closed; gives the handle that its `Done` or `Failed` will bear.

        The frame's own id is ignored. `size_bytes` is about what it takes on the wire. `timeout_ms`: left
        out it is the settings', None is no end. Raises `ProtocolError` (`queue_full`, `closed`).
        """
        if self._phase == "closed":
            raise ProtocolError(ErrorCode.CLOSED)
        handle = self._writer.add(frame, now, size_bytes=size_bytes, timeout_ms=timeout_ms)
        self._write_requests(now)
        return handle

    def send_lossy(self, frame: Send, now: int) -> bool:
        """
        Sends a lossy message without asking for an ack. False when it was dropped.

        That is so when there is no connection, or when more is sent than the server takes. Raises `ProtocolError` for
        one that cannot be sealed.
        """
        if self._phase != "open" or self._connected is None:
            return False
        return self._writer.write_lossy(frame, self._connected.agent, self._roster, now)

    def renew(self, api_key: Secret, now: int) -> None:
        """A new credential; asked for by `FetchCredential`, or of the user's own accord."""
        self._credential.renewed(api_key)
        if self._phase == "credential":
            self._open(now)
        elif self._phase == "open":
            self._writer.ask_renewal(api_key, now)
            self._write_requests(now)

    def renew_failed(self, error: Error, now: int) -> None:
        """There is no new credential: asks again after a while if the error says so, else ends or goes on."""
        delay = self._attempts.delay(self._credential.failures, error)
        self._credential.failed()
        if self._phase == "closed":
            return
        if error.is_retryable:
            self._credential.want(now + delay)
            if self._phase == "credential":
                self._tell_reconnecting(delay, error)
        elif self._phase == "credential":
            self._end(error)
        else:
            self._events.append(outputs.Trouble(error))

    def reconnect_now(self, now: int) -> None:
        """Ends the waiting for the next attempt: the network is back, or somebody pressed a button."""
        if self._phase == "waiting":
            self._open(now)

    def close(self, now: int) -> None:
        """Leaves for good. Requests without an outcome fail with `closed`."""
        if self._phase == "closed":
            return
        if self._phase == "open":
            if self._keepalive.is_ping_owed:
                self._ping(now)
            self._send(Bye(), now)
        if self._phase in ("opening", "handshake", "open"):
            self._actions.append(outputs.CloseTransport(NORMAL_CLOSURE, "bye"))
        self._end(failures.make_error(ErrorCode.CLOSED, "The connection was closed by this side."))

    # --- the transport ----------------------------------------------------------------------------------

    def transport_opened(self, now: int) -> None:
        """What `OpenTransport` asked for is done."""
        if self._phase != "opening":
            return
        self._phase = "handshake"
        self._connect_id = self._writer.next_id()
        resume = self._cursors.resume(self._token) if self._token else None
        connect = structs.replace(
            self._settings.connect,
            id=self._connect_id,
            api_key=self._credential.api_key,
            resume=resume,
            attributes=self._attributes,
        )
        if self._sealer is not None:
            connect = self._sealer.seal_connect(connect)
        self._send(connect, now)

    def receive(self, frame: ServerFrame, now: int) -> None:
        """A frame came."""
        self.heard(now)
        if self._phase == "handshake":
            self._receive_in_handshake(frame, now)
        elif self._phase == "open":
            self._receive_in_session(frame, now)

    def heard(self, now: int) -> None:
        """The server gave a sign of life without a frame (an empty poll, a post that was taken)."""
        self._keepalive.heard(now)

    def unreadable(self, error: ProtocolError, now: int) -> None:
        """A frame came that can't be read: the live count is no longer sure, so the client connects anew."""
        if self._phase not in ("handshake", "open"):
            return
        self._events.append(outputs.Trouble(failures.make_error(error.code, error.message)))
        self._cursors.forget_live()
        self._drop_transport(
            ErrorCode.PROTOCOL_VIOLATION, now, why="A frame of the server could not be read."
        )

    def transport_lost(self, close_code: int | None, reason: str, now: int) -> None:
        """The transport could not be opened, or ended: with a close code, or without one (None)."""
        if self._phase not in ("opening", "handshake", "open"):
            return
        was_open = self._phase == "open"
        error = failures.error_of_close(close_code, reason, was_open=was_open)
        if close_code is None or may_reconnect(close_code):
            self._reconnect(error, now, died=not was_open)
        else:
            self._end(error)

    def tick(self, now: int) -> None:
        """Does what is due; may be called at any time."""
        self._writer.expire(now)
        if self._phase in ("credential", "waiting", "opening", "handshake"):
            self._tick_connecting(now)
        elif self._phase == "open":
            self._tick_open(now)
        self._fetch_credential(self._credential.fetch_at, now)

    # --- inside: connecting -----------------------------------------------------------------------------

    def _open(self, now: int) -> None:
        self._phase = "opening"
        self._attempts.opened(now)
        if self._state.name == "reconnecting" and self._state.retry_in_ms:
            self._tell(structs.replace(self._state, retry_in_ms=0))
        self._actions.append(outputs.OpenTransport(self._choice.current))

    def _fetch_credential(self, at: int | None, now: int) -> None:
        if at is not None:
            self._credential.want(at)
        if self._credential.take_due(now):
            self._actions.append(outputs.FetchCredential())

    def _tick_connecting(self, now: int) -> None:
        give_up_at = self._attempts.give_up_at
        if give_up_at is not None and now >= give_up_at:
            if self._phase in ("opening", "handshake"):
                self._actions.append(outputs.CloseTransport(NORMAL_CLOSURE, "gave up"))
            last = f" The last attempt: {self._state.why}" if self._state.why else ""
            text = f"The server could not be reached in time.{last}"
            self._end(failures.make_error(ErrorCode.CONNECT_FAILED, text))
        elif self._phase == "waiting" and now >= self._attempts.retry_at:
            self._open(now)
        elif self._phase in ("opening", "handshake") and now >= self._attempts.ends_at:
            self._drop_transport(ErrorCode.TIMEOUT, now, why="The server did not answer in time.")

    def _drop_transport(self, code: ErrorCode, now: int, *, why: str = "") -> None:
        died = self._phase != "open"
        self._actions.append(outputs.CloseTransport(ERRORS[code].close_code, code.value))
        self._reconnect(failures.make_error(code, why), now, died=died)

    def _reconnect(self, error: Error, now: int, *, died: bool) -> None:
        """After a loss: waits, then opens again. `died`: before the server had answered."""
        if died:
            self._choice.died()
        was_open = self._phase == "open"
        self._frames.clear()
        self._phase = "waiting"
        self._tell_reconnecting(self._attempts.lost(error, now, was_open=was_open), error)

    def _receive_in_handshake(self, frame: ServerFrame, now: int) -> None:
        if isinstance(frame, Connected) and frame.id == self._connect_id:
            self._choice.worked()
            if self._is_misnamed(frame):
                text = f"The server calls this agent {frame.agent!r}, which is not the name it asked for."
                self._refused(failures.make_error(ErrorCode.PROTOCOL_VIOLATION, text), False, now)
            else:
                self._join(frame, now)
        elif isinstance(frame, Error):
            self._choice.worked()
            self._refused(frame, failures.may_retry(frame), now)
        elif isinstance(frame, Closing):
            self._choice.worked()
            self._refused(failures.error_of_closing(frame), may_reconnect(frame.close_code), now)
        else:
            text = "The server spoke before it said connected."
            self.unreadable(ProtocolError(ErrorCode.PROTOCOL_VIOLATION, text), now)

    def _is_misnamed(self, frame: Connected) -> bool:
        """Whether all that is sealed would bear a name that nobody here has asked for: the others believe it."""
        wanted = self._settings.connect
        return wanted.mode == "sealed" and bool(wanted.agent) and frame.agent != name_of(wanted.agent)

    def _refused(self, error: Error, may_retry: bool, now: int) -> None:
        """The server will not have this connection (any more)."""
        self._actions.append(outputs.CloseTransport(NORMAL_CLOSURE, error.code))
        if error.code == ErrorCode.EXPIRED and self._settings.can_renew:
            self._frames.clear()
            # The first new key is asked for at once; if that is refused, too, not in a hot loop.
            refusals = self._credential.refusals
            delay = self._attempts.delay(refusals, error) if refusals else 0
            self._credential.refusals += 1
            self._phase = "credential"
            self._fetch_credential(now + delay, now)
            self._tell_reconnecting(delay, error)
        elif may_retry:
            self._reconnect(error, now, died=False)
        else:
            self._end(error)

    def _join(self, frame: Connected, now: int) -> None:
        before = self._connected
        missed = outputs.Gap(
            durable=bool(self._cursors.epoch) and not frame.recovered,
            live=(before is not None or bool(self._cursors.live_epoch)) and not frame.live_recovered,
        )
        same_session = before is not None and before.session_id == frame.session_id
        self._phase = "open"
        self._attempts.joined(now)
        self._credential.refusals = 0
        self._connected = frame
        self._token = frame.resume_token
        self._cursors.joined(frame)
        self._keepalive = Keepalive(frame.ping_interval_ms, frame.silence_timeout_ms, now)
        self._writer.joined(frame, now, is_same_session=same_session)
        self._events.append(
            outputs.Joined(
                agent=frame.agent,
                session_id=frame.session_id,
                is_first=before is None,
                recovered=frame.recovered,
                live_recovered=frame.live_recovered,
            )
        )
        self._tell(State(name="connected", transport=self._choice.current))
        if missed.durable or missed.live:
            self._events.append(missed)
        if before is None:
            self._roster.replace(frame.members, set())
        elif not frame.live_recovered:
            # With it the presence frames that were missed are in the replay.
            self._replace_roster(frame.members, {before.session_id, frame.session_id})
        present = Roster()
        present.replace(frame.members, set())
        self._write_requests(now, present)

    # --- inside: connected ------------------------------------------------------------------------------

    def _tick_open(self, now: int) -> None:
        if now >= self._keepalive.silent_at:
            self._drop_transport(ErrorCode.KEEPALIVE_TIMEOUT, now)
            return
        self._write_requests(now)
        if now >= self._keepalive.ping_at:
            self._ping(now)

    def _ping(self, now: int) -> None:
        self._frames.append(Ping(offset=self._cursors.offset, live_seq=self._cursors.live_seq))
        self._keepalive.pinged(now)

    def _receive_in_session(self, frame: ServerFrame, now: int) -> None:
        self._cursors.count(frame)
        if isinstance(frame, Message):
            if self._cursors.take(frame):
                self._events.append(outputs.Received(frame))
                if self._is_mail(frame):
                    self._keepalive.owe_ping(now + MAIL_READ_MS)
        elif isinstance(frame, Ack | History | MembersReply | IceServersReply | Error):
            self._answered(frame)
        elif isinstance(frame, Presence):
            self._roster.apply(frame)
            self._events.append(outputs.MembersChanged(frame))
        elif isinstance(frame, ChannelUpdate):
            self._note_lock(frame.is_locked)
        elif isinstance(frame, Reset):
            self._reset(frame, now)
        elif isinstance(frame, Expiring):
            self._expiring(frame, now)
        elif isinstance(frame, Closing):
            self._refused(failures.error_of_closing(frame), may_reconnect(frame.close_code), now)
        elif isinstance(frame, Connected):
            self.unreadable(
                ProtocolError(ErrorCode.PROTOCOL_VIOLATION, "The server said connected twice."), now
            )

    def _is_mail(self, message: Message) -> bool:
        """Whether a message stands in the mailbox of the own name, if that is claimed."""
        is_addressed = message.to is not UNSET or message.filter is not UNSET
        is_claimed = self._connected is not None and is_name_identity(self._connected.identity)
        return is_addressed and is_claimed and message.delivery == "durable"

    def _reset(self, frame: Reset, now: int) -> None:
        self._cursors.reset(frame)
        self._writer.write_all_again()
        self._events.append(outputs.Gap(live=True))
        if self._connected is not None and isinstance(frame.members, list):
            self._replace_roster(frame.members, {self._connected.session_id})
        if (
            self._connected is not None
            and isinstance(frame.is_locked, bool)
            and frame.is_locked is not self._connected.channel.is_locked
        ):
            self._note_lock(frame.is_locked)
        self._write_requests(now)

    def _replace_roster(self, members: list[Member], own_sessions: set[str]) -> None:
        changes = self._roster.replace(members, own_sessions)
        if not is_empty(changes):
            self._events.append(outputs.MembersChanged(changes))

    def _answered(self, frame: outputs.Reply | Error) -> None:
        request = self._writer.answered(frame)
        if request is None or not isinstance(frame, Ack):
            return
        if isinstance(request.frame, Send) and isinstance(frame.offset, int):
            self._cursors.acked(frame.offset)
        if isinstance(request.frame, Update):
            # A session that begins anew begins with them.
            self._attributes = request.frame.attributes

    def _note_lock(self, is_locked: bool) -> None:
        if self._connected is not None:
            channel = structs.replace(self._connected.channel, is_locked=is_locked)
            self._connected = structs.replace(self._connected, channel=channel)
        self._events.append(outputs.ChannelChanged(is_locked))

    def _expiring(self, frame: Expiring, now: int) -> None:
        if self._settings.can_renew:
            self._fetch_credential(now, now)
        else:
            self._events.append(outputs.Expiring(frame.expires_in_ms))

    # --- inside: sending --------------------------------------------------------------------------------

    def _send(self, frame: ClientFrame, now: int) -> None:
        self._frames.append(frame)
        self._keepalive.sent(now)

    def _write_requests(self, now: int, present: Roster | None = None) -> None:
        """Writes what may be written; `present`: who is here, where that is known better than by the roster."""
        if self._phase == "open" and self._connected is not None:
            self._writer.write(now, self._connected, present or self._roster)

    def _note(self, event: Event) -> None:
        self._events.append(event)

    # --- inside: states ---------------------------------------------------------------------------------

    def _tell(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._events.append(state)

    def _tell_reconnecting(self, delay_ms: int, error: Error) -> None:
        self._tell(failures.state_of(error, "reconnecting", retry_in_ms=delay_ms))

    def _end(self, error: Error) -> None:
        self._phase = "closed"
        self._credential.fetch_at = None
        self._attempts.give_up_at = None
        self._writer.end(error)
        self._tell(failures.state_of(error, "closed"))
