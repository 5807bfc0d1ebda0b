"""What a link does to frames besides carrying them: loss patterns, and faults drawn for each frame.

A loss pattern is called with each frame and says whether that one is lost. The patterns here touch segments with text only, for the
models of TCP (`theory.py`) speak of those, and a pattern must not depend on how many ACKs and ARP requests pass between them. Chances come
from seeded generators: a run is replayed by its seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.sim.loop import MS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    LossPattern = Callable[[bytes], bool]

ETHERNET_LENGTH = 14
TCP = 6


@dataclass(slots=True)
class Faults:
    """Probabilities per frame, and the extra delay in µs of a frame that is to arrive late, behind those sent after it.

    mark: an ECN-capable packet meets congestion (RFC 3168 §5).
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    mark: float = 0.0
    late_us: int = 5 * MS

    def spoil(self, frame: bytes, rng: Random) -> bytes:
        """The frame with one bit turned, if its turn has come."""
        if rng.random() >= self.corrupt:
            return frame
        at = rng.randrange(len(frame))
        return frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]


def text_length(frame: bytes) -> int:
    """Octets of TCP text in a frame; 0 for all that is not TCP over IPv4."""
    if frame[12:14] != b"\x08\x00" or frame[23] != TCP:
        return 0
    ip_header = (frame[ETHERNET_LENGTH] & 15) << 2
    offset = frame[ETHERNET_LENGTH + ip_header + 12] >> 4 << 2
    return int.from_bytes(frame[16:18], "big") - ip_header - offset


def sequence(frame: bytes) -> int:
    """SEG.SEQ as on the wire, of a frame that has TCP text."""
    at = ETHERNET_LENGTH + ((frame[ETHERNET_LENGTH] & 15) << 2) + 4
    return int.from_bytes(frame[at : at + 4], "big")


class RandomLoss:
    """Each text segment is lost with probability `p`, whatever befell the others."""

    def __init__(self, p: float, rng: Random) -> None:
        self._p = p
        self._rng = rng

    def __call__(self, frame: bytes) -> bool:
        return text_length(frame) > 0 and self._rng.random() < self._p


class PeriodicLoss:
    """One text segment in `every` is lost, as in the model of Mathis et al. (1997): the first one that is lost is the `first`."""

    def __init__(self, every: int, first: int | None = None) -> None:
        self._every = every
        self._left = every if first is None else first

    def __call__(self, frame: bytes) -> bool:
        if not text_length(frame):
            return False
        self._left -= 1
        if self._left:
            return False
        self._left = self._every
        return True


class BurstLoss:
    """Gilbert and Elliott: a good and a bad state with a chance of loss each; the state may change with each text segment.

    to_bad, to_good: chances of the change. Losses come in bursts of 1 / to_good segments on average where `bad` is 1.
    """

    def __init__(
        self, to_bad: float, to_good: float, rng: Random, *, good: float = 0.0, bad: float = 1.0
    ) -> None:
        self._change = (to_bad, to_good)
        self._loss = (good, bad)
        self._rng = rng
        self._state = 0

    def __call__(self, frame: bytes) -> bool:
        if not text_length(frame):
            return False
        if self._rng.random() < self._change[self._state]:
            self._state = 1 - self._state
        return self._rng.random() < self._loss[self._state]


class PickedLoss:
    """The text segments with these numbers are lost, counted from 1 as they pass; retransmissions count, too."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = frozenset(numbers)
        self._passed = 0

    def __call__(self, frame: bytes) -> bool:
        if not text_length(frame):
            return False
        self._passed += 1
        return self._passed in self._numbers
