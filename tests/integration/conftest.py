"""The fixtures of tests that need a real server process."""

from tests.support.live_server import live_server, start_server

__all__ = ["live_server", "start_server"]
