"""The client session machine, by the transcripts that both SDKs run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import transcripts

PATHS = sorted(transcripts.FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_transcript(path: Path) -> None:
    transcript = transcripts.load(path)
    for number, (step, done) in enumerate(
        zip(transcript["steps"], transcripts.play(transcript), strict=True), start=1
    ):
        assert done == transcripts.expected(step), f"step {number}, at {step['at']}"
