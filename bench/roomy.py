"""`usernat` with room for more flows of one guest than its defaults allow: `python -m bench.roomy run …`, for the row of 10,000 idle flows.

The defaults (4,096 TCP flows, 2,000 new ones a second) are what protects the host from a guest that runs wild. The command line has no option
for them, so this replaces where the face gets its settings from; nothing else is another.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

from usernat import usernat as face
from usernat.cli import main
from usernat.nat.config import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usernat.config import Config
    from usernat.nat.config import GatewayConfig

LIMITS = Limits(tcp=16384, total=20000, new_per_second=100_000)
_usual = face.gateway_config


@contextmanager
def limits() -> Iterator[None]:
    """While it lasts, every gateway that is made has this room."""

    def roomy_config(config: Config, mtu: int) -> GatewayConfig:
        return replace(_usual(config, mtu), limits=LIMITS)

    with patch.object(face, "gateway_config", roomy_config):
        yield


if __name__ == "__main__":
    with limits():
        main()
