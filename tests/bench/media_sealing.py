"""
What end-to-end encryption of media costs: `python -m tests.bench.media_sealing`.

Prints the time to seal and to open one frame, of sound (120 bytes), and of a picture (4 kB, as at 1 Mb/s, and a
keyframe of 40 kB): in Python, in CPU time; in Chromium and Firefox, as time that passes while frames go one after the
other, which is what a transform adds to each. And what share of a core a call of 30 pictures and 50 packets of sound a
second takes.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Literal

from aiohttp import web
from playwright.async_api import async_playwright

from peerbus.client.webrtc.frame_sealing import FrameCodec, FrameOpener, FrameSealer
from peerbus.protocol.secrets import SecretBytes
from tests.bench.rig.figures import machine
from tests.bench.sealing_browsers import launched

_WEB: Final = Path(__file__).parents[2] / "web"
_ROUNDS: Final = 7
_FRAMES: Final = 500
_KINDS: Final[list[tuple[str, FrameCodec, int]]] = [
    ("sound", "opus", 120),
    ("picture", "vp8", 4_000),
    ("keyframe", "vp8", 40_000),
]
_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>bench</title><link rel="icon" href="data:,">
<script src="/program.js"></script>"""

Figures = dict[Literal["sealUs", "openUs"], float]


def in_python(codec: FrameCodec, size: int) -> Figures:
    """Seal and open of one frame, in microseconds of CPU."""
    key, key_ids = SecretBytes(bytes(32)), iter(range(1 << 20))
    sender, publication = "alice", "lineage:alice/camera-1"
    sealer = FrameSealer(
        key, lambda: next(key_ids).to_bytes(8, "big"), sender=sender, publication=publication
    )
    opener = FrameOpener(key)
    frame = b"\1" * size

    found: dict[str, list[float]] = {"sealUs": [], "openUs": []}
    for _ in range(_ROUNDS):
        began = time.process_time()
        sealed = [sealer.seal(codec, frame) for _ in range(_FRAMES)]
        between = time.process_time()
        for one in sealed:
            opener.open(codec, one, sender=sender, publication=publication)
        ended = time.process_time()
        found["sealUs"].append((between - began) / _FRAMES * 1e6)
        found["openUs"].append((ended - between) / _FRAMES * 1e6)
    return {"sealUs": statistics.median(found["sealUs"]), "openUs": statistics.median(found["openUs"])}


def show(figures: list[Figures]) -> None:
    """One line for each kind of frame, and the sum for a second of a call."""
    for (name, _, size), figure in zip(_KINDS, figures, strict=True):
        print(f"  {name:8} {size:6,} bytes: seal {figure['sealUs']:5.0f} us, open {figure['openUs']:5.0f} us")
    sound, picture, _ = figures
    seal, open_ = ((50 * sound[name] + 30 * picture[name]) / 1e4 for name in ("sealUs", "openUs"))
    print(f"  a second of sound and picture: sent {seal:.2f} %, received {open_:.2f} % of a core")


def bundled() -> str:
    """The program of the page."""
    with tempfile.TemporaryDirectory(prefix="peerbus-bench-") as folder:
        path = Path(folder) / "program.js"
        node = subprocess.run(
            ["sh", "scripts/node-path.sh"], cwd=_WEB.parent, check=True, capture_output=True, text=True
        ).stdout.strip()
        subprocess.run(
            [f"{node}/node", "scripts/bundle.mjs", "bench/frame-sealing.ts", str(path)], cwd=_WEB, check=True
        )
        return path.read_text("utf-8")


async def in_browsers(program: str) -> None:
    """The same in both."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def script(_: web.Request) -> web.Response:
        return web.Response(text=program, content_type="text/javascript")

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/program.js", script)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with async_playwright() as driver:
        for name in ("Chromium", "Firefox"):
            browser = await launched(driver, name)
            tab = await browser.new_page()
            await tab.goto(f"http://localhost:{runner.addresses[0][1]}/")
            print(f"{name} {browser.version}")
            show(
                [
                    await tab.evaluate("([codec, size]) => measured(codec, size)", [codec, size])
                    for _, codec, size in _KINDS
                ]
            )
            await browser.close()
    await runner.cleanup()


def main() -> int:
    """Prints the figures, none of which has a bound that must hold."""
    print("end-to-end encryption of media, for each frame")
    print(machine())
    print("Python")
    show([in_python(codec, size) for _, codec, size in _KINDS])
    asyncio.run(in_browsers(bundled()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
