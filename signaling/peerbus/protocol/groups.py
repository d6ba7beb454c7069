"""
What the members of a group say to the server and to each other: the content of live messages of type `signal`.

A *group* is the members of a channel that have a `WebRTCHelper` open there, each known by its identity. The server
keeps it: who is in it, in which *mode* their data and media travel, and in mode `host` who the host is. Requests go to
`peerbus:group`, and what the server has to say comes from it; peers negotiate the connections between them directly.

Owns the forms of these contents, as one tagged union (`kind`) for each direction, and the times and bounds that both
sides keep to. Never decides anything: the server's side is `peerbus.signaling.group`. See PROTOCOL.md, section 16.

A *term* is a number that only rises, also over restarts of the server, and that is given once: to a mode, to a host,
or to a version of a group. Readers remember the highest they have seen and refuse what comes under an older one.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from peerbus.protocol.signals import MediaKind, OfferedTrack

GROUP_AGENT: Final = "peerbus:group"
"""The name that requests to a group are sent to, and that its signals come from."""
PEER_DATA_TYPE: Final = "peer-data"
"""The type of messages that carry frames between peers by the server."""

Mode: TypeAlias = Literal["mesh", "host", "relay", "datachannel", "sfu"]
"""How data and media travel: a connection each, through one member, the server, or the SFU (data only, or all)."""
WantedMode: TypeAlias = Literal["mesh", "host", "relay", "datachannel", "sfu", "auto"]
"""What can be asked for; with `auto` the server chooses, and goes on choosing."""

HOST_RENEW_MS: Final = 300
"""How often a host renews its lease, from its own work loop."""
HOST_TTL_MS: Final = 1_200
"""How long a lease is good without being renewed."""
HOST_ALIVE_MS: Final = 100
"""How often a host says on its links that it works."""
HOST_UNHEARD_MS: Final = 400
"""After how long without a word of the host a guest tells the server; again every `HOST_RENEW_MS`."""
PROPOSAL_MS: Final = 8_000
"""How long all members have to be ready for a mode that was proposed; then it is rolled back."""
READY_WITHIN_MS: Final = 7_000
"""When a member that is not ready yet vetoes, so that its reason is known."""
LINK_WITHIN_MS: Final = 6_000
"""How long a link may take to connect before it is replaced."""

Term: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Identity: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
Reason: TypeAlias = Annotated[str, Meta(max_length=200)]
"""For people and logs; nothing is decided by it."""
LinkId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]


class Content(Struct, frozen=True, tag_field="kind", omit_defaults=True, kw_only=True):
    """What all of them share: nothing but the tag."""


# --- member to server -------------------------------------------------------------------------------------


class SeenHost(Struct, frozen=True, kw_only=True):
    """Who was host, by what a member was told last."""

    identity: Identity
    term: Term


class Seen(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """
    What a member was told last of its group.

    Counts where the server knows nothing of the group any more, as after a restart; then the group goes on by it.
    """

    term: Term
    mode: Mode
    is_auto: bool = False
    order: Term | UnsetType = UNSET
    """Its own."""
    host: SeenHost | UnsetType = UNSET


class Enter(Content, frozen=True, tag="enter", kw_only=True):
    """
    Be a member, or say anew what one can and has.

    Sent again after each connect that did not recover the live class, and after a `reset`; answered by a `group`.
    """

    mode: WantedMode
    """Counts for the first member; later ones take what the group has."""
    modes: Annotated[list[Mode], Meta(max_length=16)]
    """All that this member can be in."""
    has_media: bool = False
    """It publishes audio or video."""
    seen: Seen | UnsetType = UNSET
    """What it was told last, where it was in the group before and goes on with the links it has."""


class Exit(Content, frozen=True, tag="exit", kw_only=True):
    """Leave the group and stay in the channel."""


class Propose(Content, frozen=True, tag="propose", kw_only=True):
    """Another mode for all. With `auto` the server chooses from now on; any other ends that."""

    mode: WantedMode
    term: Term
    """Of the mode that the proposer wants to be replaced."""


class Ready(Content, frozen=True, tag="ready", kw_only=True):
    """The new path of this member carries data to all others."""

    term: Term
    """Of the proposal."""


class Veto(Content, frozen=True, tag="veto", kw_only=True):
    """What is proposed can't be done by this member, or not any more."""

    term: Term
    """Of the proposal."""
    reason: Reason = ""


class RenewHost(Content, frozen=True, tag="renew", kw_only=True):
    """The host works. May be sent lossy, and without an id."""

    term: Term
    """Of its lease."""


