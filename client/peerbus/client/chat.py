"""
`peerbus chat <link>`: one channel in a terminal, or in a script.

Owns the conversation between an agent and a console: what is shown when, what a typed line does, and the exit
code. The words are in `chat_lines`, the commands in `chat_commands`, reading and printing in `console`. Never
prints what others wrote as it came.

On a terminal a prompt stays at the bottom. Otherwise each line of the input is a message, messages come out on
standard output and everything else on standard error, and the end of the input is the end, after everything
sent was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from msgspec import structs

from peerbus.client.agent import AgentConnection
from peerbus.client.chat_commands import HELP, NAMES, Help, Mistake, Quit, Safety, Say, Who, parse_line
from peerbus.client.chat_lines import ChatLines, Kind, Line
from peerbus.client.console import Console, PlainConsole, open_console
from peerbus.client.errors import ErrorCode, PeerbusError, SealingError
from peerbus.client.link import Link, LinkError, parse_link
from peerbus.client.options import SendOptions
from peerbus.client.outcome import Outcome
from peerbus.client.records import Ack, Message, Presence
from peerbus.protocol.channel import private_scope
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.messages import DEFAULT_TYPE, ChannelInfo
from peerbus.protocol.session.outputs import Gap, State

API_KEY_VARIABLE: Final = "PEERBUS_API_KEY"
DEMO_PROJECT: Final = "demo"
DEFAULT_HISTORY: Final = 20
MAX_HISTORY: Final = 500
DEFAULT_WAIT_S: Final = 10.0
MAX_WAIT_S: Final = 86_400.0
LEAVE_S: Final = 5.0
"""How long leaving waits for what was asked but not answered, while there is a connection."""

OK_CODE: Final = 0
FAILED_CODE: Final = 1
USAGE_CODE: Final = 2

_MAX_UNANSWERED: Final = 100
"""So many messages are under way before the next line of the input is read."""
_QUOTED_CHARS: Final = 40


class UsageError(Exception):
    """The command line makes no sense; the text is one line for a person."""


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """What the command line asks for."""

    link: Link
    name: str = ""
    """The wanted name; empty lets the server choose one."""
    api_key: str | None = None
    """None: a short-lived key of the server's demo project."""
    history: int = DEFAULT_HISTORY
    """How many earlier messages are shown."""
    wait_s: float = DEFAULT_WAIT_S
    """How long the first connect may take; later ones are tried for ever."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see peerbus chat --help)")


def parse_options(argv: Sequence[str], env: Mapping[str, str]) -> ChatOptions:
    """
    Reads the command line; raises `UsageError`, and `SystemExit(0)` after printing the text of `--help`.

    The key of the environment is for every project but the demo, whose keys the server hands out itself.
    """
    parser = _Parser(
        prog="peerbus chat",
        description="Join a channel. Each line you type is a message; /help lists the commands.",
        epilog=f"The key can also be in {API_KEY_VARIABLE}, where other users of this machine don't see it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "link", help="a channel's link: 'http://localhost:8080/chat#channel=lobby&project=demo'"
    )
    parser.add_argument("--name", default="", help="your name in the channel (chosen by the server)")
    parser.add_argument("--api-key", metavar="KEY", help="a key of the link's project (demo: none is needed)")
    parser.add_argument(
        "--history",
        type=int,
        default=DEFAULT_HISTORY,
        metavar="N",
        help=f"show N earlier messages ({DEFAULT_HISTORY})",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=DEFAULT_WAIT_S,
        metavar="SECONDS",
        help=f"try so long to connect ({DEFAULT_WAIT_S:g})",
    )
    given = parser.parse_args(argv)
    if not 0 <= given.history <= MAX_HISTORY:
        raise UsageError(f"--history is 0 to {MAX_HISTORY}")
    if not 0 < given.wait <= MAX_WAIT_S:
        raise UsageError(f"--wait is more than 0 and at most {MAX_WAIT_S:g}")
    try:
        link = parse_link(given.link)
    except LinkError as error:
        raise UsageError(str(error)) from None
    api_key = given.api_key
    if api_key is None and link.project != DEMO_PROJECT:
        api_key = env.get(API_KEY_VARIABLE) or None
    if api_key is None and link.project not in ("", DEMO_PROJECT):
        raise UsageError(
            f"the link belongs to the project {link.project!r}: give a key of it with --api-key or {API_KEY_VARIABLE}"
        )
    return ChatOptions(link=link, name=given.name, api_key=api_key, history=given.history, wait_s=given.wait)


class Chat:
    """
    One chat from connecting to leaving.

    `echo` shows what was typed (a prompt takes the typed line away); `now_ms` is the wall clock for it.
    """

    def __init__(
        self,
        agent: AgentConnection,
        options: ChatOptions,
        console: Console,
        lines: ChatLines,
        *,
        echo: bool,
        now_ms: Callable[[], int],
    ) -> None:
        self._agent = agent
        self._options = options
        self._console = console
        self._lines = lines
        self._echo = echo
        self._now_ms = now_ms
        self._over: asyncio.Future[list[Line]] = asyncio.get_running_loop().create_future()
        self._waiting: list[Message] | None = []
        self._epoch = ""
        self._last_offset = 0
        self._in_history: set[int] = set()
        """The offsets that the history had when it was read last: what is pushed of it later was shown."""
        self._unanswered: set[asyncio.Task[None]] = set()
        self._failures = 0

    async def run(self) -> int:
        """Chats until the input ends, somebody types /quit, or the connection is over; the exit code."""
        self._listen()
        link = self._options.link
        self._show([Line(Kind.NOTICE, f"— Connecting to {link.origin} …")])
        try:
            await self._agent.connect(
                link.channel,
                self._options.name,
                link.password or None,
                api_key=self._options.api_key,
                api_key_scope=link.scope,
                types=[DEFAULT_TYPE],
                sealed=link.seals,
            )
        except ProtocolError as error:
            self._show(self._refused("Not connected", error))
            return FAILED_CODE
        if not self._is_meant_channel():
            return FAILED_CODE
        await self._show_history()
        await self._talk()
        if self._over.done():
            self._show(self._over.result())
            return FAILED_CODE
        return FAILED_CODE if self._failures else OK_CODE

    # --- what comes from the server -----------------------------------------------------------------------

    def _listen(self) -> None:
        agent = self._agent
        agent.on_state = self._state_changed
        agent.on_connect = self._joined
        agent.on_message = self._received
        agent.on_presence = self._presence_changed
        agent.on_channel = self._lock_changed
        agent.on_gap = self._missed
        agent.on_error = self._failed

    def _state_changed(self, state: State) -> None:
        said = self._lines.state(state)
        if state.name == "closed":
            self._end(said)
        else:
            self._show(said)

    def _joined(self) -> None:
        agent = self._agent
        if agent.channel is not None:
            self._show(
                self._lines.joined(
                    name=agent.agent_name,
                    identity=agent.identity,
                    session_id=agent.session_id,
                    channel=as_joined(agent, agent.channel),
                    members=agent.members,
                )
            )

    def _received(self, message: Message) -> None:
        if self._waiting is not None:
            self._waiting.append(message)
        elif message.offset not in self._in_history:
            self._show_messages([message])

    def _presence_changed(self, presence: Presence) -> None:
        self._show(self._lines.presence(presence))

    def _lock_changed(self, is_locked: bool) -> None:
        self._show([self._lines.lock(is_locked=is_locked)])

    def _missed(self, gap: Gap) -> None:
        self._show([self._lines.gap()])
        if gap.durable and self._waiting is None:
            self._waiting = []
            self._keep(asyncio.ensure_future(self._show_history()))

    def _failed(self, error: Exception) -> None:
        if isinstance(error, BrokenPipeError):
            # Nobody reads what is printed any more.
            self._end([])
        elif isinstance(error, SealingError):
            self._show(self._lines.unopened(error))
        elif self._agent.state.name != "closed":
            self._show(self._refused("Trouble", error))

    def _end(self, last_words: list[Line]) -> None:
        if not self._over.done():
            self._over.set_result(last_words)

    # --- history --------------------------------------------------------------------------------------------

    async def _show_history(self) -> None:
        """The latest messages that were not shown yet; what is pushed meanwhile comes after them."""
        page: list[Message | SealingError] = []
        if self._options.history:
            try:
                history = await self._agent.receive(limit=self._options.history, types=[DEFAULT_TYPE])
            except PeerbusError as error:
                self._show(self._refused("The history cannot be read", error))
            else:
                if history.epoch != self._epoch:
                    self._epoch, self._last_offset = history.epoch, 0
                page = sorted([*history, *history.refused], key=lambda one: one.offset or 0)
                if not page and not self._last_offset and not self._waiting:
                    is_alone = bool(self._options.link.password) and len(self._agent.members) < 2
                    self._show([self._lines.nobody_here() if is_alone else self._lines.nothing_yet()])
        waiting, self._waiting = self._waiting or [], None
        # Mail lies before or among what the history has, too.
        self._in_history = {one.offset or 0 for one in page}
        end = max(self._in_history, default=0)
        mail = [
            one
            for one in waiting
            if one.offset is not None and one.offset < end and one.offset not in self._in_history
        ]
        earlier = [one for one in [*page, *mail] if (one.offset or 0) > self._last_offset]
        self._show_messages(sorted(earlier, key=lambda one: one.offset or 0))
        self._show_messages([one for one in waiting if one.offset is None or one.offset > self._last_offset])

    def _show_messages(self, messages: Sequence[Message | SealingError]) -> None:
        for message in messages:
            if isinstance(message, SealingError):
                self._show(self._lines.unopened(message))
            else:
                self._show(self._lines.message(message))
        self._last_offset = max([self._last_offset, *(message.offset or 0 for message in messages)])

    # --- what is typed ----------------------------------------------------------------------------------------

    async def _talk(self) -> None:
        """Reads lines until there are no more or the connection is over, then waits for what was sent."""
        while (line := await self._unless_over(self._console.read())) is not None:
            command = parse_line(line, [member.name for member in self._agent.members])
            if isinstance(command, Quit):
                break
            self._obey(command)
            if len(self._unanswered) >= _MAX_UNANSWERED:
                # As they are now: an answer that comes before the wait begins takes itself out of the set.
                now = tuple(self._unanswered)
                await self._unless_over(asyncio.wait(now, return_when=asyncio.FIRST_COMPLETED))
        # A person who leaves without a connection is not held back; disconnecting waits for a moment anyway.
        if self._unanswered and (self._agent.is_connected or not self._echo):
            await self._unless_over(asyncio.wait(tuple(self._unanswered)))

    async def _unless_over(self, work: Any) -> Any:
        """What `work` gives; None as soon as the connection is over."""
        task = asyncio.ensure_future(work)
        await asyncio.wait([task, self._over], return_when=asyncio.FIRST_COMPLETED)
        if self._over.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return None
        return task.result()

    def _obey(self, command: Say | Who | Safety | Help | Mistake | None) -> None:
        if isinstance(command, Say):
            self._say(command)
        elif isinstance(command, Who):
            self._show([self._lines.members(self._agent.members)])
        elif isinstance(command, Safety):
            self._show(self._lines.safety(self._agent.safety_number))
        elif isinstance(command, Help):
            self._show([Line(Kind.NOTICE, f"  {text}") for text in HELP])
        elif isinstance(command, Mistake):
            self._show([Line(Kind.TROUBLE, f"— {command.text}")])

    def _say(self, message: Say) -> None:
        if self._echo:
            self._show(self._lines.own(message.text, message.to, self._now_ms()))
        if not self._agent.is_connected:
            self._show([Line(Kind.NOTICE, "— There is no connection now; it will be sent when there is.")])
        options: SendOptions = {"to": message.to or None}
        if self._echo:
            # A person sees that it waits, and may wait as long as it takes; a script may not.
            options["timeout"] = None
        try:
            outcome = self._agent.send_message(message.text, **options)
        except ProtocolError as error:
            self._not_sent(message, error)
            return
        self._keep(asyncio.ensure_future(self._answered(message, outcome)))

    async def _answered(self, message: Say, outcome: Outcome[Ack]) -> None:
        try:
            ack = await outcome
        except PeerbusError as error:
            self._not_sent(message, error)
        else:
            self._last_offset = max(self._last_offset, ack.offset or 0)

    def _not_sent(self, message: Say, error: ProtocolError) -> None:
        self._failures += 1
        if error.code is ErrorCode.UNKNOWN_RECIPIENT:
            error = PeerbusError(error.code, f"{message.to} is not here.")
        start = message.text[:_QUOTED_CHARS] + ("…" if len(message.text) > _QUOTED_CHARS else "")
        self._show(self._refused(f"Not sent: “{start}”", error))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._unanswered.add(task)
        task.add_done_callback(self._unanswered.discard)

    # --- showing ------------------------------------------------------------------------------------------------

    def _show(self, lines: Sequence[Line]) -> None:
        try:
            self._console.show(lines)
            self._console.refresh()
        except BrokenPipeError:
            self._end([])

    def _refused(self, what: str, error: Exception) -> list[Line]:
        if isinstance(error, ProtocolError):
            correlation_id = error.correlation_id if isinstance(error, PeerbusError) else ""
            return self._lines.refused(what, error.code, error.message, correlation_id)
        return self._lines.refused(what, ErrorCode.INTERNAL, repr(error))

    def _is_meant_channel(self) -> bool:
        """Whether the key belongs to the project that the link names; another project's channel is another."""
        link, channel = self._options.link, self._agent.channel
        if channel is None or link.scope == "public" or not link.project:
            return True
        if channel.scope == private_scope(link.project):
            return True
        self._show(
            self._lines.refused(
                "Not connected",
                ErrorCode.CHANNEL_MISMATCH,
                f"The key is of {channel.scope.removeprefix('private:')!r}, the link of the project "
                f"{link.project!r}: that is another channel. Give a key of the link's project.",
            )
        )
        return False


