"""The signaling process from its start to its end."""

from __future__ import annotations

from tests.support.live_server import LiveServer


def test_it_starts_stops_and_starts_again_on_the_same_port_and_folder(live_server: LiveServer) -> None:
    port, key = live_server.port, live_server.developer_key
    assert key.startswith("pb_")
    live_server.restart()
    assert (live_server.port, live_server.developer_key) == (port, key)
    live_server.kill()
    live_server.start()
    assert live_server.port == port
    live_server.stop()
