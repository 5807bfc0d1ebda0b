"""Header prediction (V. Jacobson, 1990): the segment that a connection waits for, taken in without the checks that it cannot fail.

Nearly every segment of an ESTABLISHED connection is one of three: the next text, an acknowledgement of what is out, or both. Of such a segment it can be
told from a few comparisons what the steps of SEGMENT ARRIVES (`arrival.py`, RFC 9293 §3.10.7.4) would come to, and only that is done here:

    the form    ACK, perhaps PSH, no other flag; time stamps exactly where they were agreed, in their usual place, not older than TS.Recent (RFC 7323 §5.3)
    SEG.SEQ     is RCV.NXT, and no FIN was seen (what lies beyond the window `Receiver.take` leaves)
    SEG.ACK     in [SND.UNA, SND.NXT], with news or with text; nothing is being sent again, no probe is out
    SEG.WND     open

Whatever is not so goes the long way, and nothing has been touched. Both ways come to the same: `tests/stack/test_early_demux.py` has them run side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.checksum import checksum
from usernat.stack.l4.tcp.header import ACK, HEADER_LENGTH, PSH
from usernat.stack.l4.tcp.options import TIMESTAMPS_LENGTH, TIMESTAMPS_PREFIX, timestamps_at
from usernat.stack.l4.tcp.seq import HALF, MASK
from usernat.stack.l4.tcp.state import ESTABLISHED
from usernat.stack.l4.tcp.timers import NEVER

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Connection

WITH_TIMESTAMPS = HEADER_LENGTH + TIMESTAMPS_LENGTH
# Data offset, reserved bits and flags as one word; `| PSH` makes both forms one.
_PLAIN = HEADER_LENGTH << 10 | ACK | PSH
_STAMPED = WITH_TIMESTAMPS << 10 | ACK | PSH


def take_predicted(
    c: Connection,
    seq: int,
    ack: int,
    offset_flags: int,
    window: int,
    segment: memoryview,
    now: int,
    *,
    checksum_ok: bool,
) -> bool:
    """Take in a segment of the connection, if it is one that can be predicted. False, and nothing done, where it is not.

    seq, ack, window: as on the wire. offset_flags: the word of data offset and flags. segment: from the TCP header on.
    """
    rcv, snd, timestamps = c.rcv, c.snd, c.timestamps
    rcv_nxt = rcv.rcv_nxt
    # RFC 9293 §3.10.7.4-j, RFC 5961 §5.2: of what lies before SND.UNA nothing is predicted
    una = snd.snd_una
    acked = (ack - una) & MASK
    if (
        seq != rcv_nxt & MASK
        or acked > snd.snd_nxt - una
        or c.state is not ESTABLISHED
        or not window
        or snd.recovery is not None
        or snd.probe.end_seq is not None
        or rcv.fin is not None
        or c.ecn is not None
        or c.black_hole is not None
        or c.reading_over
    ):
        return False
    tsecr = 0
    if timestamps is None:
        if offset_flags | PSH != _PLAIN:
            return False
        text = segment[HEADER_LENGTH:]
    else:
        if offset_flags | PSH != _STAMPED or len(segment) < WITH_TIMESTAMPS:
            return False
        prefix, tsval, tsecr = timestamps_at(segment, HEADER_LENGTH)
        if prefix != TIMESTAMPS_PREFIX or (tsval - timestamps.recent) & MASK >= HALF:
            return False
        text = segment[WITH_TIMESTAMPS:]
    size = len(text)
    if not (size or acked):
        return False
    if not checksum_ok and checksum(segment, initial=c.pseudo_sum + len(segment)):  # RFC 9293 §3.1 MUST-3
        return False

    c.heard_at = now
    if c.keepalive is not None:
        c.keepalive.heard()
    echo = None
    if timestamps is not None:
        if rcv_nxt <= timestamps.last_ack_sent:  # RFC 7323 §4.3-a
            timestamps.recent = tsval
            timestamps.recent_at = now
        if acked and tsecr:
            echo = timestamps.rtt_us(tsecr, now)
    ack = una + acked
    if acked:
        _acknowledge(c, ack, echo, now)
    # §3.10.7.4-k
    if acked or snd.snd_wl1 < rcv_nxt or (snd.snd_wl1 == rcv_nxt and snd.snd_wl2 <= ack):
        snd.set_window(window << snd.scale, max(rcv_nxt, snd.snd_wl1), ack)
    if size and rcv.take(rcv_nxt, text):
        c.mark_ready()
    c.wake()
    return True


def _acknowledge(c: Connection, ack: int, echo: int | None, now: int) -> None:
    """SND.UNA moves to `ack`: as in `arrival._acknowledge`, where nothing is being sent again."""
    snd, timers = c.snd, c.timers
    had_room = c.has_room
    snd.keep_timer = False
    snd.on_next_ack(ack, echo, now)
    timers.give_up = NEVER
    timers.probe = NEVER
    timers.retransmit = NEVER  # RFC 6298 §5.3-a: `arm` starts it again if anything is out
    c.in_trouble = False
    if not len(snd.queue) if had_room else c.has_room:
        c.mark_ready()
