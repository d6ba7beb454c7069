"""coturn as `peerbus` configures and runs it: who may use it, for what, and calls that go through it."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any, Final

import pytest
from aioice.stun import TransactionFailed
from aioice.turn import TurnTransport, create_turn_endpoint

from peerbus.client import AgentConnection, sync
from peerbus.client.webrtc import WebRTCHelper
from peerbus.protocol.messages import IceServer
from peerbus.protocol.secrets import Secret
from peerbus.signaling.turn import IceIssuer, TurnSettings
from peerbus.signaling.turn_server import RelayPorts, TurnServerSettings, configuration
from tests.support.processes import children
from tests.support.server_process import END_S, ServerProcess
from tests.support.turn_server import (
    HOST,
    RELAY_PORTS,
    TurnServer,
    free_port,
    only,
    wait_until_it_listens,
    way_of,
    write_certificate,
)

WAIT_S: Final = 30.0
WAYS: Final = ["udp", "tcp", "turns"]


# --- coturn alone -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TurnServer]:
    with TurnServer(tmp_path_factory.mktemp("turn")) as server:
        yield server


@asynccontextmanager
async def allocation(server: IceServer, host: str = HOST) -> AsyncIterator[TurnTransport]:
    """An allocation by aioice, over the first way of a server."""
    assert server.credential is not None
    url = server.urls[0]
    transport, _ = await create_turn_endpoint(
        asyncio.DatagramProtocol,
        server_addr=(host, int(url.partition("?")[0].rpartition(":")[2])),
        username=server.username,
        password=server.credential.reveal(),
        ssl=way_of(url) == "turns",
        transport="udp" if way_of(url) == "udp" else "tcp",
    )
    try:
        yield transport
    finally:
        transport.close()
        await transport.__dict__["_TurnTransport__close_task"]
        await asyncio.sleep(0.01)


async def bind(transport: TurnTransport, address: str, channel: int) -> int:
    """Asks to relay to an address; 0 or the code of the refusal."""
    inner: Any = transport.__dict__["_TurnTransport__inner_protocol"]
    try:
        await inner.channel_bind(channel, (address, 9))
    except TransactionFailed as error:
        return error.response.error_code or -1
    return 0


async def refusal_of(server: IceServer) -> int:
    with pytest.raises(TransactionFailed) as refused:
        async with allocation(server):
            pass
    return refused.value.response.error_code or -1


@pytest.mark.parametrize("way", WAYS)
async def test_it_relays_for_a_credential_that_is_good_over_every_way(
    turn: TurnServer, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(turn.certificate))
    async with allocation(turn.ice_servers(way)[0]) as transport:
        host, port = transport.get_extra_info("sockname")
        assert host == HOST
        assert port in RELAY_PORTS


async def test_it_relays_for_no_credential_that_is_wrong_or_has_ended(turn: TurnServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    (wrong,) = turn.ice_servers("udp", secret="another-secret-than-its-own")
    (ended,) = turn.ice_servers("udp", wall_ms=now_ms - 3_600_000 - 5_000)
    (good,) = turn.ice_servers("udp")
    longer = IceServer(urls=good.urls, username=f"9{good.username}", credential=good.credential)
    assert [await refusal_of(one) for one in (wrong, ended, longer)] == [401, 401, 401]


async def test_it_relays_to_no_special_address_but_those_that_were_named(turn: TurnServer) -> None:
    denied = [
        *(
            "0.0.0.1",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.2",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.254",
        ),
        *(
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
        ),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255"),
    ]
    allowed = [HOST, "9.9.9.9", "172.32.0.1", "192.169.0.1"]
    async with allocation(turn.ice_servers("udp")[0]) as transport:
        codes = {
            address: await bind(transport, address, 0x4000 + number)
            for number, address in enumerate([*denied, *allowed])
        }
    assert codes == dict.fromkeys(denied, 403) | dict.fromkeys(allowed, 0)


SPECIAL_IPV6: Final = [
    *(
        "::1",
        "::7f00:1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
    ),
    *("2002:a00:1::1", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "febf::1"),
    *("fec0::1", "ff02::1"),
]
"""Loopback, addresses with IPv4 ones in them in each of the ways, and those for one network, site or purpose."""


@contextmanager
def coturn_over_ipv6(folder: Path) -> Iterator[tuple[int, IceServer]]:
    """One with our configuration that relays from an IPv6 address to whoever comes by IPv6, and its port."""
    port, path = free_port(), folder / "turnserver.conf"
    settings = TurnSettings(hosts=("::1",), port=port)
    server = TurnServerSettings(listen=("::1",), relay_ports=RelayPorts(RELAY_PORTS[0], RELAY_PORTS[-1]))
    secret = Secret("a-secret-for-one-test")
    text = configuration(settings, server, secret, log_file=str(folder / "log"), state_dir=str(folder))
    # The exception for the relay's own address, which special it is here, would be one of those tried.
    text = text.replace("allowed-peer-ip=::1\n", "")
    # aioice cannot ask for a family; a browser can, and gets what this gives.
    path.write_text(f"{text}allocation-default-address-family=keep\n")
    process = subprocess.Popen(["turnserver", "-c", str(path)], stdout=subprocess.DEVNULL)
    try:
        wait_until_it_listens(port, "::1")
        (told,) = only(
            IceIssuer(settings, secret, 60_000).servers("p", "ann", time.time_ns() // 10**6), "udp"
        )
        yield port, told
    finally:
        process.kill()
        process.wait()


async def test_it_relays_to_no_special_address_of_ipv6_either(tmp_path: Path) -> None:
    allowed = ["2606:4700::1111", "2a00:1450::1", "2003::1", "fb00::1"]
    with coturn_over_ipv6(tmp_path) as (_, server):
        async with allocation(server, "::1") as transport:
            assert transport.get_extra_info("sockname")[0] == "::1"
            codes = {
                address: await bind(transport, address, 0x4000 + number)
                for number, address in enumerate([*SPECIAL_IPV6, *allowed])
            }
    assert codes == dict.fromkeys(SPECIAL_IPV6, 403) | dict.fromkeys(allowed, 0)


async def test_a_client_gets_so_many_allocations_and_leaves_room_for_others(turn: TurnServer) -> None:
    quota = TurnServerSettings().user_quota
    # Nobody else here bears these names: what is let go is free some time later.
    (cho,) = turn.ice_servers("udp", identity="name:cho")
    (ben,) = turn.ice_servers("udp", identity="name:ben")
    async with AsyncExitStack() as stack:
        for _ in range(quota):
            await stack.enter_async_context(allocation(cho))
        assert await refusal_of(cho) == 486
        await stack.enter_async_context(allocation(ben))


# --- with the server ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str, Path]]:
    """`peerbus serve --with-turn` with a media worker: the process, its address, the certificate of its coturn."""
    folder = tmp_path_factory.mktemp("served")
    certificate, key = write_certificate(folder)
    options = [
        *("--with-turn", "--turn-port", "0", "--turn-tls-port", str(free_port())),
        *("--turn-cert", str(certificate), "--turn-key", str(key)),
        *("--turn-relay-ports", f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"),
        *("--sfu-workers", "1", "--sfu-port", "0", "--advertise", HOST),
    ]
    with ServerProcess(folder / "data", *options) as server:
        yield server, server.next_address_with_worker(), certificate
        assert server.stop() == 0


@asynccontextmanager
async def caller(
    address: str, name: str, **options: Any
) -> AsyncIterator[tuple[AgentConnection, WebRTCHelper]]:
    async with AgentConnection(address, "demo") as agent:
        await agent.connect("turned", name)
        servers = only(agent.ice_servers, options.pop("way")) if "way" in options else None
        async with WebRTCHelper(agent, mode="sfu", ice_servers=servers, **options) as call:
            yield agent, call


async def own_port(call: WebRTCHelper) -> int:
    """The port of the own end of the path."""
    address = (await call.stats()).connection.local_address
    assert address is not None
    return int(address.rpartition(":")[2])


async def sees_somebody(call: WebRTCHelper) -> None:
    """Waits until somebody else is in the call."""
    has_come = asyncio.Event()
    call.on_peers = lambda peers: has_come.set() if peers else None
    if not call.peers:
        await has_come.wait()


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_reaches_the_worker_through_it(
    served: tuple[ServerProcess, str, Path], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, address, certificate = served
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    got: asyncio.Queue[tuple[Any, str]] = asyncio.Queue()
    async with (
        asyncio.timeout(WAIT_S),
        caller(address, "ann", ice_transport_policy="relay", way=way) as (_, ann),
        caller(address, "bob") as (_, bob),
    ):
        ann.on_data_received = lambda data, peer: got.put_nowait((data, peer.name))
        bob.on_data_received = lambda data, peer: got.put_nowait((data, peer.name))
        assert await own_port(ann) in RELAY_PORTS
        assert await own_port(bob) not in RELAY_PORTS
        await asyncio.gather(sees_somebody(ann), sees_somebody(bob))
        await ann.send_data({"way": way})
        assert await got.get() == ({"way": way}, "ann")
        await bob.send_data(bytes(5000))
        assert await got.get() == (bytes(5000), "bob")


async def test_what_the_server_hands_out_is_used_by_itself_and_asked_for_again(
    served: tuple[ServerProcess, str, Path],
) -> None:
    _, address, _ = served
    async with asyncio.timeout(WAIT_S), caller(address, "ann", ice_transport_policy="relay") as (agent, call):
        stun, turn = agent.ice_servers
        assert [way_of(url) for url in [*stun.urls, *turn.urls]] == ["stun", *WAYS]
        assert await own_port(call) in RELAY_PORTS
        assert "ann" not in turn.username
        assert await agent.get_ice_servers() == agent.ice_servers


def test_blocking_programs_are_told_of_it_too(served: tuple[ServerProcess, str, Path]) -> None:
    _, address, _ = served
    with sync.AgentConnection(address, "demo") as agent:
        told: Queue[list[IceServer]] = Queue()
        agent.on_ice_servers = told.put
        agent.connect("turned", "ann")
        assert told.get(timeout=WAIT_S) == agent.ice_servers == agent.get_ice_servers()
        assert [way_of(url) for server in agent.ice_servers for url in server.urls] == ["stun", *WAYS]


def test_it_ends_with_the_server_and_its_secret_stands_in_no_argv(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--with-turn", "--turn-port", "0") as server:
        server.next_address()
        (port,) = {
            line.partition("?")[0].rpartition(":")[2] for line in server.output if "transport=" in line
        }
        wait_until_it_listens(int(port))
        (coturn,) = [child for child in children(server.pid) if "turnserver" in child.command]
        path = Path(coturn.command.split()[2])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        secret = path.read_text().partition("static-auth-secret=")[2].partition("\n")[0]
        assert len(secret) == 43
        for process in (*children(server.pid), server.supervisor()):
            assert secret not in process.command
        assert secret.encode() not in Path(f"/proc/{coturn.pid}/environ").read_bytes()
        server.supervisor().kill()
        assert coturn.has_ended(END_S)
        assert secret not in "\n".join([*server.output, *server.errors])


def refusal(server: ServerProcess) -> str:
    assert server.wait() == 2
    return server.errors[0]


def test_without_coturn_or_a_host_or_a_free_port_it_says_so_and_does_not_start(
    turn: TurnServer, tmp_path: Path
) -> None:
    taken = ("--with-turn", "--turn-port", str(turn.port))
    with (
        ServerProcess(tmp_path / "a", "--with-turn", env={"PATH": str(tmp_path)}) as without_coturn,
        ServerProcess(tmp_path / "b", "--with-turn", "--host", "0.0.0.0") as without_host,
        ServerProcess(tmp_path / "c", *taken) as without_port,
    ):
        assert "--with-turn needs coturn" in refusal(without_coturn)
        assert without_coturn.output == []
        assert "--with-turn needs --turn-host" in refusal(without_host)
        assert without_port.wait() == 2
        assert any(f"coturn cannot listen on port {turn.port}" in line for line in without_port.errors)
