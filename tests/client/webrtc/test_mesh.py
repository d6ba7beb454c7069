"""The negotiation of a link between two peers, by its transcripts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.peer_transcripts import expected, play
from tests.support.vectors import load_vectors


@pytest.mark.parametrize("transcript", load_vectors("peers/mesh"), ids=lambda one: one["name"])
def test_transcripts(transcript: dict[str, Any]) -> None:
    for step, done in zip(transcript["steps"], play(transcript), strict=True):
        assert done == expected(step), step
