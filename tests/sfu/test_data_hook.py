"""The operator's own function: loading it, and what it may do without harm."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.sfu.data_hook import DataMessage, HookError, HookRunner, Refuse, Rewrite, load_hook
from peerbus.sfu.data_review import ACCEPTED, Changed, Verdict


def message(payload: Any) -> DataMessage:
    return DataMessage(
        sender="name:ann", name="ann", to=None, payload=payload, is_reliable=True, channel="ab" * 32
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module, which is the current one."""
    (tmp_path / "checks_of_a_game.py").write_text(
        "def check(message): return None\n"
        "def without_argument(): return None\n"
        "async def later(message): return None\n"
        "number = 5\n"
    )
    (tmp_path / "broken_checks.py").write_text("raise OSError('no disk')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_function_of_the_current_folder(folder: Path) -> None:
    assert load_hook("checks_of_a_game:check")(message(1)) is None


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("checks_of_a_game", "not of the form"),
        (":check", "not of the form"),
        ("checks_of_a_game:a b", "not of the form"),
        ("no_such_module_here:check", "cannot be loaded: ModuleNotFoundError"),
        ("broken_checks:check", "cannot be loaded: OSError: no disk"),
        ("checks_of_a_game:chek", "has no function chek"),
        ("checks_of_a_game:number", "has no function number"),
        ("checks_of_a_game:without_argument", "has to take one argument"),
        ("checks_of_a_game:later", "is a coroutine function"),
    ],
)
def test_what_is_no_check_is_one_clear_line(folder: Path, place: str, why: str) -> None:
    with pytest.raises(HookError, match=why) as caught:
        load_hook(place)
    assert "\n" not in str(caught.value)


async def test_what_a_check_says_and_what_it_does_wrong(caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()

    def check(asked: DataMessage) -> Any:
        match asked.payload:
            case "refuse":
                raise Refuse("too fast")
            case "rewrite":
                return Rewrite({"x": 1})
            case "raise":
                raise ZeroDivisionError
            case "nonsense":
                return asked.payload
            case "hang":
                released.wait()
        return None

    runner = HookRunner(check)

    async def said(payload: str) -> Verdict:
        return await runner.judge(message(payload))

    def reason(verdict: Verdict) -> str:
        assert isinstance(verdict, ProtocolError)
        assert verdict.code is ErrorCode.MESSAGE_REFUSED
        return verdict.message

    with caplog.at_level(logging.WARNING):
        assert await said("fine") == ACCEPTED
        assert reason(await said("refuse")) == "too fast"
        assert await said("rewrite") == Changed({"x": 1})
        assert "failed" in reason(await said("raise"))
        assert "failed" in reason(await said("nonsense"))
        # One that hangs costs its message, and not the next; of many that hang the next is not even asked.
        assert "too long" in reason(await said("hang"))
        assert await said("fine") == ACCEPTED
        for _ in range(3):
            await said("hang")
        assert "does not answer" in reason(await said("fine"))
    assert "ZeroDivisionError" in caplog.text
    released.set()
    for thread in threading.enumerate():
        if thread.name == "data-hook":
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()
    assert await said("fine") == ACCEPTED
    runner.close()
