"""A child notices that its parent is gone, and ends even if it hangs."""

import os
import subprocess
import sys
import threading

import pytest

from peerbus.signaling.parent import ORPHANED_EXIT_CODE, VARIABLE, watch_parent

NEVER_S = 3600.0


def test_without_a_supervisor_nothing_is_watched() -> None:
    assert not watch_parent(pytest.fail, NEVER_S, {})


@pytest.mark.parametrize("number", ["three", "-1", "99999"])
def test_a_number_that_is_no_open_file_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match=VARIABLE):
        watch_parent(pytest.fail, NEVER_S, {VARIABLE: number})


def test_the_end_of_the_pipe_is_the_end_of_the_parent() -> None:
    reading, writing = os.pipe()
    gone = threading.Event()
    env = {VARIABLE: str(reading), "OTHER": "1"}
    assert watch_parent(gone.set, NEVER_S, env)
    assert env == {"OTHER": "1"}
    assert not gone.is_set()
    os.close(writing)
    assert gone.wait(timeout=10)


HANGING = """
import threading
from peerbus.signaling.parent import watch_parent
watch_parent(lambda: print("gone", flush=True), 0.0)
print("watching", flush=True)
threading.Event().wait()
"""


def test_a_child_that_hangs_ends_after_the_grace() -> None:
    reading, writing = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", HANGING],
        pass_fds=[reading],
        env={**os.environ, VARIABLE: str(reading)},
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(reading)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "watching\n"
        os.close(writing)
        assert child.stdout.read() == "gone\n"
        assert child.wait(timeout=10) == ORPHANED_EXIT_CODE
