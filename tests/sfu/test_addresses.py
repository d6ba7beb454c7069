"""Which addresses clients are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.addresses import AdvertiseError, LocalAddress, advertised, local_candidates, warning
from peerbus.sfu.negotiation import Candidate

NAMES = {"media.example": ["192.0.2.7", "2001:db8::7"], "one.example": ["192.0.2.1"]}


def resolve(name: str) -> list[str]:
    return NAMES.get(name, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", [("192.0.2.1", 7_900)]),
        ("192.0.2.1:9000", [("192.0.2.1", 9_000)]),
        ("2001:db8::1", [("2001:db8::1", 7_900)]),
        ("2001:DB8:0::1", [("2001:db8::1", 7_900)]),
        ("[2001:db8::1]", [("2001:db8::1", 7_900)]),
        ("[2001:db8::1]:9000", [("2001:db8::1", 9_000)]),
        ("::ffff:192.0.2.1", [("192.0.2.1", 7_900)]),
        ("media.example", [("192.0.2.7", 7_900), ("2001:db8::7", 7_900)]),
        ("media.example:65535", [("192.0.2.7", 65_535), ("2001:db8::7", 65_535)]),
    ],
)
def test_forms_of_advertise(text: str, expected: list[tuple[str, int]]) -> None:
    assert advertised([text], 7_900, resolve) == [Candidate(host, port) for host, port in expected]


@pytest.mark.parametrize(
    "text",
    ["", ":", ":80", "host:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:123456", "a b", "x:y", "[::1", "[::1]:",
     "[]:1", "::1:x", "unknown.example", "http://192.0.2.1", "192.0.2.1:-1"],
)  # fmt: skip
def test_what_has_no_usable_form_is_refused_by_name(text: str) -> None:
    with pytest.raises(AdvertiseError, match="--advertise"):
        advertised([text], 7_900, resolve)


def test_the_same_address_is_told_once_in_the_order_given() -> None:
    found = advertised(["one.example", "192.0.2.9", "192.0.2.1"], 1, resolve)
    assert [one.host for one in found] == ["192.0.2.1", "192.0.2.9"]


@given(text=st.text(max_size=30))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        found = advertised([text], 7_900, lambda _: ["192.0.2.1"])
    except AdvertiseError:
        return
    assert all(1 <= one.port <= 65_535 for one in found)


def hosts(*addresses: tuple[str, str], **families: bool) -> list[str]:
    found = local_candidates([LocalAddress(*one) for one in addresses], 7_900, **families)
    assert {one.port for one in found} <= {7_900}
    return [one.host for one in found]


def test_the_likeliest_come_first_and_loopback_last() -> None:
    assert hosts(
        ("lo", "127.0.0.1"),
        ("lo", "::1"),
        ("eth0", "2001:db8::1"),
        ("eth0", "192.0.2.1"),
        ("wlan0", "10.0.0.5"),
    ) == ["192.0.2.1", "10.0.0.5", "2001:db8::1", "127.0.0.1", "::1"]


def test_bridges_of_containers_and_link_local_addresses_are_left_out() -> None:
    assert hosts(
        ("docker0", "172.17.0.1"),
        ("br-0123456789ab", "172.18.0.1"),
        ("veth12", "172.19.0.1"),
        ("virbr0", "192.168.122.1"),
        ("eth0", "169.254.1.1"),
        ("eth0", "fe80::1%eth0"),
        ("eth0", "192.0.2.1"),
    ) == ["192.0.2.1"]


def test_a_bridge_of_the_house_is_an_address_like_any_other() -> None:
    assert hosts(("br-lan", "192.168.1.1"), ("br0", "192.168.2.1")) == ["192.168.1.1", "192.168.2.1"]


def test_a_family_without_a_socket_is_not_told() -> None:
    both = [("eth0", "192.0.2.1"), ("eth0", "2001:db8::1")]
    assert hosts(*both, has_ipv6=False) == ["192.0.2.1"]
    assert hosts(*both, has_ipv4=False) == ["2001:db8::1"]


def test_an_operator_whose_clients_will_find_nobody_is_warned_with_the_remedy() -> None:
    loopback, private, public = (Candidate(host, 1) for host in ("127.0.0.1", "172.17.0.2", "192.0.2.1"))
    for candidates in ([], [loopback]):
        text = warning(candidates, is_container=False)
        assert text is not None
        assert "--advertise" in text
    assert warning([private, loopback], is_container=False) is None
    text = warning([private, loopback], is_container=True)
    assert text is not None
    assert "172.17.0.2" in text
    assert "--advertise" in text
    assert warning([Candidate("198.18.0.1", 1)], is_container=False) is None
    assert warning([private, Candidate("8.8.8.8", 1)], is_container=True) is None
    assert public.host not in text
