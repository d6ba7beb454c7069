"""
Writes the vectors of this folder: `python tests/vectors/identity/generate.py`.

It is a second reading of the specification and imports nothing of peerbus: hashes and HMACs come from the
standard library, HKDF is written out from RFC 5869, tokens are put together by hand, and Argon2id is that of
OpenSSL (peerbus uses the reference implementation). Run it to add cases; a value that changes for an old case
is a change of the protocol.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import unicodedata
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

Json = dict[str, Any]

FOLDER = Path(__file__).parent
MASTER_KEY = bytes(range(32))
NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS // 1000


def nfc(text: str) -> bytes:
    return unicodedata.normalize("NFC", text).encode()


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# --- names and channel ids ----------------------------------------------------------------------------------

NAMES_GOOD: list[tuple[str, str, str]] = [
    ("channel", "lobby", "plain"),
    ("channel", "a", "one character"),
    ("channel", "x" * 128, "128 characters"),
    (
        "channel",
        "\U0001f600" * 128,
        "128 characters beyond the basic plane: code points count, not UTF-16 units",
    ),
    ("channel", "e\u0301" * 128, "256 code points that are 128 in NFC"),
    ("channel", "Cafe\u0301", "decomposed accent, composed by NFC"),
    ("channel", "\u1112\u1161\u11ab\u1100\u1173\u11af", "Hangul from single letters"),
    ("channel", "\u212b\u2126", "singletons that NFC replaces (Angstrom, Ohm)"),
    ("channel", "\ufb01", "a ligature stays: NFC, not NFKC"),
    ("channel", "../etc/passwd", "a path is a name like any other"),
    ("channel", "a//b..c", "empty segments"),
    ("channel", "50%2f", "nothing is decoded"),
    ("channel", "<b>&amp;", "markup is text"),
    ("channel", "team-* > x", "wildcard characters that are not a whole segment"),
    ("channel", "two words", "inner white space"),
    ("channel", "\U0001f469\u200d\U0001f4bb", "a zero-width joiner within an emoji"),
    ("agent", "alice", "plain"),
    ("agent", "x" * 64, "64 characters"),
    ("agent", "Zoe\u0308", "decomposed accent, composed by NFC"),
    ("agent", "peerbus", "the reserved prefix without its colon"),
    ("agent", "apeerbus:x", "the reserved prefix not at the start"),
    ("agent", "\u0440\u0435\u043a\u0430:x", "Cyrillic letters that spell something else"),
]
NAMES_BAD: list[tuple[str, str, str]] = [
    ("channel", "", "empty"),
    ("channel", "x" * 129, "129 characters"),
    ("channel", "x" * 600, "far too long"),
    ("channel", " lobby", "leading space"),
    ("channel", "lobby ", "trailing space"),
    ("channel", "lobby\u00a0", "trailing no-break space"),
    ("channel", "\u3000lobby", "leading ideographic space"),
    ("channel", "\u2003", "nothing but white space"),
    ("channel", "a\u0000b", "NUL"),
    ("channel", "a\nb", "line feed"),
    ("channel", "a\u001b[31mb", "escape sequence"),
    ("channel", "a\u007fb", "DEL"),
    ("channel", "a\u0085b", "C1 control character"),
    ("channel", "a\u2028b", "line separator"),
    ("channel", "a\u202eb", "right-to-left override"),
    ("channel", "a\u2066b", "isolate"),
    ("channel", "\ufefflobby", "byte order mark"),
    ("channel", "a\ud800b", "lone surrogate"),
    ("channel", "*", "wildcard"),
    ("channel", ">", "wildcard"),
    ("channel", "team/*", "wildcard segment"),
    ("channel", "team.>", "wildcard segment"),
    ("agent", "", "empty"),
    ("agent", "x" * 65, "65 characters"),
    ("agent", "peerbus:sfu", "reserved for services"),
    ("agent", "PeerBus:sfu", "reserved for services in any case"),
    ("agent", "\uff50\uff45\uff45\uff52\uff42\uff55\uff53\uff1asfu", "reserved, in full width"),
    ("agent", "p\u0435\u0435rbus:sfu", "reserved, with Cyrillic letters"),
    ("agent", "\u03a1eerbus:sfu", "reserved, with a Greek capital"),
    ("agent", "peer\u200bbus:sfu", "reserved, with a character without width"),
    ("agent", "pe\u0301erbus\ua789sfu", "reserved, with an accent and another colon"),
    ("agent", "peerbus:session/s1", "the address of a session"),
    ("agent", "*", "wildcard"),
]


def names() -> Json:
    return {
        "accepted": [
            {"why": why, "kind": kind, "input": name, "name": nfc(name).decode()}
            for kind, name, why in NAMES_GOOD
        ],
        "rejected": [
            {"why": why, "kind": kind, "input": name, "code": "name_invalid"} for kind, name, why in NAMES_BAD
        ],
    }


def channel_id(name: str, mode: str, join_token: bytes) -> bytes:
    mode_byte = {"open": b"\x00", "sealed": b"\x01"}[mode]
    return hashlib.sha256(b"peerbus/channel/1" + mode_byte + sized(nfc(name)) + join_token).digest()


def channel_ids() -> Json:
    token = hashlib.sha256(b"a join token").digest()
    names = [
        "lobby",
        "Café",
        "Cafe\u0301",
        "../etc/passwd",
        "\U0001f600" * 128,
        "\u1112\u1161\u11ab",
        "x" * 128,
    ]
    return {
        "cases": [
            {
                "name": name,
                "mode": mode,
                "join_token_hex": join_token.hex(),
                "channel_id_hex": channel_id(name, mode, join_token).hex(),
            }
            for name in names
            for mode in ("open", "sealed")
            for join_token in (b"", token)
        ],
    }


def lineages() -> Json:
    secrets = [bytes(16), bytes(range(16)), b"\xff" * 16, hashlib.md5(b"lineage").digest()]
    claimed = ["alice", "Zoe\u0308", "\U0001f600"]
    return {
        "lineages": [
            {
                "secret_hex": secret.hex(),
                "lineage_hex": hashlib.sha256(secret).hexdigest(),
                "identity": "lineage:" + base64url(hashlib.sha256(secret).digest()[:16]),
            }
            for secret in secrets
        ],
        "claimed_names": [{"name": name, "identity": "name:" + nfc(name).decode()} for name in claimed],
    }


# --- keys from a password -----------------------------------------------------------------------------------


def hkdf(root: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt, one block of output."""
    extracted = hmac.digest(bytes(32), root, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def password_keys() -> Json:
    pairs = [
        ("lobby", "correct horse battery staple"),
        ("Cafe\u0301", "pa\u0308sswort"),
        ("\U0001f600/\u1112\u1161\u11ab", " \u00e4\u0000\U0001f511 "),
    ]
    cases = []
    for name, password in pairs:
        salt = hashlib.sha256(b"peerbus/kdf/1" + sized(nfc(name))).digest()[:16]
        root = Argon2id(salt=salt, length=32, iterations=3, lanes=1, memory_cost=64 * 1024).derive(
            nfc(password)
        )
        labels = ("join", "message", "storage", "media", "signal")
        keys = {label: hkdf(root, b"peerbus/1/" + label.encode()) for label in labels}
        cases.append(
            {
                "name": name,
                "password": password,
                "salt_hex": salt.hex(),
                "root_hex": root.hex(),
                "keys_hex": {label: key.hex() for label, key in keys.items()},
                "open_channel_id_hex": channel_id(name, "open", keys["join"]).hex(),
            }
        )
    return {"argon2id": {"version": 19, "memory_kib": 65536, "passes": 3, "lanes": 1}, "cases": cases}


# --- developer keys and tokens ------------------------------------------------------------------------------


def developer_secret(project: str, key_id: str) -> str:
    return base64url(hmac.digest(MASTER_KEY, b"dev/1" + project.encode() + key_id.encode(), "sha256"))


def developer_keys() -> Json:
    pairs = [
        ("default", "abcdefghijkl"),
        ("default", "222222777777"),
        ("acme", "abcdefghijkl"),
        ("a", "zzzzzzzzzzzz"),
    ]
    return {
        "master_key_hex": MASTER_KEY.hex(),
        "cases": [
            {
                "project": project,
                "key_id": key_id,
                "secret": developer_secret(project, key_id),
                "key": f"pb_{key_id}_{developer_secret(project, key_id)}",
            }
            for project, key_id in pairs
        ],
    }


KEYS: list[Json] = [
    {
        "key_id": "abcdefghijkl",
        "project": "default",
        "grant": {
            "channels": ["team/>"],
            "agents": [">"],
            "claim": ">",
            "operations": ["read", "history", "send_durable", "send_live", "presence", "kick"],
            "types": [">"],
            "rate_per_s": 20,
        },
    },
    {
        "key_id": "revokedkeyab",
        "project": "default",
        "grant": {"channels": [">"]},
        "revoked_ms": NOW_MS - 1,
    },
]
GRANT: Json = {
    "channels": ["team/red"],
    "agents": ["alice"],
    "claim": "alice",
    "operations": ["read", "send_durable"],
    "types": [">"],
}
CLAIMS: Json = {"aud": "peerbus", "exp": NOW_S + 60, "grant": GRANT}


def token(
    header: Json | bytes | None = None,
    claims: Json | bytes = CLAIMS,
    *,
    key_id: str = "abcdefghijkl",
    secret: bytes | None = None,
    digest: str = "sha256",
) -> str:
    if header is None:
        header = {"alg": "HS256", "typ": "JWT", "kid": key_id}
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signed = ".".join(base64url(part) for part in parts)
    if secret is None:
        secret = developer_secret("default", key_id).encode()
    return f"{signed}.{base64url(hmac.digest(secret, signed.encode(), digest))}"


def without(claim: str) -> Json:
    return {name: value for name, value in CLAIMS.items() if name != claim}


def tokens_accepted() -> list[Json]:
    plain = {**GRANT, "rate_per_s": 20.0, "expires_ms": NOW_MS + 60_000}
    wider = {
        "channels": [">"],
        "agents": ["*"],
        "operations": ["read", "kick", "lock", "admin"],
        "types": ["chat-text"],
        "public": True,
        "operator": True,
        "rate_per_s": 1000,
    }
    narrowed = {
        "channels": ["team/>"],
        "agents": ["*"],
        "operations": ["kick", "read"],
        "types": ["chat-text"],
        "rate_per_s": 20.0,
        "expires_ms": NOW_MS + 60_000,
    }
    cases: list[tuple[str, str, Json, str | None]] = [
        ("plain", token(), plain, None),
        ("audience as a list", token(claims={**CLAIMS, "aud": ["peerbus", "other"]}), plain, None),
        ("own project named", token(claims={**CLAIMS, "project": "default"}), plain, None),
        ("with an id", token(claims={**CLAIMS, "jti": "t-1"}), plain, "t-1"),
        (
            "for one use, counted when it is used",
            token(claims={**CLAIMS, "jti": "t-1", "grant": {**GRANT, "uses": 1}}),
            {**plain, "uses": 1},
            "t-1",
        ),
        (
            "issued by another token",
            token(claims={**CLAIMS, "jti": "t-2", "issued_by": ["t-1"]}),
            plain,
            "t-2",
        ),
        (
            "the id of a revoked token, by another key",
            token(claims={**CLAIMS, "jti": "gone-too"}),
            plain,
            "gone-too",
        ),
        ("unknown claims", token(claims={**CLAIMS, "sub": "alice", "iat": NOW_S, "x": {}}), plain, None),
        ("signer's clock a minute ahead", token(claims={**CLAIMS, "nbf": NOW_S + 60}), plain, None),
        ("issued in the future", token(claims={**CLAIMS, "iat": NOW_S + 86400}), plain, None),
        ("no typ", token({"alg": "HS256", "kid": "abcdefghijkl"}), plain, None),
        ("a wider grant is narrowed to the key's", token(claims={**CLAIMS, "grant": wider}), narrowed, None),
        (
            "the grant ends before the token",
            token(claims={**CLAIMS, "grant": {**GRANT, "expires_ms": NOW_MS + 5}}),
            {**plain, "expires_ms": NOW_MS + 5},
            None,
        ),
        (
            "an empty grant allows nothing",
            token(claims={**CLAIMS, "grant": {}}),
            {"rate_per_s": 20.0, "expires_ms": NOW_MS + 60_000},
            None,
        ),
    ]
    return [
        {
            "why": why,
            "token": text,
            "project": "default",
            "key_id": "abcdefghijkl",
            "token_id": token_id,
            "grant": grant,
        }
        for why, text, grant, token_id in cases
    ]


def tokens_rejected() -> list[Json]:
    right = developer_secret("default", "abcdefghijkl").encode()
    hs512 = {"alg": "HS512", "kid": "abcdefghijkl"}
    header, payload, signature = token().split(".")
    none = {"alg": "none", "kid": "abcdefghijkl"}
    jwk = {"kty": "oct", "k": base64url(b"mine" * 8)}
    cases: list[tuple[str, str, str]] = [
        ("alg none, no signature", token(none).rsplit(".", 1)[0] + ".", "unauthorized"),
        ("alg None, signed", token({**none, "alg": "None"}), "unauthorized"),
        ("no alg", token({"kid": "abcdefghijkl"}), "unauthorized"),
        ("another HMAC with the right secret", token(hs512, digest="sha512"), "unauthorized"),
        ("an asymmetric algorithm named, HMAC made", token({**none, "alg": "RS256"}), "unauthorized"),
        ("alg in other letters", token({**none, "alg": "hs256"}), "unauthorized"),
        (
            "own key in the header",
            token({**none, "alg": "HS256", "jwk": jwk}, secret=b"mine" * 8),
            "unauthorized",
        ),
        ("wrong secret", token(secret=b"x" * 43), "unauthorized"),
        ("empty secret", token(secret=b""), "unauthorized"),
        (
            "secret decoded to its 32 bytes",
            token(secret=base64.urlsafe_b64decode(right + b"=")),
            "unauthorized",
        ),
        ("unknown key", token(key_id="zzzzzzzzzzzz"), "unauthorized"),
        ("the stand-in for unknown keys", token(key_id="aaaaaaaaaaaa"), "unauthorized"),
        ("no key named", token({"alg": "HS256"}), "unauthorized"),
        ("key id is a number", token({"alg": "HS256", "kid": 7}), "unauthorized"),
        ("key id is a path", token({"alg": "HS256", "kid": "../../dev/null"}, secret=b""), "unauthorized"),
        (
            "unknown critical header",
            token({"alg": "HS256", "kid": "abcdefghijkl", "crit": ["x"], "x": 1}),
            "unauthorized",
        ),
        (
            "payload exchanged",
            f"{header}.{base64url(json.dumps({**CLAIMS, 'exp': NOW_S + 99}).encode())}.{signature}",
            "unauthorized",
        ),
        ("signature cut", token()[:-2], "unauthorized"),
        ("no signature", f"{header}.{payload}.", "unauthorized"),
        ("two parts", f"{header}.{payload}", "unauthorized"),
        ("five parts", f"{token()}.x.y", "unauthorized"),
        ("not base64url", f"{header}.{payload}.ä", "unauthorized"),
        ("header is a list", token(b"[]"), "unauthorized"),
        ("header of nested brackets", token(b"[" * 4000), "unauthorized"),
        ("payload is a list", token(claims=b"[]"), "unauthorized"),
        ("payload of nested brackets", token(claims=b"[" * 4000), "unauthorized"),
        ("empty", "", "unauthorized"),
        ("no expiry", token(claims=without("exp")), "unauthorized"),
        ("expiry is text", token(claims={**CLAIMS, "exp": str(NOW_S + 60)}), "unauthorized"),
        ("expiry is true", token(claims={**CLAIMS, "exp": True}), "unauthorized"),
        (
            "endless",
            token(claims=json.dumps(CLAIMS).replace(str(NOW_S + 60), "Infinity").encode()),
            "unauthorized",
        ),
        (
            "expiry is not a number",
            token(claims=json.dumps(CLAIMS).replace(str(NOW_S + 60), "NaN").encode()),
            "unauthorized",
        ),
        ("no audience", token(claims=without("aud")), "unauthorized"),
        ("another audience", token(claims={**CLAIMS, "aud": "elsewhere"}), "unauthorized"),
        ("another project", token(claims={**CLAIMS, "project": "acme"}), "unauthorized"),
        ("no grant", token(claims=without("grant")), "unauthorized"),
        ("not valid yet", token(claims={**CLAIMS, "nbf": NOW_S + 61}), "unauthorized"),
        ("expired this moment", token(claims={**CLAIMS, "exp": NOW_S}), "expired"),
        ("expired long ago", token(claims={**CLAIMS, "exp": 1}), "expired"),
        ("grant expired", token(claims={**CLAIMS, "grant": {**GRANT, "expires_ms": NOW_MS}}), "expired"),
        ("revoked key", token(key_id="revokedkeyab"), "revoked"),
        (
            "grant with an unknown section",
            token(claims={**CLAIMS, "grant": {**GRANT, "moon": 1}}),
            "bad_request",
        ),
        (
            "grant with an unknown operation",
            token(claims={**CLAIMS, "grant": {"operations": ["fly"]}}),
            "bad_request",
        ),
        (
            "grant with a number of uses and no id to count them by",
            token(claims={**CLAIMS, "grant": {**GRANT, "uses": 1}}),
            "bad_request",
        ),
        ("empty id", token(claims={**CLAIMS, "jti": ""}), "unauthorized"),
        ("id too long", token(claims={**CLAIMS, "jti": "x" * 129}), "unauthorized"),
        ("revoked token", token(claims={**CLAIMS, "jti": "gone"}), "revoked"),
        (
            "issued by a revoked token",
            token(claims={**CLAIMS, "jti": "t-2", "issued_by": ["t-1", "gone"]}),
            "revoked",
        ),
        (
            "issued by too many in turn",
            token(claims={**CLAIMS, "jti": "t-2", "issued_by": ["a", "b", "c", "d", "e"]}),
            "unauthorized",
        ),
    ]
    return [{"why": why, "token": text, "code": code} for why, text, code in cases]


def tokens() -> Json:
    return {
        "master_key_hex": MASTER_KEY.hex(),
        "now_ms": NOW_MS,
        "keys": KEYS,
        "revoked_tokens": ["abcdefghijkl:gone", "revokedkeyab:gone-too"],
        "accepted": tokens_accepted(),
        "rejected": tokens_rejected(),
    }


def main() -> None:
    for make in (names, channel_ids, lineages, password_keys, developer_keys, tokens):
        path = FOLDER / f"{make.__name__}.json"
        path.write_text(json.dumps(make(), indent=1) + "\n", "ascii")


if __name__ == "__main__":
    main()
