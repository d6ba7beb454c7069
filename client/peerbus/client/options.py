"""
What can be asked of `connect` and `send_message`, and what it means on the wire.

Owns the names of the options, their checks, and the frames made of them. Never sends anything. Every refusal is a
`PeerbusError` (`bad_request`) that says what would be right.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, TypedDict, get_args

from msgspec import UNSET, UnsetType

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.protocol.channel import session_address
from peerbus.protocol.codec import check_frame, check_value
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.groups import PEER_DATA_TYPE
from peerbus.protocol.messages import (
    DEFAULT_TYPE,
    SIGNAL_TYPE,
    Attributes,
    Delivery,
    Filter,
    GlobFilter,
    Receive,
    Send,
)

PollSource: TypeAlias = Literal["AUTO", "CACHE", "KAFKA", "DATABASE"]
Scope: TypeAlias = Literal["private", "public"]
GetApiKey: TypeAlias = Callable[[], str | Awaitable[str]]

DEMO_KEY: Final = "demo"
"""As `api_key`: a short-lived key of the server's demo project, fetched and renewed by the SDK."""


class ConnectOptions(TypedDict, total=False):
    """What `connect` takes by keyword besides channel, agent and password."""

    api: str
    api_url: str
    api_key: str | None
    api_key_scope: Scope
    get_api_key: GetApiKey | None
    auto_receive: bool
    use_websocket: bool
    session_id: str | None
    channel_id: str | bytes | None
    custom_event_type: str | Sequence[str] | None
    types: Sequence[str] | None
    poll_source: PollSource | None
    enable_webrtc_relay: bool
    attributes: Mapping[str, Any] | None
    capabilities: Sequence[str] | None
    sealed: bool | None
    private_attributes: Mapping[str, Any] | None


class SendOptions(TypedDict, total=False):
    """What `send_message` takes by keyword besides the content."""

    type: str
    to: str | Sequence[str] | None
    to_session: str | None
    filter: str | GlobFilter | Mapping[str, str] | None
    ephemeral: bool
    delivery: Delivery | None
    reply_to: str | None
    metadata: Mapping[str, Any] | None
    custom_event_type: str | None
    idempotency_key: str | None
    timeout: float | None


SEND_NAMES: Final = frozenset(SendOptions.__annotations__) | {"content", "binary"}
_CAMEL_NAMES: Final = {
    "replyTo": "reply_to",
    "customEventType": "custom_event_type",
    "idempotencyKey": "idempotency_key",
    "toSession": "to_session",
}


def refused(text: str) -> PeerbusError:
    """The error for a call that makes no sense."""
    return PeerbusError(ErrorCode.BAD_REQUEST, text)


def check_choice(name: str, value: object, choices: object) -> None:
    """Raises `PeerbusError` unless `value` is one of a Literal's."""
    allowed = get_args(choices)
    if value not in allowed:
        raise refused(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}.")


def is_sealed(password: str | None, sealed: bool | None, private_attributes: object) -> bool:
    """
    Whether a channel is sealed: wherever there is a password, unless that is to be a lock only (`sealed=False`).

    Raises `PeerbusError` for what only a sealed channel can have.
    """
    if sealed and not password:
        raise refused("A sealed channel has a password: whoever knows it can read.")
    wanted = bool(password) if sealed is None else sealed
    if private_attributes and not wanted:
        raise refused("private_attributes need a sealed channel: the server can read an open one.")
    return wanted


def plain_attributes(attributes: Mapping[str, Any]) -> Attributes:
    """Attributes as they may be sealed. Raises `PeerbusError` where they are not JSON-shaped."""
    try:
        plain: Attributes = _plain(attributes)
        check_value(plain)
    except ProtocolError as error:
        raise PeerbusError(error.code, error.message) from None
    except RecursionError:
        raise refused("The attributes nest too deep, or contain themselves.") from None
    return plain


def check_poll_source(value: object) -> None:
    """
    Accepts the four names of older snippets, in any case; None for the default.

    It has no effect: there is one source of truth, the channel's log, and no layer that could lag behind it.
    """
    if value is not None:
        check_choice("poll_source", value.upper() if isinstance(value, str) else value, PollSource)


def type_names(*lists: str | Sequence[str] | None) -> list[str]:
    """Types from `types=["a", "b"]` and `custom_event_type="a,b"`, without repetition."""
    names: dict[str, None] = {}
    for value in lists:
        for item in [] if value is None else value.split(",") if isinstance(value, str) else value:
            name = item.strip()
            if name:
                names[name] = None
    return list(names)


def with_peers(types: list[str]) -> list[str]:
    """What a `WebRTCHelper` needs is pushed whatever the program wants of messages."""
    return list(dict.fromkeys([*types, SIGNAL_TYPE, PEER_DATA_TYPE])) if types else []


