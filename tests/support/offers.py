"""The offers of real clients in `tests/vectors/sdp`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent.parent / "vectors" / "sdp"
OFFERS: Final = sorted(path.stem for path in _FOLDER.glob("*.sdp"))
"""Their names: `chromium_call`, …"""


def offer(name: str) -> str:
    """One offer as the client made it, with CRLF."""
    return (_FOLDER / f"{name}.sdp").read_text("utf-8").replace("\n", "\r\n")
