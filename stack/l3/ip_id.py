"""The identification field (RFC 6864, RFC 791 §3.2-id-a).

Atomic datagrams (DF set, whole) need none and carry 0. For the others the receiver tells the fragments of one datagram from those of
the next by it, so that for one (source, destination, protocol) it must not come again soon; and nobody must be able to
foretell it, for who can plants fragments or counts our datagrams (RFC 7739 §3 on the same field in IPv6).

Both at once: each tuple counts through all 65,536 values, and the count is sent through a secret permutation of its own (a
Feistel network on two octets with a random table and a random tweak). A copy of a datagram gets a value of its own (RFC 6864 §4.2-a), and
no value comes again before a datagram's life has passed since it was last used (§4.3-a): who sends more than 65,536 such datagrams
within a life gets none for a while, and has to do with DF or to wait (§5.2-a). To remember when each value was used would cost too much; when
each block of 4,096 was used up is enough.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from random import Random

MAX_TUPLES = 4096
ROUNDS = 4
BLOCK = 4096  # values
BLOCKS = 65536 // BLOCK
# Our datagrams pass one link, where they live no time at all, and then wait for their other fragments: 60 s or less (RFC 1122 §3.3.2).
LIFETIME_US = 60_000_000


@dataclass(slots=True)
class IpIdCounters(Counters):
    """exhausted: identifications that could not be given. evicted: tuples forgotten for newer ones."""

    exhausted: int = 0
    evicted: int = 0


class _Tuple:
    """How far a tuple has counted, and when it used up each block of its last round, the oldest first."""

    __slots__ = ("count", "tweak", "used_up")

    def __init__(self, tweak: int) -> None:
        self.count = 0
        self.tweak = tweak
        self.used_up: deque[int] = deque(maxlen=BLOCKS)


class IpIds:
    """Hands out identifications. Tuples are bounded; the one that first appeared longest ago goes first."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._box = bytes(rng.randrange(256) for _ in range(256))
        self._tuples: dict[tuple[int, int, int], _Tuple] = {}
        self.counters = IpIdCounters()

    def next(self, src: int, dst: int, proto: int, now: int) -> int | None:
        """The identification of the next datagram that may be fragmented, None where all may be of datagrams that still live."""
        state = self._tuples.get((src, dst, proto))
        if state is None:
            state = self._admit((src, dst, proto))
        in_block = state.count % BLOCK
        if not in_block and len(state.used_up) == BLOCKS and now - state.used_up[0] < LIFETIME_US:
            self.counters.exhausted += 1
            return None
        if in_block == BLOCK - 1:
            state.used_up.append(now)
        value = self._permute(state.count & 0xFFFF, state.tweak)
        state.count += 1
        return value

    def _admit(self, key: tuple[int, int, int]) -> _Tuple:
        if len(self._tuples) >= MAX_TUPLES:
            del self._tuples[next(iter(self._tuples))]
            self.counters.evicted += 1
        state = self._tuples[key] = _Tuple(self._rng.getrandbits(8 * ROUNDS))
        return state

    def _permute(self, value: int, tweak: int) -> int:
        left, right = value >> 8, value & 0xFF
        for round_ in range(ROUNDS):
            left, right = right, left ^ self._box[right ^ (tweak >> 8 * round_ & 0xFF)]
        return left << 8 | right
