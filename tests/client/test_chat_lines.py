"""What the terminal chat says."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec import structs

from peerbus.client.chat_lines import MAX_NAMES, ChatLines, Kind, Line
from peerbus.client.records import Glob, Member, Message, Presence
from peerbus.protocol.errors import ERRORS, ErrorCode
from peerbus.protocol.messages import ChannelInfo, Departure
from peerbus.protocol.session.outputs import State

TODAY = date(2031, 5, 6)
ZONE = timezone(timedelta(hours=2))


def at(hour: int, minute: int, day: int = 6) -> int:
    return int(datetime(2031, 5, day, hour, minute, tzinfo=ZONE).timestamp() * 1000)


def member(name: str, *, state: Any = "present") -> Member:
    return Member(session_id=f"s-{name}", name=name, order=1, identity=f"lineage:{name}", state=state)


def channel(**fields: Any) -> ChannelInfo:
    return ChannelInfo(**{"id": b"", "name": "lobby", "mode": "open", "scope": "private:demo", **fields})


def joined(lines: ChatLines, *others: Member) -> list[Line]:
    return lines.joined(
        name="ann",
        identity="lineage:ann",
        session_id="s-ann",
        channel=channel(),
        members=[member("ann"), *others],
    )


def message(content: Any, **fields: Any) -> Message:
    values: dict[str, Any] = dict.fromkeys(Message.__struct_fields__)
    values |= {"sender": "bob", "identity": "lineage:bob", "time_ms": at(12, 3), "metadata": {}}
    return Message(**{**values, "content": content, **fields})


@pytest.fixture
def chat() -> ChatLines:
    """The lines of ann, who is in the lobby with bob."""
    lines = ChatLines(ZONE, TODAY)
    joined(lines, member("bob"))
    return lines


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_joining_says_as_whom_where_and_with_whom() -> None:
    lines = ChatLines(ZONE, TODAY)
    carl = structs.replace(member("carl", state="away"), is_claimed=True)
    said = joined(lines, member("bob"), carl)
    assert texts(said) == [
        "— You are ann.",
        "— “lobby” is open: there is no password, and the server can read what is written.",
        "— 3 here: ann (you), bob, carl (claimed) (away).",
    ]
    assert {line.kind for line in said} == {Kind.NOTICE}
    assert joined(lines) == []


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (channel(), "open"),
        (channel(has_password=True), "locked, readable by the server"),
        (channel(mode="sealed", has_password=True), "sealed"),
    ],
)
def test_who_may_read_is_said_in_words(chat: ChatLines, info: ChannelInfo, said: str) -> None:
    (line,) = chat.channel(info)
    assert f"“lobby” is {said}:" in line.text


def test_a_channel_closed_to_newcomers_is_said(chat: ChatLines) -> None:
    assert texts(chat.channel(channel(is_locked=True)))[1] == "— Newcomers are kept out."
    assert chat.lock(is_locked=False).text == "— Newcomers may come in again."


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        (message("hello"), "12:03 bob: hello"),
        (message("hello", identity="lineage:ann", sender="ann"), "12:03 you: hello"),
        (message("psst", to=["ann"]), "12:03 bob → you: psst"),
        (message("psst", to=["ann", "carl"]), "12:03 bob → you, carl: psst"),
        (message("psst", filter=Glob("a*")), "12:03 bob → some: psst"),
        (message({"a": ["é", 1]}), '12:03 bob: {"a": ["é", 1]}'),
        (message(None), "12:03 bob: null"),
        (message(b"\0" * 2048), "12:03 bob: (2,048 bytes of binary data)"),
        (message(""), "12:03 bob: "),
        (message("x", time_ms=10**18), "--:-- bob: x"),
    ],
)
def test_a_message_shows_when_who_and_what(chat: ChatLines, received: Message, shown: str) -> None:
    assert chat.message(received) == [Line(Kind.MESSAGE, shown)]


def test_what_follows_the_first_line_cannot_pass_for_another_message(chat: ChatLines) -> None:
    assert texts(chat.message(message("hi\n12:04 carl: I agree\r— carl left."))) == [
        "12:03 bob: hi",
        "      | 12:04 carl: I agree",
        "      | — carl left.",
    ]


def test_nothing_a_stranger_chose_commands_the_terminal(chat: ChatLines) -> None:
    evil = "\x1b[2J\x9b1m\u202e\nx"
    bob = Member(session_id="s-evil", name=evil, order=2, identity="lineage:evil", state="away")
    shown = [
        *chat.message(message(evil, sender=evil, to=[evil])),
        *chat.message(message({evil: evil})),
        *chat.presence(Presence(joined=[bob], updated=[bob], left=[Departure(session_id="s", name=evil)])),
        *chat.channel(channel(name=evil)),
        chat.members([bob]),
        *chat.state(State(name="reconnecting", why=evil, retry_in_ms=1)),
        *chat.state(State(name="closed", code=evil, why=evil, correlation_id=evil)),
        *chat.own("x", evil, at(1, 1)),
    ]
    assert all(line.text.isprintable() for line in shown)
    assert sum("[2J" in line.text for line in shown) == len(shown) - 1  # all but the second line of a message


def test_another_day_is_said_once(chat: ChatLines) -> None:
    said = [
        *chat.message(message("old", time_ms=at(23, 59, day=5))),
        *chat.message(message("new", time_ms=at(0, 1))),
        *chat.own("mine", "", at(0, 2)),
    ]
    assert texts(said) == [
        "— Monday, 5 May 2031",
        "23:59 bob: old",
        "— Tuesday, 6 May 2031",
        "00:01 bob: new",
        "00:02 you: mine",
    ]


def test_what_was_typed_here_shows_to_whom(chat: ChatLines) -> None:
    assert texts(chat.own("psst", "bob", at(12, 3))) == ["12:03 you → bob: psst"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("left", "— bob left."),
        ("lost", "— bob lost the connection and is gone."),
        ("replaced", "— bob connected anew."),
        ("kicked", "— bob was removed."),
        ("expired", "— bob is gone: the key has expired."),
        ("closed", "— bob was disconnected by the server."),
    ],
)
def test_who_goes_and_why(chat: ChatLines, reason: Any, said: str) -> None:
    left = Presence(left=[Departure(session_id="s-bob", name="bob", reason=reason)])
    assert texts(chat.presence(left)) == [said]


def test_who_comes_is_away_and_is_back(chat: ChatLines) -> None:
    away, back = member("bob", state="away"), member("bob")
    assert texts(chat.presence(Presence(joined=[member("carl"), member("dora")]))) == ["— carl, dora joined."]
    assert texts(chat.presence(Presence(updated=[away]))) == ["— bob lost the connection and may come back."]
    assert chat.presence(Presence(updated=[away])) == []
    assert texts(chat.presence(Presence(updated=[back]))) == ["— bob is back."]
    assert chat.presence(Presence(updated=[back])) == []


def test_one_is_not_told_about_oneself(chat: ChatLines) -> None:
    me = member("ann")
    left = [Departure(session_id="s-ann", name="ann", reason="replaced")]
    assert chat.presence(Presence(joined=[me], updated=[member("ann", state="away")], left=left)) == []


def test_a_crowd_is_counted(chat: ChatLines) -> None:
    crowd = [member(f"p{number}") for number in range(MAX_NAMES + 30)]
    (came,) = texts(chat.presence(Presence(joined=crowd)))
    assert came.endswith("p11 and 30 more joined.")
    gone = [Departure(session_id=one.session_id, name=one.name) for one in crowd]
    left = texts(chat.presence(Presence(left=gone)))
    assert left[-1] == "— 30 more went as well."
    assert len(left) == MAX_NAMES + 1
    assert chat.members(crowd).text.startswith(f"— {MAX_NAMES + 30} here: p0, ")


def test_every_state_is_said_in_words() -> None:
    lines = ChatLines(UTC, TODAY)
    lost = State(name="reconnecting", code="connect_failed", why="Nobody answers.", retry_in_ms=187)
    assert lines.state(State(name="connecting")) == []
    assert texts(lines.state(lost)) == ["— No connection yet: Nobody answers. Trying again in 0.2 s."]
    assert texts(lines.state(State(name="connected", transport="websocket"))) == [
        "— Connected over WebSocket."
    ]
    lost = State(name="reconnecting", code="x", why="The connection was lost.", retry_in_ms=12_300)
    assert texts(lines.state(lost)) == ["— Connection lost: The connection was lost. Trying again in 12 s."]
    assert lines.state(State(name="reconnecting", code="x", why="The connection was lost.")) == []
    assert texts(lines.state(State(name="connected", transport="longpoll"))) == [
        "— Connected again over long-poll."
    ]


def test_leaving_is_not_a_failure(chat: ChatLines) -> None:
    assert (
        chat.state(State(name="closed", code="closed", why="The connection was closed by this side.")) == []
    )


@pytest.mark.parametrize("code", [code for code, info in ERRORS.items() if code is not ErrorCode.CLOSED])
def test_a_failure_has_its_reason_and_its_code(chat: ChatLines, code: ErrorCode) -> None:
    (line,) = chat.state(State(name="closed", code=code, why=ERRORS[code].meaning, correlation_id="c0ffee"))
    assert line.kind is Kind.TROUBLE
    assert line.text.startswith(f"— Closed: {ERRORS[code].meaning}")
    assert line.text.endswith(f"({code}, c0ffee)")


def test_a_failure_says_what_to_do(chat: ChatLines) -> None:
    (taken,) = chat.refused("Closed", "name_taken", "Another session bears this name.")
    assert taken.text == (
        "— Closed: Another session bears this name. "
        "Choose another name with --name, or leave --name out. (name_taken)"
    )
    (strange,) = chat.refused("Closed", "connect_failed", "certificate verify failed")
    assert "SSL_CERT_FILE=" in strange.text


def test_the_status_line_says_where_one_stands(chat: ChatLines) -> None:
    up = State(name="connected", transport="websocket")
    assert chat.status(up, channel(), 3) == "lobby · open · connected over WebSocket · 3 here"
    assert chat.status(State(name="reconnecting", why="x"), channel(has_password=True), 2) == (
        "lobby · locked, readable by the server · reconnecting · 2 here"
    )
    assert chat.status(State(name="connecting"), None, 0) == "connecting · 0 here"
    assert chat.nothing_yet().kind is Kind.NOTICE


def test_a_gap_is_said(chat: ChatLines) -> None:
    assert "may be missing" in chat.gap().text
