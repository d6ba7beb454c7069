"""Encrypted calls in real browsers: who has the password sees and hears; nobody else does, the worker neither."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any, Final
from urllib.parse import quote

import pytest_asyncio
from playwright.async_api import Browser, expect

from peerbus.client.link import Link, format_link
from tests.e2e.call_stage import Callers, CallServer, call_server, somebody
from tests.e2e.in_call import InCall, Stage

__all__ = ["call_server", "somebody"]

PASSWORD: Final = "correct horse battery staple"
PATIENCE_S: Final = 60

OTHER_KEY: Final = """
const tell = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...more) {
  const isKey = message?.order === "key";
  return tell.call(this, isKey ? { ...message, mediaKey: new Uint8Array(32) } : message, ...more);
};
"""
"""Gives a page another media key than the one that comes from the password."""

_RECORD: Final = """
window.recorded = { audio: [], video: [] };
{
  const program = `onrtctransform = ({ transformer: { readable, writable, options } }) => {
    readable.pipeThrough(new TransformStream({ transform(frame, out) {
      postMessage([options, [...new Uint8Array(frame.data.slice(0, 64))]]);
      out.enqueue(frame);
    } })).pipeTo(writable);
  };`;
  const worker = new Worker(URL.createObjectURL(new Blob([program], { type: "text/javascript" })));
  worker.onmessage = ({ data: [media, bytes] }) => recorded[media].push(bytes);
  window.RTCPeerConnection = class extends RTCPeerConnection {
    addTransceiver(media, options) {
      const transceiver = super.addTransceiver(media, options);
      transceiver.receiver.transform = new RTCRtpScriptTransform(worker, media);
      return transceiver;
    }
  };
}
0;
"""
"""Keeps what comes to a client that opens nothing: the beginnings of frames, as the call's worker has them, too."""


@pytest_asyncio.fixture(loop_scope="session")
async def join(somebody: Callers) -> Stage:
    """`ada = await join(browser, channel, "ada")`."""
    return Stage(somebody)


async def _states(one: InCall, expected: dict[str, str]) -> None:
    """How picture and sound of each stand."""
    both = (f"{name} {media} {state}" for name, state in expected.items() for media in ("audio", "video"))
    await one.becomes("calls.encryption()", sorted(both))


async def test_browsers_and_a_bot_see_and_hear_each_other_also_late(
    chromium: Browser, firefox: Browser, call_server: CallServer, join: Stage, channel: str
) -> None:
    ada = await join(chromium, channel, "ada", channelPassword=PASSWORD)
    address = f"http://127.0.0.1:{call_server.port}"
    link = format_link(Link(origin=address, page="call", channel=channel, password=PASSWORD, project="demo"))
    bot = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerbus.client.cli", "bot", "--link", link, "--name", "robot"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await ada.is_shown("robot")
        bob = await join(firefox, channel, "bob", channelPassword=PASSWORD)
        cleo = await join(chromium, channel, "cleo", channelPassword=PASSWORD, media=False)
        for one, others in (
            (ada, ("bob", "robot")),
            (bob, ("ada", "robot")),
            (cleo, ("ada", "bob", "robot")),
        ):
            for other in others:
                picture = await one.is_shown(other)
                assert (picture["codec"], picture["encryption"]) == ("VP8", "sealed")
            await _states(one, dict.fromkeys(others, "sealed"))
            assert await one.page.evaluate("[call.webrtc.isEncrypted, call.errors]") == [True, []]
        for one in (ada, bob):
            assert all(sent["framesSealed"] > 10 for sent in (await one.stats())["sent"])
        # The bot prints what it can decode.
        assert bot.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := (await bot.stdout.readline()).decode():
                if all(
                    f"{name}: {what}" in line
                    for name in ("ada", "bob")
                    for what in ("camera ", "microphone -")
                ):
                    break
        assert line
        bot.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(bot.wait(), PATIENCE_S) == 0
    finally:
        if bot.returncode is None:
            bot.kill()
            await bot.wait()


