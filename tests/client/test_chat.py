"""The terminal chat, with an agent and a console that only pretend."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date
from io import StringIO
from typing import Any

import pytest
from msgspec import structs

from peerbus.client import chat as chat_module
from peerbus.client.agent import AgentConnection
from peerbus.client.chat import Chat, ChatOptions, UsageError, parse_options
from peerbus.client.chat_lines import ChatLines, Kind, Line
from peerbus.client.console import PlainConsole, PromptConsole, open_console
from peerbus.client.errors import ErrorCode, PeerbusError, ProtocolError, SealingError
from peerbus.client.link import Link
from peerbus.client.outcome import Outcome
from peerbus.client.records import Ack, History, Member, Message, Presence
from peerbus.protocol.messages import ChannelInfo, Departure
from peerbus.protocol.session.outputs import Gap, State

LINK = "http://localhost:8080/chat#channel=lobby&project=demo"
NOON_MS = 43_200_000


def message(content: Any, offset: int | None = None, sender: str = "bob", **fields: Any) -> Message:
    values: dict[str, Any] = dict.fromkeys(Message.__struct_fields__)
    values |= {"sender": sender, "identity": f"lineage:{sender}", "time_ms": NOON_MS, "metadata": {}}
    return Message(**{**values, "content": content, "offset": offset, **fields})


def member(name: str) -> Member:
    return Member(session_id=f"s-{name}", name=name, order=1, identity=f"lineage:{name}")


class FakeAgent(AgentConnection):
    """An agent that is taken by a server when the test says so, and keeps what it is asked to send."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, Any] = {}
        self.sent: list[tuple[str, str | None, Outcome[Ack]]] = []
        self.timeouts: list[Any] = []
        self.acks_at_once = True
        self.refusal: PeerbusError | None = None
        self.pages: list[History | PeerbusError] = []
        self.before_page: list[Message] = []
        self.fake_channel = ChannelInfo(id=b"", name="lobby", mode="open", scope="private:demo")
        self.fake_members = [member("ann"), member("bob")]

    agent_name = property(lambda self: "ann")
    session_id = property(lambda self: "s-ann")
    identity = property(lambda self: "lineage:ann")
    channel = property(lambda self: self.fake_channel)
    members = property(lambda self: self.fake_members)

    def connect(self, *names: Any, **options: Any) -> Outcome[AgentConnection]:
        self.asked = {"names": names, **options}
        outcome: Outcome[AgentConnection] = Outcome(self._tell_error)
        if self.refusal is not None:
            outcome.fail(self.refusal, is_expected=True)
        else:
            self.up()
            outcome.succeed(self)
        return outcome

    def up(self) -> None:
        self._set_state(State(name="connected", transport="websocket"))

    def down(self) -> None:
        self._set_state(State(name="reconnecting", code="x", why="The line was cut.", retry_in_ms=1000))

    def end(self, code: str, why: str) -> None:
        self._set_state(State(name="closed", code=code, why=why, correlation_id="c0ffee"))

    def receive(self, *_bounds: Any, limit: int = 0, **_options: Any) -> Outcome[History]:
        for early in self.before_page:
            self.emit("message", early)
        outcome: Outcome[History] = Outcome(self._tell_error)
        page = self.pages.pop(0) if self.pages else history()
        if isinstance(page, PeerbusError):
            outcome.fail(page, is_expected=True)
        else:
            assert len(page) <= limit
            outcome.succeed(page)
        return outcome

    def send_message(self, content: Any = None, **options: Any) -> Outcome[Ack]:
        outcome: Outcome[Ack] = Outcome(self._tell_error)
        self.sent.append((content, options.get("to"), outcome))
        self.timeouts.append(options.get("timeout", "its own"))
        if self.acks_at_once:
            outcome.succeed(Ack(offset=100 + len(self.sent)))
        return outcome


def history(*messages: Message, epoch: str = "e1") -> History:
    offsets = [message.offset or 0 for message in messages]
    return History(
        messages=list(messages),
        is_complete=True,
        next=None,
        head=max(offsets, default=0),
        tail=1,
        epoch=epoch,
    )


