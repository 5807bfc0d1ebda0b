"""What models of TCP say about goodput. Windows in segments, times in seconds, p: losses per segment; results as named.

All models are of one long flow in congestion avoidance, whose losses are found by duplicates and cost one reduction each. What they leave
out (slow start, recovery itself, time-outs, delayed ACKs at the end of a train of segments) is said in `docs/simulator.md`.

M. Mathis, J. Semke, J. Mahdavi, T. Ott: The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm. CCR 27(3), 1997.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME = 1514  # octets of a full segment on the link, with its Ethernet, IP and TCP headers and the time stamps option
TEXT = 1448  # octets of text in it

RENO_BETA = 0.5
CUBIC_BETA = 0.7
CUBIC_C = 0.4


def goodput(window: float, rtt: float) -> float:
    """bit/s of text, for an average window of so many segments in a round trip."""
    return 8 * TEXT * window / rtt


def link_goodput(rate: float) -> float:
    """bit/s of text on a link of `rate` bit/s that is never idle."""
    return rate * TEXT / FRAME


def aimd_window(p: float, alpha: float = 1.0, beta: float = RENO_BETA) -> float:
    """RFC 9438 §5, for AIMD(alpha, beta); with 1 and 0.5 it is the model of Mathis et al.: sqrt(3/2) / sqrt(p).

    One cycle: from beta * W to W by alpha a round trip, (1 - beta) * W / alpha of them; the average of (1 + beta) * W / 2 segments in each
    makes 1 / p segments. Mathis et al. have a smaller constant for delayed ACKs, which was true of growth by ACKs
    counted; both our algorithms count octets acknowledged (RFC 3465; RFC 9438 §4.3), and with SACK one reduction a loss is all there is.
    """
    return sqrt(alpha * (1 + beta) / (2 * (1 - beta) * p))


def cubic_window(p: float, rtt: float) -> float:
    """RFC 9438 §5.1: AVG_W_cubic; or that of its Reno-friendly region where it is larger (§4.3), which equals Reno's (§5, alpha 3*(1-b)/(1+b)).

    One cycle: from 0.7 * W back to W along C * (t - K)^3 takes K; the average over it is (3 + beta) / 4 of W.
    """
    return max(pure_cubic_window(p, rtt), aimd_window(p))


def pure_cubic_window(p: float, rtt: float) -> float:
    """AVG_W_cubic without the Reno-friendly region."""
    scale = sqrt(sqrt(CUBIC_C * (3 + CUBIC_BETA) / (4 * (1 - CUBIC_BETA))))
    return scale * float((rtt / p) ** 0.75)


def peak_of(average: float, congestion: str, *, reno_friendly: bool = False) -> float:
    """The window at which the loss comes, from the average of a cycle."""
    if congestion == "newreno":
        return average * 2 / (1 + RENO_BETA)
    return average * (2 / (1 + CUBIC_BETA) if reno_friendly else 4 / (3 + CUBIC_BETA))


def utilisation(buffer: float, beta: float) -> float:
    """Of a bottleneck by one AIMD flow, with drop-tail buffer of `buffer` bandwidth-delay products.

    The window runs from beta * W to W = 1 + buffer (in bandwidth-delay products). Below 1 it is sent in one bare round trip each,
    above 1 at the full rate. Segments of a cycle through its duration give the fraction; how fast the window grows cancels out.
    """
    top = 1 + buffer
    bottom = beta * top
    if bottom >= 1:
        return 1.0
    return (top**2 - bottom**2) / (2 * (1 - bottom) + top**2 - 1)


def jain(goodputs: Sequence[float]) -> float:
    """Jain's fairness index: 1 where all are equal, 1/n where one has it all."""
    return sum(goodputs) ** 2 / (len(goodputs) * sum(x * x for x in goodputs))
