"""Devices of a program: the first that can be opened counts, and why none can."""

import errno
from pathlib import Path

import pytest

from peerbus.client.doctor.device_checks import state_of


def refusing(*numbers: int) -> dict[Path, int]:
    return {Path(f"/dev/video{at}"): number for at, number in enumerate(numbers)}


@pytest.mark.parametrize(
    ("errors", "state"),
    [
        ((), "none"),
        ((0,), "ok"),
        ((errno.EBUSY, 0), "ok"),
        ((errno.EACCES,), "forbidden"),
        ((errno.EPERM,), "forbidden"),
        ((errno.EBUSY,), "busy"),
        ((errno.EIO,), "failed"),
    ],
)
def test_the_best_of_all_devices_counts(errors: tuple[int, ...], state: str) -> None:
    devices = refusing(*errors)

    def opening(path: Path) -> None:
        if devices[path]:
            raise OSError(devices[path], "no")

    assert state_of(devices, opening) == state


def test_a_device_is_opened_and_let_go(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    assert state_of([device]) == "failed"
    device.touch()
    assert state_of([device]) == "ok"
