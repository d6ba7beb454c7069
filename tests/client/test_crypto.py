"""Keys from a password, against the golden vectors; the cache; lineage secrets."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from argon2.low_level import ARGON2_VERSION

from peerbus.client import crypto
from peerbus.client.crypto import derive_keys, derive_keys_blocking, new_lineage_secret
from peerbus.protocol.channel import Mode, channel_id, lineage
from peerbus.protocol.errors import ErrorCode, ProtocolError
from tests.support.vectors import load_vectors

VECTORS = load_vectors("identity/password_keys")
LABELS = ("join", "message", "storage", "media", "signal")


class CountedStretch:
    """A stand-in for Argon2id that takes no time and counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, bytes]] = []
        self.threads: set[int] = set()

    def __call__(self, salt: bytes, password: bytes) -> bytes:
        self.calls.append((salt, password))
        self.threads.add(threading.get_ident())
        return (salt + password)[:32].ljust(32, b"\0")


@pytest.fixture
def stretch(monkeypatch: pytest.MonkeyPatch) -> CountedStretch:
    """Replaces the slow part, and begins with an empty cache of three entries."""
    counted = CountedStretch()
    monkeypatch.setattr(crypto, "_stretch", counted)
    monkeypatch.setattr(crypto, "_cache", crypto._KeyCache(3))
    return counted


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: ascii(case["name"]))
async def test_vectors(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crypto, "_cache", crypto._KeyCache(1))
    keys = await derive_keys(case["name"], case["password"])
    assert {label: getattr(keys, label).reveal().hex() for label in LABELS} == case["keys_hex"]
    assert derive_keys_blocking(case["name"], case["password"]) is keys
    opened = channel_id(case["name"], Mode.OPEN, keys.join.reveal())
    assert opened.hex() == case["open_channel_id_hex"]


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: ascii(case["name"]))
def test_the_parts_of_the_derivation(case: dict[str, Any]) -> None:
    salt, password = crypto._inputs(case["name"], case["password"])
    assert salt.hex() == case["salt_hex"]
    assert crypto._stretch(salt, password).hex() == case["root_hex"]


def test_parameters_are_the_published_ones() -> None:
    assert VECTORS["argon2id"] == {
        "version": ARGON2_VERSION,
        "memory_kib": crypto.KDF_MEMORY_KIB,
        "passes": crypto.KDF_PASSES,
        "lanes": crypto.KDF_LANES,
    }


async def test_the_event_loop_is_not_held_up(stretch: CountedStretch) -> None:
    await derive_keys("lobby", "secret")
    assert stretch.threads.isdisjoint({threading.get_ident()})


async def test_callers_with_one_pair_share_one_derivation(stretch: CountedStretch) -> None:
    keys = await asyncio.gather(*(derive_keys("lobby", "secret") for _ in range(20)))
    assert len({id(one) for one in keys}) == 1
    assert len(stretch.calls) == 1


async def test_other_spellings_of_one_text_are_one_pair(stretch: CountedStretch) -> None:
    composed = await derive_keys("Café", "pässwort")
    assert await derive_keys("Cafe\u0301", "pa\u0308sswort") is composed
    assert len(stretch.calls) == 1


async def test_name_and_password_each_make_other_keys(stretch: CountedStretch) -> None:
    one = await derive_keys("lobby", "secret")
    other_name = await derive_keys("lobby2", "secret")
    other_password = await derive_keys("lobby", "secret2")
    values = [getattr(keys, label).reveal() for keys in (one, other_name, other_password) for label in LABELS]
    assert len(set(values)) == 3 * len(LABELS)
    assert {len(value) for value in values} == {32}


def test_the_cache_forgets_what_was_not_used_for_longest(stretch: CountedStretch) -> None:
    for password in ("a", "b", "c", "a", "d"):
        derive_keys_blocking("lobby", password)
    assert [password for _, password in stretch.calls] == [b"a", b"b", b"c", b"d"]
    derive_keys_blocking("lobby", "a")
    assert len(stretch.calls) == 4
    derive_keys_blocking("lobby", "b")
    assert len(stretch.calls) == 5


def test_the_cache_holds_no_password(stretch: CountedStretch) -> None:
    derive_keys_blocking("lobby", "canary-5f2e")
    # The stand-in puts the password into the root; nothing of it may be in what finds the entry again.
    assert all(b"canary" not in digest for digest in crypto._cache._entries)


async def test_keys_are_not_printed() -> None:
    keys = await derive_keys("lobby", "secret")
    assert keys.join.reveal().hex() not in repr(keys)
    assert repr(keys).count("***") == len(LABELS)


@pytest.mark.parametrize(
    ("channel", "password", "code"),
    [
        ("lobby", "", ErrorCode.BAD_REQUEST),
        ("lobby", "x" * 1025, ErrorCode.BAD_REQUEST),
        ("lobby", "\ud800", ErrorCode.BAD_REQUEST),
        (" lobby", "secret", ErrorCode.NAME_INVALID),
        ("", "secret", ErrorCode.NAME_INVALID),
    ],
)
async def test_bad_pairs(stretch: CountedStretch, channel: str, password: str, code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        await derive_keys(channel, password)
    assert caught.value.code is code
    assert stretch.calls == []


async def test_a_failed_derivation_is_tried_again(
    stretch: CountedStretch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(salt: bytes, password: bytes) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(crypto, "_stretch", fail)
        with pytest.raises(MemoryError):
            await derive_keys("lobby", "secret")
    assert (await derive_keys("lobby", "secret")).join
    assert len(stretch.calls) == 1


def test_lineage_secrets_are_fresh() -> None:
    secrets = [new_lineage_secret() for _ in range(50)]
    assert len({secret.reveal() for secret in secrets}) == 50
    assert {len(lineage(secret.reveal())) for secret in secrets} == {32}
    assert repr(secrets[0]) == "***"
