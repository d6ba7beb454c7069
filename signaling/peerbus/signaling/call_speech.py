"""
The messages of calls: what clients and media workers say, read; and what the server says to them, written.

Owns their forms and from whom they seem to come. Never decides to whom something is said (that is `calls`). See
PROTOCOL.md, section 12.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import UNSET

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import SIGNAL_TYPE, Send
from peerbus.protocol.signals import (
    CONTROL_TYPE,
    SERVER_AGENT,
    SFU_AGENT,
    ClientSignal,
    Participant,
    ServerToWorker,
    SfuSignal,
    WorkerToServer,
)
from peerbus.signaling.dispatch import Dispatch
from peerbus.signaling.member import Member
from peerbus.signaling.server_agent import ServerAgent

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(WorkerToServer)


class CallSpeech:
    """What the server says in calls."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._sfu: Final = ServerAgent(SFU_AGENT, dispatch)
        self._server: Final = ServerAgent(SERVER_AGENT, dispatch)

    def control(self, worker: Member, message: ServerToWorker, now_ms: int) -> None:
        """A control message for a worker."""
        self._server.push([worker], CONTROL_TYPE, now_ms, binary=_ENCODER.encode(message))

    def signal(self, members: Iterable[Member], signal: SfuSignal, now_ms: int) -> None:
        """A signal for clients; they do not learn which worker it is from."""
        self._sfu.push(members, SIGNAL_TYPE, now_ms, content=msgspec.to_builtins(signal))


def read_signal(frame: Send) -> ClientSignal:
    """What a client says to the SFU. Raises `ProtocolError` (`bad_request`)."""
    if frame.to != [SFU_AGENT] or frame.type != SIGNAL_TYPE or frame.delivery != "live":
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            f"{SFU_AGENT} takes live messages of the type {SIGNAL_TYPE}, and alone.",
        )
    try:
        signal: ClientSignal = msgspec.convert(frame.content, ClientSignal)
    except msgspec.ValidationError as error:
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"Not a signal for the SFU: {error}.") from None
    return signal


def read_control(frame: Send) -> WorkerToServer:
    """What a worker says to the server. Raises `ProtocolError` (`bad_request`)."""
    if frame.to != [SERVER_AGENT] or frame.type != CONTROL_TYPE or frame.binary is UNSET:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"Workers send {CONTROL_TYPE} in binary to {SERVER_AGENT}."
        )
    try:
        message: WorkerToServer = _DECODER.decode(frame.binary)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"Not a control message: {error}.") from None
    return message


def participant_of(member: Member) -> Participant:
    """A member as its worker knows it."""
    return Participant(
        identity=member.identity,
        session_id=member.session.session_id,
        name=member.name,
        operations=sorted(member.admission.operations),
        expires_ms=UNSET if member.expires_ms is None else member.expires_ms,
        is_sealed=member.channel.mode == "sealed",
    )