async def test_who_may_join_but_has_another_key_sees_nothing_and_is_told(
    browser: Browser, chromium: Browser, join: Stage, channel: str
) -> None:
    ada = await join(chromium, channel, "ada", channelPassword=PASSWORD)
    eve = await join(browser, channel, "eve", channelPassword=PASSWORD, mediaKey=[7] * 32)
    await eve.receives("ada")
    await _states(eve, {"ada": "undecryptable"})
    await _states(ada, {"eve": "undecryptable"})
    for one in (ada, eve):
        for received in (await one.stats())["received"]:
            assert received["framesRefused"] >= 10
            assert (received["framesOpened"], received.get("framesDecoded") or 0) == (0, 0)
            assert not received.get("audioEnergy")
    # Who has the key is not disturbed, and comes as well as ever.
    bob = await join(chromium, channel, "bob", channelPassword=PASSWORD, media=False)
    assert (await bob.is_shown("ada"))["encryption"] == "sealed"


async def test_what_the_worker_forwards_is_clear_in_an_open_call_only(
    chromium: Browser, firefox: Browser, join: Stage, channel: str
) -> None:
    kinds: dict[bool, dict[str, list[list[int]]]] = {}
    for is_sealed in (False, True):
        options: dict[str, Any] = {"channelPassword": PASSWORD} if is_sealed else {}
        name = f"{channel} {is_sealed}"
        await join(firefox, name, "ada", **options)
        recorder = await join(chromium, name, "recorder", prelude=_RECORD, media=False, e2ee=False, **options)
        await recorder.receives("ada")
        await _states(recorder, {"ada": "not_opened" if is_sealed else "open"})
        await recorder.becomes("Object.values(recorded).every(({ length }) => length >= 40)", True)
        kinds[is_sealed] = await recorder.page.evaluate("recorded")
    # Every packet of a voice begins with the same byte (RFC 6716, section 3.1), unless it is sealed.
    heads = {is_sealed: {frame[0] for frame in kinds[is_sealed]["audio"]} for is_sealed in kinds}
    assert len(heads[False]) <= 3
    assert len(heads[True]) >= 15
    # The first three bytes of a picture that is no keyframe are clear in both; what follows differs as noise does.
    for is_sealed, seen in kinds.items():
        deltas = [frame for frame in seen["video"] if frame[0] & 1 and len(frame) > 16]
        assert len(deltas) >= 20
        different = [len({frame[at] for frame in deltas}) / len(deltas) for at in range(3, 16)]
        assert min(different) > 0.6 if is_sealed else min(different) < 0.3


async def test_the_page_says_what_is_encrypted_and_what_cannot_be_decrypted(
    chromium: Browser, firefox: Browser, somebody: Callers, channel: str
) -> None:
    address = f"/call#channel={quote(channel)}&password={quote(PASSWORD)}&project=demo"
    ada, bob, eve = await somebody(chromium), await somebody(firefox), await somebody(chromium, OTHER_KEY)
    for one, name in ((ada, "Ada"), (bob, "Bob"), (eve, "Eve")):
        await one.opens(address)
        await one.joins(name)
        await expect(one.page.get_by_test_id("openness")).to_contain_text("Encrypted end to end")
    await ada.sees_and_hears("Bob")
    await bob.sees_and_hears("Ada")
    for one, others in ((ada, ["Eve"]), (bob, ["Eve"]), (eve, ["Ada", "Bob"])):
        for other in others:
            tile = one.tile(other)
            await expect(tile.get_by_test_id("tile-status")).to_have_text("Cannot be decrypted")
            await expect(tile).to_have_attribute("data-picture", "off")
        await expect(one.notice("call_undecryptable")).to_contain_text("Use the same link")
    await eve.presses("Leave")
    await expect(ada.notice("call_undecryptable")).to_have_count(0)