class FakeConsole:
    """What is typed comes from the test; what is shown stays here."""

    def __init__(self) -> None:
        self.typed: asyncio.Queue[str | None] = asyncio.Queue()
        self.shown: list[Line] = []
        self.is_broken = False

    def show(self, lines: Sequence[Line]) -> None:
        if self.is_broken:
            raise BrokenPipeError
        self.shown += lines

    def close(self) -> None:
        """Nothing to put back."""

    def refresh(self) -> None:
        pass

    async def read(self) -> str | None:
        return await self.typed.get()

    def type(self, *lines: str | None) -> None:
        for line in lines:
            self.typed.put_nowait(line)

    def texts(self, kind: Kind | None = None) -> list[str]:
        return [line.text for line in self.shown if kind in (None, line.kind)]


class Room:
    """A chat with its fakes, running beside the test."""

    def __init__(self, *, echo: bool = True, options: ChatOptions | None = None) -> None:
        self.agent = FakeAgent()
        self.console = FakeConsole()
        self.chat = Chat(
            self.agent,
            options or parse_options([LINK], {}),
            self.console,
            ChatLines(UTC, date(1970, 1, 1)),
            echo=echo,
            now_ms=lambda: NOON_MS,
        )
        self.running: asyncio.Task[int] | None = None

    def start(self) -> None:
        self.running = asyncio.create_task(self.chat.run())

    async def settle(self) -> None:
        """Lets everything happen that can, without time passing."""
        for _ in range(2000):
            await asyncio.sleep(0)

    async def code(self) -> int:
        assert self.running is not None
        return await asyncio.wait_for(self.running, timeout=10)


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """A chat that has connected."""
    one = Room()
    one.start()
    await one.settle()
    yield one
    assert one.running is not None
    one.running.cancel()
    await asyncio.gather(one.running, return_exceptions=True)


async def test_it_joins_the_channel_of_the_link() -> None:
    options = parse_options(
        [
            "http://h/chat#channel=team&password=pw&project=x&scope=public",
            "--name",
            "ann",
            "--api-key",
            "pb_k",
        ],
        {},
    )
    room = Room(options=options)
    room.start()
    room.console.type(None)
    assert await room.code() == 0
    assert room.agent.asked == {
        "names": ("team", "ann", "pw"),
        "api_key": "pb_k",
        "api_key_scope": "public",
        "types": ["chat-text"],
        "sealed": True,
    }


async def test_it_says_where_one_is(room: Room) -> None:
    assert room.console.texts() == [
        "— Connecting to http://localhost:8080 …",
        "— Connected over WebSocket.",
        "— You are ann.",
        "— “lobby” is open: there is no password, and the server can read what is written.",
        "— 2 here: ann (you), bob.",
        "— Nothing was said here yet.",
    ]


class TestSealed:
    """A channel that was joined as a sealed one, whatever the server says of it."""

    @pytest.fixture
    async def room(self) -> Room:
        room = Room(options=parse_options([f"{LINK}&password=pw"], {}))
        room.agent._is_sealed = True
        return room

    async def test_it_says_so(self, room: Room) -> None:
        room.start()
        await room.settle()
        assert (
            "— “lobby” is sealed: only who knows the password can read what is written."
            in room.console.texts()
        )

    async def test_an_empty_one_asks_for_the_password(self, room: Room) -> None:
        room.agent.fake_members = [member("ann")]
        room.start()
        await room.settle()
        assert room.console.texts()[-1] == "— Nobody here, and nothing was said yet; is the password right?"

    async def test_what_cannot_be_opened_is_a_line_in_its_place(self, room: Room) -> None:
        page = history(message("one", 1), message("three", 3))
        page = structs.replace(page, refused=[refusal(ErrorCode.TAMPERED, 2)])
        room.agent.pages = [page]
        room.start()
        await room.settle()
        room.agent.emit("error", refusal(ErrorCode.REPLAYED, 4))
        line = "A message of bob could not be opened, and is not shown:"
        assert room.console.texts()[-4:] == [
            "12:00 bob: one",
            f"— {line} A sealed message, or what stands around it, was changed on its way. (tampered)",
            "12:00 bob: three",
            f"— {line} A sealed message was shown a second time as a new one. (replayed)",
        ]


def refusal(code: ErrorCode, offset: int) -> SealingError:
    return SealingError(ProtocolError(code), sender="bob", delivery="durable", offset=offset)


