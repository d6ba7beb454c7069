"""Settings for every test: Hypothesis is seeded and has no deadline, so that a run can be repeated anywhere."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A derandomised run draws the same examples each time. The soak profile draws new ones: pass
# --hypothesis-seed=N to repeat one of its runs.
settings.register_profile(
    "default",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(
    "soak",
    settings.get_profile("default"),
    derandomize=False,
    max_examples=int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "1000")),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
