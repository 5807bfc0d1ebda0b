"""Sequence numbers (RFC 9293 §3.4): 32 bits on the wire, plain integers inside.

The number space of TCP is a circle of 2**32, on which "before" and "after" mean something only between numbers that lie
less than half the circle apart. Instead of comparing on the circle everywhere, this stack unrolls it once: a number from the
wire is read as the integer, congruent to it, that lies nearest to one we know already (SND.UNA for acknowledgements,
RCV.NXT for sequence numbers). From there on `<`, `-`, `min` and range sets are what they seem. On the way out the lowest 32
bits are written. The integers grow with the stream and never wrap; below the first one they may be negative, which does no harm.

RFC 9293 §3.4-a: all of it is arithmetic modulo 2**32.
"""

from __future__ import annotations

MASK = 0xFFFFFFFF
HALF = 0x80000000


def unwrap(wire: int, near: int) -> int:
    """The integer congruent to `wire` modulo 2**32 that lies in [near - 2**31, near + 2**31)."""
    return near + ((wire - near + HALF) & MASK) - HALF


def wrap(number: int) -> int:
    """What goes on the wire: the lowest 32 bits."""
    return number & MASK


def is_before(a: int, b: int) -> bool:
    """Whether `a` comes before `b` on the circle: for time stamps (RFC 7323 §5.2), of which only the 32 bits are kept."""
    return (a - b) & MASK >= HALF
