"""Flags, variables and defaults of `serve`, and what is said of bad ones."""

from pathlib import Path

import msgspec
import pytest

from peerbus.signaling.config import ServeConfig, default_data_dir, parse_data_dir, parse_serve
from peerbus.signaling.limits import Limits
from peerbus.signaling.setting_values import ConfigError, is_loopback

HOME = {"HOME": "/home/ann"}


def refusal(argv: list[str], env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        parse_serve(argv, HOME | (env or {}))
    text = str(refused.value)
    assert text
    assert "\n" not in text
    return text


def test_with_nothing_said_the_defaults_count() -> None:
    config = parse_serve([], HOME)
    assert config == ServeConfig(data_dir=Path("/home/ann/.local/state/peerbus"))
    assert (config.host, config.port) == ("127.0.0.1", 8080)
    assert config.limits == Limits()


ALL_FLAGS = {
    "--host": "0.0.0.0",
    "--port": "8443",
    "--data-dir": "/srv/bus",
    "--tls-cert": "/etc/bus.crt",
    "--tls-key": "/etc/bus.key",
    "--advertise-hosts": "Bus.Example,bus",
    "--log-level": "debug",
    "--log-format": "json",
}


def as_variables(flags: dict[str, str]) -> dict[str, str]:
    return {"PEERBUS_" + flag[2:].replace("-", "_").upper(): value for flag, value in flags.items()}


def test_flags_and_variables_mean_the_same() -> None:
    by_flag = parse_serve([part for pair in ALL_FLAGS.items() for part in pair] + ["--demo"], HOME)
    by_variable = parse_serve([], HOME | as_variables(ALL_FLAGS) | {"PEERBUS_DEMO": "yes"})
    assert by_flag == by_variable
    assert by_flag == ServeConfig(
        host="0.0.0.0",
        port=8443,
        data_dir=Path("/srv/bus"),
        demo=True,
        tls_cert=Path("/etc/bus.crt"),
        tls_key=Path("/etc/bus.key"),
        advertise_hosts=("bus.example", "bus"),
        log_level="debug",
        log_format="json",
    )


def test_a_flag_goes_before_a_variable() -> None:
    env = HOME | {"PEERBUS_PORT": "1", "PEERBUS_DEMO": "1", "PEERBUS_NEW_EPOCH": "on"}
    config = parse_serve(["--port=2", "--no-demo", "--no-new-epoch"], env)
    assert (config.port, config.demo, config.new_epoch) == (2, False, False)


def test_an_empty_variable_is_an_unset_one() -> None:
    empty = dict.fromkeys(as_variables(ALL_FLAGS), "") | {"PEERBUS_DEMO": "", "PEERBUS_CHANNELS": ""}
    assert parse_serve([], HOME | empty) == parse_serve([], HOME)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        *((text, True) for text in ("1", "TRUE", "yes", "On")),
        *((text, False) for text in ("0", "false", "No", "off")),
    ],
)
def test_the_spellings_of_yes_and_no(text: str, *, meaning: bool) -> None:
    assert parse_serve([], HOME | {"PEERBUS_DEMO": text}).demo is meaning


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "http"], "--port: 'http' is not a whole number from 0 to 65535"),
        (["--port", "65536"], "--port"),
        (["--port", "8_080"], "--port"),
        (["--port", "٨٠٨٠"], "--port"),
        (["--port", "9" * 5000], "--port"),
        (["--port"], "--port"),
        (["--prot", "80"], "--prot"),
        (["--por", "80"], "--por"),
        (["extra"], "extra"),
        (["--host", ""], "--host: the value is empty"),
        (["--host", "localhost:8080"], "--host"),
        (["--host", "http://localhost"], "--host"),
        (["--data-dir", " "], "--data-dir"),
        (["--data-dir", "~nobody-by-that-name/x"], "--data-dir"),
        (["--tls", "lets-encrypt"], "--tls: 'lets-encrypt' is not self-signed"),
        (["--tls-cert", "a.pem"], "--tls-key"),
        (["--tls-key", "a.pem"], "--tls-cert"),
        (["--tls", "self-signed", "--tls-cert", "a", "--tls-key", "b"], "exclude each other"),
        (["--log-level", "loud"], "--log-level: 'loud' is not debug or info or warning or error"),
        (["--log-format", "xml"], "--log-format"),
        (["--advertise-hosts", "a,,b"], "--advertise-hosts"),
    ],
)
def test_a_bad_flag_is_one_line_that_names_it(argv: list[str], said: str) -> None:
    assert said in refusal(argv)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PEERBUS_PORT", "eighty"),
        ("PEERBUS_DEMO", "maybe"),
        ("PEERBUS_NEW_EPOCH", "2"),
        ("PEERBUS_TLS", "yes"),
        ("PEERBUS_MEMBERS_PER_CHANNEL", "0"),
        ("PEERBUS_MEMBERS_PER_CHANNEL", "-5"),
        ("PEERBUS_FRAME_BYTES", "1e6"),
        ("PEERBUS_MESSAGE_BYTES", "1048577"),
        ("PEERBUS_PING_INTERVAL_MS", "25001"),
    ],
)
def test_a_bad_variable_is_one_line_that_names_it(variable: str, value: str) -> None:
    said = refusal([], {variable: value})
    assert variable in said
    assert value in said


