"""
Links to a channel: `{origin}/chat#channel=…&password=…&project=…&scope=…&mode=…`.

Owns the one form that pages, the command line and bots exchange; `web/src/pages/link.ts` is its twin, and
both run `tests/vectors/links/links.json`. Everything about the channel stands in the fragment (RFC 3986,
section 3.5), which a browser never sends to a server. Never opens a connection and never checks the rules for
channel names.

With a password the channel is sealed, unless `mode=open` says that the password is a lock only; without one it is open.
Values are percent-encoded UTF-8. A plus sign is a plus sign, not a space. Parameters with an empty or default
value are left out, unknown ones are ignored, one that stands twice is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

MAX_LINK_CHARS: Final = 4096
"""Longer texts are refused unread."""

PAGES: Final = ("chat", "call", "games/air-hockey")
"""The pages of a server that a link may name; all of them mean a channel."""

Scope = Literal["private", "public"]

_PARAMETERS: Final = ("channel", "password", "project", "scope", "mode")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class LinkFault(StrEnum):
    """Why a text is not a channel link."""

    NOT_A_LINK = "not_a_link"
    """No http(s) address with a host, or one with a user name in it."""
    NOT_A_CHANNEL_PAGE = "not_a_channel_page"
    NO_CHANNEL = "no_channel"
    SECRET_IN_QUERY = "secret_in_query"  # noqa: S105 - the name of a fault
    """Something stands behind a "?", where servers and proxies log it; a link never has that part."""
    BAD_ENCODING = "bad_encoding"
    REPEATED = "repeated"
    BAD_SCOPE = "bad_scope"
    BAD_MODE = "bad_mode"
    """A mode that does not exist, or `sealed` without a password."""


class LinkError(ValueError):
    """The text is not a channel link; `fault` says why, the message says it to a person."""

    def __init__(self, fault: LinkFault, message: str) -> None:
        self.fault = fault
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Link:
    """One channel on one server, as a link names it."""

    origin: str
    """Scheme, host and port, without a slash at the end: what the SDKs call `api`."""
    channel: str
    password: str = ""
    project: str = ""
    """The project whose private channel is meant; empty if the link does not say."""
    scope: Scope = "private"
    page: str = "chat"
    is_sealed: bool = True
    """Whether a password seals the channel, and does not only lock it; means nothing without one."""

    @property
    def seals(self) -> bool:
        """Whether the channel is sealed: what `connect` takes as `sealed`."""
        return bool(self.password) and self.is_sealed

    def __repr__(self) -> str:
        # The password must not come to light in a log or a traceback.
        shown = "***" if self.password else ""
        return (
            f"Link(origin={self.origin!r}, channel={self.channel!r}, password={shown!r}, "
            f"project={self.project!r}, scope={self.scope!r}, page={self.page!r}, "
            f"is_sealed={self.is_sealed!r})"
        )

    def __str__(self) -> str:
        return format_link(self)


def format_link(link: Link) -> str:
    """The text of a link. Raises `LinkError` for one that could not be parsed again."""
    if not link.channel:
        raise LinkError(LinkFault.NO_CHANNEL, "A channel link needs the name of a channel.")
    values = {"channel": link.channel, "password": link.password, "project": link.project}
    if link.scope != "private":
        values["scope"] = link.scope
    if link.password and not link.is_sealed:
        values["mode"] = "open"
    try:
        fragment = "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items() if value)
    except UnicodeEncodeError:
        raise LinkError(LinkFault.BAD_ENCODING, "A value of the link cannot be written as UTF-8.") from None
    return f"{_origin(urlsplit(link.origin))}/{_checked_page(link.page)}#{fragment}"


def parse_link(text: str) -> Link:
    """
    What a link says; white space around it is ignored.

    Raises `LinkError`. Its message names the remedy and never repeats a password.
    """
    text = text.strip()
    if len(text) > MAX_LINK_CHARS:
        raise LinkError(LinkFault.NOT_A_LINK, f"A channel link has at most {MAX_LINK_CHARS} characters.")
    address, _, fragment = text.partition("#")
    try:
        parts = urlsplit(address)
    except ValueError:
        raise _not_a_link() from None
    origin = _origin(parts)
    if parts.query:
        raise LinkError(
            LinkFault.SECRET_IN_QUERY,
            'A channel link has nothing behind a "?": channel and password stand behind a "#".',
        )
    page = _checked_page(parts.path.strip("/"))
    values = _parameters(fragment)
    if not values["channel"]:
        raise LinkError(LinkFault.NO_CHANNEL, 'The link names no channel: "#channel=…" is missing.')
    return Link(
        origin=origin,
        channel=values["channel"],
        password=values["password"],
        project=values["project"],
        scope=_scope(values["scope"]),
        page=page,
        is_sealed=_is_sealed(values["mode"], values["password"]),
    )


def _origin(parts: SplitResult) -> str:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _not_a_link() from None
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        raise _not_a_link()
    if any(ord(character) <= 0x20 or character in '<>"\\^`{|}\x7f' for character in host):
        raise _not_a_link()
    shown = f"[{host}]" if ":" in host else host
    if port is None or port == _DEFAULT_PORTS[parts.scheme]:
        return f"{parts.scheme}://{shown}"
    return f"{parts.scheme}://{shown}:{port}"


def _not_a_link() -> LinkError:
    return LinkError(
        LinkFault.NOT_A_LINK,
        "That is not a channel link. One looks like http://localhost:8080/chat#channel=lobby",
    )


def _checked_page(page: str) -> str:
    if page not in PAGES:
        raise LinkError(
            LinkFault.NOT_A_CHANNEL_PAGE,
            "The address is not that of a channel: it ends in /chat, then #channel=…",
        )
    return page


def _parameters(fragment: str) -> dict[str, str]:
    values = dict.fromkeys(_PARAMETERS, "")
    seen = set()
    for pair in fragment.split("&"):
        name, _, value = pair.partition("=")
        if name not in values:
            continue
        if name in seen:
            raise LinkError(LinkFault.REPEATED, f"The link says {name!r} twice.")
        seen.add(name)
        values[name] = _decoded(value, name)
    return values


def _decoded(value: str, name: str) -> str:
    for escape in value.split("%")[1:]:
        if len(escape) < 2 or not _HEX.issuperset(escape[:2]):
            raise LinkError(
                LinkFault.BAD_ENCODING, f"The value of {name!r} in the link has a broken % escape."
            )
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeError:
        raise LinkError(LinkFault.BAD_ENCODING, f"The value of {name!r} in the link is not UTF-8.") from None


def _is_sealed(mode: str, password: str) -> bool:
    if mode not in ("", "open", "sealed"):
        raise LinkError(LinkFault.BAD_MODE, 'The mode of a link is "sealed" or "open".')
    if mode == "sealed" and not password:
        raise LinkError(LinkFault.BAD_MODE, "A sealed channel has a password, and the link has none.")
    # Without a password there is nothing to choose, and links that mean the same are the same.
    return mode != "open" or not password


def _scope(value: str) -> Scope:
    if value in ("", "private"):
        return "private"
    if value == "public":
        return "public"
    raise LinkError(LinkFault.BAD_SCOPE, 'The scope of a link is "private" or "public".')
