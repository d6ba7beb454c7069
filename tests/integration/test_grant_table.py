"""Every cell of `signaling/GRANTS.md`, asked of a real server and a real media worker."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from typing import Any, Protocol

import jwt
import msgspec
import pytest

from peerbus.protocol.grants import ALL_OPERATIONS, Operation
from peerbus.protocol.signals import Answer, Ended, Refused, Slots
from peerbus.signaling.keys import KeyStore
from tests.support.grant_table import (
    AGENT,
    ALL_BUT,
    ALLOWED,
    CHANNEL,
    FILE,
    KEY_GRANT,
    MEDIA,
    MESSAGING,
    ONLY,
    RESTRICTIONS,
    TYPE,
    Restriction,
    expected,
    grant_json,
    restrictions_of,
    text,
)
from tests.support.live_server import LiveServer
from tests.support.raw_socket import Answer as HttpAnswer
from tests.support.raw_socket import RawWebSocket, connect_frame, request
from tests.support.sfu_room import SfuRoom, Video, until

ORIGIN = {"Origin": "https://evil.example"}
PARTNER = "partner"
PARTNER_SECRET = base64.b64encode(b"partner's secret").decode()
"""It is always the same client, which takes its name over from its own ghost."""


class Keys:
    """A developer key for each purpose; the tokens that they sign."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        # Beside the running server, as the command line does it.
        store = KeyStore.open(server.data_dir)
        now_ms = int(time.time() * 1000)
        good, revoked, foreign = (
            store.create_key(project, grant=KEY_GRANT, now_ms=now_ms)
            for project in ("default", "default", "other")
        )
        store.revoke_key(revoked.key_id, now_ms=now_ms)
        store.close()
        self.good, self.revoked, self.foreign = good.to_text(), revoked.to_text(), foreign.to_text()

    def token(self, restriction: Restriction, operation: Operation | None) -> str:
        """What the row is about."""
        key = self.revoked if restriction.name == "the key is revoked" else self.good
        _, key_id, secret = key.split("_", 2)
        if restriction.name == "a wrong signature":
            secret = "A" * 43
        elif restriction.name == "the key of another project signs":
            secret = self.foreign.split("_", 2)[2]
        now_s = int(time.time())
        claims = {
            "aud": "peerbus",
            "exp": now_s - 1 if restriction.state == "expired" else now_s + 600,
            "grant": grant_json(restriction, operation),
            "jti": base64.urlsafe_b64encode(os.urandom(9)).decode(),
        }
        token = jwt.encode(claims, secret, algorithm="HS256", headers={"kid": key_id})
        if restriction.name == "the token is revoked":
            body = {"token": token}
            assert post(self.server, "/v1/keys/revoke", body, self.good).status == 200
        elif restriction.state == "used_up":
            with RawWebSocket(self.server) as first:
                assert first.join(CHANNEL, AGENT, token)["op"] == "connected"
                first.send_json({"op": "bye"})
                first.ending()
        return token


def post(server: LiveServer, path: str, body: object, key: str, **headers: str) -> HttpAnswer:
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **headers}
    return request(server, "POST", path, sent, json.dumps(body).encode())


class Session(Protocol):
    """One session, over either transport."""

    def ask(self, frame: dict[str, Any]) -> list[dict[str, Any]]:
        """Sends a request; all frames up to its reply."""

    def close(self) -> None:
        """Leaves the channel."""


class Refusal(Exception):
    """The connect was refused, with this code."""


class WebSocketSession:
    def __init__(self, server: LiveServer, frame: dict[str, Any]) -> None:
        self._raw = RawWebSocket(server, headers=ORIGIN)
        self._raw.send_json(frame)
        first = self._raw.next()
        if first["op"] == "error":
            self._raw.close()
            raise Refusal(first["code"])

    def ask(self, frame: dict[str, Any]) -> list[dict[str, Any]]:
        self._raw.send_json(frame)
        seen = []
        for got in self._raw.frames():
            seen.append(got)
            if got.get("id") == frame["id"]:
                return seen
        raise AssertionError(f"no reply to {frame}: {seen}")

    def close(self) -> None:
        self._raw.send_json({"op": "bye"})
        self._raw.ending()
        self._raw.close()


