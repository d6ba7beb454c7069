"""
Credentials that are forged, over, foreign or too small, on both transports, beside a witness.

See PROTOCOL.md (sections 3 and 10), and the fixture `attacked`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest

from peerbus.protocol.errors import ERRORS, ErrorCode
from tests.support.live_server import LiveServer, StartServer
from tests.support.raw_socket import Answer, RawWebSocket, connect_frame, request
from tests.support.witness import watching

Transport = Literal["websocket", "longpoll"]
BOTH: list[Transport] = ["websocket", "longpoll"]
FULL_GRANT = {
    "channels": [">"],
    "agents": [">"],
    "operations": ["read", "history", "send_durable", "presence"],
}
JSON = {"Content-Type": "application/json"}


def post(server: LiveServer, path: str, frames: object, headers: dict[str, str] | None = None) -> Answer:
    return request(server, "POST", path, {**JSON, **(headers or {})}, json.dumps(frames).encode())


def refusal(
    server: LiveServer, transport: Transport, key: str, channel: str = "corner", **fields: Any
) -> str:
    """The code with which this credential is refused, after a look at everything else that says it."""
    if transport == "websocket":
        with RawWebSocket(server) as raw:
            error = raw.join(channel, key=key, **fields)
            assert error["op"] == "error", error
            code = ErrorCode(error["code"])
            assert raw.ending() == (code, ERRORS[code].close_code)
    else:
        answer = post(server, "/v1/longpoll", [connect_frame(server, channel, key=key, **fields)])
        code = ErrorCode(answer.problem["code"])
        assert answer.status == ERRORS[code].http_status
    assert not key or key not in server.log
    return code.value


# --- tokens -----------------------------------------------------------------------------------------------------


def parts_of(key: str) -> tuple[str, str]:
    _, key_id, secret = key.split("_", 2)
    return key_id, secret


def token_of(key: str, *, algorithm: str = "HS256", secret: str | None = None, **changes: Any) -> str:
    """A token signed with a developer key, in order but for the changes; a claim that is None is left out."""
    key_id, right = parts_of(key)
    headers = changes.pop("headers", {"kid": key_id})
    claims = {"aud": "peerbus", "exp": int(time.time()) + 600, "grant": FULL_GRANT, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    signed = ".".join(encoded(part) for part in ({"typ": "JWT", "alg": algorithm, **headers}, claims))
    digest = hashlib.sha512 if algorithm == "HS512" else hashlib.sha256
    signature = hmac.digest((right if secret is None else secret).encode(), signed.encode(), digest)
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned(key: str) -> str:
    claims = {"aud": "peerbus", "exp": now_s() + 600, "grant": FULL_GRANT}
    return ".".join([encoded({"alg": "none", "typ": "JWT", "kid": parts_of(key)[0]}), encoded(claims), ""])


def swapped_payload(key: str) -> str:
    head, _, tail = token_of(key).split(".")
    _, payload, _ = token_of(key, exp=int(time.time()) + 9_999_999).split(".")
    return f"{head}.{payload}.{tail}"


def now_s() -> int:
    return int(time.time())


FORGED: dict[str, tuple[Callable[[str], str], str]] = {
    "nothing": (lambda key: "", "unauthorized"),
    "rubbish": (lambda key: "rubbish", "unauthorized"),
    "three dots": (lambda key: "...", "unauthorized"),
    "not ASCII": (lambda key: "pb_ключ_ключ", "unauthorized"),
    "NUL": (lambda key: "\0", "unauthorized"),
    "an unknown key": (lambda key: "pb_" + "a" * 12 + "_" + "A" * 43, "unauthorized"),
    "a wrong secret": (lambda key: key[:-43] + "A" * 43, "unauthorized"),
    "the last letter": (lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"), "unauthorized"),
    "a secret too long": (lambda key: key + "A", "unauthorized"),
    "upper case": (lambda key: key[:3] + key[3:15].upper() + key[15:], "unauthorized"),
    "alg none": (unsigned, "unauthorized"),
    "alg none with the signature": (lambda key: unsigned(key) + token_of(key).split(".")[2], "unauthorized"),
    "HS512": (lambda key: token_of(key, algorithm="HS512"), "unauthorized"),
    "another secret": (lambda key: token_of(key, secret="A" * 43), "unauthorized"),
    "RS256 named, HMAC made": (lambda key: token_of(key, algorithm="RS256"), "unauthorized"),
    "ES256 named, with the key id for a secret": (
        lambda key: token_of(key, algorithm="ES256", secret=parts_of(key)[0]),
        "unauthorized",
    ),
    "HS256 in other letters": (lambda key: token_of(key, algorithm="hs256"), "unauthorized"),
    "a key id for a secret": (lambda key: token_of(key, secret=parts_of(key)[0]), "unauthorized"),
    "signers in a list": (lambda key: token_of(key, headers={"kid": [parts_of(key)[0]]}), "unauthorized"),
    "a critical header": (
        lambda key: token_of(key, headers={"kid": parts_of(key)[0], "crit": ["exp"]}),
        "unauthorized",
    ),
    "an empty id": (lambda key: token_of(key, jti=""), "unauthorized"),
    "an id that is no text": (lambda key: token_of(key, jti=7), "unauthorized"),
    "an endless line of issuers": (lambda key: token_of(key, issued_by=["x"] * 50), "unauthorized"),
    "an empty secret": (lambda key: token_of(key, secret=""), "unauthorized"),
    "an unknown signer": (lambda key: token_of(key, headers={"kid": "a" * 12}), "unauthorized"),
    "no signer": (lambda key: token_of(key, headers={}), "unauthorized"),
    "a signer that is a path": (lambda key: token_of(key, headers={"kid": "../../dev/null"}), "unauthorized"),
    "a key in the header": (
        lambda key: token_of(
            key, secret="A" * 43, headers={"kid": parts_of(key)[0], "jwk": {"kty": "oct", "k": "QQ"}}
        ),
        "unauthorized",
    ),
    "another payload": (swapped_payload, "unauthorized"),
    "another audience": (lambda key: token_of(key, aud="other"), "unauthorized"),
    "no audience": (lambda key: token_of(key, aud=None), "unauthorized"),
    "no expiry": (lambda key: token_of(key, exp=None), "unauthorized"),
    "an expiry that is a text": (lambda key: token_of(key, exp="soon"), "unauthorized"),
    "no grant": (lambda key: token_of(key, grant=None), "unauthorized"),
    "another project": (lambda key: token_of(key, project="other"), "unauthorized"),
    "not yet": (lambda key: token_of(key, nbf=now_s() + 3600), "unauthorized"),
    "expired": (lambda key: token_of(key, exp=now_s() - 1), "expired"),
    "expired long ago": (lambda key: token_of(key, exp=0), "expired"),
    "an unknown section": (lambda key: token_of(key, grant={**FULL_GRANT, "sudo": True}), "bad_request"),
    "an unknown operation": (
        lambda key: token_of(key, grant={**FULL_GRANT, "operations": ["sudo"]}),
        "bad_request",
    ),
    "another channel": (lambda key: token_of(key, grant={**FULL_GRANT, "channels": ["team/*"]}), "forbidden"),
    "no channel": (lambda key: token_of(key, grant={}), "forbidden"),
    "another name": (lambda key: token_of(key, grant={**FULL_GRANT, "agents": ["bob"]}), "forbidden"),
    "another address": (
        lambda key: token_of(key, grant={**FULL_GRANT, "addresses": ["192.0.2.0/24"]}),
        "forbidden",
    ),
    "a number of uses and no id": (lambda key: token_of(key, grant={**FULL_GRANT, "uses": 1}), "bad_request"),
}


@pytest.mark.parametrize("transport", BOTH)
@pytest.mark.parametrize("what", FORGED)
def test_a_credential_that_is_not_good_is_refused(
    attacked: LiveServer, transport: Transport, what: str
) -> None:
    make, code = FORGED[what]
    assert refusal(attacked, transport, make(attacked.developer_key), agent="alice") == code


@pytest.mark.parametrize("transport", BOTH)
def test_a_credential_of_many_kilobytes_is_refused_unread(attacked: LiveServer, transport: Transport) -> None:
    assert refusal(attacked, transport, "pb_" + "A" * 9_000) == "bad_frame"


def test_a_refusal_does_not_tell_an_unknown_key_from_a_wrong_secret(attacked: LiveServer) -> None:
    key = attacked.developer_key
    wrong = [
        key[:-43] + "A" * 43,
        "pb_" + "a" * 12 + "_" + "A" * 43,
        token_of(key, secret="A" * 43, jti="t"),
        token_of(key, headers={"kid": "a" * 12}, jti="t"),
    ]
    answers = [post(attacked, "/v1/longpoll", [connect_frame(attacked, key=text)]).problem for text in wrong]
    assert [{**answer, "correlation_id": ""} for answer in answers] == [
        {**answers[0], "correlation_id": ""}
    ] * 4
    times: dict[str, list[float]] = {text: [] for text in wrong}
    for _ in range(100):
        for text, seconds in times.items():
            began_s = time.perf_counter()
            post(attacked, "/v1/longpoll", [connect_frame(attacked, key=text)])
            seconds.append(time.perf_counter() - began_s)
    # Anything that is done for one of a pair alone would show; the network is in both.
    secret_wrong, id_unknown, signature_wrong, signer_unknown = map(statistics.median, times.values())
    assert 0.5 < secret_wrong / id_unknown < 2
    assert 0.5 < signature_wrong / signer_unknown < 2


SPOOFED = dict.fromkeys(
    ("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "Client-IP"), "192.0.2.7"
) | {"Forwarded": "for=192.0.2.7", "Via": "1.1 192.0.2.7"}


@pytest.mark.parametrize("transport", BOTH)
def test_no_header_moves_a_client_to_another_address(attacked: LiveServer, transport: Transport) -> None:
    token = token_of(attacked.developer_key, grant={**FULL_GRANT, "addresses": ["192.0.2.0/24"]})
    if transport == "websocket":
        with RawWebSocket(attacked, headers=SPOOFED) as raw:
            assert raw.join("corner", key=token)["code"] == "forbidden"
    else:
        answer = post(attacked, "/v1/longpoll", [connect_frame(attacked, "corner", key=token)], SPOOFED)
        assert answer.problem["code"] == "forbidden"


# --- less than everything ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "frame"),
    [
        (["read"], {"op": "send", "content": 1}),
        (["read"], {"op": "send", "content": 1, "delivery": "live"}),
        (["read"], {"op": "send", "content": 1, "delivery": "lossy"}),
        (["read", "send_durable"], {"op": "send", "content": 1, "to": ["witness-reads"]}),
        (["read", "send_durable"], {"op": "send", "content": 1, "filter": "witness.*"}),
        (["read"], {"op": "receive"}),
        (["read"], {"op": "members"}),
        (["read"], {"op": "kick", "agent": "witness-reads"}),
        (["read"], {"op": "lock", "locked": True}),
    ],
)
def test_a_token_does_what_it_allows_and_no_more(
    attacked: LiveServer, allowed: list[str], frame: dict[str, Any]
) -> None:
    token = token_of(attacked.developer_key, grant={**FULL_GRANT, "operations": allowed})
    with RawWebSocket(attacked) as raw:
        connected = raw.join("lobby", key=token)
        assert connected["operations"] == sorted(allowed)
        assert [member["name"] for member in connected["members"]] == [connected["agent"]]
        raw.send_json({"id": 2, **frame})
        error = raw.next("error")
        assert (error["id"], error["code"]) == (2, "forbidden")
        raw.send_json({"op": "bye"})
        assert not any(seen["op"] == "presence" for seen in raw.frames())


def test_a_token_cannot_allow_more_than_its_key(attacked: LiveServer) -> None:
    key = attacked.keys("create", "--allow", "read,presence", "--channel", "lobby")
    wider = token_of(
        key, grant={**FULL_GRANT, "operations": ["read", "kick", "lock", "send_durable", "admin"]}
    )
    assert refusal(attacked, "websocket", token_of(key), "elsewhere") == "forbidden"
    with RawWebSocket(attacked) as raw:
        assert raw.join("lobby", key=wider)["operations"] == ["read"]
        raw.send_json({"op": "renew", "id": 2, "api_key": wider})
        assert raw.next("ack")["id"] == 2
        raw.send_json({"op": "kick", "id": 3, "agent": "witness-reads"})
        assert raw.next("error")["code"] == "forbidden"


def test_a_key_of_another_project_sees_nothing_of_this_one(attacked: LiveServer) -> None:
    key = attacked.keys("create", "--project", "other")
    with RawWebSocket(attacked) as raw:
        connected = raw.join("lobby", "witness-reads", key=key)
        assert [member["name"] for member in connected["members"]] == ["witness-reads"]
        assert (connected["head"], connected["channel"]["scope"]) == (0, "private:other")
        raw.send_json({"op": "receive", "id": 2})
        assert raw.next("history")["messages"] == []
        raw.send_json({"op": "kick", "id": 3, "agent": "witness-writes"})
        assert raw.next("error")["code"] == "not_found"
        raw.send_json({"op": "renew", "id": 4, "api_key": attacked.developer_key})
        assert raw.next("error")["code"] == "forbidden"


def test_a_key_for_some_sites_is_refused_to_pages_of_others(attacked: LiveServer) -> None:
    key = attacked.keys("create", "--origin", "https://good.example")
    for origin, op in (
        ("https://good.example", "connected"),
        ("https://evil.example", "error"),
        ("null", "error"),
    ):
        with RawWebSocket(attacked, headers={"Origin": origin}) as raw:
            first = raw.join("corner", key=key)
            assert (first["op"], first.get("code")) == (op, "forbidden" if op == "error" else None)
    frames = [connect_frame(attacked, "corner", key=key)]
    answer = post(attacked, "/v1/longpoll", frames, {"Origin": "https://good.example.evil.example"})
    assert answer.problem["code"] == "forbidden"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://HOST"}, 200),
        ({"Origin": "http://HOST", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://HOST.evil.example"}, 403),
        ({"Origin": "http://evil.example/HOST"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        # A name of the attacker's that points here: page and request are of one origin then.
        ({"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Host": "127.0.0.1.evil.example", "Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "localhost@evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"X-Forwarded-Host": "localhost", "Host": "evil.example"}, 403),
    ],
)
def test_demo_keys_go_to_pages_of_this_server_only(
    attacked: LiveServer, headers: dict[str, str], status: int
) -> None:
    host = f"{attacked.host}:{attacked.port}"
    sent = {name: text.replace("HOST", host) for name, text in headers.items()}
    answer = request(attacked, "POST", "/v1/demo/key", sent)
    assert answer.status == status
    if status == 200:
        assert json.loads(answer.body)["project"] == "demo"
        assert answer.headers["cache-control"] == "no-store"
    else:
        assert answer.problem["code"] == "forbidden"
        assert b"ey" not in answer.body.replace(b"key", b"")


# --- the end of a credential ------------------------------------------------------------------------------------


def ends_within(server: LiveServer, raw: RawWebSocket, seconds: float) -> tuple[str | None, int | None]:
    raw.set_timeout(seconds)
    return raw.ending()


def test_revoking_a_key_closes_its_sessions_and_those_of_its_tokens(attacked: LiveServer) -> None:
    key = attacked.keys("create", "--label", "to be revoked")
    by_token = token_of(key)
    answer = post(attacked, "/v1/longpoll", [connect_frame(attacked, "hall", key=key)])
    connected = json.loads(answer.body)["frames"][0]
    address = f"/v1/longpoll/{connected['session_id']}"
    authorization = {"Authorization": f"Bearer {connected['resume_token']}"}
    with RawWebSocket(attacked) as first, RawWebSocket(attacked) as second, RawWebSocket(attacked) as third:
        first.join("hall", key=key)
        second.join("hall", key=by_token)
        third.join("hall", "other")
        attacked.keys("revoke", key)
        # The promise is two seconds; half a second passes until the server looks.
        for raw in (first, second):
            assert ends_within(attacked, raw, 2) == ("revoked", 3504)
        frames: list[dict[str, Any]] = []
        acked = 1
        while not frames or frames[-1]["op"] != "closing":
            answer = request(attacked, "GET", f"{address}?ack={acked}", authorization)
            acked, frames = (json.loads(answer.body)[name] for name in ("n", "frames"))
        assert frames[-1]["code"] == "revoked"
        third.send_json({"op": "members", "id": 2})
        assert [member["name"] for member in third.next("members_reply")["members"]] == ["other"]
    for credential in (key, by_token):
        for transport in BOTH:
            assert refusal(attacked, transport, credential) == "revoked"


def test_a_token_that_expires_closes_its_session(attacked: LiveServer) -> None:
    with RawWebSocket(attacked) as raw:
        connected = raw.join("corner", key=token_of(attacked.developer_key, exp=now_s() + 2))
        assert 0 < connected["expires_in_ms"] <= 2_000
        assert 0 < raw.next("expiring")["expires_in_ms"] <= 2_000
        assert raw.ending() == ("expired", 3503)


def test_a_renewed_token_keeps_its_session(attacked: LiveServer) -> None:
    key = attacked.developer_key
    with RawWebSocket(attacked) as raw:
        raw.join("corner", key=token_of(key, exp=now_s() + 2))
        raw.next("expiring")
        raw.send_json({"op": "renew", "id": 2, "api_key": token_of(key, exp=now_s() - 5)})
        assert raw.next("error")["code"] == "expired"
        raw.send_json({"op": "renew", "id": 3, "api_key": token_of(key)})
        assert raw.next("ack")["id"] == 3
        time.sleep(2.5)
        raw.send_json({"op": "members", "id": 4})
        assert raw.next("members_reply")["id"] == 4


# --- guessing ---------------------------------------------------------------------------------------------------


def test_guessing_is_throttled_by_address_whatever_a_header_says(start_server: StartServer) -> None:
    server = start_server(failed_connects_per_address_per_min=20, connects_per_address_per_s=10_000)
    with watching(server) as witness:
        codes = []
        for number in range(40):
            forwarded = {
                name: text.replace("192.0.2.7", f"192.0.2.{number}") for name, text in SPOOFED.items()
            }
            guess = f"pb_{'a' * 12}_{number:043d}"
            if number % 2:
                answer = post(server, "/v1/longpoll", [connect_frame(server, key=guess)], forwarded)
            else:
                headers = {**forwarded, "Authorization": f"Bearer {guess}"}
                answer = post(server, "/v1/keys/temporary", {"grant": FULL_GRANT}, headers)
            codes.append(answer.problem["code"])
        # One more is allowed every three seconds.
        assert codes[:20] == ["unauthorized"] * 20
        assert codes.count("rate_limited") >= 10
        # By the other way in, too, and for the right key: otherwise the answer would tell which guess was right.
        answer = post(server, "/v1/longpoll", [connect_frame(server)])
        assert (answer.status, answer.problem["is_retryable"]) == (429, True)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        with RawWebSocket(server) as raw:
            assert raw.upgrade.status == 429
        right = {"Authorization": f"Bearer {server.developer_key}"}
        assert post(server, "/v1/keys/temporary", {"grant": FULL_GRANT}, right).status == 429
        witness.check()
    # One line each at most, and not even that.
    assert server.log.count("connect refused") <= codes.count("unauthorized")


def test_guessing_by_renewal_counts_as_well(start_server: StartServer) -> None:
    server = start_server(failed_connects_per_address_per_min=20, connects_per_address_per_s=10_000)
    with RawWebSocket(server) as raw:
        raw.join("corner")
        raw.send_json(*({"op": "renew", "id": n, "api_key": f"pb_{'a' * 12}_{n:043d}"} for n in range(2, 42)))
        codes = [raw.next("error")["code"] for _ in range(40)]
        assert codes[:20] == ["unauthorized"] * 20
        assert codes.count("rate_limited") >= 10
        raw.send_json({"op": "send", "id": 50, "content": "still here"})
        assert raw.next("ack")["id"] == 50


def test_connecting_again_and_again_is_throttled_too(start_server: StartServer) -> None:
    server = start_server(connects_per_address_per_s=1)
    answers = [post(server, "/v1/longpoll", [connect_frame(server, f"c{n}")]) for n in range(30)]
    statuses = [answer.status for answer in answers]
    assert statuses[:2] == [200] * 2
    assert statuses.count(429) >= 5
