"""
Every frame of the wire as one tagged union; the JSON Schema and the TypeScript types come from here.

Owns the names, types and optionality of all fields. Never checks a rule that needs more than the field
itself (that is `codec`, `session` and the server's hub), and never says when a frame is sent (PROTOCOL.md).

The tag is `op`. Field names are snake_case on the wire. Unknown fields are ignored, so that a newer peer can
add some; a missing field has the default given here and is left out when it has that default.
`bytes` are binary in MessagePack and base64 (RFC 4648, section 4) in JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from peerbus.protocol.secrets import Secret, SecretBytes

VERSION: Final = 1
"""The protocol version this package speaks."""
SUPPORTED_VERSIONS: Final = (1,)

Delivery: TypeAlias = Literal["durable", "live", "lossy"]
AckPromise: TypeAlias = Literal["memory", "local-fsync", "replicated"]
MemberState: TypeAlias = Literal["present", "away"]
Attributes: TypeAlias = dict[str, Any]

RequestId: TypeAlias = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Offset: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
TypeName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]

DEFAULT_TYPE: Final = "chat-text"
"""The type of a message that names none."""
SIGNAL_TYPE: Final = "signal"
"""The type of offers, answers and candidates: live, direct."""


class Frame(Struct, frozen=True, gc=False, tag_field="op", omit_defaults=True, kw_only=True):
    """
    What all frames share: nothing but the tag.

    They hold no cycles (what is decoded cannot), and so the garbage collector need not look at them.
    """


# --- client to server -------------------------------------------------------------------------------------


class Resume(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Where a client stood in each class when it lost its connection."""

    token: Secret
    epoch: str = ""
    offset: Offset = 0
    """The highest durable offset processed."""
    live_epoch: str = ""
    live_seq: Offset = 0
    """How many frames of the live class were received in `live_epoch`."""
    order: Offset = 0
    """The join order given before, announced again after a restart of the server; 0 for none."""
    mail_until: Offset = 0
    """While mail is still being read: `head` of the `connected` that told `mail_after`; else 0."""


class Connect(Frame, frozen=True, tag="connect", kw_only=True):
    """The first frame of a connection; everything secret travels in it."""

    id: RequestId
    versions: list[int] = msgspec.field(default_factory=lambda: [VERSION])
    api_key: Secret
    scope: Literal["private", "public"] = "private"
    channel: str
    mode: Literal["open", "sealed"] = "open"
    join_token: SecretBytes | None = None
    """32 bytes derived from the password by the client; none without one."""
    channel_id: bytes = b""
    """Optional: the id the client expects; a mismatch is refused."""
    agent: str = ""
    """The wanted name; empty lets the server choose a label."""
    lineage_secret: SecretBytes
    """16 random bytes, made once per connection object."""
    resume: Resume | None = None
    attributes: Attributes = {}
    sealed_attributes: bytes = b""
    """An envelope that only members can open; only in a sealed channel."""
    crypto_session: Annotated[bytes, Meta(max_length=16)] = b""
    """16 bytes that messages sealed for this session alone name; only, and always, in a sealed channel."""
    capabilities: list[str] = []
    auto_receive: bool = True
    types: list[TypeName] = []
    """Only messages of these types (or custom event types) are pushed; empty means all."""
    client: Annotated[str, Meta(max_length=64)] = ""


class GlobFilter(Struct, frozen=True, kw_only=True):
    """Agent names by a glob: `*` any run of characters, `?` one, `[abc]` one of a set."""

    glob: Annotated[str, Meta(max_length=256)]


Filter: TypeAlias = str | GlobFilter
"""A string is an RE2 expression that must match the whole agent name."""


class Send(Frame, frozen=True, tag="send", kw_only=True):
    """A message for everyone, for `to`, or for whom `filter` matches at this moment."""

    id: RequestId | UnsetType = UNSET
    """Asks for an ack. Only lossy messages may go without."""
    type: TypeName = DEFAULT_TYPE
    custom_event_type: TypeName | UnsetType = UNSET
    delivery: Delivery = "durable"
    to: list[str] | UnsetType = UNSET
    filter: Filter | UnsetType = UNSET
    content: Any = UNSET
    """Any JSON value; exactly one of `content`, `binary` and `sealed` is present."""
    binary: bytes | UnsetType = UNSET
    sealed: bytes | UnsetType = UNSET
    """An envelope with content or binary, and metadata, in it: always and only in a sealed channel."""
    retry_tag: Annotated[bytes, Meta(min_length=16, max_length=16)] | UnsetType = UNSET
    """By what a sealed message with an `idempotency_key` is recognised when it is sent again."""
    reply_to: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=128)] | UnsetType = UNSET


