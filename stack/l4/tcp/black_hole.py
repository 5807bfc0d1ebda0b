"""Path MTU black holes: where large datagrams vanish and no ICMP error says so (RFC 2923 §2.1; the way out is that of RFC 4821 §7.7, RFC 8899 §4.3).

When full-sized segments time out again and again, this connection tries smaller ones: datagrams of 1200 bytes, then of 576. Where these
fare no better it is not their size, and the old one comes back. An estimate that helped is kept for as long as one that a router sent
(RFC 1191 §3-d), then the full size is tried once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l3.path_mtu import AGE_US
from usernat.stack.l4.tcp.negotiation import FIXED_HEADERS, resize

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection

SUSPICIOUS_TIMEOUTS = 2  # in a row, before size is suspected
STEPS = (1200, 576)  # RFC 8899 §5.1.2 BASE_PLPMTU; the datagram that every host takes (RFC 1122 §3.3.3)
UNLIMITED = 0xFFFF


class BlackHole:
    """One suspicion. limit: the largest datagram, in bytes, that is sent; UNLIMITED once it was not the size. until: µs."""

    __slots__ = ("limit", "until")

    def __init__(self) -> None:
        self.limit = UNLIMITED
        self.until = 0


def on_timeout(c: Connection, now: int) -> None:
    """The retransmission timer has expired, without progress `c.snd.timeouts` times by now."""
    if c.snd.timeouts < SUSPICIOUS_TIMEOUTS:
        return
    hole = c.black_hole
    if hole is None:
        # headers and all, what is sent again is not larger than what would be tried
        if min(c.snd.smss, c.snd.snd_nxt - c.snd.snd_una) <= STEPS[0] - FIXED_HEADERS:
            return
        hole = c.black_hole = BlackHole()
    elif hole.limit == UNLIMITED:
        return
    hole.limit = next((step for step in STEPS if step < min(c.path_mtu, hole.limit)), UNLIMITED)
    hole.until = now + AGE_US
    c.layer.counters.black_holes += hole.limit < UNLIMITED
    resize(c)


def on_progress(c: Connection, now: int) -> None:
    """SND.UNA has moved on a connection that suspects a black hole."""
    hole = c.black_hole
    assert hole is not None
    if hole.limit == UNLIMITED or hole.until <= now:
        c.black_hole = None
        resize(c)
