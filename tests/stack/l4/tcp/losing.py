"""A sender whose segments get lost: what the tests of loss recovery share.

Segments are counted from 0 and all of the same size; the peer's acknowledgements speak of them by number.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MASK, MS, SACK_PERMITTED, mss, stamps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.stack.l4.tcp.segments import Seg
    from usernat.stack.l4.tcp.recovery import Recovery

SIZE = 1000
RTO = 200 * MS
RTT = 40 * MS
REO_WND = RTT // 4  # RFC 8985 §6.2: a quarter of the smallest round trip
PTO = 2 * RTT + 2 * MS  # RFC 8985 §7.2, with more than one segment in flight


def sender(
    *,
    sack: bool,
    segments: int = 10,
    extra: int = 20,
    rtt_us: int = RTT,
    stamped: bool = False,
    congestion: str = "newreno",
    **config: Any,
) -> Peer:
    """`segments` full segments are out, and `extra` more are queued behind cwnd. rtt_us: of the path, as measured once."""
    options = mss(SIZE + 12 * stamped) + SACK_PERMITTED * sack + (stamps(1000) if stamped else b"")
    peer = Peer(congestion=congestion, **config).connected(options=options)
    on_a_path(peer, rtt_us)
    peer.conn.snd.cc.cwnd = segments * SIZE
    peer.conn.send(bytes(SIZE * (segments + extra)))
    sent = peer.drain()
    assert len(sent) == segments or config.get("tx_segmentation")
    if stamped:
        peer.tsecr = sent[0].tsval
    return peer


def on_a_path(peer: Peer, rtt_us: int = RTT) -> Peer:
    """As if that had been measured for long: the handshake took no time at all."""
    rtt = peer.conn.snd.rtt
    rtt.min_rtt_us, rtt.srtt_us, rtt.rttvar_us = rtt_us, float(rtt_us), 0.0
    return peer


def blocks(peer: Peer, *ranges: tuple[float, float]) -> bytes:
    """The SACK option for these ranges, in units of segments."""
    first = (peer.iss or 0) + 1
    edges = b"".join(
        struct.pack(">II", *(first + round(SIZE * edge) & MASK for edge in pair)) for pair in ranges
    )
    return bytes((1, 1, 5, 2 + len(edges))) + edges if edges else b""


def sacks(
    peer: Peer, ack: float, *ranges: tuple[float, float], at: int | None = None, **fields: Any
) -> list[Seg]:
    """An ACK with SACK blocks, in units of segments; returns what it let out."""
    if at is not None:
        peer.wait(at)
    options = blocks(peer, *ranges)
    if peer.tsval is not None:
        options += stamps(peer.tsval, peer.tsecr)
    peer.sends(fields.pop("flags", "A"), ack=1 + round(SIZE * ack), options=options, **fields)
    return peer.drain()


def indices(segments: Iterable[Seg]) -> list[int]:
    """Which segments these are."""
    return [(seg.seq - 1) // SIZE for seg in segments]


def recovery(peer: Peer) -> Recovery:
    """The loss recovery that is going on."""
    found = peer.conn.snd.recovery
    assert found is not None
    return found


def pipe(peer: Peer) -> int:
    """What RFC 6675 believes to be on the way."""
    snd = peer.conn.snd
    return recovery(peer).board.pipe(snd.snd_una, snd.snd_nxt)
