"""The game in 40 lines, as it stands, on a site of its own: two play, and the one who is left goes on."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser

from tests.e2e.conftest import Elsewhere, Pages
from tests.support.live_server import LiveServer

PATIENCE_MS = 40_000
PAGE = (Path(__file__).parents[2] / "web" / "examples" / "tag.html").read_text("utf-8")


async def test_the_game_runs_as_it_stands(
    chromium: Browser, firefox: Browser, new_page: Pages, server: LiveServer, elsewhere: Elsewhere
) -> None:
    assert PAGE.count("http://localhost:8080") == 2
    address = elsewhere(
        PAGE.replace("http://localhost:8080", server.url).replace("YOUR-KEY", server.developer_key)
    )
    ann, bob = await new_page(chromium), await new_page(firefox)
    for page in (ann, bob):
        page.set_default_timeout(PATIENCE_MS)
    await ann.goto(address)
    await ann.wait_for_function("peers.isHost && game.steps > 10")
    await bob.goto(address)
    # Bob goes away, and then Ann runs into him: it is the other one then, whoever it was.
    await bob.mouse.move(508, 108)
    await ann.wait_for_function("Object.values(game.places).some(([x]) => x > 400)")
    before = await ann.evaluate("game.it")
    await ann.mouse.move(508, 108)
    await bob.wait_for_function("before => game.it !== before", arg=before)
    steps = await ann.evaluate("game.steps")
    await ann.goto("about:blank")
    await bob.wait_for_function("peers.isHost && Object.keys(game.places).length === 1")
    assert await bob.evaluate("game.steps") > steps - 60