class Receive(Frame, frozen=True, tag="receive", kw_only=True):
    """
    Asks for stored messages by range. Both bounds are exclusive.

    With `after` the oldest beyond it come first; without it the newest before `before` (or the head).
    """

    id: RequestId
    after: Offset | UnsetType = UNSET
    before: Offset | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    types: list[TypeName] = []


class Update(Frame, frozen=True, tag="update", kw_only=True):
    """Replaces the sender's own attributes."""

    id: RequestId
    attributes: Attributes
    sealed_attributes: bytes = b""


class Members(Frame, frozen=True, tag="members", kw_only=True):
    """Asks who is here."""

    id: RequestId


class IceServers(Frame, frozen=True, tag="ice_servers", kw_only=True):
    """Asks for STUN and TURN servers with credentials that have just begun."""

    id: RequestId


class Kick(Frame, frozen=True, tag="kick", kw_only=True):
    """Removes a member, by name or by session; needs the grant `kick`."""

    id: RequestId
    agent: str | UnsetType = UNSET
    session_id: str | UnsetType = UNSET
    reason: Annotated[str, Meta(max_length=256)] = ""


class Lock(Frame, frozen=True, tag="lock", kw_only=True):
    """Closes the channel to newcomers, or opens it again; needs the grant `lock`."""

    id: RequestId
    locked: bool


class Renew(Frame, frozen=True, tag="renew", kw_only=True):
    """Puts a new credential in the place of one that is about to expire."""

    id: RequestId
    api_key: Secret


class Ping(Frame, frozen=True, tag="ping", kw_only=True):
    """Keeps the session alive and tells how far the client has read: what is kept for it until then can go."""

    offset: Offset = 0
    live_seq: Offset = 0


class Bye(Frame, frozen=True, tag="bye", kw_only=True):
    """The client leaves for good: its name is free at once, and nothing is kept for it."""


ClientFrame: TypeAlias = (
    Connect | Send | Receive | Update | Members | IceServers | Kick | Lock | Renew | Ping | Bye
)

# --- server to client -------------------------------------------------------------------------------------


