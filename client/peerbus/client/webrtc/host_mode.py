"""
One member of a group in mode `host`: a star around one host, through which everything passes in one order.

Owns which of the two this member is, by what the server says, and what of the links is of use. Never opens a link,
never talks to the server, never reads a clock: links, messages and the group come in, and `take` says what follows.

The order. The host gives every reliable frame a place `n`, and shows it to its recipients, its own application
included, as soon as it is *safe*: the successor has it, too. So nothing that anybody was shown is lost with the host.
A member takes nothing from any host or under any term but those that the server names, and a successor that has been
made host acknowledges nothing to the old one any more: what the old host places from then on is shown to nobody.

Taking over. A successor that was told everything, and that the server has named ever since, begins at once. Whoever
else becomes host first gathers what all others keep of the order, for `GATHER_MS` at most. Then guests say how far
they have got, go on from there, and hand in once more what was not acknowledged to them: the delivery layer keeps it,
numbers make doubles harmless, and frames that have a place are not given another.

The state. `set_state` keeps a snapshot of the application's state and of the place `n` it is at; a guest that becomes
host is given the newest snapshot, and then, in order, every message for the host behind it.
"""

from __future__ import annotations

from typing import Final

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.host_following import Following
from peerbus.client.webrtc.host_frames import Hello, decode
from peerbus.client.webrtc.host_record import Bad, HostRecord, HostView, Output, Renew
from peerbus.client.webrtc.host_serving import Serving
from peerbus.protocol.groups import HOST_RENEW_MS

__all__ = ["HostMode"]


