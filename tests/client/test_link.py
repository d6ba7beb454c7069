"""Channel links: the shared vectors, and that a link survives being written and read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.client.link import MAX_LINK_CHARS, Link, LinkError, LinkFault, format_link, parse_link

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "links" / "links.json").read_text("utf-8"))


def case_names(kind: str) -> list[str]:
    return [case["text"] for case in VECTORS[kind]]


@pytest.mark.parametrize("case", VECTORS["format"], ids=case_names("format"))
def test_a_link_is_written_and_read_in_one_form(case: dict[str, Any]) -> None:
    link = Link(**case["link"])
    assert format_link(link) == case["text"]
    assert str(link) == case["text"]
    assert parse_link(case["text"]) == link


@pytest.mark.parametrize("case", VECTORS["parse"], ids=case_names("parse"))
def test_other_spellings_mean_the_same(case: dict[str, Any]) -> None:
    link = parse_link(case["text"])
    assert link == Link(**case["link"])
    assert format_link(link) == case["canonical"]


@pytest.mark.parametrize("case", VECTORS["reject"], ids=case_names("reject"))
def test_what_is_not_a_link_is_refused_with_a_reason(case: dict[str, Any]) -> None:
    with pytest.raises(LinkError) as refused:
        parse_link(case["text"])
    assert refused.value.fault == case["fault"]


def test_every_fault_has_a_vector() -> None:
    assert {case["fault"] for case in VECTORS["reject"]} == set(LinkFault)


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(channel=text, password=text, project=text, scope=st.sampled_from(["private", "public"]))
def test_any_text_survives(channel: str, password: str, project: str, scope: Any) -> None:
    link = Link(
        origin="http://localhost:8080", channel=channel, password=password, project=project, scope=scope
    )
    assert parse_link(format_link(link)) == link


@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(tail: str) -> None:
    try:
        link = parse_link("http://localhost:8080/chat#channel=" + tail)
    except LinkError:
        return
    assert parse_link(format_link(link)) == link


def test_a_password_is_not_shown_by_repr_or_in_errors() -> None:
    assert "hunter2" not in repr(Link(origin="http://h", channel="c", password="hunter2"))
    with pytest.raises(LinkError) as refused:
        parse_link("http://h/chat#channel=c&password=hunter2%")
    assert "hunter2" not in str(refused.value)


def test_a_very_long_text_is_refused_unread() -> None:
    with pytest.raises(LinkError):
        parse_link("http://h/chat#channel=" + "a" * MAX_LINK_CHARS)


@pytest.mark.parametrize(
    "link",
    [
        Link(origin="http://h", channel=""),
        Link(origin="h:8080", channel="c"),
        Link(origin="http://h", channel="c", page="admin"),
        Link(origin="http://h", channel="\ud800"),
    ],
)
def test_a_link_that_could_not_be_read_again_is_not_written(link: Link) -> None:
    with pytest.raises(LinkError):
        format_link(link)
