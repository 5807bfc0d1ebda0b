"""What the SYNs agree on, and how large segments may be.

What one side does not offer, both leave out: window scaling (RFC 7323 §2.2-a), time stamps (§3.2-a, §3.2-f), SACK (RFC 2018 §4-a), congestion
marks (`ecn.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp import ecn
from usernat.stack.l4.tcp.config import MAX_WINDOW_SCALE
from usernat.stack.l4.tcp.header import HEADER_LENGTH
from usernat.stack.l4.tcp.options import TIMESTAMPS_LENGTH, Options
from usernat.stack.l4.tcp.seq import unwrap

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.tcp.segment import Segment

IP_HEADER_LENGTH = 20
FIXED_HEADERS = IP_HEADER_LENGTH + HEADER_LENGTH
DEFAULT_MSS = 536  # RFC 9293 §3.7.1 MUST-15
MIN_MSS = 48  # who asks for less (an attack on our CPU, or a bug) is sent this much; 0 counts as absent


def take_syn(c: Connection, seg: Segment, now: int) -> None:
    """The peer's SYN: its number and what it offers or answers (RFC 9293 §3.10.7.2-c, §3.10.7.3-c)."""
    snd, rcv, stamps = c.snd, c.rcv, c.timestamps
    options = seg.options or Options()
    rcv.start(unwrap(seg.seq, 0))
    snd.set_window(seg.window, rcv.irs, snd.snd_una)  # RFC 7323 §2.2-c: never scaled on a SYN
    if options.mss:
        c.peer_mss = max(options.mss, MIN_MSS)
    if options.window_scale is None:
        c.offer_scale = False
        rcv.without_scale()
    else:
        # RFC 7323 §2.3-a: more than fourteen is a mistake, to be noted, and means fourteen
        c.layer.counters.malformed_options += options.window_scale > MAX_WINDOW_SCALE
        snd.scale = min(options.window_scale, MAX_WINDOW_SCALE)
    snd.sack = c.offer_sack = options.sack_permitted
    if ecn.agreed(c, seg.flags):
        c.ecn = ecn.start(c)
    if seg.tsval < 0 or stamps is None:
        c.timestamps = None
    else:
        stamps.recent = seg.tsval
        stamps.recent_at = now
        stamps.last_ack_sent = rcv.rcv_nxt
    resize(c)


def effective_mss(c: Connection) -> int:
    """RFC 9293 §3.7.1 MUST-16: Eff.snd.MSS, min(SendMSS + 20, MMS_S) less the TCP header and the options of every segment."""
    path_mtu = c.path_mtu if c.black_hole is None else min(c.path_mtu, c.black_hole.limit)
    mss = min(c.peer_mss, path_mtu - FIXED_HEADERS)
    return max(1, mss - (TIMESTAMPS_LENGTH if c.timestamps is not None else 0))


def resize(c: Connection) -> None:
    """Eff.snd.MSS may have changed: by negotiation, or with the path MTU."""
    smss = effective_mss(c)
    if smss != c.snd.smss:
        c.snd.smss = smss
        c.snd.cc.set_smss(smss)


def segment_sizes(c: Connection) -> tuple[int, int]:
    """Payload of one segment, and of what may be handed to the device at once.

    Never more than the device segments for us: no segment on the wire is above the effective MSS.
    """
    path_mtu = c.layer.ipv4.path_mtu(c.remote)
    if path_mtu != c.path_mtu:
        c.path_mtu = path_mtu
        resize(c)
    mss = c.snd.smss
    offload = c.layer.capabilities.tx_segmentation - FIXED_HEADERS - TIMESTAMPS_LENGTH
    return mss, max(mss, offload - offload % mss)
