"""Path MTU black holes: where large datagrams vanish and no ICMP error says so (RFC 2923 §2.1; the way out is that of RFC 4821 §7.7, RFC 8899 §4.3).

When what is sent again times out again and again, this connection tries it smaller: in datagrams of 1200 bytes, then of 576, then as large as
before, and so on, for while nothing gets through nobody can tell a size from an outage. Where a small one gets through it may have been the
size, or the weather: after a while the full size is tried once more, and each time that this fails, the while is twice as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l3.path_mtu import AGE_US
from usernat.stack.l4.tcp.negotiation import FIXED_HEADERS, resize

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection

SUSPICIOUS_TIMEOUTS = 3  # in a row, before size is suspected: R1 of RFC 9293 §3.8.3
STEPS = (1200, 576)  # RFC 8899 §5.1.2 BASE_PLPMTU; the datagram that every host takes (RFC 1122 §3.3.3)
UNLIMITED = 0xFFFF
RETRY_US = 15_000_000  # at first; at last as long as the estimate of a router is believed


class BlackHole:
    """One suspicion. limit: the largest datagram, in bytes, that is sent. until: µs, when the full size is tried again; wait_us: the while before."""

    __slots__ = ("limit", "until", "wait_us")

    def __init__(self) -> None:
        self.limit = UNLIMITED
        self.until = 0
        self.wait_us = RETRY_US


def on_timeout(c: Connection, now: int) -> None:
    """The retransmission timer has expired, without progress `c.snd.timeouts` times by now."""
    hole, snd = c.black_hole, c.snd
    if snd.timeouts < SUSPICIOUS_TIMEOUTS:
        return
    size = min(snd.smss, snd.snd_nxt - snd.snd_una) + FIXED_HEADERS
    limit = next((step for step in STEPS if step < size), UNLIMITED)
    if hole is None:
        if limit == UNLIMITED:
            return  # it was small already
        hole = c.black_hole = BlackHole()
    hole.limit, hole.until = limit, now + hole.wait_us
    c.layer.counters.black_holes += limit < UNLIMITED
    resize(c)


def on_progress(c: Connection, now: int) -> None:
    """SND.UNA has moved on a connection that suspects, or did."""
    hole = c.black_hole
    assert hole is not None
    if hole.limit < UNLIMITED and hole.until <= now:
        hole.limit = UNLIMITED
        hole.wait_us = min(2 * hole.wait_us, AGE_US)
        resize(c)
