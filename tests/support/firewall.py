"""
A firewall that lets no UDP through, in a network namespace of the test's own (nftables).

    with udp_blocked():
        ...                       # TCP goes on; UDP is dropped without a word, as strict networks do
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.support.turn_server import RELAY_PORTS

NFT: Final = "/usr/sbin/nft"
BLOCK_UDP: Final = """
table inet strict {{
    chain output {{
        type filter hook output priority 0; policy accept;
        udp sport {first}-{last} accept
        udp dport {first}-{last} accept
        meta l4proto udp drop
    }}
}}
"""
"""What a relay sends and gets passes: in the same namespace it stands for a machine beyond the firewall."""


@contextmanager
def udp_blocked() -> Iterator[None]:
    """Only where nothing but loopback is there to be cut off (`scripts/in-loopback-namespace.sh`)."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    rules = BLOCK_UDP.format(first=RELAY_PORTS.start, last=RELAY_PORTS.stop - 1)
    assert [line.split(": ")[1] for line in links.splitlines()] == ["lo"], "this is no namespace of its own"
    subprocess.run([NFT, "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([NFT, "delete", "table", "inet", "strict"], check=True)