class Unheard(Content, frozen=True, tag="unheard", kw_only=True):
    """
    The host says nothing any more on a link that stands. May be sent lossy, and without an id.

    Counts until the host renews its lease; said again as long as it is so.
    """

    term: Term
    """Of the host's lease."""


class Report(Content, frozen=True, tag="report", kw_only=True):
    """A direct link to a member can't be made, or can again."""

    peer: Identity
    is_reachable: bool


GroupRequest: TypeAlias = Enter | Exit | Propose | Ready | Veto | RenewHost | Unheard | Report

# --- server to member -------------------------------------------------------------------------------------


class GroupMember(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A member as the others see it."""

    identity: str
    name: str
    order: int
    """Of two members the one of lower order offers. An identity under another order than before has begun anew."""
    modes: list[Mode]
    has_media: bool = False


class GroupHost(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Who is host, and who would follow."""

    identity: str
    term: int
    successor: str | UnsetType = UNSET


class GroupProposal(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A mode that is to be, as soon as all members are ready."""

    mode: Mode
    term: int
    """Of the mode, once it holds."""
    by: str
    """The identity of who asked for it, or `auto`."""
    reason: str
    waits_ms: int
    """How long the server still waits."""
    host: GroupHost | UnsetType = UNSET
    """Who is to be host, in mode `host`; its lease begins with the mode."""


class GroupState(Content, frozen=True, tag="group", kw_only=True):
    """The whole truth, whenever any of it is other than before."""

    version: int
    """Rises with each change, also over restarts of the server; what is older than one knows means nothing."""
    term: int
    """Of the mode."""
    mode: Mode
    is_auto: bool = False
    """Whether the server chooses the mode."""
    reason: str
    """Why this mode: one of the words of PROTOCOL.md, section 16."""
    members: list[GroupMember]
    """By order, the receiver included."""
    is_gathering: bool = False
    """The server was started anew and members come back one after another: nobody is gone who is missing here."""
    host: GroupHost | UnsetType = UNSET
    proposal: GroupProposal | UnsetType = UNSET


class ProposalEnded(Content, frozen=True, tag="proposal_ended", kw_only=True):
    """A proposal was rolled back: all is as it was. One that succeeds is told by `group`."""

    term: int
    """Of the proposal."""
    mode: Mode
    code: Literal["vetoed", "timeout", "not_supported", "host_left", "superseded"]
    reason: str
    by: str | UnsetType = UNSET
    """The identity of who could not, where it was one."""


class Removed(Content, frozen=True, tag="removed", kw_only=True):
    """The receiver is no longer in the group, though it is in the channel; it does not enter again by itself."""

    code: str
    """`replaced` (another session of the same identity entered), `forbidden` (its new grant does not allow it)."""
    message: str


GroupSignal: TypeAlias = GroupState | ProposalEnded | Removed

# --- peer to peer -----------------------------------------------------------------------------------------


class PeerOffer(Content, frozen=True, tag="peer_offer", kw_only=True):
    """A description of a link, from the member of lower order."""

    link: LinkId
    """Chosen by the offerer at random for each link; another one replaces the older."""
    number: int
    """Counts the offers of a link, from 1; echoed by the answer."""
    sdp: str
    is_restart: bool = False
    """It restarts ICE on a link that is there (RFC 8445, section 2.4)."""
    can_restart: bool = False
    """This side can restart ICE; where one of the two can't, a broken link is replaced."""
    tracks: list[OfferedTrack] = []
    """What the sender of this description sends, by m-line."""


class PeerAnswer(Content, frozen=True, tag="peer_answer", kw_only=True):
    """The answer to the offer `number` of `link`."""

    link: LinkId
    number: int
    sdp: str
    can_restart: bool = False
    tracks: list[OfferedTrack] = []


class PeerCandidate(Content, frozen=True, tag="peer_candidate", kw_only=True):
    """A candidate of the sender, or, null, that there are no more (RFC 8838)."""

    link: LinkId
    candidate: str | None = None
    mid: str | None = None
    line: int | None = None


class PeerWanted(Content, frozen=True, tag="peer_wanted", kw_only=True):
    """The answerer asks for an offer: it has tracks to add, or its path broke."""

    link: LinkId | UnsetType = UNSET
    """The link that is to be described anew; without it, a new one."""
    media: list[MediaKind] = []
    """What the answerer sends, or wants to: the offer has a section to receive each of them."""


class PeerClose(Content, frozen=True, tag="peer_close", kw_only=True):
    """The link is closed on purpose."""

    link: LinkId
    reason: Reason = ""


PeerSignal: TypeAlias = PeerOffer | PeerAnswer | PeerCandidate | PeerWanted | PeerClose
