"""The shell around a store: groups, order, bounds, failures, and never a lost callback."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log import (
    Append,
    Appended,
    AppendResult,
    ChannelKey,
    ChannelState,
    Claim,
    Delivery,
    LogWriter,
    MailRead,
    MemoryStore,
    Page,
    Range,
    Refused,
    Store,
    StoreError,
    UnknownChannelError,
    WriterLimits,
)
from peerbus.signaling.log.interface import TRIM_ROWS_MAX
from tests.support.log_entries import (
    CHANNEL,
    OTHER,
    PAGE_BYTES,
    StoreMaker,
    entry,
    memory_store,
    new_epoch,
    sqlite_store,
)


class GatedStore:
    """A store in memory that blocks: each commit waits for the test to let it through, and may fail."""

    promise: Delivery = "memory"

    def __init__(self, *, blocking: bool = True) -> None:
        self.blocking = blocking
        self.inner = MemoryStore(new_epoch)
        self.inner.open_channel(CHANNEL, "lobby", "open", 0)
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)
        self.reading = threading.Semaphore(0)
        self.reads_wait = False
        self.groups: list[list[str]] = []
        self.fail: Callable[[Sequence[Append]], None] = lambda _: None
        self.maintained: list[int] = []
        self.maintenance = threading.Semaphore(0)
        self.maintenance_fails: Exception | None = None
        self.threads: set[str] = set()
        self.is_closed = False

    def append_group(self, group: Sequence[Append]) -> list[AppendResult]:
        assert not self.is_closed
        if self.blocking:
            self.entered.release()
            assert self.gate.acquire(timeout=30)
        self.threads.add(threading.current_thread().name)
        self.groups.append([append.body.decode() for append in group])
        self.fail(group)
        return self.inner.append_group(group)

    def open_channel(self, key: ChannelKey, name: str, mode: str, now_ms: int) -> ChannelState:
        return self.inner.open_channel(key, name, mode, now_ms)

    def read(self, key: ChannelKey, identity: str, wanted: Range, limit_bytes: int) -> Page:
        self.reading.release()
        if self.reads_wait:
            assert self.gate.acquire(timeout=30)
        assert not self.is_closed
        self.threads.add(threading.current_thread().name)
        return self.inner.read(key, identity, wanted, limit_bytes)

    def set_locked(self, key: ChannelKey, locked: bool) -> ChannelState:
        self.groups.append(["lock"])
        return self.inner.set_locked(key, locked)

    def claim(self, key: ChannelKey, identity: str, now_ms: int) -> Claim:
        return self.inner.claim(key, identity, now_ms)

    def read_mail(self, reads: Sequence[MailRead], now_ms: int) -> None:
        self.groups.append(["mail"])
        self.inner.read_mail(reads, now_ms)

    def trim(self, key: ChannelKey, before: int, rows_max: int = TRIM_ROWS_MAX) -> ChannelState:
        return self.inner.trim(key, before, rows_max)

    def new_epochs(self) -> None:
        raise ZeroDivisionError

    def maintain(self, now_ms: int) -> bool:
        self.maintained.append(now_ms)
        self.maintenance.release()
        if self.maintenance_fails is not None:
            raise self.maintenance_fails
        return False

    def close(self) -> None:
        self.is_closed = True

    def let_through(self, commits: int = 1_000) -> None:
        self.gate.release(commits)

    async def until_maintained(self) -> None:
        """Until housekeeping was done with things as they are now, and its outcome noted."""
        while self.maintenance.acquire(blocking=False):
            pass
        for _ in range(3):
            assert await asyncio.to_thread(self.maintenance.acquire, timeout=30)

    async def until_committing(self) -> None:
        """Until the writer has entered one more commit."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


class Answers:
    """Collects what the callbacks are told."""

    def __init__(self) -> None:
        self.results: list[AppendResult] = []

    def __call__(self, result: AppendResult) -> None:
        self.results.append(result)

    @property
    def offsets(self) -> list[int]:
        return [result.offset for result in self.results if isinstance(result, Appended)]


@pytest.fixture
def gated() -> GatedStore:
    return GatedStore()


