"""
The answer to an offer: what is taken, by which codecs, under which extension ids, and on which SSRCs slots are sent.

Owns the codec policy and the text of answers. The client always offers, the SFU always answers; it is ICE-lite, DTLS
server, and bundles everything on one port. Never allocates anything: SSRCs and credentials are passed in.
See RFC 8829 (section 5.3), RFC 8843 and RFC 9143.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from peerbus.sfu.ice_lite import IceCredentials
from peerbus.sfu.sdp import Codec, Direction, Fingerprint, Section

DEFAULT_CODECS: Final = {"audio": ("opus",), "video": ("vp8",)}
"""What every client of ours can decode; others are refused with a reason."""

SEALABLE_CODECS: Final = ("opus", "vp8")
"""What may be end-to-end encrypted: in H.264 ciphertext could hold start codes (PROTOCOL.md, section 14)."""

EXTENSIONS: Final = {
    "urn:ietf:params:rtp-hdrext:sdes:mid": "mid",
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level": "audio_level",
}
"""The header extensions that are taken, by URI; each offer has ids of its own for them."""

SCTP_PORT: Final = 5_000
"""Of the SFU's side of every association, whatever port the client has."""

_FEEDBACK: Final = {"video": ("nack", "nack pli", "ccm fir", "goog-remb"), "audio": ()}


class Candidate(Struct, frozen=True):
    """An address that clients can send to."""

    host: str
    port: int


class Transport(Struct, frozen=True, kw_only=True):
    """The SFU's side of one connection."""

    credentials: IceCredentials
    fingerprint: Fingerprint
    candidates: tuple[Candidate, ...]


class SlotSources(Struct, frozen=True):
    """The SSRCs that a slot sends on, for as long as the connection lives."""

    primary: int
    repair: int | None
    """For retransmissions; None where the codec has none."""
    number: int = 0
    """Sound and picture of one number are one stream to the client, and are played in step."""

    @property
    def canonical_name(self) -> str:
        """Its CNAME, and the name of its stream."""
        return f"peerbus-{self.number}"


class TakenCodec(Struct, frozen=True, kw_only=True):
    """A codec of a section as both sides use it from now on."""

    codec: Codec
    repair_payload_type: int | None = None
    """Its RTX payload type (RFC 4588), if the offer has one."""


class AgreedSection(Struct, frozen=True, kw_only=True):
    """What came of one offered section."""

    section: Section
    direction: Direction = "inactive"
    """As the SFU sees it."""
    codecs: tuple[TakenCodec, ...] = ()
    extensions: tuple[tuple[int, str], ...] = ()
    """Taken header extensions: the offer's id and our name for it."""
    is_rejected: bool = False
    reason: str = ""
    """Why it was rejected."""


def agree(section: Section, policy: Mapping[str, tuple[str, ...]]) -> AgreedSection:
    """Decides one section by the codec policy; nothing is raised, a reason is given."""
    if section.is_rejected:
        return AgreedSection(section=section, is_rejected=True, reason="the client itself rejects it")
    if section.kind == "application":
        return AgreedSection(section=section, direction="sendrecv")
    codecs = tuple(
        TakenCodec(codec=codec, repair_payload_type=_repair_of(section, codec))
        for codec in section.codecs
        if codec.name in policy[section.kind] and _is_usable(codec)
    )
    if not codecs:
        offered = ", ".join(dict.fromkeys(codec.name for codec in section.codecs)) or "none"
        wanted = " or ".join(policy[section.kind])
        reason = f"this room takes {wanted} for {section.kind}; offered were: {offered}"
        return AgreedSection(section=section, is_rejected=True, reason=reason)
    extensions = tuple((number, EXTENSIONS[uri]) for number, uri in section.extensions if uri in EXTENSIONS)
    return AgreedSection(
        section=section, direction=_mirrored(section.direction), codecs=codecs, extensions=extensions
    )


def sealable(policy: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What is left of a codec policy for a track that is end-to-end encrypted."""
    return {kind: tuple(name for name in names if name in SEALABLE_CODECS) for kind, names in policy.items()}


def write_answer(
    agreed: list[AgreedSection],
    transport: Transport,
    slots: dict[str, SlotSources],
    *,
    max_message_bytes: int,
) -> str:
    """The answer's text; `slots` has the sources of each section that the SFU sends on, by mid."""
    taken = [section for section in agreed if not section.is_rejected]
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        *([f"a=group:BUNDLE {' '.join(section.section.mid for section in taken)}"] if taken else []),
        "a=ice-lite",
        "a=msid-semantic: WMS *",
    ]
    for section in agreed:
        lines += _section_lines(section, transport, slots.get(section.section.mid), max_message_bytes)
    return "\r\n".join(lines) + "\r\n"


