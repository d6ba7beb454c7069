"""`peerbus chat` with real processes: as a script on pipes, and as a person at a terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyte
import pytest

from tests.support.server_process import ServerProcess

WAIT_S = 60.0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ServerProcess(tmp_path_factory.mktemp("chat")) as server:
        yield server.next_address()
        assert server.stop() == 0


@pytest.fixture
def link(address: str, request: pytest.FixtureRequest) -> str:
    """A channel of the test's own."""
    return f"{address}/chat#channel={request.node.name}&project=demo"


def command(link: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "peerbus.client.cli", "chat", link, *options]


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEERBUS_")}
    return {**clean, "TZ": "UTC", **variables}


class Script:
    """A chat that reads lines from a pipe and writes to two others."""

    def __init__(self, link: str, *options: str) -> None:
        self.process = subprocess.Popen(
            command(link, *options),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.writelines(f"{line}\n" for line in lines)
        self.process.stdin.flush()

    def told(self, part: str) -> str:
        """The next line on standard error that holds `part`; those before it are passed over."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if part in line:
                return line.rstrip("\n")
        raise AssertionError(f"{part!r} was never said")

    def heard(self) -> str:
        """The next message, without its time."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n").partition(" ")[2]

    def ends_well(self) -> str:
        """The end of the input, with which all was well; the rest of the output."""
        code, output, errors = self.end()
        assert code == 0, errors
        return output

    def end(self) -> tuple[int, str, str]:
        """The end of the input; exit code, rest of the output, rest of the errors."""
        output, errors = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, output, errors


@contextlib.contextmanager
def script(link: str, *options: str) -> Iterator[Script]:
    one = Script(link, *options)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def test_two_scripts_talk(link: str) -> None:
    with script(link, "--name", "ann") as ann, script(link, "--name", "bob") as bob:
        ann.told("here: ")
        bob.told("here: ")
        ann.type("hello naïve ☕ world", "/msg bob psst")
        assert bob.heard() == "ann: hello naïve ☕ world"
        assert bob.heard() == "ann → you: psst"
        bob.type("//slash", "/who")
        assert ann.heard() == "bob: /slash"
        assert bob.told("2 here: ") in ("— 2 here: ann, bob (you).", "— 2 here: bob (you), ann.")
        bob.ends_well()
        assert ann.told("bob left.") == "— bob left."
        assert ann.end() == (0, "", "")


def test_a_late_joiner_reads_what_was_said(link: str) -> None:
    lines = [f"line {number}" for number in range(25)]
    with script(link, "--name", "ann") as ann:
        ann.type(*lines)
        ann.ends_well()
    with script(link, "--name", "bob") as bob:
        output = bob.ends_well()
    assert [line.partition(" ")[2] for line in output.splitlines()] == [f"ann: {line}" for line in lines[5:]]


def test_a_password_makes_another_channel_and_says_what_it_does(link: str) -> None:
    with (
        script(f"{link}&password=s3cret", "--name", "ann") as ann,
        script(f"{link}&password=s3cret&mode=open", "--name", "ann") as locked,
        script(link, "--name", "ann") as other,
    ):
        assert "is sealed: only who knows the password can read" in ann.told("“test_a_password")
        assert "Nobody here, and nothing was said yet; is the password right?" in ann.told("Nobody")
        assert "is locked, readable by the server: " in locked.told("“test_a_password")
        assert "is open: " in other.told("“test_a_password")
        ann.type("for us", "/safety")
        number = ann.told("Safety number: ").removeprefix("— Safety number: ")
        assert [len(group) for group in number.split()] == [5] * 6
        ann.ends_well()
        for one in (locked, other):
            one.type("/safety")
            assert "is not sealed" in one.told("This channel is not sealed")
            assert one.ends_well() == ""
    with script(f"{link}&password=s3cret", "--name", "bob") as late:
        late.type("/safety")
        assert late.told("Safety number: ").endswith(number)
        assert late.ends_well().endswith("ann: for us\n")


def test_a_message_that_fails_is_told_by_the_exit_code(link: str) -> None:
    with script(link) as one:
        one.type("/msg nobody hi", "hello")
        code, _, errors = one.end()
    assert code == 1
    assert "Not sent: “hi”: nobody is not here." in errors
    with script(link) as late:
        assert late.ends_well().endswith(": hello\n")


def test_what_others_write_cannot_command_the_terminal(link: str) -> None:
    with script(link, "--name", "ann") as ann, script(link, "--name", "bob") as bob:
        ann.told("here: ")
        bob.told("here: ")
        ann.type("\x1b]0;owned\x07\x1b[2J\x9b31m\u202etxt")
        assert bob.heard() == "ann: \\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202etxt"


def test_a_taken_name_is_refused_with_a_remedy(link: str) -> None:
    with script(link, "--name", "ann") as ann:
        ann.told("here: ")
        with script(link, "--name", "ann") as second:
            code, _, errors = second.end()
    assert code == 1
    assert "Choose another name with --name" in errors
    assert "(name_taken, " in errors


