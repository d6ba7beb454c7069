"""What the README says is so: its programs run, its names and settings exist, its paths are there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from peerbus.client import AgentConnection, cli
from peerbus.client.sync import AgentConnection as BlockingConnection
from peerbus.signaling.config import parse_serve
from tests.support.live_server import LiveServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ADDRESS = "http://localhost:8080"
PLACEHOLDER = "YOUR-KEY"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def code_in(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def run(program: str, server: LiveServer) -> str:
    """Runs a program of the README, with the address and the key of a server in place of those it names."""
    assert ADDRESS in program
    assert PLACEHOLDER in program
    text = program.replace(ADDRESS, server.url).replace(PLACEHOLDER, server.developer_key)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_python_programs_run_as_they_stand(live_server: LiveServer) -> None:
    asyncio_program, blocking_program, _call = blocks("python")
    assert run(asyncio_program, live_server) == "1 bot Hello from Python!\n"
    assert run(asyncio_program, live_server) == "1 bot Hello from Python!\n2 bot Hello from Python!\n"
    assert run(blocking_program, live_server) == ""
    heard = asyncio_program.replace('"lobby", "bot"', '"my-game-lobby", "bot", "secure-password"')
    assert run(heard, live_server).splitlines()[0] == "1 player-1 Hello, World!"


def test_the_programs_have_ten_lines() -> None:
    for program in [*blocks("python"), *blocks("html")]:
        assert len([line for line in program.splitlines() if line.strip()]) <= 10


def commands() -> list[str]:
    lines = [
        line.partition("#")[0] if line.startswith("make") else line
        for line in "".join(blocks("sh")).splitlines()
    ]
    return [line.strip() for line in lines if line.strip()]


def test_every_command_is_known() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for line in commands():
        program, argument = [word for word in shlex.split(line) if not re.match("[A-Z]+=", word)][:2]
        if program == "make":
            assert argument in targets
        elif program == "python":
            assert (ROOT / argument).is_file()
        else:
            assert program in ("peerbus", "echo")
    for command in re.findall(r"`peerbus ([a-z]+)", README):
        assert f"\n  {command}" in cli.HELP


def test_the_chat_command_works_in_a_script(live_server: LiveServer) -> None:
    (line,) = [line for line in commands() if line.startswith("echo ")]
    sent = subprocess.run(
        ["sh", "-c", line.replace(ADDRESS, live_server.url)],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout == ""


def test_the_settings_are_those_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_serve(["--help"], {})
    flags = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--help"}
    told = rows("Settings")
    assert {code_in(row[0])[0].split()[0] for row in told} == flags | {"--new-epoch", "--demo"}
    for row in told:
        flag, variable = code_in(row[0])[0].split()[0], code_in(row[1])[0]
        assert variable == "PEERBUS_" + flag[2:].replace("-", "_").upper()
    defaults = parse_serve([], {"HOME": "/home/ann"})
    by_flag = {code_in(row[0])[0].split()[0]: code_in(row[2]) for row in told}
    assert by_flag["--host"] == [defaults.host]
    assert by_flag["--port"] == [str(defaults.port)]
    assert by_flag["--data-dir"] == [str(defaults.data_dir).replace("/home/ann", "~")]
    assert by_flag["--log-level"] == [defaults.log_level]
    assert by_flag["--log-format"] == [defaults.log_format]


def test_the_folders_are_there() -> None:
    for row in rows("Folders"):
        for path in code_in(row[0]):
            assert (ROOT / path).exists()
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists()


def test_the_python_names_exist_in_both_forms() -> None:
    names = set(re.findall(r"`((?:send|on)_[a-z_]+)", "".join(row[1] for row in rows("Names you may know"))))
    assert {"send_text_message", "send_message", "on_message", "on_error"} <= names
    for agent in (AgentConnection(), BlockingConnection()):
        for name in [*names, "connect", "receive", "disconnect"]:
            assert hasattr(agent, name), name


def test_the_javascript_names_exist() -> None:
    folder = ROOT / "web" / "src" / "sdk" / "agent"
    agent = "".join((folder / name).read_text("utf-8") for name in ("agent-view.ts", "agent.ts"))
    options = (ROOT / "web" / "src" / "sdk" / "agent" / "options.ts").read_text("utf-8")
    told = [row[0] for row in rows("Names you may know") if not row[1].startswith("not there yet")]
    asked = [
        name for cell in told for group in re.findall(r"\(\{([^}]*)\}\)", cell) for name in group.split(", ")
    ]
    assert {"channelName", "apiKeyScope", "ephemeral", "pollSource"} <= set(asked)
    for name in asked:
        assert re.search(rf"readonly {name}\??:", options), name
    for name in ["onMessage", "onConnect", "onDisconnect", "onError", "onState", "onPresence"]:
        assert re.search(rf"^  {name}: Callback", agent, re.MULTILINE), name
    for name in ["connect", "sendTextMessage", "sendMessage", "receive", "disconnect"]:
        assert re.search(rf"^  (?:async )?{name}\(", agent, re.MULTILINE), name
