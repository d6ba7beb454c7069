"""Where the secret of TURN servers comes from, and what is said when there is none."""

from pathlib import Path

import pytest

from peerbus.protocol.secrets import Secret
from peerbus.signaling.master_key import load_master_key
from peerbus.signaling.turn import secret_from
from peerbus.signaling.turn_secret import TurnSecretError, load_turn_secret

GIVEN = "0123456789abcdef"


def load(folder: Path, file: Path | None = None, variable: str | None = None) -> Secret:
    return load_turn_secret(folder, file, variable=variable, master_key=None)


def test_the_variable_goes_before_the_file_and_that_before_the_data_folder(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{GIVEN}-of-the-file\n")
    file.chmod(0o600)
    assert load(tmp_path, file, f"{GIVEN}-of-it") == Secret(f"{GIVEN}-of-it")
    assert load(tmp_path, file) == Secret(f"{GIVEN}-of-the-file")
    assert load(tmp_path) == load(tmp_path) == secret_from(load_master_key(tmp_path))


@pytest.mark.parametrize(
    "text", ["short", "with a space in between", "umlauts-äöü-in-the-middle", "two\nlines-of-it-all"]
)
def test_a_secret_that_coturn_could_not_read_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TurnSecretError) as refused:
        load(tmp_path, None, text)
    assert "PEERBUS_TURN_SECRET" in str(refused.value)
    assert text not in str(refused.value)


def test_a_file_that_others_can_read_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(TurnSecretError, match="cannot read"):
        load(tmp_path, file)
    file.write_text(GIVEN)
    file.chmod(0o644)
    with pytest.raises(TurnSecretError, match="chmod 600"):
        load(tmp_path, file)
    file.chmod(0o600)
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(TurnSecretError, match="not ASCII"):
        load(tmp_path, file)
