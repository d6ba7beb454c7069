"""Which of the STUN and TURN servers a connection gets."""

from typing import Any

import pytest

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.ice import IceSetup, read_servers, setup
from peerbus.client.webrtc.peer import rtc_configuration
from peerbus.protocol.messages import IceServer
from peerbus.protocol.secrets import Secret

SERVERS = [
    IceServer(urls=["stun:s", "stun:s2"]),
    IceServer(
        urls=["turn:t?transport=udp", "turn:t?transport=tcp", "turns:t:443"],
        username="9:x",
        credential=Secret("p"),
    ),
]


def ways(chosen: IceSetup) -> list[str]:
    return [url for server in chosen.servers for url in server.urls]


def test_each_attempt_goes_by_the_next_way() -> None:
    found = [ways(setup(SERVERS, attempt=attempt)) for attempt in range(4)]
    assert found == [
        ["stun:s", "turn:t?transport=udp"],
        ["stun:s", "turn:t?transport=tcp"],
        ["stun:s", "turns:t:443"],
        ["stun:s", "turn:t?transport=udp"],
    ]
    assert ways(setup(SERVERS, has_stun=False)) == ["turn:t?transport=udp"]
    assert ways(setup(SERVERS, "relay")) == ["turn:t?transport=udp"]
    assert ways(setup([])) == []


def test_users_give_them_in_the_form_of_browsers() -> None:
    given: list[IceServer | dict[str, Any]] = [
        {"urls": "stun:s"},
        {"urls": ["turn:t"], "username": "u", "credential": "p"},
        SERVERS[0],
    ]
    assert read_servers(given) == [
        IceServer(urls=["stun:s"]),
        IceServer(urls=["turn:t"], username="u", credential=Secret("p")),
        SERVERS[0],
    ]
    refused: list[dict[str, object]] = [{}, {"urls": 7}, {"urls": "turn:t", "credential": 7}]
    for wrong in refused:
        with pytest.raises(PeerbusError, match="ICE server"):
            read_servers([wrong])


def test_what_aiortc_gets() -> None:
    configuration = rtc_configuration(setup(SERVERS, "relay", attempt=1))
    assert configuration.iceTransportPolicy.value == "relay"
    (server,) = configuration.iceServers or []
    assert (server.urls, server.username, server.credential) == (["turn:t?transport=tcp"], "9:x", "p")
    # None would be a public STUN server.
    assert rtc_configuration(setup([])).iceServers == []
