"""The gateway machine: some dozens of short runs with every `make test`, thousands of longer ones with `make fuzz`.

The short profile does not shrink what it finds: that takes minutes, more than a test has here. `make fuzz` does.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

from usernat.fuzz.machines import GatewayMachine

PROFILE = settings()
LONG = PROFILE.max_examples > 1000

TestGatewayMachine = GatewayMachine.TestCase
TestGatewayMachine.settings = settings(
    PROFILE,
    max_examples=PROFILE.max_examples // 10 if LONG else 60,
    stateful_step_count=80 if LONG else 40,
    phases=[phase for phase in PROFILE.phases if LONG or phase not in (Phase.shrink, Phase.explain)],
    # What is drawn are frames by the dozen; an example with too much of them is cut, which does no harm.
    suppress_health_check=[*PROFILE.suppress_health_check, HealthCheck.data_too_large],
)