class HostMode:
    """See the module. Times are milliseconds of any clock that never goes back."""

    def __init__(self, identity: str) -> None:
        self._record: Final = HostRecord(identity)
        self._early: Final[dict[str, Hello]] = {}
        self._following: Following | None = None
        self._serving: Serving | None = None
        self._renew_due_ms: int | None = None

    # --- what one can look at -----------------------------------------------------------------------------------

    @property
    def is_host(self) -> bool:
        """Whether this member is host, by what the server said last."""
        return self._serving is not None

    @property
    def is_ready(self) -> bool:
        """Whether frames can be handed in."""
        if self._serving is not None:
            return self._serving.is_ready
        return self._following is not None and self._following.is_greeted

    @property
    def host(self) -> str | None:
        """Who is host, by what the server said last."""
        return None if self._record.view is None else self._record.view.host

    @property
    def path(self) -> int | None:
        """The number of the way that frames go now; under another number all that is not acknowledged goes again."""
        return self._record.paths if self.is_ready else None

    @property
    def term(self) -> int:
        """The host's; 0 before there is one."""
        return 0 if self._record.view is None else self._record.view.term

    @property
    def stale(self) -> int:
        """How many messages were refused because they came from no host, or under an older term."""
        return self._record.stale

    @property
    def wanted_links(self) -> frozenset[str]:
        """The peers to have a link to: the host and its successor to all, all others to these two."""
        view, me = self._record.view, self._record.identity
        if view is None:
            return frozenset()
        centre = {view.host} if view.successor is None else {view.host, view.successor}
        wanted = set(view.members) if me in centre else centre
        return frozenset(wanted & view.members.keys() - {me})

    # --- inputs -------------------------------------------------------------------------------------------------

    def follow(self, view: HostView, now_ms: int) -> None:
        """What the server says now. Older versions than the last mean nothing."""
        record, before = self._record, self._record.view
        if before is not None and view.version <= before.version:
            return
        record.view = view
        is_next = before is not None and not view.has_gap
        if before is not None:
            for identity, order in before.members.items():
                if identity != record.identity and view.members.get(identity) != order:
                    record.left(identity, view.version)
        if view.host == record.identity:
            self._serve(before, view, is_next, now_ms)
        else:
            self._follow(before, view, is_next)

    def link_up(self, peer: str) -> None:
        """A link to a peer works; if there was another before, that is gone."""
        self.link_down(peer)
        self._record.links.add(peer)
        if self._following is not None and peer == self._following.host:
            self._following.greet()

    def link_down(self, peer: str) -> None:
        """The link to a peer is gone."""
        self._record.links.discard(peer)
        self._record.unsay(peer)
        self._early.pop(peer, None)
        if self._following is not None and peer == self._following.host:
            self._following.unlinked()
        if self._serving is not None:
            self._serving.unlinked(peer)

    def receive(self, peer: str, data: bytes, now_ms: int) -> None:
        """Bytes of a data channel. Never raises: what can't be read is told by `Bad`."""
        try:
            messages = decode(data)
        except PeerbusError as error:
            self._record.outputs.append(Bad(peer, error))
            return
        for message in messages:
            if isinstance(message, Hello) and message.term > self.term:
                self._early[peer] = message
            elif message.term != self.term:
                self._record.stale += 1
            elif self._serving is not None:
                self._serving.receive(peer, message, now_ms)
            elif self._following is not None and peer == self._following.host:
                self._following.receive(message, now_ms)
            else:
                self._record.stale += 1

    def submit(self, to: tuple[str, ...], frame: bytes, now_ms: int) -> bool:
        """A frame of this member's delivery layer; False, and it is not kept, while there is no way."""
        if self._serving is not None:
            if self._serving.is_ready:
                self._serving.submit(self._record.identity, list(to), frame, now_ms)
            return self._serving.is_ready
        return self._following is not None and self._following.submit(to, frame)

    def set_state(self, state: object, now_ms: int) -> None:
        """
        The state of the host's application, with all messages in it that it was given so far.

        Raises `PeerbusError`: `not_host`; `bad_request` (no MessagePack form), `too_large` (4 MiB).
        """
        if self._serving is None or not self._serving.is_ready:
            raise PeerbusError(ErrorCode.FORBIDDEN, "Only the host keeps the state.")
        self._serving.set_state(state, now_ms)

    def tick(self, now_ms: int) -> None:
        """Does what is due."""
        if self._serving is not None:
            if self._renew_due_ms is None or now_ms >= self._renew_due_ms:
                self._renew_due_ms = now_ms + HOST_RENEW_MS
                self._record.outputs.append(Renew(self._serving.term))
            self._serving.tick(now_ms)
        if self._following is not None:
            self._following.tick(now_ms)

    def take(self, now_ms: int) -> list[Output]:
        """
        What is to be done now; asked again until there is nothing. All inputs of a moment go before.

        What the host's application is given comes one by one, so that a state that it sets is one at that place.
        """
        outputs = self._record.take()
        while not outputs and self._serving is not None and self._serving.take_in(now_ms):
            outputs = self._record.take()
        return outputs

    @property
    def deadline_ms(self) -> int | None:
        """When to call `tick`."""
        due = [
            None if self._following is None else self._following.deadline_ms,
            None if self._serving is None else self._serving.deadline_ms,
            None if self._serving is None else self._renew_due_ms,
        ]
        return min((at for at in due if at is not None), default=None)

    # --- inside -------------------------------------------------------------------------------------------------

    def _serve(self, before: HostView | None, view: HostView, is_next: bool, now_ms: int) -> None:
        if self._serving is not None and self._serving.term == view.term:
            self._serving.regroup(view, now_ms)
            return
        had_all = (self._serving is not None and self._serving.is_ready) or (
            self._following is not None
            and self._following.has_all
            and before is not None
            and before.successor == self._record.identity
        )
        self._following = None
        self._serving = Serving(
            self._record,
            view,
            is_sure=had_all and is_next,
            last_host="" if before is None else before.host,
            now_ms=now_ms,
        )
        self._renew_due_ms = now_ms
        for peer, hello in list(self._early.items()):
            if hello.term == view.term:
                del self._early[peer]
                self._serving.receive(peer, hello, now_ms)

    def _follow(self, before: HostView | None, view: HostView, is_next: bool) -> None:
        self._serving = None
        if self._following is not None and (self._following.host, self._following.term) == (
            view.host,
            view.term,
        ):
            self._following.regroup(view, is_next=is_next)
        else:
            self._following = Following(self._record, view)
