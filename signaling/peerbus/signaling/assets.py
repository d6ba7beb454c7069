"""
Where the built web assets are: the SDK files, the pages and their scripts.

Owns the one answer to that question. Never builds, reads or serves a file. The web build writes into `web/`
beside this module; an editable install and a wheel therefore find them in the same place. The folder holds:

- `sdk/`     the browser SDK under its fixed names, source maps and type declarations beside it
- `pages/`   one HTML file a page: `index.html` is `/`, `chat.html` is `/chat`
- `assets/`  what pages load; every name carries a hash of its content, so it may be cached for ever
- `static/`  files under fixed names, such as icons
- `manifest.json`  written last: `{"version": str, "files": [relative path, ...]}`
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MANIFEST: Final = "manifest.json"


class AssetsMissing(Exception):
    """The web side was never built; the text says what to run."""


def assets_dir() -> Path:
    """Return the absolute folder of the built assets. Raises AssetsMissing where there is no finished build."""
    folder = Path(__file__).resolve().parent / "web"
    if not (folder / MANIFEST).is_file():
        raise AssetsMissing(f"no web assets in {folder}; run `make web` first")
    return folder