def as_joined(agent: AgentConnection, channel: ChannelInfo) -> ChannelInfo:
    """The channel as this side has joined it: whether it is sealed is not for the server to say."""
    return structs.replace(channel, mode="sealed" if agent.is_sealed else "open")


async def chat(options: ChatOptions) -> int:
    """Runs one chat on this process's terminal or pipes; the exit code."""
    lines = ChatLines(None, datetime.now().astimezone().date())
    agent = AgentConnection(options.link.origin, connect_timeout=options.wait_s)

    def words() -> list[str]:
        others = [member.name for member in agent.members if member.session_id != agent.session_id]
        return [*NAMES, *(f"/msg {name} " for name in others)]

    def status() -> str:
        channel = None if agent.channel is None else as_joined(agent, agent.channel)
        return lines.status(agent.state, channel, len(agent.members))

    console = open_console(words, status)
    is_prompt = not isinstance(console, PlainConsole)
    try:
        return await Chat(
            agent, options, console, lines, echo=is_prompt, now_ms=lambda: time.time_ns() // 1_000_000
        ).run()
    finally:
        console.close()
        await agent.disconnect(timeout=LEAVE_S if agent.is_connected else 0)


def main(argv: Sequence[str]) -> int:
    """Runs `peerbus chat` with what stands behind it; the exit code."""
    try:
        options = parse_options(argv, os.environ)
    except UsageError as error:
        sys.stderr.write(f"peerbus chat: {error}\n")
        return USAGE_CODE
    try:
        return asyncio.run(chat(options))
    finally:
        _leave_no_output_behind()


def _leave_no_output_behind() -> None:
    # When nobody reads standard output any more, Python would complain once again at its own end.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
