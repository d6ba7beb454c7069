"""
Session descriptions, as far as a client of the SFU looks into them.

Owns the reading of sections from our own offers and from answers, and the mending of answers that reject a section.
Never decides what is offered. See RFC 8866 and RFC 8829 (section 5.3).
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from msgspec import Struct

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

_DIRECTIONS: Final[tuple[Direction, ...]] = ("sendonly", "recvonly", "inactive", "sendrecv")
_DIRECTION: Final = re.compile(r"a=(?:sendrecv|sendonly|recvonly|inactive)")
_TRANSPORT: Final = re.compile(
    r"a=(?:ice-ufrag|ice-pwd|ice-options|fingerprint|setup|candidate|end-of-candidates|rtcp-mux)\b"
)


class Section(Struct, frozen=True, kw_only=True):
    """One m-line and what matters below it."""

    mid: str
    kind: str
    """`audio`, `video` or `application`."""
    direction: Direction
    is_rejected: bool
    ssrcs: tuple[int, ...]
    """The declared sources; the primary one first."""
    codec: str
    """The first one, as it is written: `VP8`, `opus`; empty for data."""


def sections_of(sdp: str) -> list[Section]:
    """The sections of a description in their order."""
    return [_section(block) for block in _blocks(sdp)[1:]]


def mend_rejections(answer: str, offer: str) -> tuple[str, list[str]]:
    """
    An answer that aiortc can apply, and the mids of the sections that it rejects.

    A rejected section (port 0) has neither a transport nor a codec, and aiortc takes it for a broken description.
    In its place goes what was offered, made inactive, on the transport of a section that was accepted.
    """
    head, *blocks = _blocks(answer)
    offered = {_section(block).mid: block for block in _blocks(offer)[1:]}
    sections = [_section(block) for block in blocks]
    transport = next(
        (
            [line for line in block if _TRANSPORT.match(line)]
            for block, section in zip(blocks, sections, strict=True)
            if not section.is_rejected
        ),
        [],
    )
    rejected = [
        section.mid for section in sections if section.is_rejected and section.mid in offered and transport
    ]
    if not rejected:
        return answer, []
    mended = [
        _as_inactive(offered[section.mid], transport) if section.mid in rejected else block
        for block, section in zip(blocks, sections, strict=True)
    ]
    return "\r\n".join(line for block in (head, *mended) for line in block) + "\r\n", rejected


def _as_inactive(block: list[str], transport: list[str]) -> list[str]:
    own = [
        line for line in block if not _TRANSPORT.match(line) and not line.startswith(("a=ssrc", "a=msid:"))
    ]
    return [_DIRECTION.sub("a=inactive", line) for line in own] + transport


def _blocks(sdp: str) -> list[list[str]]:
    """The lines before the first m-line, then those of each section."""
    blocks: list[list[str]] = [[]]
    for line in sdp.replace("\r\n", "\n").split("\n"):
        if line.startswith("m="):
            blocks.append([])
        if line:
            blocks[-1].append(line)
    return blocks


def _section(block: list[str]) -> Section:
    kind, port, *payloads = block[0].removeprefix("m=").split(" ")
    mid = next((line.removeprefix("a=mid:") for line in block if line.startswith("a=mid:")), "")
    direction: Direction = next((name for name in _DIRECTIONS if f"a={name}" in block), "sendrecv")
    ssrcs = dict.fromkeys(
        int(line.removeprefix("a=ssrc:").split(" ")[0]) for line in block if line.startswith("a=ssrc:")
    )
    first = f"a=rtpmap:{payloads[1]} " if len(payloads) > 1 else "a=rtpmap:"
    codec = next((line.removeprefix(first).split("/")[0] for line in block if line.startswith(first)), "")
    return Section(
        mid=mid,
        kind=kind,
        direction=direction,
        is_rejected=port == "0" and "a=bundle-only" not in block,
        ssrcs=tuple(ssrcs),
        codec=codec,
    )