def test_no_server_is_said_in_one_line() -> None:
    # Port 9 (discard) of an address that is never given out.
    run = subprocess.run(
        command("http://127.0.0.1:9/chat#channel=lobby&project=demo", "--wait", "0.2"),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert run.returncode == 1
    assert "connect_failed" in run.stderr
    assert "Traceback" not in run.stderr


class Screen(pyte.Screen):
    """A screen that answers what programs ask a terminal, such as where the cursor is."""

    def __init__(self, columns: int, rows: int, keyboard_fd: int) -> None:
        self._keyboard_fd = keyboard_fd
        super().__init__(columns, rows)

    def write_process_input(self, data: str) -> None:
        os.write(self._keyboard_fd, data.encode())


class Terminal:
    """A chat at a terminal of its own, whose screen can be looked at."""

    def __init__(self, link: str, *options: str) -> None:
        rows, columns = 24, 120
        self._master, slave = pty.openpty()
        self.as_found = self.mode()
        self._screen = Screen(columns, rows, self._master)
        self._stream = pyte.ByteStream(self._screen)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command(link, *options),
            env=environment(TERM="xterm"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def shows(self, *lines: str) -> None:
        """Waits until each of `lines` is on the screen, whole, in this order."""
        until = time.monotonic() + WAIT_S
        while not self._has(lines):
            left = until - time.monotonic()
            drawn = "\n".join(self._rows())
            assert left > 0, f"{lines!r} were not drawn:\n{drawn}"
            if select.select([self._master], [], [], left)[0]:
                self._stream.feed(os.read(self._master, 65_536))

    def _rows(self) -> list[str]:
        return [row.rstrip() for row in self._screen.display]

    def _has(self, lines: Sequence[str]) -> bool:
        # A message begins with its time, which is another each time.
        rows = iter([re.sub(r"^\d\d:\d\d ", "", row) for row in self._rows()])
        return all(line in rows for line in lines)

    def wait(self) -> int:
        """The exit code; what is drawn until then is thrown away."""
        until = time.monotonic() + WAIT_S
        while self.process.poll() is None and time.monotonic() < until:
            if select.select([self._master], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    os.read(self._master, 65_536)
        return self.process.wait(timeout=1)

    def mode(self) -> list[object]:
        """The terminal's settings."""
        return list(termios.tcgetattr(self._master))

    def close(self) -> None:
        os.close(self._master)


@contextlib.contextmanager
def terminal_at(link: str) -> Iterator[Terminal]:
    """Ann at a terminal."""
    one = Terminal(link, "--name", "ann")
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        one.close()


@pytest.fixture
def terminal(link: str) -> Iterator[Terminal]:
    with terminal_at(link) as one:
        yield one


STATUS = "{} · open · connected over WebSocket · {} here"


def test_the_line_being_typed_stays_whole_while_others_talk(terminal: Terminal, link: str) -> None:
    terminal.shows("— Nothing was said here yet.", ">")
    terminal.type("half a lin")
    terminal.shows("> half a lin")
    with script(link, "--name", "bob") as bob:
        terminal.shows("— bob joined.", "> half a lin")
        bob.type("interrupting", "twice")
        terminal.shows("— bob joined.", "bob: interrupting", "bob: twice", "> half a lin")
        terminal.type("e\r")
        assert bob.heard() == "ann: half a line"
    terminal.shows("bob: twice", "you: half a line", ">")
    terminal.type("/quit\r")
    assert terminal.wait() == 0


def test_the_status_line_and_the_tab_key(terminal: Terminal, link: str) -> None:
    name = "test_the_status_line_and_the_tab_key"
    terminal.shows(">", STATUS.format(name, 1))
    with script(link, "--name", "Bob Lee") as bob:
        bob.told("here: ")
        terminal.shows(STATUS.format(name, 2))
        terminal.type("/msg B\t")
        terminal.shows("> /msg Bob Lee")
        terminal.type("hi\r")
        assert bob.heard() == "ann → you: hi"
        terminal.shows("you → Bob Lee: hi", ">")
    terminal.type("\x04")
    assert terminal.wait() == 0


def test_wide_characters_and_editing(terminal: Terminal, link: str) -> None:
    terminal.shows(">")
    with script(link, "--name", "bob") as bob:
        bob.told("here: ")
        terminal.type("世界!\x1b[D\x1b[D")
        terminal.type("x")
        bob.type("between")
        terminal.shows("bob: between", "> 世x界!")
        terminal.type("\r")
        assert bob.heard() == "ann: 世x界!"


def test_a_server_that_goes_is_said_while_one_types(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        link = f"{server.next_address()}/chat#channel=lobby&project=demo"
        with terminal_at(link) as terminal:
            terminal.type("half a lin")
            terminal.shows("> half a lin", STATUS.format("lobby", 1))
            assert server.stop() == 0
            terminal.shows("> half a lin", "lobby · open · reconnecting · 1 here")
            terminal.type("e\r")
            terminal.shows("you: half a line", "— There is no connection now; it will be sent when there is.")
            terminal.type("\x03")
            assert terminal.wait() == 0


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    terminal.shows(">")
    assert terminal.mode() != terminal.as_found
    terminal.type("\x03")
    assert terminal.wait() == 0
    assert terminal.mode() == terminal.as_found


def test_keys_typed_while_others_talk_are_kept(terminal: Terminal, link: str) -> None:
    """Also those that a shell's mode would swallow, at whichever moment they come."""
    terminal.shows(">")
    with script(link, "--name", "bob") as bob:
        bob.type(*[f"line {number}" for number in range(200)])
        for letter in "abcdefghijklmnopqrst":
            terminal.type(f"{letter}\x17")
            terminal.type(letter)
            terminal.type("\r")
        terminal.shows("you: t")
        terminal.type("\x04")
        assert terminal.wait() == 0
