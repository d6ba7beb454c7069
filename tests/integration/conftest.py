"""The fixtures of tests that need a real server process."""

import time
from collections.abc import Iterator

import pytest

from tests.support.live_server import LiveServer, live_server, start_server
from tests.support.witness import Witness, watching

__all__ = ["live_server", "start_server"]

SHORT = {
    "handshake_timeout_ms": 1_000,
    "body_timeout_ms": 1_000,
    "keepalive_ms": 1_500,
    "stalled_reader_ms": 1_500,
    "ping_interval_ms": 1_000,
    "silence_timeout_ms": 20_000,
    "resume_window_ms": 4_000,
    "drain_ms": 2_000,
    # Attackers come back faster than the sessions they leave behind are forgotten.
    "members_per_channel": 1_000,
    # One address attacks here, and all its attacks but one are about something else.
    "connects_per_address_per_s": 100_000,
    "failed_connects_per_address_per_min": 1_000_000,
}
"""The deadlines of a server, short enough to be waited for."""
_SETTLE_S = 20.0
_SPARE_DESCRIPTORS = 4
"""SQLite opens and closes files of its own."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, Witness]]:
    """A server for all tests of a module, and a witness in the channel `lobby`."""
    server = LiveServer(tmp_path_factory.mktemp("watched"), dict(SHORT))
    server.start()
    try:
        with watching(server) as witness:
            yield server, witness
        log = server.log
        server.stop()
        # Hundreds of attacks, and a log that can be read.
        assert len(log) < 50_000, log
    finally:
        if server.is_running:
            server.kill()


@pytest.fixture
def attacked(watched: tuple[LiveServer, Witness]) -> Iterator[LiveServer]:
    """The server of the module; after the test the witness must have noticed nothing, and no socket be left over."""
    server, witness = watched
    pid, descriptors = server.pid, server.descriptors
    yield server
    assert server.is_running
    assert server.pid == pid
    witness.check()
    ends_at = time.monotonic() + _SETTLE_S
    while server.descriptors > descriptors + _SPARE_DESCRIPTORS and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert server.descriptors <= descriptors + _SPARE_DESCRIPTORS
