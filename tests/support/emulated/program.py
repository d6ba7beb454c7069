"""
Programs for a world: drawn from a seed, and made smaller when they fail.

Owns which steps there are and how often each comes. A program is plain data, so that a failing one can be kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from peerbus.signaling.limits import Limits
from peerbus.signaling.quota import NO_QUOTA, Quota
from tests.support.emulated.world import FILTERS, NAMES, Setting, Step

SLOTS = 5


def setting_of(seed: int) -> Setting:
    """A world's limits: often so narrow that they are met."""
    draw = random.Random(f"setting {seed}")
    is_narrow = draw.random() < 0.7
    limits = Limits(
        # The replies to what a client sends at once (75) must fit.
        live_kept_frames=draw.choice((90, 200, 8192)) if is_narrow else 8192,
        live_kept_bytes=draw.choice((20_000, 60_000)) if is_narrow else 1 << 20,
        live_kept_ms=draw.choice((5_000, 30_000)),
        durable_pending_frames=draw.choice((3, 9, 4096)) if is_narrow else 4096,
        durable_pending_bytes=draw.choice((1_500, 9_000)) if is_narrow else 1 << 20,
        lossy_pending_frames=draw.choice((2, 5)),
        lossy_pending_bytes=draw.choice((600, 3_000)),
        socket_buffer_bytes=draw.choice((400, 3_000, 262_144)),
        history_page=draw.choice((2, 7, 50)),
        history_page_bytes=draw.choice((400, 2_000)),
        members_per_channel=draw.choice((3, 4, 100)),
        send_rate_per_s=draw.choice((3, 50)),
        request_rate_per_s=draw.choice((3, 50)),
        message_bytes=draw.choice((300, 5_000)),
        mailbox_messages=draw.choice((4, 40, 5_000)),
        mailbox_bytes=draw.choice((1_000, 1 << 20)),
        silence_timeout_ms=25_000,
        stalled_reader_ms=draw.choice((4_000, 30_000)),
    )
    quota = NO_QUOTA if draw.random() < 0.7 else Quota(messages_per_channel=draw.choice((4, 16)))
    return Setting(seed, limits, quota, _log_times(draw), draw.random() < 0.35)


def program_of(seed: int, length: int) -> list[Step]:
    """So many steps; the first ones let people in."""
    draw = random.Random(f"program {seed}")
    has_faults = draw.random() < 0.75
    has_restarts = draw.random() < 0.4
    has_mail = draw.random() < 0.4
    makers: list[tuple[int, Callable[[random.Random], tuple[Any, ...]]]] = [
        (26, _send),
        (10, _ask),
        (5, _join),
        (2, lambda d: ("again", _slot(d), d.random() < 0.3)),
        (2, lambda d: ("close", _slot(d))),
        (2, lambda d: ("raw", _slot(d), d.choice(("pings", "old id", "bye", "connect")))),
    ]
    if has_mail:
        makers += [
            (12, _mail),
            (6, _claim),
            (3, lambda d: ("close", _slot(d))),
        ]
    if has_faults:
        makers += [
            (9, lambda d: ("cut", _slot(d), d.random() < 0.5, d.random() < 0.7)),
            (6, _path),
            (8, _trip),
            (3, _log),
            (1, lambda d: ("vanish", _slot(d))),
            (4, lambda d: ("reload", _slot(d), d.random() < 0.5, d.random() < 0.7)),
            (1, lambda d: ("keys", d.random() < 0.6)),
        ]
    if has_restarts:
        makers.append((2, _restart))
    weights = [weight for weight, _ in makers]
    program: list[Step] = [(_wait(draw), *_join(draw, slot)) for slot in range(draw.randint(2, SLOTS))]
    while len(program) < length:
        maker = draw.choices(makers, weights)[0][1]
        program.append((_wait(draw), *maker(draw)))
        if has_mail and draw.random() < 0.12:
            program += _absence(draw, is_cut=has_faults and draw.random() < 0.6)
    return program


