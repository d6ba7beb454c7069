"""
Writes the vectors of this folder: `python tests/vectors/media/generate.py`.

A second reading of PROTOCOL.md, section 14, that imports nothing of peerbus: HKDF is written out from RFC 5869,
AES-GCM is that of `cryptography`. Run it to add cases; a value that changes for an old case is a change of the
protocol.
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
MEDIA_KEY = hashlib.sha256(b"a media key").digest()
OTHER_KEY = hashlib.sha256(b"another media key").digest()
KEY_IDS = [hashlib.sha256(bytes([number])).digest()[:8] for number in range(4)]
SENDER, PUBLICATION = "ann", "lineage:AAAA/camera-1"
KEYFRAME = bytes.fromhex("504200 9d012a 4001 f000".replace(" ", "")) + bytes(range(64))
DELTA = bytes.fromhex("b1010003") + bytes(range(40, 90))
SOUND = bytes.fromhex("fc") + bytes(range(80))


def sized(text: str) -> bytes:
    data = unicodedata.normalize("NFC", text).encode()
    return len(data).to_bytes(4, "big") + data


def frame_key(media_key: bytes, key_id: bytes) -> bytes:
    root = hmac.digest(bytes(32), media_key, "sha256")
    return hmac.digest(root, b"peerbus/frame/1" + key_id + b"\x01", "sha256")


def clear_count(codec: str, frame: bytes) -> int:
    if codec == "opus" or not frame:
        return 0
    is_keyframe = frame[0] % 2 == 0
    return min(len(frame), 10 if is_keyframe else 3)


def seal(
    frame: bytes,
    counter: int,
    *,
    codec: str = "vp8",
    key_id: bytes = KEY_IDS[0],
    media_key: bytes = MEDIA_KEY,
    sender: str = SENDER,
    publication: str = PUBLICATION,
) -> Json:
    count = clear_count(codec, frame)
    trailer = counter.to_bytes(4, "big") + key_id
    aad = frame[:count] + trailer + sized(sender) + sized(publication)
    key = frame_key(media_key, key_id)
    secret = AESGCM(key).encrypt(bytes(8) + trailer[:4], frame[count:], aad)
    return {
        "codec": codec,
        "key_id_hex": key_id.hex(),
        "counter": counter,
        "sender": sender,
        "publication": publication,
        "frame_hex": frame.hex(),
        "frame_key_hex": key.hex(),
        "clear_bytes": count,
        "aad_hex": aad.hex(),
        "sealed_hex": (frame[:count] + secret + trailer).hex(),
    }


def sealed(frame: bytes, counter: int, **changes: Any) -> bytes:
    return bytes.fromhex(seal(frame, counter, **changes)["sealed_hex"])


def frames() -> list[Json]:
    return [
        {"why": why, **case}
        for why, case in [
            ("a VP8 keyframe: ten bytes stay clear", seal(KEYFRAME, 0)),
            ("another VP8 frame: three bytes stay clear", seal(DELTA, 1)),
            ("Opus: nothing stays clear", seal(SOUND, 0, codec="opus", key_id=KEY_IDS[1])),
            ("a keyframe of five bytes is clear as a whole", seal(KEYFRAME[:5], 2)),
            ("a keyframe of just ten bytes", seal(KEYFRAME[:10], 3)),
            ("another frame of two bytes", seal(DELTA[:2], 4)),
            ("an empty VP8 frame", seal(b"", 5)),
            ("an empty Opus frame", seal(b"", 5, codec="opus")),
            ("the highest counter", seal(DELTA, 2**30 - 1)),
            ("a key id that ends in a counter's bytes", seal(DELTA, 6, key_id=bytes(8))),
            ("a name that is not in NFC", seal(DELTA, 7, sender="Zoe\u0308")),
            (
                "an identity and a name beyond the basic plane",
                seal(DELTA, 8, sender="\U0001f600", publication="name:\U0001f600/x"),
            ),
        ]
    ]


def refused() -> list[Json]:
    good = sealed(KEYFRAME, 9)
    sound = sealed(SOUND, 9, codec="opus")
    here = {"codec": "vp8", "sender": SENDER, "publication": PUBLICATION}

    def flipped(data: bytes, at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return [
        {"why": why, **here, **changes, "sealed_hex": data.hex()}
        for why, data, changes in [
            ("a frame that was never sealed", KEYFRAME, {}),
            ("nothing", b"", {}),
            ("one byte too few for tag and trailer", bytes(27), {}),
            ("tag and trailer of nothing", bytes(28), {}),
            ("another media key", sealed(KEYFRAME, 9, media_key=OTHER_KEY), {}),
            ("another sender", good, {"sender": "bob"}),
            ("another publication of the sender", good, {"publication": "lineage:AAAA/camera-2"}),
            (
                "a boundary moved from publication to sender",
                good,
                {"sender": "annl", "publication": PUBLICATION[1:]},
            ),
            ("the clear bytes changed", flipped(good, 7), {}),
            ("the keyframe's bit changed", flipped(good, 0), {}),
            ("the ciphertext changed", flipped(good, 12), {}),
            ("the tag changed", flipped(good, len(good) - 13), {}),
            ("the counter changed", flipped(good, len(good) - 9), {}),
            ("the key id changed", flipped(good, len(good) - 1), {}),
            ("the end is missing", good[:-1], {}),
            ("the beginning is missing", good[1:], {}),
            ("sound shown as a picture", sound, {}),
            ("a picture played as sound", good, {"codec": "opus"}),
        ]
    ]


def step(
    outcome: str, counter: int, key: int = 0, publication: str = PUBLICATION, media_key: bytes = MEDIA_KEY
) -> Json:
    data = sealed(DELTA, counter, key_id=KEY_IDS[key], publication=publication, media_key=media_key)
    return {"publication": publication, "sealed_hex": data.hex(), "outcome": outcome}


def sequences() -> list[Json]:
    other = "lineage:AAAA/screen-2"
    return [
        {"why": why, "steps": steps}
        for why, steps in [
            (
                "gaps and another order are fine",
                [step("opened", number) for number in (5, 9, 7, 6, 2_000, 1_999)],
            ),
            (
                "the same frame twice",
                [step("opened", 1), step("opened", 2), step("replayed", 1), step("replayed", 2)],
            ),
            (
                "the oldest of the window, and the first below it",
                [step("opened", 2_000), step("opened", 977), step("replayed", 976), step("replayed", 977)],
            ),
            (
                "a leap forgets all before it",
                [step("opened", 0), step("opened", 5_000), step("replayed", 0), step("opened", 4_999)],
            ),
            (
                "a forged counter moves nothing",
                [step("opened", 0), step("undecryptable", 2**29, media_key=OTHER_KEY), step("opened", 1)],
            ),
            (
                "a new transform takes over, the one before is over",
                [
                    step("opened", 7),
                    step("opened", 0, 1),
                    step("replayed", 8),
                    step("opened", 1, 1),
                    step("replayed", 7),
                ],
            ),
            (
                "a forged key id takes over nothing",
                [step("opened", 0), step("undecryptable", 0, 2, media_key=OTHER_KEY), step("opened", 1)],
            ),
            (
                "publications have windows of their own",
                [
                    step("opened", 3),
                    step("opened", 3, 1, other),
                    step("replayed", 3),
                    step("replayed", 3, 1, other),
                ],
            ),
            (
                "a key id of another publication that is over",
                [step("opened", 0), step("opened", 0, 1), step("replayed", 5, 0, other)],
            ),
        ]
    ]


def states() -> list[Json]:
    ten = ["undecryptable"] * 10
    return [
        {
            "why": why,
            "is_sealed": is_sealed,
            "is_on": is_on,
            "begins": begins,
            "outcomes": outcomes,
            "ends": ends,
            "opened": outcomes.count("opened"),
            "refused": len(outcomes) - outcomes.count("opened"),
        }
        for why, is_sealed, is_on, begins, outcomes, ends in [
            ("nobody encrypts", False, False, "open", [], "open"),
            ("only the sender does", True, False, "not_opened", ten, "not_opened"),
            ("only this side does", False, True, "not_sealed", ten, "not_sealed"),
            ("nothing came yet", True, True, "waiting", [], "waiting"),
            ("the first frame opens", True, True, "waiting", ["opened"], "sealed"),
            ("nine failures are not enough", True, True, "waiting", ten[1:], "waiting"),
            ("ten are", True, True, "waiting", ten, "undecryptable"),
            ("ten after some that opened", True, True, "waiting", ["opened", *ten], "undecryptable"),
            ("ten that are not in a row", True, True, "waiting", [*ten[5:], "opened", *ten[5:]], "sealed"),
            ("frames open again", True, True, "waiting", [*ten, "opened"], "sealed"),
            (
                "replayed ones do not count",
                True,
                True,
                "waiting",
                ["opened", *ten[1:], *["replayed"] * 10],
                "sealed",
            ),
            (
                "replayed ones interrupt nothing",
                True,
                True,
                "waiting",
                [*ten[1:], "replayed", "undecryptable"],
                "undecryptable",
            ),
        ]
    ]


def main() -> None:
    content = {
        "frames": {"media_key_hex": MEDIA_KEY.hex(), "cases": frames()},
        "refused": {"media_key_hex": MEDIA_KEY.hex(), "cases": refused()},
        "sequences": {
            "media_key_hex": MEDIA_KEY.hex(),
            "sender": SENDER,
            "codec": "vp8",
            "cases": sequences(),
        },
        "states": {"cases": states()},
    }
    for name, value in content.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
