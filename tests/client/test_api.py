"""Where a server's addresses are."""

from __future__ import annotations

import pytest

from peerbus.client.api import Api, parse_api
from peerbus.client.errors import ErrorCode, PeerbusError


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://localhost:8080", "http://localhost:8080"),
        (" https://example.org/ ", "https://example.org"),
        ("example.org:81", "http://example.org:81"),
        ("ws://h:1", "http://h:1"),
        ("wss://h/below/a/path/", "https://h/below/a/path"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("HTTP://Example.ORG", "http://example.org"),
        ("https://h/messaging-platform/api/v1/messaging-service", "https://h"),
        ("https://h/messaging-platform/api/v1/messaging-service/", "https://h"),
        ("https://h/x/messaging-platform/api/v1/messaging-service", "https://h/x"),
    ],
)
def test_addresses_that_are_understood(text: str, base: str) -> None:
    assert parse_api(text) == Api(base)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "ftp://h",
        "http://h:port",
        "http://h:99999",
        "http://[::1",
        "http://h?key=secret",
        "http://h/#secret",
        "http://user:secret@h",
    ],
)
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(PeerbusError) as caught:
        parse_api(text)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert "secret" not in caught.value.message


def test_what_lies_below() -> None:
    api = Api("https://h/p")
    assert api.websocket == "wss://h/p/v1/ws"
    assert Api("http://h").websocket == "ws://h/v1/ws"
    assert api.longpoll == "https://h/p/v1/longpoll"
    assert api.longpoll_session("a/b?c") == "https://h/p/v1/longpoll/a%2Fb%3Fc"
    assert api.demo_key == "https://h/p/v1/demo/key"
