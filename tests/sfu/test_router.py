"""Who gets what, by examples and as a machine that is driven at random."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerbus.protocol.signals import MediaKind
from peerbus.sfu.router import Offered, Rebinding, Router, SlotKey
from tests.support.examples import examples


def slots(videos: int, audios: int = 0) -> list[tuple[str, MediaKind]]:
    found: list[tuple[str, MediaKind]] = [(f"v{number}", "video") for number in range(videos)]
    return found + [(f"a{number}", "audio") for number in range(audios)]


def bound(router: Router, participant: str) -> dict[str, str]:
    return {mid: publication for mid, publication in router.bindings(participant) if publication is not None}


def test_a_publication_fills_a_free_slot_of_everybody_else() -> None:
    router = Router()
    router.set_slots("ann", slots(1))
    router.set_slots("ben", slots(1))
    router.publish(Offered("ann/1", "ann", "video"))
    assert router.settle() == [Rebinding(SlotKey("ben", "v0"), "ann/1")]
    assert router.settle() == []
    assert (bound(router, "ann"), bound(router, "ben")) == ({}, {"v0": "ann/1"})
    assert (router.wanting("ann"), router.wanting("ben")) == (0, 0)


def test_what_finds_no_slot_is_wanted_and_the_oldest_comes_first_when_one_is_free() -> None:
    router = Router()
    router.set_slots("ben", slots(1))
    for number in range(3):
        router.publish(Offered(f"ann/{number}", "ann", "video"))
    router.settle()
    assert (bound(router, "ben"), router.wanting("ben")) == ({"v0": "ann/0"}, 2)
    router.unpublish("ann/0")
    assert router.settle() == [Rebinding(SlotKey("ben", "v0"), "ann/1")]
    router.set_slots("ben", slots(2))
    router.settle()
    assert (bound(router, "ben"), router.wanting("ben")) == ({"v0": "ann/1", "v1": "ann/2"}, 0)


def test_sound_takes_no_slot_of_pictures() -> None:
    router = Router()
    router.set_slots("ben", slots(2))
    router.publish(Offered("ann/1", "ann", "audio"))
    assert router.settle() == []
    assert router.wanting("ben") == 1


def test_sound_and_picture_of_one_participant_go_into_slots_of_one_number() -> None:
    router = Router()
    router.set_slots("zoe", slots(3, 3))
    router.publish(Offered("ann/v", "ann", "video"))
    router.publish(Offered("ben/v", "ben", "video"))
    router.publish(Offered("ben/a", "ben", "audio"))
    router.publish(Offered("ann/a", "ann", "audio"))
    router.settle()
    assert bound(router, "zoe") == {"v0": "ann/v", "v1": "ben/v", "a1": "ben/a", "a0": "ann/a"}


def test_a_refused_pair_is_not_tried_again_and_not_wanted() -> None:
    router = Router()
    router.set_slots("ben", slots(1))
    router.publish(Offered("ann/1", "ann", "video"))
    router.settle()
    router.refuse(SlotKey("ben", "v0"), "ann/1")
    assert bound(router, "ben") == {}
    assert router.settle() == []
    assert router.wanting("ben") == 0
    router.unpublish("ann/1")
    router.publish(Offered("ann/1", "ann", "video"))
    assert router.settle() == [Rebinding(SlotKey("ben", "v0"), "ann/1")]


def test_who_leaves_and_comes_again_begins_anew() -> None:
    router = Router()
    router.set_slots("ben", slots(1))
    router.publish(Offered("ann/1", "ann", "video"))
    router.settle()
    router.refuse(SlotKey("ben", "v0"), "ann/1")
    router.leave("ben")
    assert (router.bindings("ben"), router.settle()) == ([], [])
    router.set_slots("ben", slots(1))
    assert router.settle() == [Rebinding(SlotKey("ben", "v0"), "ann/1")]


def test_a_slot_that_changes_its_kind_is_another_slot() -> None:
    router = Router()
    router.set_slots("ben", [("0", "video")])
    router.publish(Offered("ann/1", "ann", "video"))
    router.settle()
    router.set_slots("ben", [("0", "audio")])
    router.settle()
    assert (bound(router, "ben"), router.wanting("ben")) == ({}, 1)


NAMES = st.sampled_from(["ann", "ben", "cleo"])
KINDS = st.sampled_from(["audio", "video"])


class RouterMachine(RuleBasedStateMachine):
    """Joins, leaves, publications and slots in any order; refusals as an engine would give them."""

    def __init__(self) -> None:
        super().__init__()
        self.router = Router()
        self.published: dict[str, Offered] = {}
        self.slots: dict[str, list[tuple[str, MediaKind]]] = {}
        self.refused: set[tuple[SlotKey, str]] = set()
        self.carried: dict[SlotKey, str] = {}
        self.is_settled = True

    @rule(name=NAMES, number=st.integers(0, 3), media=KINDS)
    def publish(self, name: str, number: int, media: MediaKind) -> None:
        publication = f"{name}/{number}"
        if publication not in self.published:
            self.published[publication] = Offered(publication, name, media)
            self.router.publish(self.published[publication])
            self.is_settled = False

    @precondition(lambda self: bool(self.published))
    @rule(data=st.data())
    def unpublish(self, data: st.DataObject) -> None:
        publication = data.draw(st.sampled_from(sorted(self.published)))
        del self.published[publication]
        self.router.unpublish(publication)
        self.refused = {pair for pair in self.refused if pair[1] != publication}
        self.is_settled = False

    @rule(name=NAMES, videos=st.integers(0, 3), audios=st.integers(0, 2), first=st.integers(0, 1))
    def set_slots(self, name: str, videos: int, audios: int, first: int) -> None:
        wanted = slots(videos, audios)[first:]
        self.slots[name] = wanted
        self.router.set_slots(name, wanted)
        kept = {mid for mid, _ in wanted}
        self.carried = {
            key: one for key, one in self.carried.items() if key.participant != name or key.mid in kept
        }
        self.is_settled = False

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        self.router.leave(name)
        self.slots.pop(name, None)
        self.carried = {key: one for key, one in self.carried.items() if key.participant != name}
        self.refused = {pair for pair in self.refused if pair[0].participant != name}
        self.is_settled = False

    @precondition(lambda self: self.is_settled and bool(self.carried))
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.carried)))
        publication = self.carried.pop(key)
        self.router.refuse(key, publication)
        self.refused.add((key, publication))
        self.is_settled = False

    @rule()
    def settle(self) -> None:
        changes = self.router.settle()
        assert len({change.slot for change in changes}) == len(changes)
        for change in changes:
            before = self.carried.pop(change.slot, None)
            assert change.publication != before
            # A slot never changes while what it carries is still there.
            assert before is None or before not in self.published
            if change.publication is not None:
                self.carried[change.slot] = change.publication
        self.is_settled = True

    @invariant()
    def what_is_told_is_what_is(self) -> None:
        if not self.is_settled:
            return
        for name, wanted in self.slots.items():
            bindings = self.router.bindings(name)
            assert [mid for mid, _ in bindings] == [mid for mid, _ in wanted]
            told = {mid: publication for mid, publication in bindings if publication is not None}
            mine = {key.mid: one for key, one in self.carried.items() if key.participant == name}
            assert told == mine
            assert len(set(told.values())) == len(told)
            kinds = dict(wanted)
            for mid, publication in told.items():
                offered = self.published[publication]
                assert offered.participant != name
                assert offered.media == kinds[mid]
                assert (SlotKey(name, mid), publication) not in self.refused

    @invariant()
    def everything_is_carried_or_wanted_or_refused(self) -> None:
        if not self.is_settled:
            return
        for name, wanted in self.slots.items():
            told = {publication for _, publication in self.router.bindings(name)}
            refused = {publication for key, publication in self.refused if key.participant == name}
            missing = [
                one
                for one in self.published.values()
                if one.participant != name and one.publication not in told | refused
            ]
            assert self.router.wanting(name) == len(missing)
            free = {(mid, media) for mid, media in wanted} - {
                (mid, media) for mid, media in wanted if dict(self.router.bindings(name)).get(mid) is not None
            }
            # Nothing is wanted while a slot for it is free.
            assert not {one.media for one in missing} & {media for _, media in free}


TestRouter = RouterMachine.TestCase
TestRouter.settings = settings(max_examples=examples(0.6), stateful_step_count=40)
