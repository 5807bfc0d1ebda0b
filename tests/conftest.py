"""Hypothesis profiles: `ci` for every run (the same examples each time, within minutes), `nightly` for long campaigns,
`mutation` for the thousands of runs of `make mutation`: as `ci`, but a failing example is not made smaller,
`crosshair` to solve for counterexamples where the code is pure arithmetic (`pip install usernat[crosshair]`).

HYPOTHESIS_PROFILE chooses; `ci` is the default, so that a failing run can be repeated as it was. The report's head names the seed of a
run: `--hypothesis-seed` repeats it.
"""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from random import SystemRandom

import pytest
from hypothesis import HealthCheck, Phase, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")

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
settings.register_profile(
    "mutation",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=100,
    phases=[Phase.explicit, Phase.generate],
    # one process runs the same tests again and again, each time from a new instance of their class
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
if find_spec("hypothesis_crosshair_provider") is not None:
    settings.register_profile(
        "crosshair",
        backend="crosshair",
        deadline=None,
        max_examples=50,
        # one example is a path through the code, found by a solver: slow, and not always data that the test can use
        suppress_health_check=list(HealthCheck),
    )
settings.load_profile(PROFILE)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A profile that draws anew each time gets a seed that can be told; and the signals that a terminal sends are heard.

    A shell that starts a run in the background has it ignore them, and so would every command that a test starts.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if not settings.get_profile(PROFILE).derandomize and config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(SystemRandom().getrandbits(32))


def pytest_report_header(config: pytest.Config) -> str:
    """Which examples these are."""
    seed = config.getoption("--hypothesis-seed")
    return f"hypothesis profile {PROFILE}, seed {'fixed by each test' if seed is None else seed}"
