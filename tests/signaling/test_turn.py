"""Which STUN and TURN servers a client gets, and the credentials that coturn knows."""

import base64
import hashlib
import hmac

import pytest

from peerbus.protocol.secrets import Secret
from peerbus.signaling.turn import IceIssuer, TurnSettings, check_url, credential, secret_from, urls_of

SECRET = Secret("a-shared-secret-of-a-test")
NOW_MS = 1_700_000_000_000
SETTINGS = TurnSettings(hosts=("turn.example.org",), tls_port=443)


def test_every_way_to_every_server_the_quickest_first() -> None:
    settings = TurnSettings(
        hosts=("turn.example.org", "2001:db8::7"), port=3479, tls_port=443, urls=("stun:stun.example.net",)
    )
    assert urls_of(settings) == [
        "stun:turn.example.org:3479",
        "stun:[2001:db8::7]:3479",
        "turn:turn.example.org:3479?transport=udp",
        "turn:[2001:db8::7]:3479?transport=udp",
        "turn:turn.example.org:3479?transport=tcp",
        "turn:[2001:db8::7]:3479?transport=tcp",
        "turns:turn.example.org:443?transport=tcp",
        "turns:[2001:db8::7]:443?transport=tcp",
        "stun:stun.example.net",
    ]
    assert not [url for url in urls_of(TurnSettings(hosts=("a",))) if url.startswith("turns")]
    assert [check_url(url) for url in urls_of(settings)] == urls_of(settings)


@pytest.mark.parametrize(
    "url",
    [
        *("turn.example.org", "http://turn.example.org", "turn://turn.example.org", "turn:", "turn:a b"),
        *(
            "stun:a?transport=udp",
            "turns:a?transport=udp",
            "turn:a?transport=sctp",
            "turn:a:0",
            "turn:a:65536",
        ),
        *("turn:user@a", "turn:a:3478?transport=udp&x=1", "turn:a:3478\nturn:b"),
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"turn|stun|port"):
        check_url(url)


def test_the_password_is_what_coturn_computes() -> None:
    digest = hmac.new(b"a-shared-secret-of-a-test", b"1700003600:abc", hashlib.sha1).digest()
    assert credential(SECRET, "1700003600:abc").reveal() == base64.b64encode(digest).decode()


def test_a_client_gets_stun_without_and_turn_with_a_credential_that_ends() -> None:
    stun, turn = IceIssuer(SETTINGS, SECRET, 3_600_000).servers("default", "name:ann", NOW_MS)
    assert stun.urls == ["stun:turn.example.org:3478"]
    assert (stun.username, stun.credential) == ("", None)
    assert [url.partition(":")[0] for url in turn.urls] == ["turn", "turn", "turns"]
    ends, _, label = turn.username.partition(":")
    assert int(ends) == 1_700_003_600
    assert turn.credential == credential(SECRET, turn.username)
    assert label.isalnum()
    assert len(label) == 16


def test_the_label_is_one_for_each_client_and_tells_nobody_who() -> None:
    issuer = IceIssuer(SETTINGS, SECRET, 1_000)

    def label(project: str, identity: str, now_ms: int = NOW_MS, of: IceIssuer = issuer) -> str:
        return of.servers(project, identity, now_ms)[1].username.partition(":")[2]

    assert label("p", "name:ann") == label("p", "name:ann", NOW_MS + 86_400_000)
    others = {
        label("p", "name:bob"),
        label("q", "name:ann"),
        label("p", "name:ann", of=IceIssuer(SETTINGS, Secret("another-secret-of-it"), 1_000)),
    }
    assert len(others) == 3
    assert label("p", "name:ann") not in others
    assert "ann" not in label("p", "name:ann")


def test_stun_alone_needs_no_credential_and_nothing_is_nothing() -> None:
    (only,) = IceIssuer(TurnSettings(urls=("stun:a",)), SECRET, 1).servers("p", "i", NOW_MS)
    assert (only.urls, only.credential) == (["stun:a"], None)
    assert IceIssuer(TurnSettings(), SECRET, 1).servers("p", "i", NOW_MS) == []
    assert not TurnSettings().is_on


def test_the_secret_follows_from_the_master_key_and_is_not_it() -> None:
    secret = secret_from(bytes(32))
    assert secret == secret_from(bytes(32)) != secret_from(bytes(31) + b"\1")
    assert len(secret.reveal()) == 43
    assert str(secret) == "***"
