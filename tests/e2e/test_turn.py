"""
Calls of browsers through coturn alone, as `peerbus serve --with-turn` runs it, over UDP, TCP and TLS.

Firefox takes TURN by TLS at a name only, not at an address, and checks the certificate by its profile's authorities: so
clients are told of `localhost`, and its certificate stands in the profile.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Playwright

from peerbus.client import AgentConnection
from peerbus.client.webrtc import WebRTCHelper
from tests.e2e.conftest import (
    CHROMIUM_ARGUMENTS,
    FIREFOX_PREFERENCES,
    SLOW_CAMERA,
    SLOW_CAMERA_PREFERENCES,
    Pages,
)
from tests.support.server_process import ServerProcess
from tests.support.turn_server import HOST, RELAY_PORTS, free_port, write_certificate

WAIT_S: Final = 40.0

_CALL: Final = """
async ([channelName, way, browser]) => {
  const agent = new AgentConnection();
  await agent.connect({ channelName, agentName: `${way} ${browser}`, resumeKey: false });
  const isOfWay = (url) => url.startsWith(way === "turns" ? "turns:" : "turn:") && /tcp$/.test(url) === (way !== "udp");
  const iceServers = agent.iceServers
    .map((server) => ({ ...server, urls: server.urls.filter(isOfWay) }))
    .filter(({ urls }) => urls.length > 0);
  const connections = [];
  const Native = RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) { super(...given); connections.push(this); }
  };
  // Without servers of its own the call uses those of the agent.
  const given = way === "any" ? {} : { iceServers };
  const webrtc = new WebRTCHelper(agent, { mode: "sfu", iceTransportPolicy: "relay", ...given });
  const heard = new Promise((done) => {
    // The other browser's is for everybody, too.
    webrtc.onDataReceived = (data, name) => { if (name === "echo") done([name, data]); };
  });
  await webrtc.publish(await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240 } }));
  await webrtc.sendData({ from: `${way} ${browser}` });
  const echoed = await heard;
  const report = await connections.at(-1).getStats();
  const entries = [...report.values()];
  const { selectedCandidatePairId } = entries.find(({ type }) => type === "transport");
  const { candidateType, port, relayProtocol, url } = report.get(report.get(selectedCandidatePairId).localCandidateId);
  webrtc.close();
  await agent.disconnect();
  const hosts = entries.filter((one) => one.type === "local-candidate" && one.candidateType === "host").length;
  return { echoed, candidateType, port, relayProtocol, url, hosts };
}
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of coturn, and its key."""
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[str]:
    """Of a server with a media worker and coturn."""
    options = [
        *("--with-turn", "--turn-port", "0", "--turn-tls-port", str(free_port())),
        *("--turn-cert", str(certificate[0]), "--turn-key", str(certificate[1])),
        *("--turn-relay-ports", f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"),
        *("--turn-host", "localhost", "--turn-listen", HOST, "--turn-allow-peers", HOST),
        *("--sfu-workers", "1", "--sfu-port", "0", "--advertise", HOST),
    ]
    with ServerProcess(tmp_path_factory.mktemp("turned"), *options) as server:
        yield server.next_address_with_worker()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def trusting(
    playwright_driver: Playwright, browser_environment: dict[str, str | float | bool]
) -> AsyncIterator[Browser]:
    """A Chromium to which every certificate is good."""
    browser = await playwright_driver.chromium.launch(
        executable_path="/usr/bin/chromium",
        chromium_sandbox=False,
        args=[*CHROMIUM_ARGUMENTS, SLOW_CAMERA, "--ignore-certificate-errors"],
        env=browser_environment,
    )
    yield browser
    await browser.close()


@pytest.fixture(scope="module")
def trusting_profile(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Path:
    """Of a Firefox to which that certificate is an authority."""
    profile = tmp_path_factory.mktemp("profile")
    database = ("certutil", "-d", f"sql:{profile}")
    subprocess.run([*database, "-N", "--empty-password"], check=True)
    subprocess.run([*database, "-A", "-n", "coturn", "-t", "C,,", "-i", str(certificate[0])], check=True)
    return profile


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def firefox_page(
    playwright_driver: Playwright,
    browser_environment: dict[str, str | float | bool],
    trusting_profile: Path,
) -> AsyncIterator[Page]:
    """In a Firefox that trusts coturn's certificate."""
    context = await playwright_driver.firefox.launch_persistent_context(
        str(trusting_profile),
        channel="moz-firefox",
        executable_path="/usr/bin/firefox-esr",
        firefox_user_prefs=FIREFOX_PREFERENCES | SLOW_CAMERA_PREFERENCES,
        env=browser_environment,
    )
    yield await context.new_page()
    await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def echo(address: str) -> AsyncIterator[WebRTCHelper]:
    """A Python program in the call that sends back what it gets, and comes through coturn itself."""
    async with AgentConnection(address, "demo") as agent:
        await agent.connect("turned", "echo")
        async with WebRTCHelper(agent, mode="sfu", ice_transport_policy="relay") as call:

            async def send_back(data: Any, peer: Any) -> None:
                await call.send_data(data, peer)

            call.on_data_received = send_back
            yield call


