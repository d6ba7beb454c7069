"""
The master key, from which the secrets of all developer keys are computed.

Owns where it lies (`master.key` in the data folder, readable by its owner only, or `PEERBUS_MASTER_KEY`) and
its form: 32 bytes, as 43 characters of base64url without padding. Never prints it, derives nothing from it.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path
from typing import Final

MASTER_KEY_FILE: Final = "master.key"
MASTER_KEY_VARIABLE: Final = "PEERBUS_MASTER_KEY"
MASTER_KEY_BYTES: Final = 32


class MasterKeyError(Exception):
    """There is no usable master key; the text is one line for a person, and says what to do."""


def load_master_key(data_dir: Path, from_environment: str | None = None) -> bytes:
    """
    The master key: the one from the environment if it is set, else the file's, made if there is none.

    Several processes may make it at once; one wins, and all read that one. Raises `MasterKeyError`.
    """
    if from_environment:
        return _decode(from_environment, MASTER_KEY_VARIABLE)
    path = data_dir / MASTER_KEY_FILE
    try:
        if not path.exists():
            _create(path)
        mode = path.stat().st_mode
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"cannot use the master key {path}: {_reason(error)}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise MasterKeyError(f"others can read the master key {path}; make it private: chmod 600 {path}")
    return _decode(text, str(path))


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written elsewhere and linked into place: nobody ever sees half of it, and the second of two is refused.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).rstrip(b"=") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _decode(text: str, source: str) -> bytes:
    text = text.strip()
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != MASTER_KEY_BYTES:
        raise MasterKeyError(
            f"{source} is not a master key: {MASTER_KEY_BYTES} random bytes in base64url are expected"
        )
    return key


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "it is damaged"
