"""How many examples a property test draws: a share of what the Hypothesis profile says, which a long run raises."""

from __future__ import annotations

from hypothesis import settings


def examples(share: float) -> int:
    """`share` of the profile's number, at least 5: `@settings(max_examples=examples(0.2))`."""
    return max(5, round(settings.default.max_examples * share)) if settings.default else 5
