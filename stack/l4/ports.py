"""Ephemeral ports that cannot be foretold (RFC 6056), for UDP and TCP.

RFC 6056 §3.3-a, algorithm 1: a random start in the whole range, then upwards until one is free. The start is drawn anew for
every port, so that nothing about one port follows from another and there is no secret to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

FIRST_EPHEMERAL = 1024  # RFC 6056 §3.2-a
LAST_EPHEMERAL = 65535


def choose_port(
    rng: Random,
    in_use: Callable[[int], bool],
    first: int = FIRST_EPHEMERAL,
    last: int = LAST_EPHEMERAL,
) -> int | None:
    """A port from `first` to `last` of which `in_use(port)` is false, or None where all are taken (RFC 6056 §3.3-b).

    `in_use` also says no to ports that a listener holds (RFC 6056 §3.2-b).
    """
    count = last - first + 1
    start = rng.randrange(count)
    for step in range(count):
        port = first + (start + step) % count
        if not in_use(port):
            return port
    return None
