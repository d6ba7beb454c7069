"""Fixtures of the client's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.support.fake_server import FakeServer, running
from tests.support.fake_transport import network

__all__ = ["network", "server"]


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A server over real sockets that does what the test says."""
    async with running(FakeServer()) as fake:
        yield fake