async def test_history_comes_first_and_nothing_twice() -> None:
    room = Room()
    room.agent.pages = [history(message("one", 1), message("two", 2))]
    room.agent.before_page = [message("two", 2), message("live", None), message("three", 3)]
    room.start()
    await room.settle()
    assert room.console.texts(Kind.MESSAGE) == [
        "12:00 bob: one",
        "12:00 bob: two",
        "12:00 bob: live",
        "12:00 bob: three",
    ]
    room.console.type(None)
    assert await room.code() == 0


async def test_mail_stands_where_it_belongs_and_once() -> None:
    room = Room()
    room.agent.pages = [history(message("five", 5), message("mail", 6), message("seven", 7))]
    room.agent.before_page = [message("old mail", 2)]
    room.start()
    await room.settle()
    room.agent.emit("message", message("mail", 6))
    room.agent.emit("message", message("eight", 8))
    await room.settle()
    assert [text.removeprefix("12:00 bob: ") for text in room.console.texts(Kind.MESSAGE)] == [
        "old mail",
        "five",
        "mail",
        "seven",
        "eight",
    ]
    room.console.type(None)
    assert await room.code() == 0


async def test_without_history_nothing_is_asked() -> None:
    room = Room(options=parse_options([LINK, "--history", "0"], {}))
    room.agent.pages = [history(message("one", 1))]
    room.start()
    await room.settle()
    assert room.console.texts(Kind.MESSAGE) == []
    assert len(room.agent.pages) == 1
    room.console.type(None)
    assert await room.code() == 0


async def test_a_history_that_may_not_be_read_does_not_end_the_chat() -> None:
    room = Room()
    room.agent.pages = [PeerbusError(ErrorCode.FORBIDDEN)]
    room.agent.before_page = [message("early", 7)]
    room.start()
    await room.settle()
    (trouble,) = room.console.texts(Kind.TROUBLE)
    assert trouble.startswith("— The history cannot be read: ")
    assert room.console.texts(Kind.MESSAGE) == ["12:00 bob: early"]
    room.console.type(None)
    assert await room.code() == 0


async def test_a_line_is_a_message_and_is_shown(room: Room) -> None:
    room.console.type("hello", "", "/msg bob psst", "//etc", None)
    assert await room.code() == 0
    assert [sent[:2] for sent in room.agent.sent] == [("hello", None), ("psst", "bob"), ("/etc", None)]
    assert room.console.texts(Kind.MESSAGE) == [
        "12:00 you: hello",
        "12:00 you → bob: psst",
        "12:00 you: /etc",
    ]


async def test_a_script_is_not_shown_what_it_sent() -> None:
    room = Room(echo=False)
    room.start()
    room.console.type("hello", None)
    assert await room.code() == 0
    assert room.console.texts(Kind.MESSAGE) == []
    assert room.agent.timeouts == ["its own"]


async def test_a_person_may_wait_for_the_connection_as_long_as_it_takes(room: Room) -> None:
    room.agent.acks_at_once = False
    room.agent.down()
    room.console.type("hello")
    await room.settle()
    assert room.agent.timeouts == [None]
    assert room.console.texts()[-3:] == [
        "— Connection lost: The line was cut. Trying again in 1.0 s.",
        "12:00 you: hello",
        "— There is no connection now; it will be sent when there is.",
    ]
    room.console.type("/quit")
    assert await room.code() == 0


async def test_the_end_of_the_input_waits_until_all_is_acknowledged() -> None:
    room = Room(echo=False)
    room.agent.acks_at_once = False
    room.start()
    room.console.type("one", "two", None)
    await room.settle()
    assert room.running is not None
    assert not room.running.done()
    room.agent.sent[0][2].succeed(Ack(offset=1))
    await room.settle()
    assert not room.running.done()
    room.agent.sent[1][2].succeed(Ack(offset=2))
    assert await room.code() == 0


