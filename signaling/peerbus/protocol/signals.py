"""
What a client and the SFU say to each other about a call: the content of live messages of type `signal`.

Owns the forms of these contents, as one tagged union (`kind`) for each direction. Never carries media, and never says
which worker serves a room: a client addresses `peerbus:sfu`, the server forwards to where the channel is placed.
The client always offers, the SFU always answers (RFC 3264, RFC 8829).

A *publication* is one track that a participant sends; a *slot* is a receiving m-line that the SFU fills with one
publication after another without new SDP. The SFU answers with the SSRCs of every slot; which publication a slot
carries is told by `slots` and may change at any time.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

SFU_AGENT: Final = "peerbus:sfu"
"""The name that clients send signals to, whichever worker serves their channel."""

MediaKind: TypeAlias = Literal["audio", "video"]
Source: TypeAlias = Literal["microphone", "camera", "screen", "screen_audio", "other"]


class Signal(Struct, frozen=True, tag_field="kind", omit_defaults=True, kw_only=True):
    """What all signals share: nothing but the tag."""


# --- client to SFU ----------------------------------------------------------------------------------------


class OfferedTrack(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A track that the client sends on the m-line `mid`."""

    mid: str
    publication: str
    """Chosen by the client, unique for it; at most 64 characters."""
    source: Source = "other"
    is_muted: bool = False
    is_sealed: bool = False
    """Its frames are end-to-end encrypted (PROTOCOL.md, section 14); only in VP8 and Opus, else `e2ee_codec`."""


class Offer(Signal, frozen=True, tag="offer", kw_only=True):
    """
    A new description of a connection; the first one of a `connection` opens it.

    Sent straight after setLocalDescription: candidates are not waited for, the client becomes peer-reflexive.
    """

    connection: str
    """Chosen by the client for each peer connection; another id of the same participant replaces the older one."""
    number: int
    """Counts the offers of a connection, from 1; echoed by the answer."""
    sdp: str
    tracks: list[OfferedTrack] = []
    slots: list[str] = []
    """The mids of the receiving m-lines that are slots, in the order they are to be filled."""


class Mute(Signal, frozen=True, tag="mute", kw_only=True):
    """The client stopped, or again begins, to send something on a publication."""

    connection: str
    publication: str
    is_muted: bool


class Unpublish(Signal, frozen=True, tag="unpublish", kw_only=True):
    """A publication ends; its m-line may be reused by a later offer."""

    connection: str
    publication: str


class Leave(Signal, frozen=True, tag="leave", kw_only=True):
    """The connection is closed on purpose."""

    connection: str


ClientSignal: TypeAlias = Offer | Mute | Unpublish | Leave

# --- SFU to client ----------------------------------------------------------------------------------------


class Answer(Signal, frozen=True, tag="answer", kw_only=True):
    """The answer to the offer `number` of `connection`."""

    connection: str
    number: int
    sdp: str
    term: int
    """The term of the room's placement; signals of an older term are refused by clients."""


class Refused(Signal, frozen=True, tag="refused", kw_only=True):
    """A signal could not be followed; the connection goes on as it was, or did not begin."""

    connection: str
    number: int | UnsetType = UNSET
    code: str
    """`bad_offer`, `codec_not_supported`, `e2ee_codec`, `forbidden`, `too_many_tracks`, `room_full`, `not_found`, …"""
    message: str
    details: dict[str, Any] = {}