class LongPollSession:
    def __init__(self, server: LiveServer, frame: dict[str, Any]) -> None:
        self._server = server
        sent = {"Content-Type": "application/json", **ORIGIN}
        answer = request(server, "POST", "/v1/longpoll", sent, json.dumps([frame]).encode())
        if answer.status != 200:
            raise Refusal(answer.problem["code"])
        connected = json.loads(answer.body)["frames"][0]
        self._path = f"/v1/longpoll/{connected['session_id']}"
        self._headers = {
            "Authorization": f"Bearer {connected['resume_token']}",
            "Content-Type": "application/json",
            **ORIGIN,
        }
        self._acked, self._posted = 1, 0

    def ask(self, frame: dict[str, Any]) -> list[dict[str, Any]]:
        self._post(frame)
        seen: list[dict[str, Any]] = []
        while True:
            answer = request(self._server, "GET", f"{self._path}?ack={self._acked}", self._headers)
            body = json.loads(answer.body)
            self._acked = body["n"]
            for got in body["frames"]:
                seen.append(got)
                if got.get("id") == frame["id"]:
                    return seen

    def close(self) -> None:
        self._post({"op": "bye"})

    def _post(self, frame: dict[str, Any]) -> None:
        self._posted += 1
        path = f"{self._path}?post={self._posted}"
        body = json.dumps([frame]).encode()
        assert request(self._server, "POST", path, self._headers, body).status == 204