def channel_id_bytes(value: str | bytes | None) -> bytes:
    """A channel id as 32 bytes, from bytes, hex or base64 (either alphabet); empty for None."""
    if value is None or isinstance(value, bytes):
        raw = value or b""
    else:
        raw = _decoded(value)
    if len(raw) not in (0, 32):
        raise refused("channel_id is the 32 bytes of a channel's id, as bytes, hex or base64.")
    return raw


def _decoded(text: str) -> bytes:
    try:
        if len(text) == 64:
            return bytes.fromhex(text)
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
    except (ValueError, binascii.Error):
        return b"?"


def is_send_object(value: object) -> bool:
    """Whether the first argument of `send_message` is the object form `{"content": …, "to": …}`."""
    return (
        isinstance(value, Mapping)
        and bool(value.keys() & {"content", "binary"})
        and all(_CAMEL_NAMES.get(name, name) in SEND_NAMES for name in value)
    )


def send_object(value: Mapping[str, Any]) -> tuple[Any, SendOptions]:
    """Content and options of the object form; names may be in camelCase."""
    options = {_CAMEL_NAMES.get(name, name): item for name, item in value.items()}
    binary = options.pop("binary", None)
    content = options.pop("content", None)
    return (content if binary is None else binary), SendOptions(**options)  # type: ignore[typeddict-item]  # checked by is_send_object


def send_frame(content: Any, options: SendOptions, *, new_key: Callable[[], str]) -> Send:
    """
    The frame for one message; its id is not set yet.

    Raises `PeerbusError` for options that contradict each other, and for content that is not JSON-shaped.
    """
    unknown = options.keys() - SEND_NAMES
    if unknown:
        raise TypeError(f"send_message() takes no {', '.join(sorted(unknown))}")
    delivery = _delivery(options)
    to = _recipients(options)
    filter_ = options.get("filter")
    if to is not UNSET and filter_ is not None:
        raise refused("A message has `to` or `filter`, not both.")
    is_binary = isinstance(content, bytes | bytearray | memoryview)
    key = options.get("idempotency_key")
    if key is None and delivery != "lossy":
        key = new_key()
    metadata = options.get("metadata")
    try:
        plain = UNSET if is_binary else _plain(content)
    except RecursionError:
        raise refused("The content nests too deep, or contains itself.") from None
    frame = Send(
        type=options.get("type", DEFAULT_TYPE),
        custom_event_type=_or_unset(options.get("custom_event_type")),
        delivery=delivery,
        to=to,
        filter=_filter(filter_),
        content=plain,
        binary=bytes(content) if is_binary else UNSET,
        reply_to=_or_unset(options.get("reply_to")),
        metadata=UNSET if metadata is None else dict(metadata),
        idempotency_key=_or_unset(key),
    )
    try:
        check_frame(frame)
    except ProtocolError as error:
        raise PeerbusError(error.code, error.message) from None
    return frame


def receive_frame(
    after: int | None,
    before: int | None,
    limit: int,
    types: Sequence[str] | None,
    custom_event_type: str | Sequence[str] | None,
) -> Receive:
    """The frame that asks for a range of stored messages; its id is a placeholder."""
    if not 1 <= limit <= 1000:
        raise refused(f"limit is 1 to 1000, not {limit}.")
    return Receive(
        id=1,
        after=_or_unset(after),
        before=_or_unset(before),
        limit=limit,
        types=type_names(types, custom_event_type),
    )


def _delivery(options: SendOptions) -> Delivery:
    delivery = options.get("delivery")
    if options.get("ephemeral", False):
        if delivery not in (None, "lossy"):
            raise refused(f"ephemeral means delivery='lossy'; it cannot be {delivery!r} at once.")
        return "lossy"
    if delivery is None:
        return "durable" if options.get("to_session") is None else "live"
    check_choice("delivery", delivery, Delivery)
    return delivery


def _recipients(options: SendOptions) -> list[str] | UnsetType:
    """The names in `to`, and the address of the session in `to_session`."""
    to, session_id = options.get("to"), options.get("to_session")
    if to is None and session_id is None:
        return UNSET
    names = [] if to is None else [to] if isinstance(to, str) else list(to)
    return names if session_id is None else [*names, session_address(session_id)]


def _filter(value: object) -> Filter | UnsetType:
    if value is None:
        return UNSET
    if isinstance(value, str | GlobFilter):
        return value
    if isinstance(value, Mapping) and set(value) == {"glob"} and isinstance(value["glob"], str):
        return GlobFilter(glob=value["glob"])
    raise refused("filter is an RE2 expression as text, or a glob: Glob('team-*').")


def _plain(content: Any) -> Any:
    """JSON-shaped content: tuples become lists, mappings become objects, at every depth."""
    if isinstance(content, Mapping):
        return {key: _plain(item) for key, item in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(item) for item in content]
    return content


def _or_unset(value: Any) -> Any:
    return UNSET if value is None else value
