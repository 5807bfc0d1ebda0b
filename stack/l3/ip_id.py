"""The identification field (RFC 6864, RFC 791 §3.2-id-a).

Atomic datagrams (DF set, whole) need none and carry 0. For the others the receiver tells the fragments of one datagram from those of
the next by it, so that for one (source, destination, protocol) it must not come again soon; and nobody must be able to
foretell it, for who can plants fragments or counts our datagrams (RFC 7739 §3 on the same field in IPv6).

Both at once: each tuple counts through all 65,536 values, and the count is sent through a secret permutation of its own (a
Feistel network on two octets with a random table and a random tweak). A tuple that sends more than 65,536 such datagrams
within their lifetime comes round, as every IPv4 sender does at speed: RFC 6864 §4.3-a asks for DF then, which TCP sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from random import Random

MAX_TUPLES = 4096
ROUNDS = 4


@dataclass(slots=True)
class IpIdCounters(Counters):
    """wrapped: tuples that have used all 65,536 values. evicted: tuples forgotten for newer ones."""

    wrapped: int = 0
    evicted: int = 0


class IpIds:
    """Hands out identifications. Tuples are bounded; the one that first appeared longest ago goes first."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._box = bytes(rng.randrange(256) for _ in range(256))
        self._tuples: dict[tuple[int, int, int], list[int]] = {}  # -> [count, tweak]
        self.counters = IpIdCounters()

    def next(self, src: int, dst: int, proto: int) -> int:
        """The identification of the next datagram that may be fragmented."""
        state = self._tuples.get((src, dst, proto))
        if state is None:
            state = self._admit((src, dst, proto))
        state[0] += 1
        if not state[0] & 0xFFFF:
            self.counters.wrapped += 1
        return self._permute(state[0] & 0xFFFF, state[1])

    def _admit(self, key: tuple[int, int, int]) -> list[int]:
        if len(self._tuples) >= MAX_TUPLES:
            del self._tuples[next(iter(self._tuples))]
            self.counters.evicted += 1
        state = self._tuples[key] = [0, self._rng.getrandbits(8 * ROUNDS)]
        return state

    def _permute(self, value: int, tweak: int) -> int:
        left, right = value >> 8, value & 0xFF
        for round_ in range(ROUNDS):
            left, right = right, left ^ self._box[right ^ (tweak >> 8 * round_ & 0xFF)]
        return left << 8 | right
