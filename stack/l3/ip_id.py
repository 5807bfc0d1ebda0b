"""The identification field (RFC 6864, RFC 791 §3.2-id-a).

Atomic datagrams (DF set, whole) need none and carry 0. For the others the receiver tells the fragments of one datagram from those of
the next by it, so that for one (source, destination, protocol) it must not come again soon; and nobody must be able to
foretell it, for who can plants fragments or counts our datagrams (RFC 7739 §3 on the same field in IPv6).

Both at once: the 65,536 values of a tuple are in sixteen blocks of 4,096, and each block is counted through by way of a secret permutation (a
Feistel network with a random table and a random tweak). A copy of a datagram gets a value of its own (RFC 6864 §4.2-a), and
no value comes again before a datagram's life has passed since it was last used (§4.3-a): who sends more than 65,536 such datagrams
within a life gets none for a while, and has to do with DF or to wait (§5.2-a). To remember when each value was used would cost too much; when
each block was used up is enough.

A device that cuts a frame into datagrams gives each the value after the one before. So a run of datagrams takes values in a row, out of a block
where not values are shuffled but groups of 64 of them; which blocks are used in which way is decided as they are needed.
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
GROUP = 64  # values in a row, from which runs take theirs
# Our datagrams pass one link, where they live no time at all, and then wait for their other fragments: 60 s or less (RFC 1122 §3.3.2).
LIFETIME_US = 60_000_000
_NONE = -1  # no block is open


@dataclass(slots=True)
class IpIdCounters(Counters):
    """exhausted: identifications that could not be given. evicted: tuples forgotten for newer ones."""

    exhausted: int = 0
    evicted: int = 0


class _Tuple:
    """single, run: what comes next, block * BLOCK + how much of it is used. blocks: those not open, and when each is free; the earliest first."""

    __slots__ = ("blocks", "run", "single", "tweak")

    def __init__(self, tweak: int) -> None:
        self.single = self.run = _NONE
        self.tweak = tweak
        self.blocks: deque[tuple[int | None, int]] = deque((None, block) for block in range(BLOCKS))

    def open(self, now: int) -> int:
        """The begin of a block whose values may be used, _NONE where there is none."""
        if not self.blocks:
            return _NONE
        free_at, block = self.blocks[0]
        if free_at is not None and now < free_at:
            return _NONE
        self.blocks.popleft()
        return block * BLOCK

    def after(self, position: int, now: int) -> int:
        """`position` is next, if it is not in another block; then the one before is used up."""
        if position % BLOCK:
            return position
        self.blocks.append((now + LIFETIME_US, position // BLOCK - 1))
        return _NONE


class IpIds:
    """Hands out identifications. Tuples are bounded; the one that first appeared longest ago goes first."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._box = bytes(rng.randrange(256) for _ in range(256))
        self._tuples: dict[tuple[int, int, int], _Tuple] = {}
        self.counters = IpIdCounters()

    def next(self, src: int, dst: int, proto: int, now: int) -> int | None:
        """The identification of the next datagram that may be fragmented, None where all may be of datagrams that still live."""
        state = self._tuples.get((src, dst, proto)) or self._admit((src, dst, proto))
        position = state.single
        if position == _NONE:
            position = state.open(now)
            if position == _NONE:
                self.counters.exhausted += 1
                return None
        state.single = state.after(position + 1, now)
        block, count = divmod(position, BLOCK)
        return self._in_block(block, state.tweak) | self._permute(count, 6, block, state.tweak)

    def run(self, src: int, dst: int, proto: int, number: int, now: int) -> int | None:
        """The first of so many identifications in a row, at most GROUP; None as above."""
        state = self._tuples.get((src, dst, proto)) or self._admit((src, dst, proto))
        position = state.run
        if position != _NONE and position % GROUP + number > GROUP:  # what is left of the group is left
            position = state.after(position - position % GROUP + GROUP, now)
        if position == _NONE:
            position = state.open(now)
            if position == _NONE:
                state.run = _NONE
                self.counters.exhausted += number
                return None
        state.run = state.after(position + number, now)
        block, count = divmod(position, BLOCK)
        group, offset = divmod(count, GROUP)
        return (
            self._in_block(block, state.tweak) | self._permute(group, 3, block, state.tweak) * GROUP | offset
        )

    def _admit(self, key: tuple[int, int, int]) -> _Tuple:
        if len(self._tuples) >= MAX_TUPLES:
            del self._tuples[next(iter(self._tuples))]
            self.counters.evicted += 1
        state = self._tuples[key] = _Tuple(self._rng.getrandbits(8 * ROUNDS))
        return state

    @staticmethod
    def _in_block(block: int, tweak: int) -> int:
        """The first of the values of a block; blocks come in an order of the tuple's own."""
        return (block ^ tweak % BLOCKS) * BLOCK

    def _permute(self, value: int, half: int, block: int, tweak: int) -> int:
        """Another value of twice `half` bits for each value."""
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for round_ in range(ROUNDS):
            key = (tweak >> 8 * round_ ^ block << 4) & 0xFF
            left, right = right, left ^ self._box[right ^ key] & mask
        return left << half | right
