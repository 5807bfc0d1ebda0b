"""Was the retransmission needed? If not, what was done to cwnd is undone (RFC 9438 §4.9-a).

Three witnesses can say that nothing was lost:

    time stamps   the ACK that moves SND.UNA echoes a segment older than the first retransmission: the original arrived (Eifel, RFC 3522)
    D-SACK        the peer reports every octet that was sent again as a duplicate (RFC 2883 §5-b, RFC 3708)
    F-RTO         after a time-out, new text is sent instead of old; ACKs for what was never sent again show that it
                  had arrived before the timer expired (RFC 5682, with and without SACK)

`Undo` remembers one congestion event for the first two; `Frto` is the third's small machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.timestamps import TICK_US
from usernat.stack.rangeset import RangeSet

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.congestion import CongestionControl, Saved
    from usernat.stack.l4.tcp.flight import Sent

FRTO_NEW_SEGMENTS = 2  # RFC 5682 §2.1: how many new segments test a time-out


class Undo:
    """saved: congestion control's state before the event. resent_at: of the first retransmission, µs, None before.

    needed: what was sent again and no D-SACK has called a duplicate.
    """

    __slots__ = ("_saved", "needed", "resent_at")

    def __init__(self, cc: CongestionControl) -> None:
        self._saved: Saved = cc.save()
        self.resent_at: int | None = None
        self.needed = RangeSet()

    def on_resent(self, start: int, end: int, now: int) -> None:
        """[start, end) has left again."""
        self.needed.add(start, end)
        if self.resent_at is None:
            self.resent_at = now

    def is_original(self, echo_us: int | None, now: int) -> bool:
        """RFC 3522 §3: whether an ACK that moves SND.UNA echoes a time stamp older than that of the first retransmission."""
        if self.resent_at is None or echo_us is None:
            return False
        return now // TICK_US - echo_us // TICK_US < self.resent_at // TICK_US

    def on_dsack(self, start: int, end: int) -> bool:
        """[start, end) has arrived twice. True where that was the last of what was sent again."""
        return self.needed.discard(start, end) > 0 and not self.needed

    def restore(self, cc: CongestionControl) -> None:
        """Nothing was lost: congestion control goes on as if nothing had been suspected."""
        cc.restore(self._saved)


class Frto:
    """RFC 5682 §2.1, §3.1, after a time-out with `point` as SND.NXT: which step comes with the next acknowledgement.

    sacked: what had arrived before the time-out, and proves nothing if it is reported once more.
    """

    __slots__ = ("_sacked", "point", "testing")

    def __init__(self, point: int, sacked: RangeSet) -> None:
        self.point = point
        self._sacked = sacked
        self.testing = False  # step 3: new text has been let out instead of old

    def new_data(self, nxt: int, smss: int) -> int:
        """RFC 5682 §2.1-b: octets of new text that may leave now."""
        return self.point + FRTO_NEW_SEGMENTS * smss - nxt if self.testing else 0

    def is_stuck(self, nxt: int) -> bool:
        """Whether the new text that was to make the test has not left; to be asked when nothing new can leave."""
        return self.testing and nxt == self.point

    def on_ack(self, una: int, arrived: list[Sent], *, moved: bool, beyond: bool) -> bool | None:
        """An acknowledgement came. True: the time-out was spurious; False: it was not, or nobody can tell; None: go on.

        arrived: what it speaks of for the first time. beyond: it SACKs what was sent after the time-out.
        """
        if not self.testing:
            if not moved or una >= self.point:
                return False  # RFC 5682 §2.1-a: an ACK for all of it may be due to the retransmission
            self.testing = True
            return None
        # RFC 5682 §2.1-c, §3.1-a, -b: something that left before the time-out, and not again, has arrived
        return not beyond and any(
            not piece.retransmitted
            and piece.end <= self.point
            and not self._sacked.covers(piece.start, piece.end)
            for piece in arrived
        )
