"""
Where the secret comes from that this server shares with its TURN servers.

Owns the order: `PEERBUS_TURN_SECRET`, the file of `--turn-secret-file`, else one that follows from the master key of
the data folder, so that nothing has to be set for it. Never on a command line, never printed.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

from peerbus.protocol.secrets import Secret
from peerbus.signaling.master_key import MasterKeyError, load_master_key
from peerbus.signaling.turn import secret_from

TURN_SECRET_VARIABLE: Final = "PEERBUS_TURN_SECRET"  # noqa: S105  the name of a variable
_SHORTEST: Final = 16
# What stands in a line of coturn's configuration as it is.
_FORM: Final = re.compile(r"[!-~]+")


class TurnSecretError(Exception):
    """There is no usable secret; the text is one line for a person."""


def load_turn_secret(
    data_dir: Path, file: Path | None, *, variable: str | None, master_key: str | None
) -> Secret:
    """
    The secret; `variable` and `master_key` are what `PEERBUS_TURN_SECRET` and `PEERBUS_MASTER_KEY` hold.

    Raises `TurnSecretError`.
    """
    if variable:
        return _checked(variable.strip(), TURN_SECRET_VARIABLE)
    if file is not None:
        return _checked(_read(file), str(file))
    try:
        return secret_from(load_master_key(data_dir, master_key))
    except MasterKeyError as error:
        raise TurnSecretError(str(error)) from None


def _read(path: Path) -> str:
    try:
        mode, text = path.stat().st_mode, path.read_text("ascii").strip()
    except OSError as error:
        raise TurnSecretError(f"cannot read the TURN secret {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TurnSecretError(f"the TURN secret in {path} is not ASCII") from None
    if stat.S_IMODE(mode) & 0o077:
        raise TurnSecretError(f"others can read the TURN secret {path}; make it private: chmod 600 {path}")
    return text


def _checked(text: str, source: str) -> Secret:
    if len(text) < _SHORTEST or not _FORM.fullmatch(text):
        raise TurnSecretError(
            f"{source} is no TURN secret: at least {_SHORTEST} ASCII characters without spaces are expected"
        )
    return Secret(text)
