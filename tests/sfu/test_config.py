"""How a worker is told what to do."""

from __future__ import annotations

import pytest

from peerbus.sfu.config import DEFAULT_PORT, DEFAULT_SIGNALING, Config, ConfigError, read_config

TOKEN = {"PEERBUS_WORKER_TOKEN": "secret"}


def test_a_token_is_enough() -> None:
    config = read_config([], TOKEN)
    assert config == Config(
        signaling=DEFAULT_SIGNALING, token="secret", name="peerbus:sfu-1", port=DEFAULT_PORT
    )


def test_every_option() -> None:
    argv = ["--signaling", "http://a:1", "--name", "peerbus:x", "--host", "::1", "--port", "0"]
    argv += ["--advertise", "192.0.2.1", "--advertise", "[2001:db8::1]:9"]
    config = read_config(argv, TOKEN)
    assert (config.signaling, config.name, config.host, config.port) == ("http://a:1", "peerbus:x", "::1", 0)
    assert config.advertise == ("192.0.2.1", "[2001:db8::1]:9")


def test_the_environment_names_the_server_unless_the_command_line_does() -> None:
    environment = {**TOKEN, "PEERBUS_SIGNALING": "http://b:2"}
    assert read_config([], environment).signaling == "http://b:2"
    assert read_config(["--signaling", "http://a:1"], environment).signaling == "http://a:1"
    assert read_config([], {**TOKEN, "PEERBUS_SIGNALING": ""}).signaling == DEFAULT_SIGNALING


@pytest.mark.parametrize(
    ("argv", "environment", "named"),
    [
        ([], {}, "PEERBUS_WORKER_TOKEN"),
        ([], {"PEERBUS_WORKER_TOKEN": ""}, "PEERBUS_WORKER_TOKEN"),
        (["--port", "65536"], TOKEN, "65536"),
        (["--port", "-1"], TOKEN, "-1"),
        (["--port", "many"], TOKEN, "many"),
        (["--port"], TOKEN, "--port"),
        (["--speed", "9"], TOKEN, "--speed"),
        (["stray"], TOKEN, "stray"),
        (["--token", "secret"], TOKEN, "--token"),
    ],
)
def test_what_cannot_be_used_is_named(argv: list[str], environment: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_config(argv, environment)


def test_help_never_shows_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_config(["--help"], TOKEN)
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "secret" not in shown
    assert "PEERBUS_WORKER_TOKEN" in shown