@pytest.mark.parametrize("field", msgspec.structs.fields(Limits), ids=lambda field: field.name)
def test_every_limit_has_a_variable(field: msgspec.structs.FieldInfo) -> None:
    assert isinstance(field.default, int)
    # Smaller than the default, so that no pair that must stay in order is broken by most of them.
    wanted = field.default + (1 if field.name in ("frame_bytes", "silence_timeout_ms") else -1)
    config = parse_serve([], HOME | {"PEERBUS_" + field.name.upper(): str(wanted)})
    assert config.limits == msgspec.structs.replace(Limits(), **{field.name: wanted})
    assert config.warnings == ()


def test_a_misspelt_variable_is_a_warning_with_a_guess() -> None:
    env = {"PEERBUS_MEMBER_PER_CHANNEL": "5", "PEERBUS_API_KEY": "pb_x", "PATH": "/bin"}
    (warning,) = parse_serve([], HOME | env).warnings
    assert "PEERBUS_MEMBER_PER_CHANNEL" in warning
    assert "did you mean PEERBUS_MEMBERS_PER_CHANNEL?" in warning


def test_help_names_every_flag_and_every_limit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse_serve(["--help"], HOME)
    assert left.value.code == 0
    text = capsys.readouterr().out
    for flag in [*ALL_FLAGS, "--demo", "--no-demo", "--tls", "--new-epoch"]:
        assert flag in text
    for field in msgspec.structs.fields(Limits):
        assert "PEERBUS_" + field.name.upper() in text


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"HOME": "/home/ann"}, "/home/ann/.local/state/peerbus"),
        ({"HOME": "/home/ann", "XDG_STATE_HOME": "/var/ann"}, "/var/ann/peerbus"),
        ({"HOME": "/home/ann", "XDG_STATE_HOME": "relative"}, "/home/ann/.local/state/peerbus"),
    ],
)
def test_the_default_data_folder_is_the_xdg_one(env: dict[str, str], folder: str) -> None:
    assert default_data_dir(env) == Path(folder)


def test_the_data_folder_alone_is_found_the_same_way() -> None:
    assert parse_data_dir("/a", HOME | {"PEERBUS_DATA_DIR": "/b"}) == Path("/a")
    assert parse_data_dir(None, HOME | {"PEERBUS_DATA_DIR": "/b"}) == Path("/b")
    assert parse_data_dir(None, HOME) == default_data_dir(HOME)


@pytest.mark.parametrize(
    ("host", "only_this_machine"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.example", False),
        ("bus.example", False),
    ],
)
def test_the_demo_is_on_by_itself_only_where_nobody_else_gets(host: str, *, only_this_machine: bool) -> None:
    assert is_loopback(host) is only_this_machine
    config = parse_serve(["--host", host], HOME)
    assert config.is_demo_on is only_this_machine
    assert parse_serve(["--host", host, "--demo"], HOME).is_demo_on
    assert not parse_serve(["--host", host, "--no-demo"], HOME).is_demo_on


def test_a_v6_address_may_stand_in_brackets() -> None:
    assert parse_serve(["--host", "[::1]"], HOME).host == "::1"


def test_tls_is_on_with_either_form() -> None:
    assert not parse_serve([], HOME).is_tls_on
    assert parse_serve(["--tls", "self-signed"], HOME).is_tls_on
    assert parse_serve(["--tls-cert", "a", "--tls-key", "b"], HOME).is_tls_on


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("127.0.0.1:8080", True),
        ("192.168.1.20:8080", True),
        ("[::1]:8080", True),
        ("[fe80::1]", True),
        ("bus.example:443", True),
        ("BUS.example", True),
        ("box", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("bus.example.evil.example:8080", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[evil.example]", False),
    ],
)
def test_only_its_own_names_are_accepted_as_host(header: str, *, accepted: bool) -> None:
    config = parse_serve(["--host", "Box", "--advertise-hosts", "Bus.Example"], HOME)
    assert config.accepts_host(header) is accepted