def shrink(program: list[Step], fails: Callable[[list[Step]], bool]) -> list[Step]:
    """A smaller program that fails, too: steps are left out in ever smaller runs, then waits made shorter."""
    size = max(1, len(program) // 2)
    while size:
        start = 0
        while start < len(program):
            smaller = program[:start] + program[start + size :]
            if fails(smaller):
                program = smaller
            else:
                start += size
        size //= 2
    for index, step in enumerate(program):
        for wait_ms in (0, 10, 100, 1_000):
            if wait_ms >= step[0]:
                break
            shorter = [*program[:index], (wait_ms, *step[1:]), *program[index + 1 :]]
            if fails(shorter):
                program = shorter
                break
    return program


def _slot(draw: random.Random) -> int:
    return draw.randrange(SLOTS)


def _wait(draw: random.Random) -> int:
    return draw.choice((0, 0, 1, 3, 7, 20, 20, 60, 150, 400, 1_000, 2_500, 9_000, 31_000))


def _join(draw: random.Random, slot: int | None = None) -> tuple[Any, ...]:
    key = draw.choices(
        ("full", "plain", "claiming", "family", "silent", "blind", "slow"), (6, 3, 3, 3, 1, 1, 1)
    )[0]
    return (
        "join",
        _slot(draw) if slot is None else slot,
        draw.randrange(len(NAMES)) if slot is None else slot,
        key,
        draw.choice(("json", "msgpack")),
        draw.choice((("websocket", "longpoll"), ("websocket",), ("longpoll",))),
        draw.choice((0, 0, 0, 1, 2)),
        draw.random() < 0.93,
        draw.choice((None, None, None, 20_000, 90_000)),
    )


def _send(draw: random.Random) -> tuple[Any, ...]:
    how = draw.choices(("all", "to", "filter"), (6, 3, 2))[0]
    which = draw.randrange(len(FILTERS)) if how == "filter" else draw.randrange(len(NAMES))
    return (
        "send",
        _slot(draw),
        draw.choices(("durable", "live", "lossy"), (5, 5, 2))[0],
        (how, which),
        draw.randrange(3),
        draw.choice((0, 0, 0, 1, 2)),
        draw.choice((0, 10, 100, 250, 800)),
        draw.choice((1, 1, 2, 6, 25)),
        draw.choice((0, 0, 12, 90)),
    )


def _claim(draw: random.Random) -> tuple[Any, ...]:
    """Somebody joins, or comes back, by one of two claimed names."""
    return (
        "join",
        _slot(draw),
        draw.randrange(2),
        draw.choice(("claiming", "family", "family")),
        draw.choice(("json", "msgpack")),
        draw.choice((("websocket", "longpoll"), ("longpoll",))),
        draw.choice((0, 0, 0, 1)),
        draw.random() < 0.9,
        None,
    )


def _absence(draw: random.Random, *, is_cut: bool) -> list[Step]:
    """Somebody with a claimed name goes, gets mail among messages to all, and comes back; perhaps cut off in it."""
    slot, name = _slot(draw), draw.randrange(2)
    other = (slot + 1) % SLOTS
    steps: list[Step] = [
        (0, "close", slot),
        *(
            (20, "send", other, "durable", (how, name), 0, 0, draw.choice((0, 40)), 3, 0)
            for how in draw.choices(("to", "all"), k=6)
        ),
    ]
    claim = list(_claim(draw))
    claim[1:3] = slot, name
    steps.append((draw.choice((30, 400)), *claim))
    if is_cut:
        steps.append((0, "trip", slot, None, draw.choice((1, 2, 3, 5))))
    return steps


def _mail(draw: random.Random) -> tuple[Any, ...]:
    """Durable messages for one of these names or both, here or away."""
    return (
        "send",
        _slot(draw),
        "durable",
        draw.choice((("to", 0), ("to", 1), ("filter", 0), ("filter", 4))),
        draw.randrange(3),
        draw.choice((0, 0, 1)),
        draw.choice((0, 1, 10, 100)),
        draw.choice((1, 2, 6, 12)),
        draw.choice((0, 0, 12, 90)),
    )


def _ask(draw: random.Random) -> tuple[Any, ...]:
    what = draw.choices(
        ("members", "update", "newest", "older", "newer", "kick", "lock", "renew"), (3, 4, 4, 3, 4, 1, 1, 1)
    )[0]
    return "ask", _slot(draw), what, draw.randrange(40)


def _path(draw: random.Random) -> tuple[Any, ...]:
    swallows = draw.random()
    return (
        "path",
        _slot(draw),
        draw.choice((0, 5, 40, 300)),
        draw.choice((None, None, 300, 1_500, 20_000)),
        draw.choice((500, 8_000, 40_000)) if swallows < 0.35 else 0,
        draw.choice((500, 8_000, 40_000)) if 0.2 < swallows < 0.6 else 0,
    )


def _log(draw: random.Random) -> tuple[Any, ...]:
    return "log", *_log_times(draw), draw.random() < 0.2, draw.random() < 0.2


def _log_times(draw: random.Random) -> tuple[int, int, int]:
    return draw.choice((0, 0, 2, 30)), draw.choice((0, 3, 50)), draw.choice((0, 0, 1, 20, 400))


def _trip(draw: random.Random) -> tuple[Any, ...]:
    up = draw.choice((None, 0, 0, 1, 2, 5))
    return "trip", _slot(draw), up, draw.choice((0, 0, 1, 2, 5)) if up is None else None


def _restart(draw: random.Random) -> tuple[Any, ...]:
    return "restart", draw.choice((0, 200, 6_000)), draw.random() < 0.5, draw.random() < 0.7
