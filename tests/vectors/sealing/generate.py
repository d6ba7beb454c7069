"""
Writes the vectors of this folder: `python tests/vectors/sealing/generate.py`.

It is a second reading of PROTOCOL.md, section 13, and imports nothing of peerbus: hashes and HMACs come from the
standard library, HKDF is written out from RFC 5869, MessagePack is written out for what is needed here; only AES-GCM
is that of a library. Run it to add cases; a value that changes for an old case is a change of the protocol.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import unicodedata
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Json = dict[str, Any]

FOLDER = Path(__file__).parent
PAIRS = json.loads((FOLDER.parent / "identity" / "password_keys.json").read_text("utf-8"))["cases"]
CLASSES = {"durable": 0, "live": 1, "lossy": 2, "attributes": 3}
ALICE = bytes(range(16))
BOB = bytes(range(100, 116))
CAROL = hashlib.md5(b"carol").digest()


def nfc(text: str) -> bytes:
    return unicodedata.normalize("NFC", text).encode()


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def hkdf(key: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt, one block of output."""
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def packed(value: Any) -> bytes:
    """MessagePack in its shortest form, of what stands in the cases."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes((value,))
        if -32 <= value < 0:
            return (value & 0xFF).to_bytes(1, "big")
        if 0 <= value < 1 << 16:
            return b"\xcd" + value.to_bytes(2, "big") if value > 255 else bytes((0xCC, value))
        return b"\xcf" + value.to_bytes(8, "big")
    if isinstance(value, str):
        data = value.encode()
        if len(data) < 32:
            return bytes((0xA0 | len(data),)) + data
        if len(data) < 256:
            return bytes((0xD9, len(data))) + data
        return b"\xda" + len(data).to_bytes(2, "big") + data
    if isinstance(value, bytes):
        assert len(value) < 1 << 16
        if len(value) < 256:
            return bytes((0xC4, len(value))) + value
        return b"\xc5" + len(value).to_bytes(2, "big") + value
    assert len(value) < 16
    if isinstance(value, list):
        return bytes((0x90 | len(value),)) + b"".join(packed(item) for item in value)
    return bytes((0x80 | len(value),)) + b"".join(packed(key) + packed(item) for key, item in value.items())


def channel_id(name: str, join_token: bytes) -> bytes:
    return hashlib.sha256(b"peerbus/channel/1\x01" + sized(nfc(name)) + join_token).digest()


class Channel:
    """One of the pairs of name and password."""

    def __init__(self, pair: Json) -> None:
        self.name = pair["name"]
        self.message_key = bytes.fromhex(pair["keys_hex"]["message"])
        self.id = channel_id(self.name, bytes.fromhex(pair["keys_hex"]["join"]))
        self.key_id = hkdf(self.message_key, b"peerbus/key-id/1")[:4]

    def class_key(self, crypto_session: bytes, class_name: str) -> bytes:
        return hkdf(self.message_key, b"peerbus/seal/1" + crypto_session + bytes((CLASSES[class_name],)))

    def safety_number(self) -> str:
        number = int.from_bytes(hkdf(self.message_key, b"peerbus/safety/1" + self.id)[:16], "big") % 10**30
        digits = str(number).rjust(30, "0")
        return " ".join(digits[at : at + 5] for at in range(0, 30, 5))

    def header(self, session: bytes, counter: int, recipients: list[bytes]) -> bytes:
        counted = bytes((len(recipients),)) + b"".join(recipients)
        return b"\x01" + self.key_id + session + counter.to_bytes(8, "big") + counted

    def aad(self, class_name: str, header: bytes, context: Json) -> bytes:
        return b"".join(
            (
                b"peerbus/aad/1",
                self.id,
                bytes((CLASSES[class_name],)),
                header,
                sized(nfc(context["sender"])),
                sized(nfc(context.get("type", ""))),
                optional(context.get("custom_event_type")),
                recipients_of(context),
                optional(context.get("reply_to")),
                optional(context.get("idempotency_key")),
            )
        )

    def retry_tag(self, key: str, plaintext: bytes) -> bytes:
        retry_key = hkdf(self.message_key, b"peerbus/retry/1")
        return hmac.digest(retry_key, sized(nfc(key)) + plaintext, "sha256")[:16]

    def seal(
        self,
        class_name: str,
        session: bytes,
        counter: int,
        recipients: list[bytes],
        context: Json,
        plain: bytes,
    ) -> tuple[bytes, bytes]:
        header = self.header(session, counter, recipients)
        aad = self.aad(class_name, header, context)
        nonce = bytes(4) + counter.to_bytes(8, "big")
        return aad, header + AESGCM(self.class_key(session, class_name)).encrypt(nonce, plain, aad)


def optional(text: str | None) -> bytes:
    return b"\x00" if text is None else b"\x01" + sized(nfc(text))


def recipients_of(context: Json) -> bytes:
    if "to" in context:
        return (
            b"\x01" + len(context["to"]).to_bytes(4, "big") + b"".join(sized(nfc(n)) for n in context["to"])
        )
    if isinstance(context.get("filter"), dict):
        return b"\x03" + sized(nfc(context["filter"]["glob"]))
    if "filter" in context:
        return b"\x02" + sized(nfc(context["filter"]))
    return b"\x00"


CHANNEL = Channel(PAIRS[0])
OTHER = Channel(PAIRS[1])


# --- keys ---------------------------------------------------------------------------------------------------


def keys() -> Json:
    cases = []
    for pair in PAIRS:
        channel = Channel(pair)
        cases.append(
            {
                "name": channel.name,
                "password": pair["password"],
                "message_key_hex": channel.message_key.hex(),
                "channel_id_hex": channel.id.hex(),
                "key_id_hex": channel.key_id.hex(),
                "retry_key_hex": hkdf(channel.message_key, b"peerbus/retry/1").hex(),
                "safety_number": channel.safety_number(),
                "class_keys": [
                    {
                        "crypto_session_hex": session.hex(),
                        "class": class_name,
                        "key_hex": channel.class_key(session, class_name).hex(),
                    }
                    for session in (ALICE, CAROL)
                    for class_name in CLASSES
                ],
            }
        )
    return {"cases": cases}


# --- envelopes ----------------------------------------------------------------------------------------------

CHAT = {"sender": "alice", "type": "chat-text"}
ENVELOPES: list[tuple[str, str, int, list[bytes], Json, Json]] = [
    ("durable, for everyone", "durable", 0, [], {**CHAT, "idempotency_key": "k-1"}, {"content": "hi"}),
    ("durable, the next one", "durable", 1, [], {**CHAT, "idempotency_key": "k-2"}, {"content": "hi"}),
    ("durable, without a key", "durable", 2, [], CHAT, {"content": {"x": 1, "y": [True, None, -1]}}),
    ("durable, to names", "durable", 3, [], {**CHAT, "to": ["bob", "carol"]}, {"content": "psst"}),
    ("durable, by an expression", "durable", 4, [], {**CHAT, "filter": "team-.*"}, {"content": 300}),
    ("durable, by a glob", "durable", 5, [], {**CHAT, "filter": {"glob": "team-*"}}, {"content": []}),
    ("durable, a reply", "durable", 6, [], {**CHAT, "reply_to": "ep.41"}, {"content": None}),
    (
        "durable, everything at once",
        "durable",
        7,
        [],
        {
            "sender": "alice",
            "type": "custom",
            "custom_event_type": "move",
            "to": ["bob"],
            "reply_to": "ep.41",
            "idempotency_key": "k-3",
        },
        {"content": {"to": "e4"}, "metadata": {"colour": "white"}},
    ),
    ("binary", "durable", 8, [], {**CHAT, "idempotency_key": "k-4"}, {"binary_hex": bytes(range(256)).hex()}),
    ("binary, empty", "durable", 9, [], CHAT, {"binary_hex": "", "metadata": {}}),
    ("text of 40 bytes", "durable", 10, [], CHAT, {"content": "x" * 40}),
    (
        "texts that are not in NFC",
        "durable",
        11,
        [],
        {"sender": "Zoe\u0308", "type": "e\u0301", "to": ["Bjo\u0308rn"], "idempotency_key": "cle\u0301"},
        {"content": "e\u0301"},
    ),
    (
        "the same texts in NFC: another counter, the content as it is",
        "durable",
        12,
        [],
        {"sender": "Zo\u00eb", "type": "\u00e9", "to": ["Bj\u00f6rn"], "idempotency_key": "cl\u00e9"},
        {"content": "e\u0301"},
    ),
    ("the last counter", "durable", 2**30 - 1, [], CHAT, {"content": "last"}),
    ("live, for everyone", "live", 0, [], {**CHAT, "idempotency_key": "k-5"}, {"content": "hi"}),
    (
        "live, to one",
        "live",
        1,
        [BOB],
        {"sender": "alice", "type": "signal", "to": ["bob"]},
        {"content": {"sdp": "v=0"}},
    ),
    (
        "live, to two, one of them on two devices",
        "live",
        2,
        [BOB, CAROL, bytes(16)],
        {**CHAT, "to": ["bob", "carol"]},
        {"content": "both"},
    ),
    (
        "live, by a filter: names no crypto-session",
        "live",
        3,
        [],
        {**CHAT, "filter": "b.*"},
        {"content": "hi"},
    ),
    ("lossy, without a key", "lossy", 0, [], {"sender": "alice", "type": "typing"}, {"content": True}),
    ("lossy, to a name: names no crypto-session", "lossy", 1, [], {**CHAT, "to": ["bob"]}, {"content": 1}),
    (
        "private attributes",
        "attributes",
        0,
        [],
        {"sender": "alice"},
        {"attributes": {"mood": "calm", "age": 41}},
    ),
    ("no private attributes", "attributes", 1, [], {"sender": "alice"}, {"attributes": {}}),
]


def plaintext_of(inside: Json) -> bytes:
    if "attributes" in inside:
        return packed(inside["attributes"])
    shown = {}
    for name in ("content", "binary_hex", "metadata"):
        if name in inside:
            shown[name.removesuffix("_hex")] = (
                bytes.fromhex(inside[name]) if name == "binary_hex" else inside[name]
            )
    return packed(shown)


def envelopes() -> Json:
    cases = []
    for why, class_name, counter, recipients, context, inside in ENVELOPES:
        plaintext = plaintext_of(inside)
        aad, envelope = CHANNEL.seal(class_name, ALICE, counter, recipients, context, plaintext)
        case = {
            "why": why,
            "class": class_name,
            "crypto_session_hex": ALICE.hex(),
            "counter": counter,
            "recipients_hex": [recipient.hex() for recipient in recipients],
            "context": context,
            "inside": inside,
            "plaintext_hex": plaintext.hex(),
            "aad_hex": aad.hex(),
            "envelope_hex": envelope.hex(),
        }
        if class_name == "durable" and "idempotency_key" in context:
            case["retry_tag_hex"] = CHANNEL.retry_tag(context["idempotency_key"], plaintext).hex()
        cases.append(case)
    return {
        "message_key_hex": CHANNEL.message_key.hex(),
        "channel_id_hex": CHANNEL.id.hex(),
        "receiver_session_hex": BOB.hex(),
        "cases": cases,
    }


# --- refusals -----------------------------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def refused() -> Json:
    context: Json = {
        "sender": "alice",
        "type": "chat-text",
        "custom_event_type": "move",
        "to": ["bob", "carol"],
        "reply_to": "ep.41",
        "idempotency_key": "k-1",
    }
    plain = packed({"content": "hi"})
    good = CHANNEL.seal("durable", ALICE, 5, [], context, plain)[1]
    live_context: Json = {"sender": "alice", "type": "signal", "to": ["bob"]}
    live = CHANNEL.seal("live", ALICE, 5, [BOB], live_context, plain)[1]
    attributes = CHANNEL.seal("attributes", ALICE, 5, [], {"sender": "alice"}, packed({}))[1]
    cases: list[tuple[str, str, Json, bytes, str]] = []

    def add(
        why: str, envelope: bytes, code: str, changed: Json | None = None, class_name: str = "durable"
    ) -> None:
        cases.append((why, class_name, context if changed is None else changed, envelope, code))

    add("empty", b"", "tampered")
    add("a later form", b"\x02" + good[1:], "not_supported")
    add("the first byte alone", good[:1], "tampered")
    add("the header alone", good[:30], "tampered")
    add("the tag is cut off", good[:-16], "tampered")
    add("one byte is cut off", good[:-1], "tampered")
    add("one byte more", good + b"\x00", "tampered")
    add("another key id", flipped(good, 8), "wrong_key")
    add("sealed with another password", OTHER.seal("durable", ALICE, 5, [], context, plain)[1], "wrong_key")
    other_key = OTHER.seal("durable", ALICE, 5, [], context, plain)[1]
    add("another key under the right key id", other_key[:1] + CHANNEL.key_id + other_key[5:], "tampered")
    add("another crypto-session", good[:5] + BOB + good[21:], "tampered")
    add("another counter", good[:28] + b"\x06" + good[29:], "tampered")
    add("a count of recipients that are not there", good[:29] + b"\x01" + good[30:], "tampered")
    add("255 recipients that are not there", good[:29] + b"\xff" + good[30:], "tampered")
    add("a bit of the ciphertext", flipped(good, 30 * 8), "tampered")
    add("a bit of the tag", flipped(good, len(good) * 8 - 1), "tampered")
    add("another sender", good, "tampered", {**context, "sender": "mallory"})
    add("another type", good, "tampered", {**context, "type": "chat"})
    add("another custom event type", good, "tampered", {**context, "custom_event_type": "moved"})
    without = {key: value for key, value in context.items() if key != "custom_event_type"}
    add("no custom event type", good, "tampered", without)
    add(
        "type and custom event type exchanged",
        good,
        "tampered",
        {**context, "type": "move", "custom_event_type": "chat-text"},
    )
    add("fewer recipients", good, "tampered", {**context, "to": ["bob"]})
    add("more recipients", good, "tampered", {**context, "to": ["bob", "carol", "eve"]})
    add("recipients in another order", good, "tampered", {**context, "to": ["carol", "bob"]})
    add("the same letters, other names", good, "tampered", {**context, "to": ["bobc", "arol"]})
    add("for everyone", good, "tampered", {key: value for key, value in context.items() if key != "to"})
    add("another reply_to", good, "tampered", {**context, "reply_to": "ep.42"})
    add("another idempotency key", good, "tampered", {**context, "idempotency_key": "k-2"})
    without = {key: value for key, value in context.items() if key != "idempotency_key"}
    add("no idempotency key", good, "tampered", without)
    by_filter = {"sender": "alice", "type": "chat-text", "filter": "team-*"}
    sealed_filter = CHANNEL.seal("durable", ALICE, 6, [], by_filter, plain)[1]
    add(
        "an expression shown as a glob",
        sealed_filter,
        "tampered",
        {**by_filter, "filter": {"glob": "team-*"}},
    )
    add("a durable message shown as a live one", good, "tampered", None, "live")
    add("a durable message shown as a lossy one", good, "tampered", None, "lossy")
    add("a live message shown as a durable one", live, "tampered", live_context)
    for_all = {"sender": "alice", "type": "signal"}
    named_for_all = CHANNEL.seal("live", ALICE, 6, [BOB], for_all, plain)[1]
    add("recipients' crypto-sessions in a message for everyone", named_for_all, "tampered", for_all, "live")
    named_durable = CHANNEL.seal("durable", ALICE, 7, [BOB], context, plain)[1]
    add("recipients' crypto-sessions in a durable message", named_durable, "tampered")
    for_carol = CHANNEL.seal("live", ALICE, 7, [CAROL], live_context, plain)[1]
    add("a live message for an earlier bearer of the name", for_carol, "replayed", live_context, "live")
    for_nobody = CHANNEL.seal("live", ALICE, 8, [], live_context, plain)[1]
    add("a live message to names that names no crypto-session", for_nobody, "replayed", live_context, "live")
    insides: list[tuple[str, bytes]] = [
        ("nothing", b""),
        ("a text", packed("hi")),
        ("an empty map", packed({})),
        ("content and binary", packed({"content": 1, "binary": b"1"})),
        ("metadata alone", packed({"metadata": {}})),
        ("bytes within the content", packed({"content": [b"1"]})),
        ("metadata that is no map", packed({"content": 1, "metadata": [1]})),
        ("binary that is text", packed({"binary": "1"})),
        ("something behind it", packed({"content": 1}) + b"\x00"),
        ("an integer that a browser cannot hold", packed({"content": 2**53})),
    ]
    for counter, (why, inside) in enumerate(insides, start=10):
        add(f"inside: {why}", CHANNEL.seal("durable", ALICE, counter, [], context, inside)[1], "bad_frame")
    add("attributes: another sender", attributes, "tampered", {"sender": "bob"}, "attributes")
    no_map = CHANNEL.seal("attributes", ALICE, 6, [], {"sender": "alice"}, packed([1]))[1]
    add("attributes: no map", no_map, "bad_frame", {"sender": "alice"}, "attributes")
    add("attributes shown as a message", attributes, "tampered", {"sender": "alice", "type": ""}, "durable")
    return {
        "message_key_hex": CHANNEL.message_key.hex(),
        "channel_id_hex": CHANNEL.id.hex(),
        "receiver_session_hex": BOB.hex(),
        "cases": [
            {"why": why, "class": name, "context": shown, "envelope_hex": envelope.hex(), "code": code}
            for why, name, shown, envelope, code in cases
        ],
        "bit_flips": {"class": "live", "context": live_context, "envelope_hex": live.hex()},
    }


# --- windows ------------------------------------------------------------------------------------------------

Step = tuple[str, int, int, str]
"""Crypto-session, offset (0 but for durable messages), counter, verdict."""
MANY = 2048


def durable(*steps: tuple[int, int, str]) -> list[Step]:
    return [("a", offset, counter, verdict) for offset, counter, verdict in steps]


def counters(*steps: tuple[int, str]) -> list[Step]:
    return [("a", 0, counter, verdict) for counter, verdict in steps]


def windows() -> Json:
    cases: list[tuple[str, str, list[Step]]] = [
        ("in order, with gaps", "durable", durable((1, 0, "ok"), (5, 1, "ok"), (9, 7, "ok"))),
        ("the same again", "durable", durable((5, 1, "ok"), (5, 1, "ok"), (9, 7, "ok"), (5, 1, "ok"))),
        (
            "shown again as a new one",
            "durable",
            durable((5, 1, "ok"), (9, 1, "replayed"), (4, 1, "replayed")),
        ),
        ("the counter falls", "durable", durable((5, 8, "ok"), (9, 7, "reordered"), (10, 9, "ok"))),
        (
            "history, read backwards in pages",
            "durable",
            durable(
                (10, 8, "ok"), (12, 9, "ok"), (4, 2, "ok"), (6, 4, "ok"), (7, 9, "replayed"), (8, 6, "ok")
            ),
        ),
        (
            "between two that are known",
            "durable",
            durable((4, 2, "ok"), (8, 6, "ok"), (6, 1, "reordered"), (6, 7, "reordered"), (6, 4, "ok")),
        ),
        ("another at the same offset", "durable", durable((4, 2, "ok"), (4, 3, "reordered"), (4, 2, "ok"))),
        (
            "what was refused is not noted",
            "durable",
            durable((5, 5, "ok"), (6, 4, "reordered"), (4, 4, "ok")),
        ),
        (
            "each crypto-session by itself",
            "durable",
            [
                ("a", 5, 5, "ok"),
                ("b", 6, 0, "ok"),
                ("a", 7, 6, "ok"),
                ("b", 8, 5, "ok"),
                ("b", 9, 0, "replayed"),
            ],
        ),
        (
            "more than 2048 offsets: the lowest are forgotten",
            "durable",
            durable(
                (10, 10, "ok"),
                (2058, 2058, "ok"),
                (11, 11, "ok"),
                (3000, 10, "reordered"),
                (9, 10, "ok"),
                (3000, 11, "replayed"),
            ),
        ),
        ("live, rising", "live", counters((0, "ok"), (1, "ok"), (7, "ok"))),
        ("live, again and older", "live", counters((3, "ok"), (3, "dropped"), (2, "dropped"), (4, "ok"))),
        (
            "live, each crypto-session by itself",
            "live",
            [("a", 0, 3, "ok"), ("b", 0, 0, "ok"), ("a", 0, 3, "dropped"), ("b", 0, 0, "dropped")],
        ),
        ("lossy, in another order", "lossy", counters((5, "ok"), (3, "ok"), (4, "ok"), (6, "ok"), (0, "ok"))),
        (
            "lossy, again",
            "lossy",
            counters((5, "ok"), (5, "dropped"), (3, "ok"), (3, "dropped"), (5, "dropped")),
        ),
        (
            "lossy, the edge of the window",
            "lossy",
            counters(
                (1024, "ok"),
                (1, "ok"),
                (0, "dropped"),
                (1, "dropped"),
                (1025, "ok"),
                (2, "ok"),
                (1, "dropped"),
            ),
        ),
        (
            "lossy, a leap over the whole window",
            "lossy",
            counters(
                (7, "ok"),
                (5000, "ok"),
                (7, "dropped"),
                (3976, "dropped"),
                (3977, "ok"),
                (4999, "ok"),
                (5000, "dropped"),
            ),
        ),
        (
            "lossy, a leap of a window's width",
            "lossy",
            counters((0, "ok"), (1024, "ok"), (0, "dropped"), (1, "ok")),
        ),
        (
            "attributes",
            "attributes",
            counters((0, "ok"), (0, "ok"), (4, "ok"), (0, "dropped"), (4, "ok"), (5, "ok")),
        ),
    ]
    shown = []
    for why, class_name, steps in cases:
        written = [
            {"crypto_session": session, "offset": offset, "counter": counter, "verdict": verdict}
            if class_name == "durable"
            else {"crypto_session": session, "counter": counter, "verdict": verdict}
            for session, offset, counter, verdict in steps
        ]
        if why.startswith("more than 2048"):
            written[0]["times"] = MANY
        shown.append({"why": why, "class": class_name, "steps": written})
    return {"cases": shown}


def main() -> None:
    for name, content in (
        ("keys", keys()),
        ("envelopes", envelopes()),
        ("refused", refused()),
        ("windows", windows()),
    ):
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