async def test_pages_are_in_a_call_through_it_by_every_way(
    trusting: Browser, new_page: Pages, firefox_page: Page, address: str, echo: WebRTCHelper
) -> None:
    async def go_every_way(browser: str, page: Page) -> None:
        await page.goto(f"{address}/")
        for script in ("web-agent.js", "web-agent.webrtc.js"):
            await page.add_script_tag(url=f"/sdk/{script}")
        for way in ("udp", "tcp", "turns", "any"):
            async with asyncio.timeout(WAIT_S):
                seen = await page.evaluate(_CALL, ["turned", way, browser])
            assert seen["echoed"] == ["echo", {"from": f"{way} {browser}"}]
            assert seen["candidateType"] == "relay", (browser, way)
            assert seen["port"] in RELAY_PORTS
            assert seen["hosts"] == 0
            if way != "any":
                assert seen["relayProtocol"] == {"turns": "tls"}.get(way, way), (browser, way)

    page = await new_page(trusting)
    await asyncio.gather(go_every_way("chromium", page), go_every_way("firefox", firefox_page))
    assert echo.is_connected


_MESH: Final = """
async (channelName) => {
  const agent = new AgentConnection();
  await agent.connect({ channelName, agentName: "page", resumeKey: false });
  const connections = [];
  const Native = RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) { super(...given); connections.push(this); }
  };
  const webrtc = new WebRTCHelper(agent, { mode: "mesh", iceTransportPolicy: "relay", carry: false });
  const heard = new Promise((done) => { webrtc.onDataReceived = (data, name) => done([name, data]); });
  const connected = new Promise((done) => {
    webrtc.onPeerState = ({ name }, state) => state === "connected" && done(name);
  });
  await connected;
  await webrtc.sendData("by two relays");
  const answered = await heard;
  const report = await connections.at(-1).getStats();
  const { selectedCandidatePairId } = [...report.values()].find(({ type }) => type === "transport");
  const pair = report.get(selectedCandidatePairId);
  const types = [pair.localCandidateId, pair.remoteCandidateId].map((id) => report.get(id).candidateType);
  webrtc.close();
  await agent.disconnect();
  return { answered, types };
}
"""


async def test_a_page_and_a_program_have_a_link_through_it(
    trusting: Browser, new_page: Pages, address: str
) -> None:
    """Neither learns an address of the other: both ends of the link are addresses of coturn."""
    page = await new_page(trusting)
    await page.goto(f"{address}/")
    for script in ("web-agent.js", "web-agent.webrtc.js"):
        await page.add_script_tag(url=f"/sdk/{script}")
    async with AgentConnection(address, "demo") as agent:
        await agent.connect("linked", "program")
        helper = WebRTCHelper(agent, mode="mesh", ice_transport_policy="relay", carry=False)

        async def send_back(data: Any, peer: Any) -> None:
            await helper.send_data([data, "and back"], peer)

        helper.on_data_received = send_back
        async with asyncio.timeout(WAIT_S), helper:
            seen = await page.evaluate(_MESH, "linked")
    assert seen["answered"] == ["program", ["by two relays", "and back"]]
    assert set(seen["types"]) <= {"relay", "prflx"}
    assert seen["types"][0] == "relay"
