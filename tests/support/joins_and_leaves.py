"""Many sessions that come and go, each with a name and a channel of its own."""

from __future__ import annotations

import json

from tests.support.live_server import LiveServer
from tests.support.raw_socket import RawSocket, RawWebSocket, connect_frame


def join_and_leave(server: LiveServer, *, by_websocket: int, by_long_poll: int) -> None:
    """Sessions that join, say something, and leave; most of them properly."""
    for number in range(by_websocket):
        with RawWebSocket(server) as raw:
            raw.join(f"passage-{number % 7}", f"guest-{number}")
            raw.send_json({"op": "send", "id": 2, "delivery": "live", "content": "hello"})
            raw.next("ack")
            raw.send_json({"op": "bye"})
            assert raw.ending() == ("closed", 1000)
    with RawSocket(server) as raw:
        for number in range(by_long_poll):
            _pass_by_long_poll(server, raw, number)


def _pass_by_long_poll(server: LiveServer, raw: RawSocket, number: int) -> None:
    connect = connect_frame(server, f"hall-{number % 7}", f"guest-{number}", attributes={"number": number})
    frames = [connect, {"op": "send", "id": 2, "delivery": "live", "content": "hello"}]
    raw.send_request(
        "POST", "/v1/longpoll", {"Content-Type": "application/json"}, json.dumps(frames).encode()
    )
    answer = raw.answer()
    assert answer.status == 200, answer
    connected = json.loads(answer.body)["frames"][0]
    address = f"/v1/longpoll/{connected['session_id']}"
    authorization = {"Authorization": f"Bearer {connected['resume_token']}"}
    raw.send_request("POST", f"{address}?post=1", authorization, b'{"op":"bye"}')
    assert raw.answer().status == 204
    # The end is read and acknowledged, so that the server may forget the session at once.
    acked = 1
    while True:
        raw.send_request("GET", f"{address}?ack={acked}", authorization)
        answer = raw.answer()
        if answer.status == 404:
            return
        acked = json.loads(answer.body)["n"]