@pytest.fixture
async def writer(gated: GatedStore) -> AsyncIterator[LogWriter]:
    made = LogWriter(gated, limits=WriterLimits(queue=10, queue_bytes=10_000, group=4, group_bytes=3_000))
    yield made
    gated.let_through()
    await made.close()


@pytest.fixture(params=[memory_store, sqlite_store], ids=["memory", "sqlite"])
async def any_writer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LogWriter]:
    maker: StoreMaker = request.param
    made = LogWriter(maker(tmp_path))
    await made.open_channel(CHANNEL, "lobby", "open", 0)
    yield made
    await made.close()


# On both backends


async def test_appends_come_back_in_order_and_can_be_read(any_writer: LogWriter) -> None:
    answers = Answers()
    for number in range(1_000):
        assert any_writer.submit(entry(str(number % 900), key=str(number % 900)), answers) is None
        if number % 7 == 0:
            await asyncio.sleep(0)
    assert len(answers.results) < 1_000
    await any_writer.set_locked(CHANNEL, True)  # takes its turn after them
    assert answers.offsets == [*range(1, 901), *range(1, 101)]
    page = await any_writer.read(CHANNEL, "name:bob", Range(limit=2_000), PAGE_BYTES)
    assert [entry.body.decode() for entry in page.entries] == [str(number) for number in range(900)]
    assert page.state.locked
    status = any_writer.status()
    assert (status.waiting, status.waiting_bytes, status.appends, status.failing) == (0, 0, 1_000, None)
    assert 1 <= status.groups <= 1_000


async def test_a_callback_never_comes_within_submit(any_writer: LogWriter) -> None:
    done = asyncio.get_running_loop().create_future()
    assert any_writer.submit(entry(), done.set_result) is None
    assert not done.done()
    assert await done == Appended(1, 1_000)


async def test_an_acknowledged_entry_can_be_read_at_once(any_writer: LogWriter) -> None:
    for number in range(1, 30):
        done = asyncio.get_running_loop().create_future()
        any_writer.submit(entry(str(number)), done.set_result)
        result = await done
        page = await any_writer.read(CHANNEL, "name:bob", Range(after=number - 1), PAGE_BYTES)
        assert [entry.offset for entry in page.entries] == [result.offset] == [number]


async def test_the_other_calls(any_writer: LogWriter) -> None:
    before = await any_writer.open_channel(CHANNEL, "lobby", "open", 0)
    await any_writer.new_epochs()
    after = await any_writer.open_channel(CHANNEL, "lobby", "open", 0)
    assert before.epoch != after.epoch
    answers = Answers()
    for _ in range(5):
        any_writer.submit(entry(), answers)
    assert (await any_writer.trim(CHANNEL, 4)).tail == 4
    for call in (
        any_writer.set_locked(OTHER, True),
        any_writer.trim(OTHER, 1),
        any_writer.read(OTHER, "name:bob", Range(), PAGE_BYTES),
    ):
        with pytest.raises(UnknownChannelError):
            await call
    assert any_writer.promise in ("memory", "local-fsync")


async def test_closing_finishes_what_was_taken(any_writer: LogWriter) -> None:
    answers = Answers()
    for number in range(1_500):
        any_writer.submit(entry(str(number)), answers)
    lock = asyncio.ensure_future(any_writer.set_locked(CHANNEL, True))
    reading = asyncio.ensure_future(any_writer.read(CHANNEL, "name:bob", Range(), PAGE_BYTES))
    await asyncio.sleep(0)
    await asyncio.gather(any_writer.close(), any_writer.close())
    assert answers.offsets == list(range(1, 1_501))
    assert (await lock).locked
    assert (await reading).state.name == "lobby"
    assert any_writer.submit(entry(), answers) == Refused(
        ErrorCode.SERVER_RESTARTING, "the server is shutting down"
    )
    for call in (any_writer.set_locked(CHANNEL, True), any_writer.read(CHANNEL, "", Range(), PAGE_BYTES)):
        with pytest.raises(StoreError):
            await call
    await any_writer.close()
    assert len(answers.results) == 1_500


