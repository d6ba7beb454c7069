"""
Programs whose network a test takes away: every packet from and to them is dropped without a word, or only UDP.

Owns a group id that the programs are started with, and the firewall rules that know their packets by it (nftables).
Only where nothing but loopback is there to be cut off (`scripts/in-loopback-namespace.sh`). Packets are dropped where
they arrive, so that whoever sends them sees no error.

    with CutOff() as network:
        network.serves(8080)                       # what TCP connections of theirs lead to
        subprocess.Popen([*network.prefix, "firefox"])
        network.cut()
        network.mend()
"""

from __future__ import annotations

import itertools
import subprocess
from types import TracebackType
from typing import Final

NFT: Final = "/usr/sbin/nft"
_groups: Final = itertools.count(54_001)
_LEARN: Final = """
table inet {table} {{
    set own_udp {{ type inet_service; flags dynamic; size 4096; }}
    set own_tcp {{ type inet_service; flags dynamic; size 4096; }}
    set servers {{ type inet_service; }}
    chain learn {{
        type filter hook output priority -10;
        meta skgid {group} udp sport != 5353 add @own_udp {{ udp sport }}
        meta skgid {group} tcp dport @servers add @own_tcp {{ tcp sport }}
    }}
    chain gate {{
        type filter hook input priority 0;
    }}
}}
"""
_NO_UDP: Final = """
add rule inet {table} gate udp sport @own_udp drop
add rule inet {table} gate udp dport @own_udp drop
"""
_NO_TCP: Final = """
add rule inet {table} gate tcp sport @own_tcp tcp dport @servers drop
add rule inet {table} gate tcp dport @own_tcp tcp sport @servers drop
"""


class CutOff:
    """The network of all programs that are started with `prefix`."""

    def __init__(self) -> None:
        self._group: Final = next(_groups)
        self._table: Final = f"cut_off_{self._group}"
        self.prefix: Final = ("setpriv", f"--regid={self._group}", "--clear-groups")

    def __enter__(self) -> CutOff:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert [line.split(": ")[1] for line in links.splitlines()] == ["lo"], (
            "this is no namespace of its own"
        )
        self._nft(_LEARN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nft("delete table inet {table}")

    def serves(self, *ports: int) -> None:
        """These are what they connect to by TCP; other connections, as to whoever drives a browser, stay."""
        self._nft(f"add element inet {{table}} servers {{{{ {', '.join(map(str, ports))} }}}}")

    def cut(self) -> None:
        """Nothing passes."""
        self._nft(_NO_UDP + _NO_TCP)

    def block_udp(self) -> None:
        """TCP passes, UDP does not, as strict networks have it."""
        self._nft(_NO_UDP)

    def mend(self) -> None:
        """All passes again."""
        self._nft("flush chain inet {table} gate")

    def _nft(self, rules: str) -> None:
        text = rules.format(table=self._table, group=self._group)
        subprocess.run([NFT, "-f", "-"], input=text, text=True, check=True)
