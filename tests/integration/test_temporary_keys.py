"""Temporary keys of a real server: given out, raced for, revoked, and noted, beside a witness."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from typing import Any

import aiohttp
import pytest

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.temporary_key import create_temporary_key, revoke_token
from peerbus.protocol.credentials import TokenClaims, parse_developer_key
from peerbus.protocol.grants import Operation
from peerbus.protocol.session.outputs import State
from peerbus.signaling.audit import AuditLog
from peerbus.signaling.audit_entry import AuditAction
from peerbus.signaling.keyring import signed
from tests.support.live_server import LiveServer, StartServer
from tests.support.raw_socket import Answer, RawWebSocket, connect_frame, request

GRANT = {
    "channels": ["hall"],
    "agents": [">"],
    "operations": ["read", "send_live", "presence", "history"],
    "types": [">"],
}
CLOSED_WITHIN_S = 2.0
ISSUE, REVOKE = "/v1/keys/temporary", "/v1/keys/revoke"


def post(server: LiveServer, path: str, body: object, key: str | None, **headers: str) -> Answer:
    sent = {"Content-Type": "application/json", **headers}
    if key is not None:
        sent["Authorization"] = f"Bearer {key}"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request(server, "POST", path, sent, data)


def issued(
    server: LiveServer, key: str | None = None, *, ttl_ms: int = 600_000, **sections: Any
) -> dict[str, Any]:
    grant = {**GRANT, **sections}
    answer = post(server, ISSUE, {"grant": grant, "ttl_ms": ttl_ms}, key or server.developer_key)
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "no-store"
    value: dict[str, Any] = json.loads(answer.body)
    return value


def code_of(answer: Answer) -> str:
    code: str = answer.problem["code"]
    return code


def first_op(server: LiveServer, key: str, channel: str = "hall", **fields: Any) -> str:
    """`connected`, or the code of the refusal."""
    with RawWebSocket(server) as raw:
        first = raw.join(channel, key=key, **fields)
        raw.send_json({"op": "bye"})
        raw.ending()
    return str(first["code"] if first["op"] == "error" else first["op"])


# --- given out ----------------------------------------------------------------------------------------------


def test_a_temporary_key_opens_what_it_says_and_no_more(attacked: LiveServer) -> None:
    key = issued(attacked, operations=["read", "send_live"], ttl_ms=2_500)
    assert key["grant"]["operations"] == ["read", "send_live"]
    assert 0 < key["expires_in_ms"] <= 2_500
    assert first_op(attacked, key["api_key"], "elsewhere") == "forbidden"
    with RawWebSocket(attacked) as raw:
        assert raw.join("hall", key=key["api_key"])["operations"] == ["read", "send_live"]
        raw.send_json({"op": "send", "id": 2, "content": 1})
        assert raw.next("error")["code"] == "forbidden"
        assert raw.ending() == ("expired", 3503)
    assert first_op(attacked, key["api_key"]) == "expired"
    assert key["api_key"] not in attacked.log


def test_it_allows_no_more_than_who_asks(attacked: LiveServer) -> None:
    narrow = attacked.keys("create", "--channel", "hall", "--allow", "read,presence")
    key = issued(
        attacked, narrow, channels=[">"], operations=["read", "kick", "admin", "send_live"], public=True
    )
    assert key["grant"]["channels"] == ["hall"]
    assert key["grant"]["operations"] == ["read"]
    wider = {"channels": ["elsewhere"], "agents": [">"], "operations": ["read"]}
    assert code_of(post(attacked, ISSUE, {"grant": wider}, narrow)) == "forbidden"
    # A token without admin issues nothing, and revokes nobody but itself.
    assert code_of(post(attacked, ISSUE, {"grant": GRANT}, key["api_key"])) == "forbidden"
    other = issued(attacked, narrow)
    assert code_of(post(attacked, REVOKE, {"token_id": other["token_id"]}, key["api_key"])) == "forbidden"
    assert post(attacked, REVOKE, {"token_id": key["token_id"]}, key["api_key"]).status == 200
    assert first_op(attacked, key["api_key"]) == "revoked"
    # The developer key revokes what it signed, though it has no admin; other keys it does not.
    assert post(attacked, REVOKE, {"token": other["api_key"]}, narrow).status == 200
    assert first_op(attacked, other["api_key"]) == "revoked"
    foreign = issued(attacked)
    assert code_of(post(attacked, REVOKE, {"token_id": foreign["token_id"]}, narrow)) == "forbidden"
    first_key = attacked.developer_key.split("_")[1]
    assert code_of(post(attacked, REVOKE, {"key_id": first_key}, narrow)) == "forbidden"
    assert post(attacked, REVOKE, {"key_id": narrow.split("_")[1]}, narrow).status == 200
    assert code_of(post(attacked, ISSUE, {"grant": GRANT}, narrow)) == "revoked"


def test_a_token_without_an_id_does_not_pass_for_the_key_that_signed_it(attacked: LiveServer) -> None:
    key = parse_developer_key(attacked.developer_key)
    assert key is not None
    token = signed(key, TokenClaims(exp=int(time.time()) + 60, grant=GRANT)).reveal()
    assert code_of(post(attacked, REVOKE, {"key_id": key.key_id}, token)) == "forbidden"
    assert first_op(attacked, token) == "connected"


def test_another_project_is_not_even_there(attacked: LiveServer) -> None:
    stranger = attacked.keys("create", "--project", "other")
    key = issued(attacked)
    bodies = [
        {"token_id": key["token_id"]},
        {"token": key["api_key"]},
        {"key_id": attacked.developer_key.split("_")[1]},
        {"token_id": "aaaaaaaaaaaa:x"},
        {"key_id": "aaaaaaaaaaaa"},
        {"token": "a.b.c"},
    ]
    answers = [post(attacked, REVOKE, body, stranger).problem for body in bodies]
    assert {answer["code"] for answer in answers} == {"not_found"}
    assert len({answer["detail"] for answer in answers}) == 1
    assert first_op(attacked, key["api_key"]) == "connected"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (ISSUE, b"", "bad_request"),
        (ISSUE, b"{", "bad_request"),
        (ISSUE, b"[]", "bad_request"),
        (ISSUE, b"\xff\xfe", "bad_request"),
        (ISSUE, b'{"grant":' + b"[" * 5_000, "bad_request"),
        (ISSUE, {"ttl_ms": 1000}, "bad_request"),
        (ISSUE, {"grant": GRANT, "ttl_ms": 10**15}, "bad_request"),
        (ISSUE, {"grant": GRANT, "ttl_ms": 0}, "bad_request"),
        (ISSUE, {"grant": GRANT, "ttl_ms": "1h"}, "bad_request"),
        (ISSUE, {"grant": GRANT, "sudo": True}, "bad_request"),
        (ISSUE, {"grant": {**GRANT, "sudo": True}}, "bad_request"),
        (ISSUE, {"grant": {**GRANT, "uses": 0}}, "bad_request"),
        (ISSUE, {"grant": {**GRANT, "channels": ["x" * 200 + str(n) for n in range(32)]}}, "too_large"),
        (ISSUE, b'{"grant":{"channels":["' + b"x" * 70_000 + b'"]}}', "too_large"),
        (REVOKE, {}, "bad_request"),
        (REVOKE, {"token_id": "a", "key_id": "b"}, "bad_request"),
        (REVOKE, {"token_id": 1}, "bad_request"),
        (REVOKE, {"token_id": "nonsense"}, "not_found"),
        (REVOKE, {"token_id": "aaaaaaaaaaaa:x", "expires_ms": 10**30}, "bad_request"),
        (REVOKE, {"token_id": "aaaaaaaaaaaa:x", "expires_ms": 2**63}, "bad_request"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_requests(attacked: LiveServer, path: str, body: object, code: str) -> None:
    assert code_of(post(attacked, path, body, attacked.developer_key)) == code


def test_who_has_no_good_credential_hears_one_answer(attacked: LiveServer) -> None:
    right = attacked.developer_key
    key = issued(attacked)["api_key"]
    head, payload, signature = key.split(".")
    wrong = [
        None,
        "",
        "x",
        right[:-43] + "A" * 43,
        "pb_" + "a" * 12 + "_" + "A" * 43,
        f"{head}.{payload}.{signature[::-1]}",
        f"{head}.{payload}.",
    ]
    for path, body in ((ISSUE, {"grant": GRANT}), (REVOKE, {"token_id": "aaaaaaaaaaaa:x"})):
        answers = [post(attacked, path, body, text) for text in wrong]
        assert {answer.status for answer in answers} == {401}
        assert len({json.dumps({**answer.problem, "correlation_id": ""}) for answer in answers}) == 1
    basic = post(attacked, ISSUE, {"grant": GRANT}, None, Authorization=f"Basic {right}")
    assert code_of(basic) == "unauthorized"
    assert right not in attacked.log


# --- one use ------------------------------------------------------------------------------------------------


def frame_of(server: LiveServer, key: str, secret: bytes) -> dict[str, Any]:
    return connect_frame(server, "hall", "", key, lineage_secret=base64.b64encode(secret).decode())


async def by_websocket(http: aiohttp.ClientSession, server: LiveServer, key: str, secret: bytes) -> str:
    async with http.ws_connect(f"{server.url}/v1/ws", protocols=["peerbus.v1.json"]) as ws:
        await ws.send_json(frame_of(server, key, secret))
        first = await ws.receive_json()
        return str(first.get("code", first["op"]))


async def by_longpoll(http: aiohttp.ClientSession, server: LiveServer, key: str, secret: bytes) -> str:
    async with http.post(f"{server.url}/v1/longpoll", json=[frame_of(server, key, secret)]) as response:
        answer = await response.json(content_type=None)
        return "connected" if response.status == 200 else str(answer["code"])


async def race(server: LiveServer, key: str, secrets: list[bytes]) -> list[str]:
    async with aiohttp.ClientSession() as http:
        return await asyncio.gather(
            *(
                (by_websocket, by_longpoll)[number % 2](http, server, key, secret)
                for number, secret in enumerate(secrets)
            )
        )


async def one_after_another(server: LiveServer, key: str, secret: bytes) -> list[str]:
    async with aiohttp.ClientSession() as http:
        return [await way(http, server, key, secret) for way in (by_websocket, by_longpoll)]


async def test_of_all_who_race_for_a_single_use_one_wins_for_good(start_server: StartServer) -> None:
    server = await asyncio.to_thread(start_server, connects_per_address_per_s=10_000)
    outcomes = []
    for uses in (1, 3):
        key = issued(server, uses=uses)["api_key"]
        secrets = [os.urandom(16) for _ in range(16)]
        codes = await race(server, key, secrets)
        assert sorted(codes) == ["connected"] * uses + ["used_up"] * (16 - uses)
        outcomes.append((key, dict(zip(secrets, codes, strict=True))))
    for is_after_crash in (False, True):
        if is_after_crash:
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        for key, codes_by_secret in outcomes:
            winner = next(secret for secret, code in codes_by_secret.items() if code == "connected")
            loser = next(secret for secret, code in codes_by_secret.items() if code == "used_up")
            assert await one_after_another(server, key, winner) == ["connected"] * 2
            assert await one_after_another(server, key, loser) == ["used_up"] * 2


def test_a_renewal_is_a_use_as_well(attacked: LiveServer) -> None:
    key = issued(attacked, uses=1)["api_key"]
    with RawWebSocket(attacked) as first, RawWebSocket(attacked) as second:
        first.join("hall", "first")
        first.send_json({"op": "renew", "id": 2, "api_key": key}, {"op": "renew", "id": 3, "api_key": key})
        assert {first.next("ack", "error")["op"] for _ in range(2)} == {"ack"}
        second.join("hall", "second")
        second.send_json({"op": "renew", "id": 2, "api_key": key})
        assert second.next("error")["code"] == "used_up"


def test_a_key_with_uses_counts_those_by_all_its_tokens(attacked: LiveServer) -> None:
    many = issued(attacked, operations=["read", "admin"], uses=5)["api_key"]
    assert code_of(post(attacked, ISSUE, {"grant": GRANT}, many)) == "forbidden"


# --- revoked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["http", "command"])
def test_revoking_a_token_closes_its_sessions_and_what_it_issued(attacked: LiveServer, way: str) -> None:
    room = f"room of {way}"
    parent = issued(attacked, channels=[room], operations=[*GRANT["operations"], "admin"])
    child = issued(attacked, parent["api_key"], channels=[room])
    sibling = issued(attacked, channels=[room])
    answer = post(attacked, "/v1/longpoll", [connect_frame(attacked, room, "polls", parent["api_key"])], None)
    connected = json.loads(answer.body)["frames"][0]
    address = f"/v1/longpoll/{connected['session_id']}"
    authorization = {"Authorization": f"Bearer {connected['resume_token']}"}
    with RawWebSocket(attacked) as first, RawWebSocket(attacked) as second, RawWebSocket(attacked) as other:
        first.join(room, "parent", parent["api_key"])
        second.join(room, "child", child["api_key"])
        other.join(room, "sibling", sibling["api_key"])
        if way == "http":
            body = {"token_id": parent["token_id"]}
            assert post(attacked, REVOKE, body, attacked.developer_key).status == 200
        else:
            attacked.keys("revoke", parent["token_id"])
        began_s = time.monotonic()
        for raw in (first, second):
            raw.set_timeout(CLOSED_WITHIN_S)
            assert raw.ending() == ("revoked", 3504)
        frames: list[dict[str, Any]] = []
        acked = 1
        while not frames or frames[-1]["op"] != "closing":
            polled = request(attacked, "GET", f"{address}?ack={acked}", authorization)
            acked, frames = (json.loads(polled.body)[name] for name in ("n", "frames"))
        assert frames[-1]["code"] == "revoked"
        assert time.monotonic() - began_s < CLOSED_WITHIN_S
        other.send_json({"op": "members", "id": 2})
        assert [one["name"] for one in other.next("members_reply")["members"]] == ["sibling"]
        other.send_json({"op": "bye"})
        other.ending()
    for key in (parent, child):
        assert first_op(attacked, key["api_key"], room) == "revoked"
        assert code_of(post(attacked, ISSUE, {"grant": GRANT}, key["api_key"])) == "revoked"
    assert first_op(attacked, sibling["api_key"], room) == "connected"


def test_a_poll_hears_in_time_that_its_key_has_ended(attacked: LiveServer) -> None:
    key = issued(attacked, ttl_ms=1_500)
    answer = post(attacked, "/v1/longpoll", [connect_frame(attacked, "hall", "", key["api_key"])], None)
    connected = json.loads(answer.body)["frames"][0]
    address = f"/v1/longpoll/{connected['session_id']}"
    authorization = {"Authorization": f"Bearer {connected['resume_token']}"}
    ops: list[str] = []
    acked = 1
    while "closing" not in ops:
        answer = request(attacked, "GET", f"{address}?ack={acked}", authorization)
        acked, frames = (json.loads(answer.body)[name] for name in ("n", "frames"))
        ops += [frame["op"] for frame in frames]
        if "closing" in ops:
            assert frames[-1]["code"] == "expired"
    assert "expiring" in ops
    assert time.time() - key["expires_ms"] / 1_000 < CLOSED_WITHIN_S


def test_the_rate_of_a_grant_is_for_all_classes_together(attacked: LiveServer) -> None:
    operations = [*GRANT["operations"], "send_lossy", "send_durable"]
    key = issued(attacked, operations=operations, rate_per_s=0.01)["api_key"]
    with RawWebSocket(attacked) as raw:
        raw.join("hall", key=key)
        for number, delivery in enumerate(("live", "lossy", "durable", "lossy", "live"), start=2):
            raw.send_json({"op": "send", "id": number, "content": 1, "delivery": delivery})
        codes = [reply.get("code", "ack") for reply in (raw.next("ack", "error") for _ in range(5))]
        assert codes == ["ack"] + ["rate_limited"] * 4


# --- rates that are shared ----------------------------------------------------------------------------------


def sent(raw: RawWebSocket, count: int, delivery: str = "live") -> list[dict[str, Any]]:
    """The replies to so many messages; those that were refused say when there will be room."""
    raw.send_json(*({"op": "send", "id": 10 + n, "content": n, "delivery": delivery} for n in range(count)))
    replies = [raw.next("ack", "error") for _ in range(count)]
    for error in replies:
        if error["op"] == "error":
            assert (error["code"], error["is_retryable"]) == ("rate_limited", True)
            assert 0 < error["retry_after_ms"] <= 1_000
    return replies


def refused(replies: list[dict[str, Any]]) -> bool:
    return any(reply["op"] == "error" for reply in replies)


def test_the_sessions_of_a_channel_share_its_rate(start_server: StartServer) -> None:
    server = start_server(channel_send_rate_per_s=5)
    with RawWebSocket(server) as one, RawWebSocket(server) as two, RawWebSocket(server) as elsewhere:
        for name, raw in (("one", one), ("two", two)):
            raw.join("hall", name)
        elsewhere.join("corner", "three")
        replies = sent(one, 40)
        assert not refused(replies[:5])
        assert refused(replies[5:])
        assert "in this channel" in next(reply for reply in replies if reply["op"] == "error")["message"]
        assert refused(sent(two, 40, "durable"))
        assert not refused(sent(elsewhere, 5))
        one.send_json({"op": "members", "id": 99})
        assert one.next("members_reply")["id"] == 99


def test_the_sessions_of_a_key_and_its_tokens_share_its_rate(start_server: StartServer) -> None:
    server = start_server(key_send_rate_per_s=5)
    token = issued(server, channels=[">"])["api_key"]
    other_key = server.keys("create")
    with RawWebSocket(server) as one, RawWebSocket(server) as two, RawWebSocket(server) as three:
        one.join("hall", "one")
        two.join("corner", "two", token)
        three.join("hall", "three", other_key)
        assert refused(sent(one, 40))
        assert refused(sent(two, 40))
        assert not refused(sent(three, 5))


# --- what is noted ------------------------------------------------------------------------------------------


def test_the_audit_log_says_who_did_what_and_no_secret(start_server: StartServer) -> None:
    server = start_server(failed_connects_per_address_per_min=5, demo=True)
    own = server.developer_key
    own_id = own.split("_")[1]
    canaries = [own.split("_", 2)[2]]
    once, revoked = issued(server, uses=1, operations=["read", "kick", "lock"]), issued(server)
    canaries += [key["api_key"].rsplit(".", 1)[1] for key in (once, revoked)]
    join_token = os.urandom(32)
    with RawWebSocket(server) as mallory, RawWebSocket(server) as raw:
        fields = {"join_token": base64.b64encode(join_token).decode()}
        mallory.join("hall", "mallory", **fields)
        secret = os.urandom(16)
        lineage = {"lineage_secret": base64.b64encode(secret).decode()}
        connected = raw.join("hall", "boss", once["api_key"], **fields, **lineage)
        canaries += [
            connected["resume_token"],
            fields["join_token"],
            join_token.hex(),
            lineage["lineage_secret"],
        ]
        raw.send_json({"op": "kick", "id": 2, "agent": "mallory", "reason": "spam\x1b[2J"})
        raw.send_json({"op": "lock", "id": 3, "locked": True}, {"op": "lock", "id": 4, "locked": False})
        assert [raw.next("ack")["id"] for _ in range(3)] == [2, 3, 4]
    assert first_op(server, once["api_key"]) == "used_up"
    assert post(server, REVOKE, {"token_id": revoked["token_id"]}, own).status == 200
    demo = json.loads(request(server, "POST", "/v1/demo/key").body)["api_key"]
    canaries.append(demo.rsplit(".", 1)[1])
    guesses = [f"pb_{'a' * 12}_{number:043d}" for number in range(8)]
    for guess in guesses:
        post(server, "/v1/longpoll", [connect_frame(server, key=guess)], None)
    server.stop()
    seen = [(entry.action, entry.by, entry.target) for entry in AuditLog(server.data_dir).entries()]
    by_once = f"boss ({once['token_id']})"
    for entry in (
        (AuditAction.KEY_CREATED, "operator", own_id),
        (AuditAction.TOKEN_ISSUED, own_id, once["token_id"]),
        (AuditAction.KICK, by_once, "mallory"),
        (AuditAction.LOCK, by_once, ""),
        (AuditAction.UNLOCK, by_once, ""),
        (AuditAction.TOKEN_REVOKED, own_id, revoked["token_id"]),
        (AuditAction.CREDENTIALS_REFUSED, "", ""),
        (AuditAction.DEMO_KEYS_ISSUED, "", ""),
    ):
        assert seen.count(entry) == 1, (entry, seen)
    actions = [action for action, _, _ in seen]
    assert actions.count(AuditAction.USE_COUNTED) == 1
    assert actions.count(AuditAction.USE_REFUSED) == 1
    (refused,) = AuditLog(server.data_dir).entries(action=AuditAction.CREDENTIALS_REFUSED)
    assert (refused.address, refused.detail, refused.count) == ("127.0.0.1", "unauthorized", 5)
    audit = (server.data_dir / "audit.jsonl").read_bytes()
    # The positive control: what is no secret stands there.
    assert once["token_id"].encode() in audit
    assert b"\x1b" not in audit
    assert "\u202e".encode() not in audit
    for canary in [*canaries, *(guess.split("_")[2] for guess in guesses)]:
        assert canary.encode() not in audit
        assert canary not in server.log


# --- from Python --------------------------------------------------------------------------------------------


async def test_a_program_gives_a_key_to_its_participant_and_takes_it_back(attacked: LiveServer) -> None:
    own = attacked.developer_key
    key = await create_temporary_key(
        attacked.url, api_key=own, channels=["hall"], agents=["alice"], claim="alice", uses=1, rate_per_s=5
    )
    assert key.api_key not in repr(key)
    agent = AgentConnection(attacked.url, key.api_key)
    await agent.connect("hall")
    assert agent.agent_name == "alice"
    closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def changed(state: State) -> None:
        if state.name == "closed" and not closed.done():
            closed.set_result(state.code or "")

    agent.on("state", changed)
    await revoke_token(attacked.url, api_key=own, token_id=key.token_id)
    assert await asyncio.wait_for(closed, 10) == "revoked"
    await agent.disconnect()
    with pytest.raises(PeerbusError) as caught:
        await create_temporary_key(attacked.url, api_key=own[:-1] + "!", channels=["hall"])
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    assert own[:-1] not in str(caught.value)
    with pytest.raises(PeerbusError) as caught:
        await create_temporary_key(attacked.url, api_key=own, channels=["hall"], moon=1)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    with pytest.raises(PeerbusError) as caught:
        await create_temporary_key(
            attacked.url, api_key=own, channels=["hall"], operations=[Operation.READ, "fly"]
        )
    assert caught.value.code is ErrorCode.BAD_REQUEST
