"""Four runs that every course on TCP draws: `docs/plots.py` draws them, `test_sim_classics.py` says what is to be seen."""

from __future__ import annotations

from tests.sim.dumbbell import Dumbbell
from tests.sim.faults import PickedLoss
from tests.sim.link import Queue
from tests.sim.loop import MS, SECOND
from tests.sim.theory import TEXT
from tests.sim.trace import Trace

RATE = 10_000_000


def slow_start_overflow() -> Trace:
    """Slow start doubles until the queue of the bottleneck runs over, and loses up to half a window at once."""
    return _run(Dumbbell(rate=RATE, rtt_us=50 * MS, queue=Queue(packets=40), congestion="newreno"), 1100 * MS)


def one_loss() -> Trace:
    """A single loss in the middle of a long transfer, mended without waiting for a timer."""
    losses = [PickedLoss(40, 700)]
    return _run(Dumbbell(rate=RATE, rtt_us=100 * MS, losses=losses, congestion="newreno"), 4 * SECOND)


def tail_loss(*, closes: bool = False) -> Trace:
    """The last segments of an answer are lost: nothing comes after them that the receiver could complain of. closes: a FIN is lost with them."""
    network = Dumbbell(rate=RATE, rtt_us=100 * MS, losses=[PickedLoss(29, 30)])
    network.flows[0].size = 30 * TEXT
    network.flows[0].closes = closes
    return _run(network, 1500 * MS)


def long_run(congestion: str) -> Trace:
    """Alone on a bottleneck with half a bandwidth-delay product of buffer: every loss is of the flow's own making."""
    network = Dumbbell(rate=RATE, rtt_us=100 * MS, queue=Queue(packets=41), congestion=congestion)
    return _run(network, 30 * SECOND)


def _run(network: Dumbbell, duration_us: int) -> Trace:
    trace = Trace(network)
    network.run_for(duration_us)
    return trace
