"""A short slice of every soak, with a fixed seed."""

from __future__ import annotations

import pytest

from tests.soak.soak import find_soaks

SEED = 20_261_121
SLICES = {name: soak for name, soak in find_soaks().items() if soak.slice_scale is not None}


@pytest.mark.parametrize("name", SLICES)
def test_slice(name: str) -> None:
    soak = SLICES[name]
    assert soak.slice_scale is not None
    assert soak.run(SEED, soak.slice_scale)
