"""Terms rise, whatever becomes of the process and its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerbus.signaling.terms import Terms, TermsError


def test_each_is_higher_than_all_before(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    given = [terms.next(1), terms.next(1), terms.next(5_000_000), terms.next(1)]
    assert given == sorted(set(given))
    assert given[2] == 5_000_000


def test_also_those_of_a_process_that_was_killed(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    last = [terms.next(1) for _ in range(10)][-1]
    # Nothing is closed or written: that is what a kill leaves.
    assert Terms(tmp_path).next(1) > last
    far = Terms(tmp_path).next(9_000_000)
    assert Terms(tmp_path).next(1) > far


def test_whether_rooms_were_held_is_remembered(tmp_path: Path) -> None:
    terms = Terms(tmp_path)
    assert not terms.was_serving
    terms.note_serving(True)
    terms = Terms(tmp_path)
    assert terms.was_serving
    terms.note_serving(False)
    assert not Terms(tmp_path).was_serving


def test_a_note_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    terms = Terms(folder)
    away = folder.rename(tmp_path / "away")
    with pytest.raises(TermsError, match="cannot be written"):
        terms.note_serving(True)
    away.rename(folder)
    terms.note_serving(True)
    assert Terms(folder).was_serving


@pytest.mark.parametrize("text", ["", "[]", '{"end": "x", "is_serving": true}', "\0"])
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "terms").write_text(text)
    with pytest.raises(TermsError, match="cannot be read"):
        Terms(tmp_path)
