"""
A call that a test holds in a page, by the public SDK.

Owns what can be asked of such a page and waited for. The program in the page is `call.js`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page

from tests.e2e.call_stage import Callers

PATIENCE_S: Final = 60
CALL_JS: Final = (Path(__file__).parent / "call.js").read_text("utf-8")


class InCall:
    """A page whose call the test holds."""

    def __init__(self, page: Page) -> None:
        self.page: Final = page

    async def look(self) -> dict[str, Any]:
        seen: dict[str, Any] = await self.page.evaluate("calls.look()")
        return seen

    async def stats(self) -> dict[str, Any]:
        figures: dict[str, Any] = json.loads(
            await self.page.evaluate("call.webrtc.stats().then((stats) => JSON.stringify(stats))")
        )
        return figures

    async def send(self, payload: Any, **options: Any) -> Any:
        return await self.page.evaluate(
            "([payload, options]) => calls.send(payload, options)", [payload, options]
        )

    async def offers(self) -> int:
        count: int = await self.page.evaluate("call.offers")
        return count

    async def becomes(self, expression: str, expected: Any) -> None:
        """Waits until an expression in the page has this value."""
        value: Any = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while value != expected:
                    value = await self.page.evaluate(expression)
        except TimeoutError:
            states = await self.page.evaluate("JSON.stringify([call.agent.state, call.states, call.errors])")
            raise AssertionError(f"{expression} is {value!r}, not {expected!r}; {states}") from None

    async def receives(self, *names: str) -> None:
        """Sound and picture of exactly these come."""
        await self.becomes(
            "calls.look().tracks", sorted(f"{name} {media}" for name in names for media in ("audio", "video"))
        )

    async def gets(self, *messages: list[Any]) -> None:
        """Exactly these data messages have come: name and payload."""
        await self.becomes("call.data", list(messages))

    async def is_shown(self, name: str, more_frames: int = 2) -> dict[str, Any]:
        """Waits until more frames of somebody are decoded, and more sound comes; the figures of the picture."""
        begun = await self._received(name)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                now = await self._received(name)
                if now["frames"] > begun["frames"] + more_frames and now["energy"] > begun["energy"]:
                    return now
                await asyncio.sleep(0.1)

    async def _received(self, name: str) -> dict[str, Any]:
        received = [one for one in (await self.stats())["received"] if one["name"] == name]
        by_media: dict[str, dict[str, Any]] = {one["media"]: one for one in received}
        video, audio = by_media.get("video", {}), by_media.get("audio", {})
        return {**video, "frames": video.get("framesDecoded", 0), "energy": audio.get("audioEnergy", 0)}


class Stage:
    """Brings pages into calls."""

    def __init__(self, somebody: Callers) -> None:
        self._somebody: Final = somebody

    async def __call__(
        self, browser: Browser, channel: str, name: str, *, prelude: str = "", **options: Any
    ) -> InCall:
        """`prelude` is a script that runs before the call begins; `options` are those of `calls.join`."""
        caller = await self._somebody(browser)
        await caller.opens("/")
        for script in ("web-agent.js", "web-agent.webrtc.js"):
            await caller.page.add_script_tag(url=f"/sdk/{script}")
        await caller.page.evaluate(CALL_JS + prelude)
        await caller.page.evaluate("(given) => calls.join(...given)", [channel, name, options])
        return InCall(caller.page)