async def test_an_entry_that_can_not_be_stored_is_refused_alone(tmp_path: Path) -> None:
    writer = LogWriter(sqlite_store(tmp_path))
    await writer.open_channel(CHANNEL, "lobby", "open", 0)
    answers = Answers()
    for text in ("a", "\ud800", "b"):
        writer.submit(entry("x", key=text), answers)
    await writer.close()
    assert answers.results == [
        Appended(1, 1_000),
        Refused(ErrorCode.BAD_REQUEST, "this message can't be stored"),
        Appended(2, 1_000),
    ]
    assert writer.status().failing is None


# Groups


async def test_what_comes_during_a_commit_makes_the_next_group(writer: LogWriter, gated: GatedStore) -> None:
    answers = Answers()
    writer.submit(entry("1"), answers)
    await gated.until_committing()
    for number in range(2, 8):
        writer.submit(entry(str(number)), answers)
    assert writer.status().waiting == 7
    gated.let_through()
    await writer.set_locked(CHANNEL, True)
    assert gated.groups == [["1"], ["2", "3", "4", "5"], ["6", "7"], ["lock"]]
    assert answers.offsets == [1, 2, 3, 4, 5, 6, 7]
    assert gated.threads == {"log-writer"}


async def test_groups_are_bounded_in_bytes(writer: LogWriter, gated: GatedStore) -> None:
    answers = Answers()
    writer.submit(entry("1"), answers)
    await gated.until_committing()
    for number in range(2, 5):
        writer.submit(entry(f"{number}" * 1_700), answers)
    gated.let_through()
    await writer.set_locked(CHANNEL, True)
    assert [len(group) for group in gated.groups] == [1, 2, 1, 1]


async def test_a_call_takes_its_turn_among_the_appends(writer: LogWriter, gated: GatedStore) -> None:
    answers = Answers()
    writer.submit(entry("1"), answers)
    await gated.until_committing()
    writer.submit(entry("2"), answers)
    lock = asyncio.ensure_future(writer.set_locked(CHANNEL, True))
    await asyncio.sleep(0)
    writer.submit(entry("3"), answers)
    gated.let_through()
    await lock
    assert gated.groups == [["1"], ["2"], ["lock"], ["3"]]
    assert answers.offsets == [1, 2, 3]