class Publication(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A track of somebody, as the others see it."""

    publication: str
    """Unique in the room: `<participant>/<the publisher's own id>`."""
    participant: str
    """The identity of its sender, as in presence."""
    name: str
    media: MediaKind
    source: Source = "other"
    is_muted: bool = False
    is_sealed: bool = False
    """As its sender said; the SFU cannot tell, and a receiver decides by the frames."""


class Caller(Struct, frozen=True, kw_only=True):
    """Somebody in the call, with or without publications."""

    identity: str
    name: str


class Publications(Signal, frozen=True, tag="publications", kw_only=True):
    """Who is in the call and everything that is published in it, whenever one changes; `version` rises."""

    term: int
    version: int
    publications: list[Publication]
    callers: list[Caller] = []
    """Everyone in the call, the receiver included."""


class Binding(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a slot carries now; nothing where `publication` is missing."""

    mid: str
    publication: str | UnsetType = UNSET


class Slots(Signal, frozen=True, tag="slots", kw_only=True):
    """The bindings of all slots of a connection, whenever one changes; `version` rises."""

    connection: str
    version: int
    bindings: list[Binding]
    wanting: int = 0
    """How many publications found no free slot; a client may offer more of them."""


class Speaker(Struct, frozen=True, kw_only=True):
    """One who speaks; `level` from 0 (silence) to 1 (full scale)."""

    participant: str
    level: float


class Speakers(Signal, frozen=True, tag="speakers", kw_only=True):
    """Who speaks now, the loudest first; an empty list is silence."""

    speakers: list[Speaker]


class Restart(Signal, frozen=True, tag="restart", kw_only=True):
    """The room is served by a new worker, or its worker lost the connection: offer anew, with a new connection id."""

    term: int
    reason: str


class Ended(Signal, frozen=True, tag="ended", kw_only=True):
    """The SFU closed the connection: replaced, expired, kicked, silent for too long."""

    connection: str
    code: str
    message: str


SfuSignal: TypeAlias = Answer | Refused | Publications | Slots | Speakers | Restart | Ended

# --- server to worker and back ------------------------------------------------------------------------------------

CONTROL_CHANNEL: Final = "peerbus:workers"
"""The channel in which workers are members; only worker tokens open it. Its mode is open, its scope private."""
CONTROL_TYPE: Final = "sfu.control"
"""The type of all messages in it; their `binary` is the MessagePack form of one of the signals below."""
SERVER_AGENT: Final = "peerbus:server"
"""The name workers send their side of the control messages to."""


class Room(Struct, frozen=True, kw_only=True):
    """A channel as a worker knows it, under the term of its placement."""

    scope: str
    channel_id: bytes
    term: int


class Participant(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who a signal is from, and what its grant allows; the worker enforces both itself."""

    identity: str
    session_id: str
    name: str
    operations: list[str]
    expires_ms: int | UnsetType = UNSET
    is_sealed: bool = False
    """Its channel is sealed: what it sends is nothing for the operator to look at."""


class Forward(Signal, frozen=True, tag="forward", kw_only=True):
    """Server to worker: a signal of a participant."""

    room: Room
    participant: Participant
    signal: ClientSignal


class Gone(Signal, frozen=True, tag="gone", kw_only=True):
    """Server to worker: the participant left, was kicked or its credential ended; end its connection."""

    room: Room
    identity: str
    code: str


class Renewed(Signal, frozen=True, tag="renewed", kw_only=True):
    """Server to worker: a participant has a new credential; what it allows, and until when, counts from now on."""

    room: Room
    participant: Participant


class Roster(Signal, frozen=True, tag="roster", kw_only=True):
    """Server to worker, a while after it announced a room: who is in the channel; end the connections of all others."""

    room: Room
    identities: list[str]


class Release(Signal, frozen=True, tag="release", kw_only=True):
    """Server to worker: the room is no longer this worker's (or is empty); forget it."""

    room: Room


class Deliver(Signal, frozen=True, tag="deliver", kw_only=True):
    """Worker to server: a signal for the participants that are named, or (nobody named) for all in the call."""

    room: Room
    identities: list[str]
    signal: SfuSignal


class Announce(Signal, frozen=True, tag="announce", kw_only=True):
    """
    Worker to server, the first message after each connect: the rooms it serves, with their terms.

    Until then it is given no room. A room that is another's by now comes back in a `Release`.
    """

    rooms: list[Room]


class Load(Signal, frozen=True, tag="load", kw_only=True):
    """Worker to server, every second: renews the leases of its rooms from its own work loop."""

    rooms: list[Room]
    participants: int
    cpu_share: float
    is_draining: bool = False
    counts: dict[str, int] = {}
    """What happened since the worker's start, by names that are the worker's; for the metrics."""


ServerToWorker: TypeAlias = Forward | Gone | Renewed | Roster | Release
WorkerToServer: TypeAlias = Deliver | Announce | Load
