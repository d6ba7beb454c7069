"""
Takes a picture of every page and state of a running server, light and dark, on a desktop and on a phone.

Owns the scenes. For review by people; the pictures are not committed. Needs Chromium, and a server with a demo project
and a media worker on the same machine:

    python web/screenshots.py http://localhost:8080 /tmp/pictures [scene ...]
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM: Final = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS: Final = [
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
SIZES: Final = {"desktop": (1280, 800), "phone": (390, 844)}
FULL: Final = ("home", "test-report", "test-report-details")
"""Of which the whole page is shown."""
Scheme = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")


@dataclass(frozen=True)
class Stage:
    """Where a scene is played: a server, a browser, and how its pages look."""

    server: str
    browser: Browser
    size: str
    scheme: Scheme

    @contextmanager
    def person(self) -> Iterator[BrowserContext]:
        """A browser profile of their own."""
        width, height = SIZES[self.size]
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=self.scheme,
            has_touch=self.size == "phone",
            is_mobile=self.size == "phone",
            device_scale_factor=2 if self.size == "phone" else 1,
            locale="en-GB",
            reduced_motion="reduce",
        )
        try:
            yield context
        finally:
            context.close()

    def call_lobby(self, context: BrowserContext, name: str, channel: str, password: str = "") -> Page:
        """A page of /call that shows its own camera."""
        page = context.new_page()
        secret = f"&password={quote(password)}" if password else ""
        page.goto(f"{self.server}/call#channel={quote(channel)}{secret}&project=demo")
        page.get_by_test_id("name").fill(name)
        page.locator("#preview-video").wait_for()
        return page

    def call(self, context: BrowserContext, name: str, channel: str, password: str = "") -> Page:
        """A page of /call that is in the call."""
        page = self.call_lobby(context, name, channel, password)
        page.get_by_test_id("join").click()
        page.get_by_test_id("connection").filter(has_text="Connected").wait_for()
        return page

    def join(self, context: BrowserContext, name: str, channel: str, password: str = "") -> Page:
        """A page of /chat that is in the channel."""
        page = context.new_page()
        secret = f"&password={quote(password)}" if password else ""
        page.goto(f"{self.server}/chat#channel={quote(channel)}{secret}&project=demo")
        page.get_by_test_id("name").fill(name)
        page.get_by_test_id("join").click()
        page.get_by_test_id("room").wait_for()
        return page


def say(page: Page, text: str) -> None:
    """Sends a message and waits until it is stored."""
    page.get_by_test_id("text").fill(text)
    page.get_by_test_id("send").click()
    page.locator("[data-testid=message][data-own=true][data-status=stored]").last.wait_for()


def a_channel(prefix: str) -> str:
    return f"{prefix} {secrets.token_hex(2)}"


Shoot = Callable[[Page, str], None]


def home(stage: Stage, shoot: Shoot) -> None:
    with stage.person() as context:
        page = context.new_page()
        page.goto(stage.server)
        page.get_by_text("This server is up").wait_for()
        shoot(page, "home")


def lobby(stage: Stage, shoot: Shoot) -> None:
    with stage.person() as context:
        page = context.new_page()
        page.goto(f"{stage.server}/chat")
        page.get_by_test_id("generate").click()
        shoot(page, "lobby")
        page.goto("about:blank")
        page.goto(f"{stage.server}/chat#channel=a%ff")
        shoot(page, "lobby-damaged-link")


def name_taken(stage: Stage, shoot: Shoot) -> None:
    channel = a_channel("team")
    with stage.person() as first, stage.person() as second:
        stage.join(first, "Ada", channel)
        page = second.new_page()
        page.goto(f"{stage.server}/chat#channel={quote(channel)}&project=demo")
        page.get_by_test_id("name").fill("Ada")
        page.get_by_test_id("join").click()
        page.get_by_test_id("notice").wait_for()
        shoot(page, "lobby-name-taken")


def empty_room(stage: Stage, shoot: Shoot) -> None:
    with stage.person() as context:
        page = stage.join(context, "Ada", a_channel("team"))
        page.get_by_test_id("empty").wait_for()
        shoot(page, "room-empty")
        page.get_by_test_id("openness").click()
        shoot(page, "openness")


def talk(stage: Stage, shoot: Shoot) -> None:
    channel = a_channel("Launch")
    with stage.person() as one, stage.person() as two, stage.person() as three:
        ada = stage.join(one, "Ada Lovelace", channel, "x7k2m-9qq4t-r8v3n-bb6hz")
        grace = stage.join(two, "Grace", channel, "x7k2m-9qq4t-r8v3n-bb6hz")
        say(ada, "Good morning! The build is green on both machines.")
        say(ada, "Notes are at https://bus.example/notes/17, have a look when you can.")
        say(
            grace,
            "Morning. I read them: two questions about the resume window.\n"
            "1. Is 30 s enough for a phone in a lift?\n2. What does a bot see meanwhile?",
        )
        linus = stage.join(three, "Łukasz Żółć-Wiśniewski der Dritte", channel, "x7k2m-9qq4t-r8v3n-bb6hz")
        say(linus, "🎉")
        say(ada, "It is enough for most lifts. A bot sees the member as away, then back.")
        if stage.size == "phone":
            grace.locator("#people-open").click()
        grace.get_by_test_id("person").filter(has_text="Ada").get_by_role("button").first.click()
        say(grace, "Just between us: lunch at one?")
        ada.locator("[data-direct=true]").wait_for()
        grace.get_by_test_id("text").type("and")
        ada.get_by_test_id("typing").filter(has_text="typing").wait_for()
        shoot(ada, "room")
        shoot(grace, "room-direct")
        ada.get_by_test_id("share").click()
        shoot(ada, "share")
        ada.keyboard.press("Escape")
        if stage.size == "phone":
            ada.locator("#people-open").click()
            shoot(ada, "people")
            ada.keyboard.press("Escape")


FAILS_TO_OPEN: Final = """
const open = crypto.subtle.decrypt;
let count = 0;
crypto.subtle.decrypt = function (...given) {
  count += 1;
  return count === 2 ? Promise.reject(new DOMException("", "OperationError")) : open.apply(this, given);
};
"""
"""Has the second message of the page come as if it was changed on its way."""


def sealed(stage: Stage, shoot: Shoot) -> None:
    channel, password = a_channel("Launch"), "x7k2m-9qq4t-r8v3n-bb6hz"
    with stage.person() as one, stage.person() as two, stage.person() as three:
        ada = stage.join(one, "Ada Lovelace", channel, password)
        for text in ("Good morning!", "The build is green.", "Notes follow."):
            say(ada, text)
        page = two.new_page()
        page.add_init_script(FAILS_TO_OPEN)
        page.goto(f"{stage.server}/chat#channel={quote(channel)}&password={password}&project=demo")
        page.get_by_test_id("name").fill("Grace")
        page.get_by_test_id("join").click()
        page.get_by_test_id("system").filter(has_text="could not be opened").wait_for()
        shoot(page, "room-refused")
        page.get_by_test_id("openness").click()
        shoot(page, "openness-sealed")
        wrong = stage.join(three, "Linus", channel, f"{password}x")
        wrong.get_by_test_id("empty").wait_for()
        shoot(wrong, "room-wrong-password")
        locked = three.new_page()
        locked.goto(f"{stage.server}/chat#channel={quote(channel)}&password={password}&mode=open")
        shoot(locked, "lobby-locked-link")
        locked.get_by_test_id("name").fill("Lina")
        locked.get_by_test_id("join").click()
        locked.get_by_test_id("room").wait_for()
        locked.get_by_test_id("openness").click()
        shoot(locked, "openness-locked")


def cut(stage: Stage, shoot: Shoot) -> None:
    with stage.person() as context:
        page = context.new_page()
        page.add_init_script(
            "const Native = WebSocket; window.sockets = [];"
            "window.WebSocket = class extends Native {"
            " constructor(...a) { if (window.isCut) throw new Error('The network is away.');"
            " super(...a); window.sockets.push(this); } };"
        )
        page.goto(f"{stage.server}/chat#channel={quote(a_channel('team'))}&project=demo")
        page.get_by_test_id("name").fill("Ada")
        page.get_by_test_id("join").click()
        page.get_by_test_id("room").wait_for()
        say(page, "Before the cut.")
        page.evaluate(
            """
            window.isCut = true;
            window.fetch = () => Promise.reject(new TypeError('cut'));
            window.sockets.forEach((socket) => {
              const lost = socket.onclose;
              socket.close();
              lost({ code: 1006, reason: '' });
            });
            """
        )
        page.locator("[data-state=reconnecting]").wait_for()
        page.get_by_test_id("text").fill("This waits.")
        page.get_by_test_id("send").click()
        page.get_by_test_id("text").fill("This, too.")
        page.get_by_test_id("send").click()
        page.wait_for_timeout(4000)
        shoot(page, "room-reconnecting")


def call_lobby(stage: Stage, shoot: Shoot) -> None:
    with stage.person() as context:
        page = stage.call_lobby(context, "Ada", a_channel("Launch"))
        page.wait_for_timeout(1_000)
        shoot(page, "call-lobby")
        page.get_by_test_id("preview-camera").click()
        page.get_by_test_id("preview-microphone").click()
        shoot(page, "call-lobby-off")
    with stage.person() as context:
        context.add_init_script(
            "navigator.mediaDevices.getUserMedia = () =>"
            " Promise.reject(new DOMException('No.', 'NotAllowedError'));"
        )
        page = context.new_page()
        page.goto(f"{stage.server}/call")
        page.get_by_test_id("notice").wait_for()
        shoot(page, "call-lobby-denied")


def call(stage: Stage, shoot: Shoot) -> None:
    channel = a_channel("Launch")
    with stage.person() as one, stage.person() as two, stage.person() as three:
        ada = stage.call(one, "Ada Lovelace", channel)
        shoot(ada, "call-alone")
        grace = stage.call(two, "Grace", channel)
        ada.locator("[data-name=Grace][data-picture=on]").wait_for()
        ada.wait_for_timeout(1_500)
        shoot(ada, "call-two")
        linus = stage.call(three, "Łukasz Żółć-Wiśniewski der Dritte", channel)
        linus.get_by_test_id("camera").click()
        linus.get_by_test_id("microphone").click()
        linus.get_by_test_id("hand").click()
        ada.locator("[data-picture=on]").nth(1).wait_for()
        ada.wait_for_timeout(1_500)
        grace.get_by_test_id("react").click()
        shoot(grace, "call-react")
        grace.get_by_test_id("reactions").get_by_role("button").first.click()
        shoot(ada, "call-three")
        ada.get_by_test_id("people").click()
        shoot(ada, "call-people")
        ada.keyboard.press("Escape")
        if grace.get_by_test_id("screen").is_visible():
            grace.get_by_test_id("screen").click()
            ada.locator(".is-screen[data-picture=on]").wait_for()
            ada.wait_for_timeout(2_000)
            shoot(ada, "call-screen")
            shoot(grace, "call-sharing")
        else:
            ada.locator("[data-name=Grace] .tile-pin").click()
            shoot(ada, "call-pinned")


OTHER_KEY: Final = """
const tell = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...more) {
  const isKey = message?.order === "key";
  return tell.call(this, isKey ? { ...message, mediaKey: new Uint8Array(32) } : message, ...more);
};
"""
"""Gives the page another media key than the one that comes from the password."""


def sealed_call(stage: Stage, shoot: Shoot) -> None:
    channel, password = a_channel("Launch"), "x7k2m-9qq4t-r8v3n-bb6hz"
    with stage.person() as one, stage.person() as two, stage.person() as three:
        ada = stage.call(one, "Ada Lovelace", channel, password)
        grace = stage.call(two, "Grace", channel, password)
        ada.locator("[data-name=Grace][data-picture=on]").wait_for()
        three.add_init_script(OTHER_KEY)
        eve = stage.call(three, "Eve", channel, password)
        for page in (ada, grace):
            page.locator("[data-name=Eve]").get_by_text("Cannot be decrypted").wait_for()
        eve.get_by_text("Cannot be decrypted").nth(1).wait_for()
        ada.wait_for_timeout(1_500)
        shoot(eve, "call-undecryptable")
        shoot(ada, "call-sealed")
        ada.get_by_test_id("people").click()
        shoot(ada, "call-sealed-people")
        ada.keyboard.press("Escape")
        ada.get_by_test_id("openness").click()
        shoot(ada, "call-sealed-openness")
        ada.keyboard.press("Escape")
        ada.get_by_test_id("connection").click()
        shoot(ada, "call-sealed-figures")


def connection_test(stage: Stage, shoot: Shoot) -> None:
    with stage.person() as context:
        page = context.new_page()
        page.goto(f"{stage.server}/test")
        shoot(page, "test")
        page.get_by_test_id("start").click()
        page.get_by_test_id("download").wait_for(timeout=60_000)
        shoot(page, "test-report")
        page.locator("[data-check] summary").first.click()
        page.get_by_test_id("findings").scroll_into_view_if_needed()
        shoot(page, "test-report-details")
        # Whatever else fails, this server is gone.
        page.route("**/v1/**", lambda route: route.abort())
        page.get_by_test_id("start").click()
        page.get_by_text("cannot be reached").first.wait_for()
        shoot(page, "test-gone")


def table(stage: Stage, context: BrowserContext, name: str, channel: str) -> Page:
    """A page of the game that is at the table."""
    page = context.new_page()
    page.goto(f"{stage.server}/games/air-hockey#channel={quote(channel)}&project=demo")
    page.get_by_test_id("name").fill(name)
    page.get_by_test_id("join").click()
    page.get_by_test_id("room").wait_for()
    return page


def air_hockey(stage: Stage, shoot: Shoot) -> None:
    channel = a_channel("Table")
    with stage.person() as one, stage.person() as two:
        page = one.new_page()
        page.goto(f"{stage.server}/games/air-hockey#channel={quote(channel)}&project=demo")
        shoot(page, "game-lobby")
        page.close()
        ada = table(stage, one, "Ada Lovelace", channel)
        ada.wait_for_timeout(1_000)
        shoot(ada, "game-alone")
        grace = table(stage, two, "Grace", channel)
        ada.wait_for_timeout(3_000)
        shoot(ada, "game")
        shoot(grace, "game-other-side")
        ada.get_by_test_id("menu").click()
        shoot(ada, "game-menu")


SCENES: Final[dict[str, Callable[[Stage, Shoot], None]]] = {
    "home": home,
    "lobby": lobby,
    "name-taken": name_taken,
    "empty": empty_room,
    "talk": talk,
    "sealed": sealed,
    "cut": cut,
    "call-lobby": call_lobby,
    "call": call,
    "sealed-call": sealed_call,
    "test": connection_test,
    "game": air_hockey,
}


def main(argv: list[str]) -> int:
    if len(argv) < 2 or not set(argv[2:]) <= SCENES.keys():
        print(f"usage: screenshots.py SERVER FOLDER [{' | '.join(SCENES)} ...]", file=sys.stderr)
        return 2
    server, folder = argv[0].rstrip("/"), Path(argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=False, args=CHROMIUM_ARGUMENTS
        )
        for size in SIZES:
            for scheme in SCHEMES:
                stage = Stage(server, browser, size, scheme)

                def shoot(page: Page, name: str, stage: Stage = stage) -> None:
                    page.bring_to_front()
                    page.screenshot(
                        path=folder / f"{name}-{stage.size}-{stage.scheme}.png", full_page=name in FULL
                    )

                for name in argv[2:] or SCENES:
                    SCENES[name](stage, shoot)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