TRANSPORTS: dict[str, type[WebSocketSession | LongPollSession]] = {
    "websocket": WebSocketSession,
    "longpoll": LongPollSession,
}
REQUESTS: dict[Operation, dict[str, Any]] = {
    Operation.HISTORY: {"op": "receive"},
    Operation.SEND_DURABLE: {"op": "send", "content": 1},
    Operation.SEND_LIVE: {"op": "send", "content": 1, "delivery": "live"},
    Operation.SEND_LOSSY: {"op": "send", "content": 1, "delivery": "lossy"},
    Operation.DIRECT: {"op": "send", "content": 1, "delivery": "live", "to": [PARTNER]},
    Operation.PRESENCE: {"op": "members"},
    # Nobody is hurt, and who may not hears so first.
    Operation.KICK: {"op": "kick", "agent": "nobody"},
    Operation.LOCK: {"op": "lock", "locked": False},
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    """One server for the whole table."""
    settings = {"connects_per_address_per_s": 10_000, "failed_connects_per_address_per_min": 10_000}
    server = LiveServer(tmp_path_factory.mktemp("table"), dict(settings))
    server.start()
    try:
        yield Keys(server)
        server.stop()
    finally:
        if server.is_running:
            server.kill()


def outcomes(
    keys: Keys,
    transport: str,
    restriction: Restriction,
    operation: Operation | None,
    asked: tuple[Operation, ...],
) -> dict[Operation, str]:
    """What the operations come to for one token, in one session."""
    token = keys.token(restriction, operation)
    scope = restriction.connect.get("scope", "private")
    with RawWebSocket(keys.server) as partner:
        joined = partner.join(CHANNEL, PARTNER, keys.good, scope=scope, lineage_secret=PARTNER_SECRET)
        assert joined["op"] == "connected"
        channel = restriction.connect.get("channel", CHANNEL)
        frame = connect_frame(keys.server, channel, AGENT, token, scope=scope)
        try:
            session: Session = TRANSPORTS[transport](keys.server, frame)
        except Refusal as refusal:
            return dict.fromkeys(asked, str(refusal))
        codes = {
            one: outcome(session, partner, one, request_id=10 * number)
            for number, one in enumerate(asked, start=1)
        }
        session.close()
    return codes


def outcome(session: Session, partner: RawWebSocket, operation: Operation, *, request_id: int) -> str:
    if operation is Operation.READ:
        partner.send_json({"op": "send", "id": request_id, "delivery": "live", "content": "for who reads"})
        assert partner.next("ack")["id"] == request_id
        # Everybody may do this, and the message would have come before the reply.
        seen = session.ask({"op": "update", "id": request_id, "attributes": {}})
        return ALLOWED if any(frame["op"] == "message" for frame in seen) else "forbidden"
    sent = {"id": request_id, **REQUESTS[operation]}
    if sent["op"] == "send":
        sent["type"] = TYPE
    reply = session.ask(sent)[-1]
    if operation is Operation.KICK and reply.get("code") == "not_found":
        return ALLOWED
    return reply["code"] if reply["op"] == "error" else ALLOWED


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("restriction", RESTRICTIONS, ids=lambda one: one.name)
def test_sessions(keys: Keys, transport: str, restriction: Restriction) -> None:
    wanted = {operation: expected(restriction, operation) for operation in MESSAGING}
    if not restriction.is_each:
        assert outcomes(keys, transport, restriction, None, MESSAGING) == wanted
        return
    found = {one: outcomes(keys, transport, restriction, one, (one,))[one] for one in MESSAGING}
    assert found == wanted


@pytest.mark.parametrize("restriction", restrictions_of("http"), ids=lambda one: one.name)
def test_keys_over_http(keys: Keys, restriction: Restriction) -> None:
    token = keys.token(restriction, Operation.ADMIN)
    other = keys.server.developer_key.split("_")[1]
    answer = post(keys.server, "/v1/keys/revoke", {"token_id": f"{other}:none"}, token, **ORIGIN)
    code = ALLOWED if answer.status == 200 else answer.problem["code"]
    assert code == expected(restriction, Operation.ADMIN, "http")


@pytest.mark.parametrize("operation", MEDIA)
@pytest.mark.parametrize("restriction", restrictions_of("sfu"), ids=lambda one: one.name)
async def test_media(restriction: Restriction, operation: Operation) -> None:
    operations = ALL_OPERATIONS
    if restriction is ONLY:
        operations = frozenset({operation})
    elif restriction is ALL_BUT:
        operations = ALL_OPERATIONS - {operation}
    async with SfuRoom() as room:
        found = await media_outcome(room, operation, operations, is_expired=restriction.state == "expired")
    assert found == expected(restriction, operation, "sfu")


async def media_outcome(
    room: SfuRoom, operation: Operation, operations: frozenset[Operation], *, is_expired: bool
) -> str:
    publisher = await room.join("publisher", videos=(1000,), has_data=True)
    kinds: dict[Operation, dict[str, Any]] = {
        Operation.PUBLISH_AUDIO: {"audios": (2000,)},
        Operation.PUBLISH_VIDEO: {"videos": (2000,)},
        Operation.PUBLISH_SCREEN: {"videos": (2000,)},
        Operation.PUBLISH_DATA: {"has_data": True},
        Operation.SUBSCRIBE: {"video_slots": 1},
    }
    peer = room.peer("alice", **kinds[operation])
    peer.participant = msgspec.structs.replace(peer.participant, operations=sorted(operations))
    if is_expired:
        peer.participant = msgspec.structs.replace(peer.participant, expires_ms=1)
    offer = peer.offer()
    if operation is Operation.PUBLISH_SCREEN:
        tracks = [msgspec.structs.replace(track, source="screen") for track in offer.tracks]
        offer = msgspec.structs.replace(offer, tracks=tracks)
    if is_expired or operation not in (Operation.PUBLISH_DATA, Operation.SUBSCRIBE):
        room.ask(peer.participant, offer)
        kind = Ended if is_expired else Answer | Refused
        await until(lambda: any(isinstance(signal, kind) for signal in peer.signals))
        last = [signal for signal in peer.signals if isinstance(signal, Answer | Refused | Ended)][-1]
        return ALLOWED if isinstance(last, Answer) else last.code
    await peer.connect()
    if operation is Operation.PUBLISH_DATA:
        peer.channels["reliable"].send(msgspec.msgpack.encode([None, "for everyone"]))
        await until(lambda: publisher.data or peer.data)
        return ALLOWED if publisher.data else msgspec.msgpack.decode(peer.data[0][1])[1]["code"]
    await until(lambda: any(isinstance(signal, Slots) for signal in peer.signals))
    Video(publisher, 1000).send(5, is_keyframe=True)
    await until(lambda: room.worker.engine.counts.received >= 5)
    slots = [signal for signal in peer.signals if isinstance(signal, Slots)][-1]
    bound = any(binding.publication for binding in slots.bindings if isinstance(binding.publication, str))
    return ALLOWED if bound else "forbidden"


def test_the_file_says_what_the_model_says() -> None:
    assert FILE.read_text("utf-8") == text(), "run: python -m tests.support.grant_table"