class Member(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One session in the channel, as the others see it."""

    session_id: str
    name: str
    order: int
    """Join order, one number per lineage and channel: the earlier member has the lower one."""
    identity: str
    is_claimed: bool = False
    state: MemberState = "present"
    """`away`: the connection is lost and may yet be resumed."""
    attributes: Attributes = {}
    sealed_attributes: bytes = b""
    crypto_session: bytes = b""
    capabilities: list[str] = []


class ChannelInfo(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What everyone in a channel knows about it."""

    id: bytes
    name: str
    mode: Literal["open", "sealed"]
    scope: str
    has_password: bool = False
    is_locked: bool = False


class LimitsInfo(Struct, frozen=True, kw_only=True):
    """The limits a client can keep to by itself; all of them are in PROTOCOL.md."""

    frame_bytes: int
    message_bytes: int
    batch_frames: int
    send_rate_per_s: int
    lossy_rate_per_s: int
    recipients: int
    history_page: int


class IceServer(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A STUN or TURN server by several ways, in the form that `RTCPeerConnection` takes."""

    urls: list[str]
    """`stun:`, `turn:` and `turns:` (RFC 7064, RFC 7065)."""
    username: str = ""
    """`<seconds since 1970 when it ends>:<label>`; empty where no credential is needed."""
    credential: Secret | None = None


class Connected(Frame, frozen=True, tag="connected", kw_only=True):
    """The reply to `connect`."""

    id: RequestId
    version: int
    session_id: str
    resume_token: Secret
    agent: str
    identity: str
    order: int
    channel: ChannelInfo
    epoch: str
    head: Offset
    """The last committed offset; what is pushed follows it, or follows the resumed offset."""
    recovered: bool = False
    """Every durable message since the resumed offset will be pushed."""
    mail_after: Offset | UnsetType = UNSET
    """There is mail for the claimed name: of what lies between here and `head` only that is pushed, first."""
    live_epoch: str
    live_seq: Offset
    """Frames of the live class that were sent before this one in `live_epoch`, less what will be replayed."""
    live_recovered: bool = False
    received_id: Offset = 0
    """The highest request id this session has taken; later ones are to be sent again."""
    members: list[Member]
    operations: list[str]
    """What this session's grant allows in this channel."""
    limits: LimitsInfo
    ack_promise: AckPromise
    ping_interval_ms: int
    silence_timeout_ms: int
    resume_window_ms: int
    expires_in_ms: int | UnsetType = UNSET
    """When the credential ends, from now; absent if it does not."""
    ice_servers: list[IceServer] = []
    """For connections between peers, and to the SFU where it can't be reached directly."""
    ice_expires_in_ms: int | UnsetType = UNSET
    """When their credentials end, from now; `ice_servers` asks for new ones. Absent if there are none."""
    server: str
    correlation_id: str


class Ack(Frame, frozen=True, tag="ack", kw_only=True):
    """A request has been done. For a message it says what is promised from here on."""

    id: RequestId
    promise: AckPromise | UnsetType = UNSET
    message_id: str | UnsetType = UNSET
    offset: Offset | UnsetType = UNSET
    time_ms: int | UnsetType = UNSET
    recipients: int | UnsetType = UNSET
    """To how many sessions it went at once; absent for a duplicate."""
    is_duplicate: bool = False


class Message(Frame, frozen=True, tag="message", kw_only=True):
    """A message, pushed or as part of a `history`."""

    delivery: Delivery
    offset: Offset | UnsetType = UNSET
    """Only for durable messages."""
    message_id: str
    time_ms: int
    """Server time, milliseconds since 1970."""
    sender: str
    sender_session: str | UnsetType = UNSET
    """Only for live and lossy messages: the session to answer."""
    identity: str
    type: str
    custom_event_type: str | UnsetType = UNSET
    to: list[str] | UnsetType = UNSET
    filter: Filter | UnsetType = UNSET
    content: Any = UNSET
    binary: bytes | UnsetType = UNSET
    sealed: bytes | UnsetType = UNSET
    reply_to: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET


class History(Frame, frozen=True, tag="history", kw_only=True):
    """The reply to `receive`: messages by rising offset."""

    id: RequestId
    epoch: str
    head: Offset
    tail: Offset
    """The lowest offset that is still kept."""
    messages: list[Message]
    is_complete: bool
    """Nothing more lies in the asked direction."""
    next: Offset | UnsetType = UNSET
    """What to pass as `after` (or, going back, as `before`) to go on."""


class MembersReply(Frame, frozen=True, tag="members_reply", kw_only=True):
    """The reply to `members`."""

    id: RequestId
    members: list[Member]


class Departure(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who left, and why."""

    session_id: str
    name: str
    reason: Literal["left", "lost", "replaced", "kicked", "expired", "closed"] = "left"


class IceServersReply(Frame, frozen=True, tag="ice_servers_reply", kw_only=True):
    """The reply to `ice_servers`; the fields are those of `connected`."""

    id: RequestId
    ice_servers: list[IceServer] = []
    ice_expires_in_ms: int | UnsetType = UNSET


class Presence(Frame, frozen=True, tag="presence", kw_only=True):
    """Who came, who changed, who went since the last one."""

    joined: list[Member] = []
    updated: list[Member] = []
    left: list[Departure] = []


class ChannelUpdate(Frame, frozen=True, tag="channel", kw_only=True):
    """The channel was locked or unlocked."""

    is_locked: bool


class Error(Frame, frozen=True, tag="error", kw_only=True):
    """A request (`id`) failed, or something without an id did."""

    id: RequestId | UnsetType = UNSET
    code: str
    message: str
    is_retryable: bool = False
    retry_after_ms: int | UnsetType = UNSET
    correlation_id: str = ""
    details: dict[str, Any] = {}


class Reset(Frame, frozen=True, tag="reset", kw_only=True):
    """
    Frames of the live class were dropped on an open connection: the count starts anew.

    What they would have said of the channel stands here: who is in it now, and whether it is locked.
    """

    live_epoch: str
    live_seq: Offset
    live_recovered: bool = False
    members: list[Member] | UnsetType = UNSET
    is_locked: bool | UnsetType = UNSET


class Expiring(Frame, frozen=True, tag="expiring", kw_only=True):
    """The credential ends soon; `renew` keeps the session."""

    expires_in_ms: int


class Pong(Frame, frozen=True, tag="pong", kw_only=True):
    """The answer to `ping`, at once."""


class Closing(Frame, frozen=True, tag="closing", kw_only=True):
    """The last frame before the server closes the connection."""

    close_code: int
    code: str
    reason: str
    is_retryable: bool = False
    retry_after_ms: int | UnsetType = UNSET
    correlation_id: str = ""


ServerFrame: TypeAlias = (
    Connected
    | Ack
    | Message
    | History
    | MembersReply
    | IceServersReply
    | Presence
    | ChannelUpdate
    | Error
    | Reset
    | Expiring
    | Pong
    | Closing
)
AnyFrame: TypeAlias = ClientFrame | ServerFrame
