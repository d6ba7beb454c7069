"""Where the built web assets are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peerbus.signaling import assets


def test_the_folder_holds_what_its_manifest_names() -> None:
    folder = assets.assets_dir()
    manifest = json.loads((folder / assets.MANIFEST).read_text())
    assert {"sdk/peerbus.mjs", "sdk/peerbus.d.mts", "sdk/web-agent.js"} <= set(manifest["files"])
    assert [name for name in manifest["files"] if not (folder / name).is_file()] == []


def test_without_a_finished_build_it_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web/sdk").mkdir(parents=True)
    monkeypatch.setattr(assets, "__file__", str(tmp_path / "assets.py"))
    with pytest.raises(assets.AssetsMissing, match="make web"):
        assets.assets_dir()
