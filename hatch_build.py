"""Stops the build of a wheel or source distribution that would lack the web assets. Builds nothing itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MANIFEST = "signaling/peerbus/signaling/web/manifest.json"


class AssetsPresent(BuildHookInterface):  # type: ignore[type-arg]  # its type parameter is hatchling's own matter
    """An editable install may come before the web build; anything that is shipped may not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build."""
        if version != "editable" and not (Path(self.root) / MANIFEST).is_file():
            raise SystemExit("The web assets are not built; run `make web` first (`make wheel` does both).")
