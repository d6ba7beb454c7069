"""
Session descriptions as far as an SFU needs them, read into values and written from values.

Owns the grammar and its bounds. Keeps what other readers drop (rid, simulcast) and drops what must not be followed
(candidates: a client becomes peer-reflexive, and hostnames are never resolved). Never decides what is accepted
(`negotiation`). See RFC 8866 and RFC 8829.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from msgspec import Struct

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
SectionKind: TypeAlias = Literal["audio", "video", "application"]

OFFER_BYTES_MAX: Final = 256 * 1024
SECTIONS_MAX: Final = 64
_LINE_CHARS_MAX: Final = 4_096
_LINES_MAX: Final = 10_000
_PAYLOADS_MAX: Final = 64
_EXTENSIONS_MAX: Final = 32
_SSRCS_MAX: Final = 32
_RIDS_MAX: Final = 8

_FORBIDDEN: Final = re.compile(r"[\0\r]")
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}")
_FRAGMENT: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FINGERPRINT: Final = re.compile(r"([A-Za-z0-9-]{1,16}) ((?:[0-9A-Fa-f]{2}:){19,63}[0-9A-Fa-f]{2})")


class SdpError(ValueError):
    """The text is not a description that this reader follows; the message says where."""


class Codec(Struct, frozen=True, kw_only=True):
    """One payload type of a section."""

    payload_type: int
    name: str
    """In lower case: `vp8`, `opus`, `rtx`, …"""
    clock_rate_hz: int
    channels: int = 1
    parameters: str = ""
    """The text of its fmtp line."""
    feedback: tuple[str, ...] = ()
    """Its rtcp-fb values, such as `nack pli`."""


class Fingerprint(Struct, frozen=True):
    """The hash of a certificate: algorithm in lower case, value as pairs of capital hex digits with colons."""

    algorithm: str
    value: str


class Section(Struct, frozen=True, kw_only=True):
    """One m-line and what belongs to it."""

    kind: SectionKind
    mid: str
    is_rejected: bool = False
    """Its port is 0, and it is not in the bundle."""
    direction: Direction = "sendrecv"
    codecs: tuple[Codec, ...] = ()
    extensions: tuple[tuple[int, str], ...] = ()
    """Header extensions: id and URI."""
    ssrcs: tuple[int, ...] = ()
    """In the order they are declared: the primary, then its retransmissions."""
    rids: tuple[str, ...] = ()
    """What the sender offers to send, by simulcast."""
    sctp_port: int = 0
    max_message_bytes: int = 65_536


class Description(Struct, frozen=True, kw_only=True):
    """A whole offer. Transport values hold for all sections, since all are bundled."""

    fragment: str
    """This and what follows stand in the section that all are bundled into, the first that is not rejected."""
    password: str
    fingerprints: tuple[Fingerprint, ...]
    setup: str
    sections: tuple[Section, ...]


def read_offer(text: str) -> Description:
    """Reads an offer. Raises `SdpError`, and nothing else, for whatever is not one."""
    if len(text) > OFFER_BYTES_MAX:
        raise SdpError(f"the description has more than {OFFER_BYTES_MAX} characters")
    lines = text.replace("\r\n", "\n").split("\n")
    if len(lines) > _LINES_MAX:
        raise SdpError(f"the description has more than {_LINES_MAX} lines")
    blocks: list[list[tuple[str, str]]] = [[]]
    for line in lines:
        if not line:
            continue
        if (
            len(line) > _LINE_CHARS_MAX
            or len(line) < 2
            or line[1] != "="
            or _FORBIDDEN.search(line) is not None
        ):
            raise SdpError(f"not a line of a description: {line[:40]!r}")
        if line[0] == "m":
            if len(blocks) > SECTIONS_MAX:
                raise SdpError(f"the description has more than {SECTIONS_MAX} media sections")
            blocks.append([])
        blocks[-1].append((line[0], line[2:]))
    head, *bodies = blocks
    if not head or head[0] != ("v", "0"):
        raise SdpError("the description does not begin with v=0")
    if not bodies:
        raise SdpError("the description has no media section")
    sections = tuple(_read_section(body) for body in bodies)
    mids = [section.mid for section in sections]
    if len(set(mids)) != len(mids):
        raise SdpError("two media sections have the same mid")
    session = _attributes(head)
    # What was stopped keeps credentials of long ago (Chromium), or none (Firefox).
    bundling = next(
        (body for body, one in zip(bodies, sections, strict=True) if not one.is_rejected), bodies[0]
    )
    transport = {**session, **_attributes(bundling)}
    return Description(
        fragment=_matching(_FRAGMENT, transport, "ice-ufrag"),
        password=_matching(_PASSWORD, transport, "ice-pwd"),
        fingerprints=_fingerprints(head + bundling),
        setup=_one(transport, "setup", "actpass"),
        sections=sections,
    )


def _read_section(body: list[tuple[str, str]]) -> Section:
    words = body[0][1].split(" ")
    if len(words) < 4:
        raise SdpError(f"not a media line: {body[0][1][:40]!r}")
    kind, port, payloads = words[0], words[1], words[3:]
    attributes = _attributes(body)
    mid = _one(attributes, "mid", "")
    if _TOKEN.fullmatch(mid) is None:
        raise SdpError("a media section has no usable mid")
    if kind == "application":
        return Section(
            kind="application",
            mid=mid,
            is_rejected=_is_rejected(port, attributes),
            sctp_port=_number(_one(attributes, "sctp-port", "5000"), 65_535),
            max_message_bytes=_number(_one(attributes, "max-message-size", "65536"), 2**32 - 1),
        )
    if kind not in ("audio", "video"):
        raise SdpError(f"media of the kind {kind[:20]!r} are not known")
    if len(payloads) > _PAYLOADS_MAX:
        raise SdpError(f"a media section has more than {_PAYLOADS_MAX} payload types")
    return Section(
        kind="audio" if kind == "audio" else "video",
        mid=mid,
        is_rejected=_is_rejected(port, attributes),
        direction=_direction(body),
        codecs=_codecs(payloads, attributes),
        extensions=_extensions(attributes),
        ssrcs=_ssrcs(attributes),
        rids=_rids(attributes),
    )


def _attributes(body: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for letter, value in body:
        if letter == "a":
            name, _, rest = value.partition(":")
            found.setdefault(name, []).append(rest)
    return found


def _one(attributes: dict[str, list[str]], name: str, default: str) -> str:
    values = attributes.get(name)
    return values[0] if values else default


def _matching(form: re.Pattern[str], attributes: dict[str, list[str]], name: str) -> str:
    value = _one(attributes, name, "")
    if form.fullmatch(value) is None:
        raise SdpError(f"there is no usable {name}")
    return value


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or int(text) > most:
        raise SdpError(f"not a number up to {most}: {text[:20]!r}")
    return int(text)


def _fingerprints(lines: list[tuple[str, str]]) -> tuple[Fingerprint, ...]:
    found: dict[Fingerprint, None] = {}
    for letter, value in lines:
        if letter == "a" and value.startswith("fingerprint:"):
            match = _FINGERPRINT.fullmatch(value.removeprefix("fingerprint:").strip())
            if match is None:
                raise SdpError("a fingerprint is malformed")
            found[Fingerprint(match[1].lower(), match[2].upper())] = None
    if not found:
        raise SdpError("there is no fingerprint")
    return tuple(found)


def _is_rejected(port: str, attributes: dict[str, list[str]]) -> bool:
    return _number(port, 65_535) == 0 and "bundle-only" not in attributes


def _direction(body: list[tuple[str, str]]) -> Direction:
    for letter, value in body:
        if letter == "a":
            if value == "sendonly":
                return "sendonly"
            if value == "recvonly":
                return "recvonly"
            if value == "inactive":
                return "inactive"
    return "sendrecv"


def _codecs(payloads: list[str], attributes: dict[str, list[str]]) -> tuple[Codec, ...]:
    parameters = _by_payload(attributes.get("fmtp", []))
    maps = _by_payload(attributes.get("rtpmap", []))
    feedback: dict[str, list[str]] = {}
    for value in attributes.get("rtcp-fb", []):
        payload, _, rest = value.partition(" ")
        feedback.setdefault(payload, []).append(rest)
    codecs: list[Codec] = []
    for payload in payloads:
        number = _number(payload, 127)
        if payload not in maps:
            # A static payload type without a map (RFC 3551): none of them is of use here.
            continue
        name, _, rest = maps[payload].partition("/")
        rate, _, channels = rest.partition("/")
        codecs.append(
            Codec(
                payload_type=number,
                name=name.lower(),
                clock_rate_hz=_number(rate, 1_000_000),
                channels=_number(channels, 255) if channels else 1,
                parameters=parameters.get(payload, ""),
                feedback=tuple(feedback.get("*", []) + feedback.get(payload, [])),
            )
        )
    return tuple(codecs)


def _by_payload(values: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        payload, _, rest = value.partition(" ")
        found.setdefault(payload, rest)
    return found


def _extensions(attributes: dict[str, list[str]]) -> tuple[tuple[int, str], ...]:
    values = attributes.get("extmap", [])
    if len(values) > _EXTENSIONS_MAX:
        raise SdpError(f"a media section has more than {_EXTENSIONS_MAX} header extensions")
    found: list[tuple[int, str]] = []
    for value in values:
        words = value.split(" ")
        if len(words) < 2:
            raise SdpError("a header extension is malformed")
        number = _number(words[0].partition("/")[0], 255)
        if not 1 <= number <= 255:
            raise SdpError("a header extension has the id 0")
        found.append((number, words[1]))
    return tuple(found)


def _ssrcs(attributes: dict[str, list[str]]) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for value in attributes.get("ssrc", []):
        found[_number(value.partition(" ")[0], 2**32 - 1)] = None
        if len(found) > _SSRCS_MAX:
            raise SdpError(f"a media section declares more than {_SSRCS_MAX} sources")
    # The first pair is the first layer's, where there are several.
    for value in reversed(attributes.get("ssrc-group", [])):
        meaning, *members = value.split(" ")
        if meaning == "FID" and len(members) == 2:
            primary, repair = (_number(member, 2**32 - 1) for member in members)
            if primary in found and repair in found:
                found = {primary: None, repair: None} | found
    return tuple(found)


def _rids(attributes: dict[str, list[str]]) -> tuple[str, ...]:
    found: list[str] = []
    for value in attributes.get("rid", []):
        words = value.split(" ")
        if len(words) < 2 or _TOKEN.fullmatch(words[0]) is None:
            raise SdpError("a rid is malformed")
        if words[1] == "send":
            found.append(words[0])
    if len(found) > _RIDS_MAX:
        raise SdpError(f"a media section has more than {_RIDS_MAX} rids")
    return tuple(found)
