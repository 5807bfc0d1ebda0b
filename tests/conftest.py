"""Hypothesis profiles: `ci` for every run (the same examples each time, within minutes), `nightly` for long campaigns.

HYPOTHESIS_PROFILE chooses; `ci` is the default, so that a failing run can be repeated as it was.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,  # a busy machine is no failure
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=20_000,
    stateful_step_count=200,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
