"""The congestion control of RFC 5681: one segment more a round trip, half as much after a loss."""

from __future__ import annotations

from usernat.stack.l4.tcp.congestion import CongestionControl


class NewReno(CongestionControl):
    """Additive increase with byte counting, multiplicative decrease by half."""

    __slots__ = ("_counted",)

    def __init__(self, smss: int) -> None:
        super().__init__(smss)
        self._counted = 0  # bytes acknowledged towards the next increase

    def avoid(self, acked: int, now: int, srtt_us: float) -> None:  # noqa: ARG002 - the interface of a clock-driven algorithm
        """RFC 5681 §3.1-f, -g: one SMSS for each cwnd of bytes acknowledged, which is one round trip."""
        self._counted += acked
        if self._counted >= self.cwnd:
            self._counted = min(self._counted - self.cwnd, self.cwnd)
            self.cwnd += self.smss

    def reduced(self, flight: int, now: int) -> int:  # noqa: ARG002 - as above
        """RFC 5681 §3.1-h, §3.2-e: max(FlightSize / 2, 2 * SMSS)."""
        self._counted = 0
        return flight // 2
