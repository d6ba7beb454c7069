"""
WebSocket frames, protocol frames and names that no client of ours sends, each with its answer beside a witness.

See RFC 6455, PROTOCOL.md (sections 1 to 3 and 10), and the fixture `attacked`.
"""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import msgpack
import pytest

from tests.support.live_server import LiveServer
from tests.support.raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    connect_frame,
    head,
    masked,
    unmasked,
)

GOOD = json.dumps({"op": "ping"}).encode()
MASK = b"\1\2\3\4"
LINEAGE = "A" * 22 + "=="
FRAME_BYTES = 1_048_576

BROKEN = {
    "unmasked": (unmasked(TEXT, GOOD), 1002),
    "unmasked and empty": (unmasked(TEXT, b""), 1002),
    "an unmasked ping": (unmasked(PING, b""), 1002),
    "an unmasked close": (unmasked(CLOSE, (1000).to_bytes(2, "big")), 1002),
    "unmasked behind a good one": (masked(TEXT, GOOD) + unmasked(TEXT, GOOD), 1002),
    "unmasked behind a long one": (masked(TEXT, GOOD + b" " * 70_000) + unmasked(TEXT, GOOD), 1002),
    "unmasked in the middle of a message": (
        masked(TEXT, GOOD[:4], fin=False) + unmasked(CONTINUATION, GOOD[4:]),
        1002,
    ),
    "RSV1": (masked(TEXT, GOOD, reserved=4), 1002),
    "RSV2": (masked(TEXT, GOOD, reserved=2), 1002),
    "RSV3": (masked(BINARY, GOOD, reserved=1), 1002),
    "a fragmented ping": (masked(PING, b"", fin=False), 1002),
    "a fragmented close": (masked(CLOSE, b"", fin=False), 1002),
    "a long ping": (masked(PING, b"x" * 126), 1002),
    "an unknown opcode": (masked(0x3, GOOD), 1002),
    "an unknown control opcode": (masked(0xB, b""), 1002),
    "a continuation of nothing": (masked(CONTINUATION, GOOD), 1002),
    "a message within a message": (masked(TEXT, b"[", fin=False) + masked(TEXT, GOOD), 1002),
    "a close of one byte": (masked(CLOSE, b"x"), 1002),
    "a close with a code of nobody": (masked(CLOSE, (1005).to_bytes(2, "big")), 1002),
    "bad UTF-8": (masked(TEXT, b'{"op":"\xff\xfe"}'), 1007),
    "UTF-8 that ends too early": (masked(TEXT, b'"\xe2\x82', fin=False) + masked(CONTINUATION, b'"'), 1007),
    "a surrogate in UTF-8": (masked(TEXT, b'"\xed\xa0\x80"'), 1007),
    "a close with bad UTF-8": (masked(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
    "a frame beyond the limit": (head(TEXT, FRAME_BYTES + 1) + MASK, 1009),
    "a frame of 2^62 bytes": (head(BINARY, 1 << 62) + MASK, 1009),
    "a frame of 2^64-1 bytes": (head(BINARY, (1 << 64) - 1) + MASK, 1009),
    "fragments beyond the limit": (
        masked(TEXT, b"x" * 600_000, fin=False) + head(CONTINUATION, 600_000) + MASK,
        1009,
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_frame_ends_the_connection_with_its_code_and_keeps_the_session(
    attacked: LiveServer, what: str
) -> None:
    data, code = BROKEN[what]
    with RawWebSocket(attacked) as raw:
        connected = raw.join("corner", "breaker", lineage_secret=LINEAGE)
        raw.send(data)
        assert raw.ending()[1] == code
    with RawWebSocket(attacked) as raw:
        resume = {"token": connected["resume_token"]}
        again = raw.join("corner", "breaker", lineage_secret=LINEAGE, resume=resume)
        assert again["session_id"] == connected["session_id"]
        raw.send_json({"op": "bye"})
        assert raw.ending() == ("closed", 1000)


@pytest.mark.parametrize("what", BROKEN)
def test_the_same_before_connect(attacked: LiveServer, what: str) -> None:
    data, code = BROKEN[what]
    with RawWebSocket(attacked) as raw:
        raw.send(data)
        # A good frame in front of it is not a connect, and a long one is too long for that.
        assert raw.ending()[1] in {"behind a good one": (3501,), "behind a long one": (1009,)}.get(
            what.removeprefix("unmasked "), (code,)
        )


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_an_unmasked_frame_is_noticed_wherever_the_bytes_are_cut(attacked: LiveServer, size: int) -> None:
    data = (
        masked(TEXT, GOOD) + masked(TEXT, GOOD + b" " * 200) + masked(PING, b"hello") + unmasked(TEXT, GOOD)
    )
    with RawWebSocket(attacked) as raw:
        raw.join("corner")
        for start in range(0, len(data), size):
            raw.send(data[start : start + size])
        frames = [raw.next_frame()]
        while frames[-1][0] != CLOSE:
            frames.append(raw.next_frame())
        assert int.from_bytes(frames[-1][1][:2], "big") == 1002
        assert (PONG, b"hello") in frames


def test_good_frames_in_any_pieces_are_read(attacked: LiveServer) -> None:
    request = json.dumps({"op": "send", "id": 2, "content": "x" * 70_000}).encode()
    cuts = [1, 5, 126, 60_000, len(request)]
    fragments = [request[start:end] for start, end in itertools.pairwise([0, *cuts])]
    data = masked(TEXT, fragments[0], fin=False)
    for fragment in fragments[1:-1]:
        # Control frames may come between the fragments of a message.
        data += masked(PING, b"between") + masked(CONTINUATION, fragment, fin=False)
    data += masked(CONTINUATION, fragments[-1])
    with RawWebSocket(attacked) as raw:
        raw.join("corner")
        for start in range(0, len(data), 997):
            raw.send(data[start : start + 997])
        assert raw.next("ack")["id"] == 2


def test_ten_thousand_pings_are_answered(attacked: LiveServer) -> None:
    with RawWebSocket(attacked) as raw:
        raw.join("corner")
        data = masked(PING, b"x") * 10_000
        answered = 0
        while answered < 10_000:
            raw.set_timeout(0.01 if data else 20)
            try:
                data = data[raw.send_some(data) :] if data else b""
                while raw.next_frame() == (PONG, b"x"):
                    answered += 1
                    if answered == 10_000:
                        break
            except TimeoutError:
                continue


def test_many_connections_that_end_in_the_middle_of_a_frame(attacked: LiveServer) -> None:
    for number in range(200):
        raw = RawWebSocket(attacked)
        if number % 4:
            # Where the witness writes all the time, so that they also end while they are written to.
            assert raw.join("lobby")["op"] == "connected"
        raw.send(head(BINARY, 1_000_000) + MASK + b"x" * (number * 100))
        if number % 2:
            raw.reset()
        else:
            raw.close()


# --- the first frame --------------------------------------------------------------------------------------------


def test_who_does_not_connect_in_time_is_told_so(attacked: LiveServer) -> None:
    with RawWebSocket(attacked) as raw:
        assert raw.ending() == ("handshake_timeout", 3002)


def test_websocket_pings_and_half_a_frame_do_not_count(attacked: LiveServer) -> None:
    with RawWebSocket(attacked) as raw:
        raw.send(masked(PING, b"") * 10 + masked(TEXT, b"{", fin=False))
        assert raw.ending() == ("handshake_timeout", 3002)


@pytest.mark.parametrize(
    ("text", "code", "close_code"),
    [
        ('{"op":"ping"}', "protocol_violation", 3501),
        ('{"op":"connected"}', "bad_frame", 3501),
        ("nonsense", "bad_frame", 3501),
        ("", "bad_frame", 3501),
        ("[]", "bad_frame", 3501),
        ('{"op":"connect"}', "bad_frame", 3501),
        ("[" * 60_000, "bad_frame", 3501),
        ('{"op":"connect","id":1,"attributes":{"a":"' + "x" * 70_000 + '"}}', "too_large", 1009),
    ],
)
def test_a_first_frame_that_is_no_connect_is_refused(
    attacked: LiveServer, text: str, code: str, close_code: int
) -> None:
    with RawWebSocket(attacked) as raw:
        raw.send_text(text.encode())
        assert raw.next()["code"] == code
        assert raw.ending() == (code, close_code)


@pytest.mark.parametrize(
    ("fields", "code", "close_code"),
    [
        ({"versions": [2, 99]}, "unsupported_version", 3500),
        ({"versions": []}, "unsupported_version", 3500),
        ({"mode": "sealed"}, "bad_request", 3501),
        ({"mode": "sealed", "join_token": "A" * 43 + "="}, "bad_request", 3501),
        ({"crypto_session": "A" * 22 + "=="}, "bad_request", 3501),
        ({"crypto_session": "A" * 24}, "bad_frame", 3501),
        ({"sealed_attributes": "AAAA"}, "bad_request", 3501),
        ({"mode": "other"}, "bad_frame", 3501),
        ({"scope": "everything"}, "bad_frame", 3501),
        ({"lineage_secret": "AAAA"}, "bad_request", 3501),
        ({"lineage_secret": "*"}, "bad_frame", 3501),
        ({"join_token": "AAAA"}, "bad_request", 3501),
        ({"channel_id": "AAAA"}, "channel_mismatch", 3508),
        ({"id": 0}, "bad_frame", 3501),
        ({"attributes": {"a": "x" * 17_000}}, "too_large", 1009),
        ({"attributes": {"a": 2**53}}, "bad_request", 3501),
        ({"capabilities": ["x"] * 33}, "bad_request", 3501),
        ({"capabilities": ["x" * 65]}, "bad_request", 3501),
        ({"types": ["x"] * 65}, "bad_request", 3501),
        ({"client": "x" * 65}, "bad_frame", 3501),
        ({"resume": {"token": 5}}, "bad_frame", 3501),
    ],
)
def test_a_connect_with_a_bad_field_is_refused(
    attacked: LiveServer, fields: dict[str, Any], code: str, close_code: int
) -> None:
    with RawWebSocket(attacked) as raw:
        answer = raw.join("corner", **fields)
        assert (answer["op"], answer["code"]) == ("error", code)
        assert raw.ending() == (code, close_code)


# --- names ------------------------------------------------------------------------------------------------------

BAD_NAMES = [
    "a\r\nb",
    "a\nINFO forged",
    "\x1b[2J",
    "nul\0",
    "a\tb",
    "\u202eevil",
    "\u2066a",
    " a",
    "a ",
    "\u2028",
    "team/*",
    ">",
    "x" * 129,
    "\x7f",
    "\x9b",
]
ODD_NAMES = [
    "../../etc/passwd",
    "%2e%2e%2f",
    "a%00b",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "'; DROP TABLE messages; --",
    "{{7*7}} ${7*7}",
    "CON.txt",
    "👩‍👩‍👧‍👦" * 3,
    "日本語",
    "a.b/c:d",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_with_control_characters_are_refused_and_do_not_reach_the_log(
    attacked: LiveServer, name: str
) -> None:
    lines = attacked.log.count("\n")
    with RawWebSocket(attacked) as raw:
        assert raw.join(name)["code"] == "name_invalid"
        assert raw.ending() == ("name_invalid", 3506)
    with RawWebSocket(attacked) as raw:
        assert raw.join("corner", name)["code"] == "name_invalid"
    log = attacked.log
    assert "forged" not in log
    assert log.count("\n") - lines <= 2
    assert "\x1b" not in log


@pytest.mark.parametrize("name", ODD_NAMES)
def test_all_other_names_are_just_names(attacked: LiveServer, name: str) -> None:
    with RawWebSocket(attacked) as raw, RawWebSocket(attacked) as other:
        connected = raw.join(name, name)
        assert (connected["channel"]["name"], connected["agent"]) == (name, name)
        other.join(name, "reader")
        raw.send_json({"op": "send", "id": 2, "content": name, "type": name})
        message = other.next("message")
        assert (message["sender"], message["content"], message["type"]) == (name, name, name)
        raw.send_json({"op": "receive", "id": 3})
        assert raw.next("history")["messages"][0]["content"] == name


# --- frames of a session ----------------------------------------------------------------------------------------


def send_of(content: str, request_id: int = 2) -> str:
    return f'{{"op":"send","id":{request_id},"content":{content}}}'


BAD_FRAMES = {
    "no JSON": ("nonsense", "bad_frame"),
    "an empty message": ("", "bad_frame"),
    "a number": ("5", "bad_frame"),
    "null": ("null", "bad_frame"),
    "an empty batch": ("[]", "bad_frame"),
    "a batch of a batch": ('[[{"op":"ping"}]]', "bad_frame"),
    "no kind": ("{}", "bad_frame"),
    "an unknown kind": ('{"op":"sudo","id":2}', "bad_frame"),
    "a kind of the server's": ('{"op":"ack","id":2}', "bad_frame"),
    "100,000 arrays": (send_of("[" * 100_000 + "]" * 100_000), "bad_frame"),
    "100,000 objects": (send_of('{"a":' * 100_000 + "1" + "}" * 100_000), "bad_frame"),
    "100,000 arrays that nobody reads": (
        '{"op":"ping","x":' + "[" * 100_000 + "]" * 100_000 + "}",
        "bad_frame",
    ),
    "65 arrays": (send_of("[" * 65 + "]" * 65), "bad_request"),
    "NaN": (send_of("NaN"), "bad_frame"),
    "Infinity": (send_of("-Infinity"), "bad_frame"),
    "1e999": (send_of("1e999"), "bad_frame"),
    "10,000 digits": (send_of("9" * 10_000), "bad_frame"),
    "500,000 digits": (send_of("9" * 500_000), "bad_frame"),
    "2^53": (send_of("9007199254740992"), "bad_request"),
    "half a surrogate pair": (send_of('"\\ud800"'), "bad_frame"),
    "a comment": ('{"op":"ping"/**/}', "bad_frame"),
    "two values": ('{"op":"ping"}{"op":"ping"}', "bad_frame"),
    "a byte order mark": ('\ufeff{"op":"ping"}', "bad_frame"),
    "no content": ('{"op":"send","id":2}', "bad_request"),
    "content and binary": ('{"op":"send","id":2,"content":1,"binary":""}', "bad_request"),
    "bad base64": ('{"op":"send","id":2,"binary":"%%%"}', "bad_frame"),
    "no id": ('{"op":"send","content":1}', "bad_request"),
    "id 0": ('{"op":"send","id":0,"content":1}', "bad_frame"),
    "id -1": ('{"op":"send","id":-1,"content":1}', "bad_frame"),
    "id 1.5": ('{"op":"send","id":1.5,"content":1}', "bad_frame"),
    "id 2^53": ('{"op":"send","id":9007199254740992,"content":1}', "bad_frame"),
    "an id of 10,000 digits": ('{"op":"send","id":' + "9" * 10_000 + ',"content":1}', "bad_frame"),
    "an id that was": ('{"op":"members","id":1}', "out_of_sequence"),
    "a type too long": ('{"op":"send","id":2,"content":1,"type":"' + "x" * 129 + '"}', "bad_frame"),
    "an unknown delivery": ('{"op":"send","id":2,"content":1,"delivery":"magic"}', "bad_frame"),
    "a message too large": (send_of('"' + "x" * 300_000 + '"'), "too_large"),
    "metadata too large": (
        '{"op":"send","id":2,"content":1,"metadata":{"a":"' + "x" * 300_000 + '"}}',
        "too_large",
    ),
    "to and filter": ('{"op":"send","id":2,"content":1,"to":["a"],"filter":"a"}', "bad_request"),
    "to nobody": ('{"op":"send","id":2,"content":1,"to":[]}', "bad_request"),
    "to a stranger": ('{"op":"send","id":2,"content":1,"to":["stranger"]}', "unknown_recipient"),
    "to 201 names": ('{"op":"send","id":2,"content":1,"to":' + json.dumps(["x"] * 201) + "}", "bad_request"),
    "a filter that is none": ('{"op":"send","id":2,"content":1,"filter":"("}', "bad_filter"),
    "a filter with a backreference": ('{"op":"send","id":2,"content":1,"filter":"(a)\\\\1"}', "bad_filter"),
    "a filter that explodes": (
        '{"op":"send","id":2,"content":1,"filter":"((a{100}){100}){100}"}',
        "bad_filter",
    ),
    "a filter too long": ('{"op":"send","id":2,"content":1,"filter":"' + "a" * 5_000 + '"}', "bad_filter"),
    "a glob that is none": ('{"op":"send","id":2,"content":1,"filter":{"glob":"["}}', "bad_filter"),
    "a limit of 0": ('{"op":"receive","id":2,"limit":0}', "bad_frame"),
    "a limit of a million": ('{"op":"receive","id":2,"limit":1000000}', "bad_frame"),
    "an offset below 0": ('{"op":"receive","id":2,"after":-1}', "bad_frame"),
    "attributes too large": ('{"op":"update","id":2,"attributes":{"a":"' + "x" * 17_000 + '"}}', "too_large"),
    "attributes of no object": ('{"op":"update","id":2,"attributes":[]}', "bad_frame"),
    "kick of nobody": ('{"op":"kick","id":2,"agent":"stranger"}', "not_found"),
    "kick without a name": ('{"op":"kick","id":2}', "bad_request"),
    "connect again": (
        '{"op":"connect","id":2,"api_key":"x","channel":"a","lineage_secret":"AAAAAAAAAAAAAAAAAAAAAA=="}',
        "bad_request",
    ),
    "renew with rubbish": ('{"op":"renew","id":2,"api_key":"rubbish"}', "unauthorized"),
}


@pytest.mark.parametrize("what", BAD_FRAMES)
def test_a_bad_frame_gets_its_error_and_the_session_goes_on(attacked: LiveServer, what: str) -> None:
    text, code = BAD_FRAMES[what]
    with RawWebSocket(attacked) as raw:
        raw.join("corner")
        raw.send_text(text.encode())
        error = raw.next("error")
        assert error["code"] == code
        assert len(error["correlation_id"]) > 5
        assert len(error["message"]) < 400
        if '"id":2' in text and "id of" not in what and "id 2^53" not in what and code != "bad_frame":
            assert error["id"] == 2
        raw.send_json({"op": "send", "id": 10, "content": "still here"})
        assert raw.next("ack")["id"] == 10


@pytest.mark.parametrize(
    "content",
    [
        float("nan"),
        float("inf"),
        2**64 - 1,
        -(2**63),
        {1: 2},
        {b"a": 1},
        b"binary",
        msgpack.ExtType(5, b"x"),
        msgpack.Timestamp(1, 1),
        [[[b"deep"]]],
    ],
)
def test_what_has_no_json_form_is_refused_in_messagepack(attacked: LiveServer, content: Any) -> None:
    with RawWebSocket(attacked, protocol="peerbus.v1.msgpack") as raw:
        connect = connect_frame(attacked, "corner")
        connect["lineage_secret"] = bytes(16)
        raw.send(masked(BINARY, msgpack.packb(connect)))
        assert msgpack.unpackb(raw.next_frame()[1])["op"] == "connected"
        raw.send(
            masked(BINARY, msgpack.packb({"op": "send", "id": 2, "content": content}, use_bin_type=True))
        )
        # What else is told meanwhile is who is in the channel.
        while (frame := msgpack.unpackb(raw.next_frame()[1]))["op"] == "presence":
            pass
        assert (frame["op"], frame["id"], frame["code"]) == ("error", 2, "bad_request")


def test_of_a_key_that_stands_twice_the_last_counts(attacked: LiveServer) -> None:
    with RawWebSocket(attacked) as raw, RawWebSocket(attacked) as reader:
        reader.join("corner", "reader")
        raw.join("corner")
        raw.send_text(b'{"op":"send","id":2,"id":3,"content":"first","content":{"a":1,"a":2}}')
        assert raw.next("ack")["id"] == 3
        assert reader.next("message")["content"] == {"a": 2}


def test_seventeen_unreadable_frames_end_the_connection(attacked: LiveServer) -> None:
    with RawWebSocket(attacked) as raw:
        raw.join("corner")
        for _ in range(17):
            raw.send_text(b"nonsense")
        assert raw.ending() == ("protocol_violation", 3501)


@pytest.mark.parametrize(
    "frames",
    [
        [{"op": "bye"}, {"op": "bye"}],
        [{"op": "bye"}, {"op": "send", "id": 2, "content": "from beyond"}],
        [{"op": "bye"}, {"op": "update", "id": 2, "attributes": {"a": 1}}, {"op": "ping"}, "nonsense"],
    ],
)
def test_nothing_follows_a_bye(attacked: LiveServer, frames: list[Any]) -> None:
    with RawWebSocket(attacked) as reader, RawWebSocket(attacked) as raw:
        channel = f"beyond {frames[1]['op']}"
        reader.join(channel, "reader")
        raw.join(channel, "leaver")
        raw.send_json(frames)
        assert raw.ending() == ("closed", 1000)
        presence = reader.next("presence")
        while not presence.get("left"):
            presence = reader.next("presence", "message")
        assert presence["left"][0]["name"] == "leaver"
        reader.send_json({"op": "receive", "id": 2})
        assert reader.next("history")["messages"] == []


def test_a_batch_of_too_many_frames_is_refused_whole(attacked: LiveServer) -> None:
    with RawWebSocket(attacked) as raw:
        raw.join("corner")
        raw.send_json([{"op": "ping"}] * 257)
        assert raw.next("error", "pong")["code"] == "too_large"


# --- floods -----------------------------------------------------------------------------------------------------


def flood(raw: RawWebSocket, data: bytes, seconds: float) -> int:
    """Sends it again and again, reading what comes; how many bytes were taken."""
    taken = 0
    ends_at = time.monotonic() + seconds
    raw.set_timeout(0.002)
    rest = data
    while time.monotonic() < ends_at:
        try:
            size = raw.send_some(rest)
            taken += size
            rest = rest[size:] or data
            raw.receive()
            raw.buffer = b""
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return taken


FLOODS: dict[str, list[Any]] = {
    "sends": [{"op": "send", "id": 1_000_000, "content": "x"}],
    "lossy sends in batches": [[{"op": "send", "content": "x", "delivery": "lossy"}] * 256],
    "pings": [{"op": "ping"}],
    "requests": [[{"op": "members", "id": 1_000_000}] * 256],
    "filters": [[{"op": "send", "id": 1_000_000, "content": "x", "filter": "(a|b)*" * 50}] * 20],
    "large lists": [{"op": "send", "id": 1_000_000, "content": [[]] * 250_000}],
    "large objects": [{"op": "send", "id": 1_000_000, "content": {str(n): 1 for n in range(60_000)}}],
}


@pytest.mark.parametrize("what", FLOODS)
def test_who_floods_waits_and_the_others_do_not(attacked: LiveServer, what: str) -> None:
    before = attacked.rss_bytes
    data = b"".join(masked(TEXT, json.dumps(frame).encode(), mask=MASK) for frame in FLOODS[what])
    data *= max(1, 100_000 // len(data))
    with RawWebSocket(attacked) as raw:
        raw.join("lobby")
        assert flood(raw, data, 1.0) > 0
    assert attacked.rss_bytes - before < 100_000_000
