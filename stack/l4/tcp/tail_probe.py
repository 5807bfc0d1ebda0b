"""Tail loss probe (RFC 8985 §7): what to do when the ACKs stop coming.

Where the last segments of a flight are lost, nothing arrives behind them that would show it, and only the retransmission time-out is left. A probe after
two round trips, new text or the last segment again, draws an ACK from which RACK sees what is missing. Where the probe itself
mended the only loss there was, nobody else notices, so the sender lowers cwnd as for any loss (§7.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.rtt import RttEstimator
    from usernat.stack.rangeset import Range

GRANULARITY_US = 2_000  # added to two round trips: shorter than what timers keep and peers' interrupts take
# RFC 8985 §7.2-b, TLP.max_ack_delay: how long a peer may wait with the ACK of a lone segment
MAX_ACK_DELAY_US = 200_000
NO_SAMPLE_US = 1_000_000


class TailProbe:
    """TLP.end_seq: SND.NXT when the probe left, None while none is in flight. TLP.is_retrans: it carried old text.

    sampled: a round trip was measured since the last probe. due: the timer has expired, a probe is to leave.
    """

    __slots__ = ("due", "end_seq", "is_retrans", "sampled")

    def __init__(self) -> None:
        self.end_seq: int | None = None
        self.is_retrans = False
        self.sampled = True
        self.due = False

    @property
    def is_allowed(self) -> bool:
        """RFC 8985 §7.3-a."""
        return self.end_seq is None and self.sampled

    def reset(self) -> None:
        """RFC 8985 §7.1-a: recovery has begun, which finds what a probe would."""
        self.end_seq = None
        self.is_retrans = False
        self.due = False

    def skip(self) -> None:
        """RFC 8985 §7.3-b, §7.3-e: nothing can leave, for the window has shrunk; the time-out is next, not another attempt."""
        self.due = False
        self.sampled = False

    def sent(self, nxt: int, *, again: bool) -> None:
        """The probe has left."""
        # RFC 8985 §7.3-d: `Sender.sent` has noted when, as for any segment
        self.due = False
        self.sampled = False
        self.end_seq = nxt
        self.is_retrans = again

    def on_ack(self, ack: int, dsack: Range | None, *, bare: bool) -> bool:
        """RFC 8985 §7.4-a. True: the probe mended a loss. bare: the ACK moved nothing and carries no SACK block."""
        end_seq = self.end_seq
        if end_seq is None or ack < end_seq:
            return False
        if not self.is_retrans:
            self.end_seq = None
        elif dsack is not None and dsack[1] == end_seq:
            self.end_seq = None  # both copies have arrived
        elif ack > end_seq:
            self.end_seq = None
            return True
        elif bare:
            self.end_seq = None  # a duplicate ACK for the copy
        return False


def pto_us(rtt: RttEstimator, in_flight: int, smss: int) -> int:
    """RFC 8985 §7.2-b, TLP_calc_PTO."""
    if not rtt.srtt_us:
        return NO_SAMPLE_US
    pto = int(2 * rtt.srtt_us) + GRANULARITY_US
    return pto + MAX_ACK_DELAY_US if in_flight <= smss else pto
