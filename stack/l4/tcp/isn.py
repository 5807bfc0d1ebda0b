"""Initial sequence numbers and time stamp offsets that nobody outside can foretell.

RFC 6528 §3-a: ISN = M + F(local address, local port, remote address, remote port, secret). M is a clock that ticks every
4 µs (RFC 9293 §3.4.1 MUST-8, RFC 6528 §3-c), so that a tuple used again starts above its last life (RFC 6528 §3-e). F is
keyed BLAKE2s, a pseudo-random function that cannot be computed without the secret (RFC 9293 §3.4.1 MUST-9, SHLD-1; RFC 6528 §3-b). The
secret is 256 random bits drawn once per stack (RFC 6528 §3-d) and shows in no text or log.

The same function with another personalisation gives the time stamp offset of a tuple (RFC 7323 §7.1-a): equal for every life of
the tuple, so that time stamps still tell an old life from a new one in TIME-WAIT (RFC 6191).
"""

from __future__ import annotations

import struct
from hashlib import blake2s
from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.seq import MASK, is_before

if TYPE_CHECKING:
    from random import Random

TICK_US = 4
MARGIN = 0x10001  # beyond any unscaled window of the last life

_tuple = struct.Struct(">IHIH")


class IsnGenerator:
    """One per stack."""

    __slots__ = ("_secret",)

    def __init__(self, rng: Random) -> None:
        self._secret = rng.randbytes(32)

    def initial_sequence(
        self, remote: int, remote_port: int, local: int, local_port: int, now: int, after: int | None = None
    ) -> int:
        """The ISN for a connection opened at `now` (µs).

        after: SND.NXT of the tuple's last life where that is still in TIME-WAIT: the ISN lies above it (RFC 9293 §3.6.1 MAY-2),
        also where that life sent faster than the clock ticks.
        """
        isn = (now // TICK_US + self._hash(b"isn", remote, remote_port, local, local_port)) & MASK
        if after is not None and is_before(isn, after + MARGIN):
            return (after + MARGIN) & MASK
        return isn

    def timestamp_offset(self, remote: int, remote_port: int, local: int, local_port: int) -> int:
        """What is added to the time stamp clock of this tuple."""
        return self._hash(b"tsval", remote, remote_port, local, local_port)

    def _hash(self, person: bytes, remote: int, remote_port: int, local: int, local_port: int) -> int:
        data = _tuple.pack(remote, remote_port, local, local_port)
        return int.from_bytes(blake2s(data, digest_size=4, key=self._secret, person=person).digest(), "big")