async def test_each_round_wakes_the_loop_once(
    writer: LogWriter, gated: GatedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    inner = loop.call_soon_threadsafe
    wakes: list[str] = []

    def counted(callback: Callable[..., object], *arguments: object) -> asyncio.Handle:
        if threading.current_thread().name == "log-writer":
            wakes.append(callback.__name__)
        return inner(callback, *arguments)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    answers = Answers()
    writer.submit(entry("1"), answers)
    await gated.until_committing()
    for number in range(2, 10):
        writer.submit(entry(str(number)), answers)
    gated.let_through()
    await writer.set_locked(CHANNEL, True)
    assert len(wakes) == 4  # 1; 2-5; 6-9; the lock


async def test_reads_do_not_wait_for_a_commit(writer: LogWriter, gated: GatedStore) -> None:
    answers = Answers()
    writer.submit(entry("1"), answers)
    await gated.until_committing()
    page = await writer.read(CHANNEL, "name:bob", Range(), PAGE_BYTES)
    assert (page.entries, answers.results) == ((), [])
    gated.let_through()


async def test_closing_waits_for_reads_under_way(writer: LogWriter, gated: GatedStore) -> None:
    gated.reads_wait = True
    reading = asyncio.ensure_future(writer.read(CHANNEL, "name:bob", Range(), PAGE_BYTES))
    assert await asyncio.to_thread(gated.reading.acquire, timeout=30)
    closing = asyncio.ensure_future(writer.close())
    await asyncio.sleep(0)
    gated.let_through()
    assert (await reading).state.name == "lobby"
    await closing
    assert gated.is_closed


# Bounds


async def test_too_many_waiting_are_refused_at_once(writer: LogWriter, gated: GatedStore) -> None:
    answers = Answers()
    refusals = [writer.submit(entry(str(number)), answers) for number in range(12)]
    overloaded = Refused(ErrorCode.OVERLOADED, "too many messages wait to be stored")
    assert refusals == [None] * 10 + [overloaded] * 2
    gated.let_through()
    await writer.set_locked(CHANNEL, True)
    assert answers.offsets == list(range(1, 11))
    assert writer.submit(entry("again"), answers) is None


async def test_too_many_bytes_waiting_are_refused_at_once(writer: LogWriter, gated: GatedStore) -> None:
    answers = Answers()
    refusals = [writer.submit(entry("x" * 3_000), answers) for _ in range(4)]
    assert [refusal is None for refusal in refusals] == [True, True, True, False]
    assert writer.status().waiting_bytes <= 10_000
    gated.let_through()
    await writer.set_locked(CHANNEL, True)
    assert len(answers.results) == 3
    assert writer.status().waiting_bytes == 0


# Failures


async def test_a_failed_commit_refuses_its_group_and_the_log_goes_on(
    writer: LogWriter, gated: GatedStore, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: Sequence[Append]) -> None:
        raise StoreError("storage_unavailable", "the disk /secret/path is full")

    answers = Answers()
    gated.fail = full
    gated.let_through()
    with caplog.at_level(logging.WARNING, "peerbus.log"):
        for _ in range(3):
            writer.submit(entry("lost"), answers)
            writer.submit(entry("lost"), answers)
            await writer.set_locked(CHANNEL, True)
        refused = Refused(ErrorCode.STORAGE_UNAVAILABLE, "messages can't be stored at the moment")
        assert answers.results == [refused] * 6
        assert refused.retryable
        assert writer.status().failing == "the disk /secret/path is full"
        gated.fail = lambda _: None
        writer.submit(entry("stored"), answers)
        await writer.set_locked(CHANNEL, True)
    assert answers.results[6:] == [Appended(1, 1_000)]
    assert writer.status().failing is None
    # Said once, and not again for every change of a disk that is nearly full.
    assert [record.message for record in caplog.records] == [
        "messages can't be stored: the disk /secret/path is full"
    ]


async def test_answering_a_retry_is_no_sign_of_a_disk_that_works(
    writer: LogWriter, gated: GatedStore
) -> None:
    def full(group: Sequence[Append]) -> None:
        if group[0].idempotency_key != "k":
            raise StoreError("storage_unavailable", "full")

    answers = Answers()
    gated.fail = full
    gated.let_through()
    failing = []
    for key in ("k", "l", "k"):
        writer.submit(entry("x", key=key), answers)
        await writer.set_locked(CHANNEL, True)
        failing.append(writer.status().failing)
    assert answers.results[2] == Appended(1, 1_000, duplicate=True)
    assert failing == [None, "full", "full"]


@pytest.mark.parametrize(
    ("failure", "answer"),
    [
        (StoreError("unstorable", "?"), Refused(ErrorCode.BAD_REQUEST, "this message can't be stored")),
        (ZeroDivisionError(), Refused(ErrorCode.INTERNAL, "storing the message failed")),
    ],
)
async def test_a_bad_append_does_not_cost_the_others_their_place(
    writer: LogWriter,
    gated: GatedStore,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    answer: Refused,
) -> None:
    def fail(group: Sequence[Append]) -> None:
        if any(append.body == b"bad" for append in group):
            raise failure

    gated.fail = fail
    answers = Answers()
    writer.submit(entry("first"), answers)
    await gated.until_committing()
    for body in ("a", "bad", "b"):
        writer.submit(entry(body), answers)
    gated.let_through()
    await writer.set_locked(CHANNEL, True)
    assert answers.results == [Appended(1, 1_000), Appended(2, 1_000), answer, Appended(3, 1_000)]
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == (
        1 if answer.code is ErrorCode.INTERNAL else 0
    )


async def test_a_callback_that_fails_does_not_cost_the_others_theirs(
    writer: LogWriter, gated: GatedStore
) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    answers = Answers()
    failure = ZeroDivisionError()

    def fail(_: AppendResult) -> None:
        raise failure

    writer.submit(entry("1"), answers)
    writer.submit(entry("2"), fail)
    writer.submit(entry("3"), answers)
    gated.let_through()
    await writer.set_locked(CHANNEL, True)
    assert answers.offsets == [1, 3]
    assert reported == [failure]
    assert writer.status().waiting == 0


async def test_a_call_that_fails_tells_its_caller(writer: LogWriter) -> None:
    with pytest.raises(ZeroDivisionError):
        await writer.new_epochs()


async def test_a_cancelled_call_harms_nothing(writer: LogWriter, gated: GatedStore) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    answers = Answers()
    writer.submit(entry("1"), answers)
    await gated.until_committing()
    lock = asyncio.ensure_future(writer.set_locked(CHANNEL, True))
    await asyncio.sleep(0)
    lock.cancel()
    gated.let_through()
    await writer.set_locked(CHANNEL, False)
    assert lock.cancelled()
    assert (answers.offsets, reported) == ([1], [])


async def test_closing_under_a_failing_disk_answers_everything(writer: LogWriter, gated: GatedStore) -> None:
    def full(_: Sequence[Append]) -> None:
        raise StoreError("storage_unavailable", "full")

    gated.fail = full
    answers = Answers()
    for number in range(10):
        writer.submit(entry(str(number)), answers)
    closing = asyncio.ensure_future(writer.close())
    await asyncio.sleep(0)
    was_closed_before = gated.is_closed
    gated.let_through()
    await closing
    assert (was_closed_before, gated.is_closed) == (False, True)
    assert [result.code for result in answers.results if isinstance(result, Refused)] == [
        ErrorCode.STORAGE_UNAVAILABLE
    ] * 10


async def test_an_impatient_caller_of_close_does_not_stop_it(writer: LogWriter, gated: GatedStore) -> None:
    answers = Answers()
    writer.submit(entry("1"), answers)
    closing = asyncio.ensure_future(writer.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    gated.let_through()
    await writer.close()
    assert (answers.offsets, gated.is_closed) == ([1], True)


def test_a_loop_that_ends_without_closing_ends_the_thread(gated: GatedStore) -> None:
    async def leave() -> None:
        LogWriter(gated).submit(entry("1"), lambda _: None)
        await gated.until_committing()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    gated.let_through()
    threads = [thread for thread in threading.enumerate() if thread.name == "log-writer"]
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert gated.is_closed


# Housekeeping


@pytest.mark.parametrize("blocking", [True, False])
async def test_housekeeping_happens_by_itself(blocking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerbus.signaling.log.writer._MAINTENANCE_S", 0.001)
    gated = GatedStore(blocking=blocking)
    writer = LogWriter(gated, now_ms=lambda: 77)

    await gated.until_maintained()
    gated.maintenance_fails = StoreError("storage_unavailable", "full")
    await gated.until_maintained()
    assert writer.status().failing == "full"
    gated.maintenance_fails = ZeroDivisionError()
    await gated.until_maintained()
    gated.maintenance_fails = None
    await gated.until_maintained()
    assert writer.status().failing is None
    assert set(gated.maintained) == {77}
    gated.let_through()
    await writer.close()


async def test_a_store_that_does_not_block_needs_no_thread() -> None:
    store: Store = MemoryStore(new_epoch)
    before = threading.active_count()
    writer = LogWriter(store)
    await writer.open_channel(CHANNEL, "lobby", "open", 0)
    answers = Answers()
    writer.submit(entry("1"), answers)
    assert threading.active_count() == before
    await asyncio.sleep(0)
    assert answers.offsets == [1]
    await writer.close()


async def test_without_a_thread_a_long_queue_is_worked_off_in_several_ticks() -> None:
    writer = LogWriter(MemoryStore(new_epoch), limits=WriterLimits(group=4))
    await writer.open_channel(CHANNEL, "lobby", "open", 0)
    answers = Answers()
    for number in range(10):
        writer.submit(entry(str(number)), answers)
    seen = []
    for _ in range(4):
        await asyncio.sleep(0)
        seen.append(len(answers.results))
    assert seen == [4, 8, 10, 10]
    await writer.close()
