"""
A server in one page, by the letter of PROTOCOL.md: what the client's session machine is tested against.

Shares no code with the real one. One channel, one client under test; `say_durable` and `say_live` are the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from peerbus.protocol.messages import (
    Ack,
    Bye,
    ChannelInfo,
    ClientFrame,
    Closing,
    Connect,
    Connected,
    LimitsInfo,
    Members,
    MembersReply,
    Message,
    Ping,
    Pong,
    Reset,
    Send,
    ServerFrame,
)
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.classes import class_of

LIMITS = LimitsInfo(
    frame_bytes=1_048_576,
    message_bytes=262_144,
    batch_frames=256,
    send_rate_per_s=50,
    lossy_rate_per_s=200,
    recipients=200,
    history_page=500,
)


@dataclass
class ModelSession:
    """What is known of the client between its connections."""

    number: int
    live_epoch: str
    live: list[ServerFrame] = field(default_factory=list)
    """Every frame of the class since the epoch began."""
    received_id: int = 0


class ModelServer:
    """One server with one channel; `to_client` is what it has written on the present connection."""

    def __init__(self) -> None:
        self.epoch = 1
        self.log: list[Message] = []
        self.keys: dict[str, int] = {}
        self.live_from_client: list[object] = []
        self.session: ModelSession | None = None
        self.is_connected = False
        self.to_client: list[ServerFrame] = []
        self._sessions = 0
        self._epochs = 0

    # --- the others -----------------------------------------------------------------------------------------------

    def say_durable(self, content: object) -> None:
        """Somebody else's durable message."""
        self._append(content, "bob", None)
        if self.is_connected:
            self.to_client.append(self.log[-1])

    def say_live(self, content: object) -> None:
        """Somebody else's live message."""
        self._live(
            Message(
                delivery="live",
                message_id="live",
                time_ms=0,
                sender="bob",
                sender_session="s-bob",
                identity="lineage:bob",
                type="t",
                content=content,
            )
        )

    # --- accidents ------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """The connection is gone, with all that was written."""
        self.is_connected = False
        self.to_client.clear()

    def forget_session(self) -> None:
        """As by a restart: the log stays, sessions do not."""
        self.cut()
        self.session = None

    def lose_log(self) -> None:
        """As by a restore of an old backup: another epoch."""
        self.forget_session()
        self.epoch += 1
        self.log.clear()
        self.keys.clear()

    def overflow(self) -> None:
        """The live class overflows; of an open connection, what was not yet read of it is dropped."""
        if self.session is None:
            return
        if not self.is_connected:
            self._begin_live(self.session)
            return
        self.to_client = [frame for frame in self.to_client if class_of(frame) != "live"]
        self._begin_live(self.session)
        self.to_client.append(Reset(live_epoch=self.session.live_epoch, live_seq=0))

    def stutter(self) -> None:
        """The last durable message is pushed once more."""
        if self.is_connected and self.log and self.log[-1].sender != "alice":
            self.to_client.append(self.log[-1])

    def say_goodbye(self) -> None:
        """The server closes the connection in order, to be back in a second."""
        if self.is_connected:
            self.is_connected = False
            self.to_client.append(
                Closing(close_code=3000, code="server_restarting", reason="", retry_after_ms=1000)
            )

    # --- frames of the client ---------------------------------------------------------------------------------------

    def take(self, frame: ClientFrame) -> None:
        """A frame arrived."""
        if isinstance(frame, Connect):
            self._connect(frame)
            return
        session = self.session
        assert session is not None
        assert self.is_connected, "a frame came over a connection that has no session"
        if isinstance(frame, Ping):
            # Its counts may be of an epoch before a reset that is still on its way.
            self.to_client.append(Pong())
        elif isinstance(frame, Bye):
            self.forget_session()
        else:
            request_id = frame.id
            assert isinstance(request_id, int)
            assert request_id > session.received_id, "request ids rise"
            session.received_id = request_id
            if isinstance(frame, Send):
                self._send(frame, request_id)
            elif isinstance(frame, Members):
                self._live(MembersReply(id=request_id, members=[]))

    def _connect(self, frame: Connect) -> None:
        resume, session = frame.resume, self.session
        recovered = (
            resume is not None and resume.epoch == str(self.epoch) and 0 <= resume.offset <= len(self.log)
        )
        live_recovered, received_id, live_seq = False, 0, 0
        if resume is not None and session is not None and resume.token == Secret(f"t{session.number}"):
            received_id = session.received_id
            live_recovered = resume.live_epoch == session.live_epoch
            if live_recovered:
                live_seq = resume.live_seq
                assert live_seq <= len(session.live), "the client counted what was never written"
            else:
                self._begin_live(session)
        else:
            self._sessions += 1
            session = self.session = ModelSession(self._sessions, "")
            self._begin_live(session)
        assert frame.id > session.received_id, "request ids rise"
        head = len(self.log)
        self.is_connected = True
        self.to_client.append(
            Connected(
                id=frame.id,
                version=1,
                session_id=f"s{session.number}",
                resume_token=Secret(f"t{session.number}"),
                agent="alice",
                identity="lineage:alice",
                order=1,
                channel=ChannelInfo(id=bytes(32), name="c", mode="open", scope="private:p"),
                epoch=str(self.epoch),
                head=head,
                recovered=recovered,
                live_epoch=session.live_epoch,
                live_seq=live_seq,
                live_recovered=live_recovered,
                received_id=received_id,
                members=[],
                operations=[],
                limits=LIMITS,
                ack_promise="local-fsync",
                ping_interval_ms=10_000,
                silence_timeout_ms=25_000,
                resume_window_ms=30_000,
                server="model",
                correlation_id="c",
            )
        )
        self.to_client += session.live[live_seq:]
        start = resume.offset if recovered and resume is not None else head
        self.to_client += [message for message in self.log[start:] if message.sender != "alice"]

    def _send(self, frame: Send, request_id: int) -> None:
        if frame.delivery == "live":
            self.live_from_client.append(frame.content)
            self._live(Ack(id=request_id, promise="memory"))
            return
        assert isinstance(frame.idempotency_key, str)
        known = self.keys.get(frame.idempotency_key)
        if known is None:
            self._append(frame.content, "alice", frame.idempotency_key)
        offset = known or len(self.log)
        self._live(Ack(id=request_id, promise="local-fsync", offset=offset, is_duplicate=known is not None))

    def _append(self, content: object, sender: str, key: str | None) -> None:
        offset = len(self.log) + 1
        self.log.append(
            Message(
                delivery="durable",
                offset=offset,
                message_id=f"m{offset}",
                time_ms=0,
                sender=sender,
                identity=f"lineage:{sender}",
                type="t",
                content=content,
            )
        )
        if key is not None:
            self.keys[key] = offset

    def _begin_live(self, session: ModelSession) -> None:
        self._epochs += 1
        session.live_epoch = f"L{self._epochs}"
        session.live = []

    def _live(self, frame: ServerFrame) -> None:
        if self.session is not None:
            self.session.live.append(frame)
            if self.is_connected:
                self.to_client.append(frame)