@pytest.mark.parametrize("turns", range(12))
async def test_the_last_answer_may_come_at_any_moment_of_the_end(turns: int) -> None:
    room = Room(echo=False)
    room.agent.acks_at_once = False
    room.start()
    room.console.type("one")
    await room.settle()
    room.console.type(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    room.agent.sent[0][2].succeed(Ack(offset=1))
    assert await room.code() == 0


async def test_a_long_input_is_not_read_ahead_of_its_acks() -> None:
    room = Room(echo=False)
    room.agent.acks_at_once = False
    room.start()
    room.console.type(*map(str, range(150)), None)
    await room.settle()
    assert len(room.agent.sent) == 100
    for _, _, outcome in room.agent.sent:
        outcome.succeed(Ack())
    await room.settle()
    assert [sent[0] for sent in room.agent.sent] == list(map(str, range(150)))
    for _, _, outcome in room.agent.sent:
        outcome.succeed(Ack())
    assert await room.code() == 0


async def test_a_message_that_was_not_sent_is_said_and_counts(room: Room) -> None:
    room.agent.acks_at_once = False
    room.console.type("/msg carl " + "x" * 50, "y", None)
    await room.settle()
    room.agent.sent[0][2].fail(PeerbusError(ErrorCode.UNKNOWN_RECIPIENT, correlation_id="c1"))
    room.agent.sent[1][2].fail(PeerbusError(ErrorCode.RATE_LIMITED))
    assert await room.code() == 1
    first, second = room.console.texts(Kind.TROUBLE)
    assert first.startswith(f"— Not sent: “{'x' * 40}…”: carl is not here. /who lists")
    assert second.startswith("— Not sent: “y”: Too much")


async def test_commands_answer_here_alone(room: Room) -> None:
    room.console.type("/who", "/help", "/whom", None)
    assert await room.code() == 0
    assert room.agent.sent == []
    assert "— 2 here: ann (you), bob." in room.console.texts(Kind.NOTICE)
    assert any("/msg NAME TEXT" in text for text in room.console.texts(Kind.NOTICE))
    assert "There is no command /whom" in room.console.texts(Kind.TROUBLE)[0]


async def test_what_happens_in_the_channel_is_told(room: Room) -> None:
    room.console.shown.clear()
    room.agent.emit("message", message("hi", 5, sender="bob"))
    room.agent.emit("presence", Presence(joined=[member("carl")]))
    room.agent.emit("presence", Presence(left=[Departure(session_id="s-bob", name="bob")]))
    room.agent.emit("channel", True)
    room.agent.down()
    room.agent.up()
    room.agent.emit("error", PeerbusError(ErrorCode.INTERNAL, "Something broke.", correlation_id="c9"))
    assert room.console.texts() == [
        "12:00 bob: hi",
        "— carl joined.",
        "— bob left.",
        "— Newcomers are kept out.",
        "— Connection lost: The line was cut. Trying again in 1.0 s.",
        "— Connected again over WebSocket.",
        "— Trouble: Something broke. (internal, c9)",
    ]


async def test_after_a_gap_the_latest_messages_are_read_again(room: Room) -> None:
    room.agent.emit("message", message("five", 5))
    room.console.shown.clear()
    room.agent.pages = [history(message("five", 5), message("six", 6))]
    room.agent.before_page = [message("seven", 7)]
    room.agent.emit("gap", Gap(live=True))
    await room.settle()
    assert room.console.texts(Kind.MESSAGE) == []
    room.agent.emit("gap", Gap(durable=True))
    await room.settle()
    assert len(room.console.texts(Kind.TROUBLE)) == 2
    # The epoch is the one of the first page, so that what was shown is known.
    assert room.console.texts(Kind.MESSAGE) == ["12:00 bob: six", "12:00 bob: seven"]


async def test_in_a_new_epoch_offsets_mean_nothing(room: Room) -> None:
    room.agent.emit("message", message("five", 5))
    room.console.shown.clear()
    room.agent.pages = [history(message("anew", 1), epoch="e2")]
    room.agent.emit("gap", Gap(durable=True))
    await room.settle()
    assert room.console.texts(Kind.MESSAGE) == ["12:00 bob: anew"]


async def test_who_is_removed_is_told_why_and_the_chat_ends(room: Room) -> None:
    room.agent.end("kicked", "Be nice.")
    room.agent.emit("error", PeerbusError(ErrorCode.KICKED, "Be nice."))
    assert await room.code() == 1
    assert room.console.texts()[-1] == "— Closed: Be nice. (kicked, c0ffee)"
    assert len(room.console.texts(Kind.TROUBLE)) == 1


async def test_a_refused_connection_is_one_line_with_a_remedy() -> None:
    room = Room()
    room.agent.refusal = PeerbusError(ErrorCode.NAME_TAKEN, correlation_id="c5")
    room.start()
    assert await room.code() == 1
    (trouble,) = room.console.texts(Kind.TROUBLE)
    assert trouble.startswith("— Not connected: The name belongs to somebody else")
    assert trouble.endswith("Choose another name with --name, or leave --name out. (name_taken, c5)")


async def test_a_key_of_another_project_is_noticed() -> None:
    room = Room()
    room.agent.fake_channel = ChannelInfo(id=b"", name="lobby", mode="open", scope="private:default")
    room.start()
    assert await room.code() == 1
    assert "'default', the link of the project 'demo'" in room.console.texts(Kind.TROUBLE)[0]


async def test_output_that_nobody_reads_ends_the_chat(room: Room) -> None:
    room.console.is_broken = True
    room.agent.emit("message", message("hi", 5))
    room.console.is_broken = False
    assert await room.code() == 1
    assert room.console.texts(Kind.TROUBLE) == []


# --- the command line ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "env", "api_key"),
    [
        ([LINK], {}, None),
        ([LINK], {"PEERBUS_API_KEY": "pb_env"}, None),
        ([LINK, "--api-key", "pb_arg"], {"PEERBUS_API_KEY": "pb_env"}, "pb_arg"),
        (["http://h/chat#channel=c"], {}, None),
        (["http://h/chat#channel=c"], {"PEERBUS_API_KEY": ""}, None),
        (["http://h/chat#channel=c"], {"PEERBUS_API_KEY": "pb_env"}, "pb_env"),
        (["http://h/chat#channel=c&project=x"], {"PEERBUS_API_KEY": "pb_env"}, "pb_env"),
    ],
)
def test_which_key_is_used(argv: list[str], env: dict[str, str], api_key: str | None) -> None:
    assert parse_options(argv, env).api_key == api_key