def _section_lines(
    agreed: AgreedSection, transport: Transport, sources: SlotSources | None, max_message_bytes: int
) -> list[str]:
    section = agreed.section
    is_data = section.kind == "application"
    if is_data:
        form = "UDP/DTLS/SCTP webrtc-datachannel"
    elif agreed.is_rejected:
        form = "UDP/TLS/RTP/SAVPF 0"
    else:
        form = f"UDP/TLS/RTP/SAVPF {' '.join(str(number) for number in _payload_types(agreed))}"
    lines = [
        f"m={section.kind} {0 if agreed.is_rejected else 9} {form}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
    ]
    if agreed.is_rejected:
        return [*lines, *([] if is_data else ["a=inactive"])]
    lines += _transport_lines(transport)
    if is_data:
        return [*lines, f"a=sctp-port:{SCTP_PORT}", f"a=max-message-size:{max_message_bytes}"]
    lines += [f"a={_direction(agreed, sources)}", "a=rtcp-mux", "a=rtcp-rsize"]
    for taken in agreed.codecs:
        lines += _codec_lines(section.kind, taken)
    uris = {name: uri for uri, name in EXTENSIONS.items()}
    lines += [f"a=extmap:{number} {uris[name]}" for number, name in agreed.extensions]
    if sources is not None:
        lines += _source_lines(section.mid, sources)
    return lines


def _transport_lines(transport: Transport) -> list[str]:
    lines = [
        f"a=ice-ufrag:{transport.credentials.fragment}",
        f"a=ice-pwd:{transport.credentials.password}",
        f"a=fingerprint:{transport.fingerprint.algorithm} {transport.fingerprint.value}",
        "a=setup:passive",
    ]
    for index, candidate in enumerate(transport.candidates):
        # Host candidates of component 1; the earlier the better (RFC 8445, section 5.1.2.1).
        priority = (126 << 24) | ((65_535 - index) << 8) | 255
        lines.append(f"a=candidate:{index + 1} 1 udp {priority} {candidate.host} {candidate.port} typ host")
    # In every section: some clients look into each of them.
    return [*lines, "a=end-of-candidates"]


def _codec_lines(kind: str, taken: TakenCodec) -> list[str]:
    codec = taken.codec
    number = codec.payload_type
    channels = f"/{codec.channels}" if codec.channels > 1 else ""
    lines = [f"a=rtpmap:{number} {_spelling(codec.name)}/{codec.clock_rate_hz}{channels}"]
    if codec.parameters:
        lines.append(f"a=fmtp:{number} {codec.parameters}")
    lines += [f"a=rtcp-fb:{number} {value}" for value in _FEEDBACK[kind] if value in codec.feedback]
    if taken.repair_payload_type is not None:
        lines.append(f"a=rtpmap:{taken.repair_payload_type} rtx/{codec.clock_rate_hz}")
        lines.append(f"a=fmtp:{taken.repair_payload_type} apt={number}")
    return lines


def _source_lines(mid: str, sources: SlotSources) -> list[str]:
    # Exactly these lines, the primary first: aiortc counts them.
    lines = [f"a=msid:{sources.canonical_name} slot-{mid}"]
    if sources.repair is not None:
        lines.append(f"a=ssrc-group:FID {sources.primary} {sources.repair}")
    numbers = [sources.primary] + ([] if sources.repair is None else [sources.repair])
    return lines + [f"a=ssrc:{number} cname:{sources.canonical_name}" for number in numbers]


def _payload_types(agreed: AgreedSection) -> list[int]:
    numbers: list[int] = []
    for taken in agreed.codecs:
        numbers.append(taken.codec.payload_type)
        if taken.repair_payload_type is not None:
            numbers.append(taken.repair_payload_type)
    return numbers


def _repair_of(section: Section, codec: Codec) -> int | None:
    for candidate in section.codecs:
        parameters = [entry.strip() for entry in candidate.parameters.split(";")]
        if candidate.name == "rtx" and f"apt={codec.payload_type}" in parameters:
            return candidate.payload_type
    return None


def _is_usable(codec: Codec) -> bool:
    """H.264 is taken in the form that all decoders share: packetization mode 1, baseline."""
    if codec.name != "h264":
        return True
    parameters = dict(
        entry.strip().lower().partition("=")[::2] for entry in codec.parameters.split(";") if entry.strip()
    )
    return parameters.get("packetization-mode") == "1" and parameters.get("profile-level-id", "").startswith(
        "42e0"
    )


def _mirrored(direction: Direction) -> Direction:
    if direction == "sendonly":
        return "recvonly"
    if direction == "recvonly":
        return "sendonly"
    return direction


def _direction(agreed: AgreedSection, sources: SlotSources | None) -> Direction:
    """Nothing is ever sent on a section without sources, so the answer does not promise it."""
    if sources is None and agreed.direction in ("sendonly", "sendrecv"):
        return "inactive" if agreed.direction == "sendonly" else "recvonly"
    return agreed.direction


def _spelling(name: str) -> str:
    return {"vp8": "VP8", "vp9": "VP9", "h264": "H264", "av1": "AV1"}.get(name, name)