def test_the_options_have_defaults() -> None:
    expected = Link(origin="http://localhost:8080", channel="lobby", project="demo")
    assert parse_options([LINK], {}) == ChatOptions(link=expected, name="", api_key=None, history=20)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "link"),
        (["lobby"], "not a channel link"),
        ([LINK, "extra"], "extra"),
        ([LINK, "--nam", "x"], "--nam"),
        ([LINK, "--history", "many"], "--history"),
        ([LINK, "--history", "501"], "0 to 500"),
        ([LINK, "--wait", "0"], "--wait"),
        ([LINK, "--wait", "nan"], "--wait"),
        ([LINK, "--wait", "soon"], "--wait"),
        (["http://h/chat#channel=c&project=x"], "project 'x': give a key"),
    ],
)
def test_a_bad_command_line_is_one_line_and_code_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEERBUS_API_KEY", raising=False)
    with pytest.raises(UsageError, match=said):
        parse_options(argv, {})
    assert chat_module.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("peerbus chat: ")
    assert err.count("\n") == 1


# --- the plain console --------------------------------------------------------------------------------------


async def test_plain_lines_are_read_from_any_descriptor() -> None:
    reading, writing = os.pipe()
    console = PlainConsole(reading, StringIO(), StringIO())
    os.write(writing, "hello\r\nna\xefve\n\nbad \n".encode() + b"\xff\nlast")
    os.close(writing)
    lines = [await console.read() for _ in range(7)]
    assert lines == ["hello", "naïve", "", "bad ", "\ufffd", "last", None]
    os.close(reading)


def test_messages_and_the_rest_go_different_ways() -> None:
    out, err = StringIO(), StringIO()
    console = PlainConsole(0, out, err)
    console.show([Line(Kind.MESSAGE, "m"), Line(Kind.NOTICE, "n"), Line(Kind.TROUBLE, "t")])
    assert out.getvalue() == "m\n"
    assert err.getvalue() == "n\nt\n"


def test_an_output_that_is_not_utf_8_gets_escapes(tmp_path: Any) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding="latin-1") as out:
        PlainConsole(0, out, out).show([Line(Kind.MESSAGE, "naïve ☕")])
    assert path.read_bytes() == b"na\xefve \\u2615\n"


def test_a_script_gets_no_prompt() -> None:
    assert not isinstance(open_console(list, str), PromptConsole)
