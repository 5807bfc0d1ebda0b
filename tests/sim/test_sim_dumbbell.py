"""The dumbbell: who shares what, and that a queue that marks is heard by both ends."""

from __future__ import annotations

import pytest

from tests.sim.dumbbell import Dumbbell
from tests.sim.faults import PeriodicLoss
from tests.sim.link import CARRIED, DROPPED, LOST, MARKED, Queue
from tests.sim.loop import MS, SECOND
from tests.sim.theory import TEXT, jain, link_goodput

RATE = 5_000_000


def test_a_transfer_arrives_whole_and_closes() -> None:
    network = Dumbbell(rate=RATE, rtt_us=20 * MS, losses=[PeriodicLoss(50)], losses_back=[PeriodicLoss(3)])
    flow = network.flows[0]
    flow.size = 300 * TEXT + 7
    assert network.run_for(60 * SECOND, lambda: flow.finished_at is not None)
    assert flow.heard == flow.size
    assert network.bottleneck.counts[LOST] >= 6


def test_lost_acknowledgements_cost_nothing_but_smoothness() -> None:
    """Each ACK says what those before it said: one in three is lost here, of the ACKs as of nothing else."""
    network = Dumbbell(rate=RATE, rtt_us=50 * MS)
    whole = network.goodputs(2 * SECOND, 4 * SECOND)[0]
    every = iter(range(1 << 30))
    thinned = Dumbbell(rate=RATE, rtt_us=50 * MS, losses_back=[lambda _frame: next(every) % 3 == 2])
    assert thinned.goodputs(2 * SECOND, 4 * SECOND)[0] == pytest.approx(whole, rel=0.01)
    assert thinned.counter("retransmissions") == 0


def test_unequal_round_trips_share_unequally() -> None:
    """RFC 9438 §4.3 and Mathis et al.: the goodput of a flow goes down with its round trip."""
    network = Dumbbell(
        2,
        rate=RATE,
        rtt_us=(20 * MS, 160 * MS),
        queue=Queue(packets=20),
        jitter_us=2 * MS,
        congestion="newreno",
    )
    near, far = network.goodputs(10 * SECOND, 40 * SECOND)
    assert near > 1.5 * far
    assert near + far > 0.9 * link_goodput(RATE)


def test_flows_begin_when_they_are_told() -> None:
    network = Dumbbell(2, rate=RATE, rtt_us=10 * MS, queue=Queue(packets=20), starts=[0, SECOND])
    network.run_for(SECOND - 1)
    assert network.flows[0].heard
    assert network.flows[1].established_at is None
    network.run_for(100 * MS)
    assert network.flows[1].connection.established


def test_a_queue_that_marks_need_not_drop() -> None:
    """RFC 3168 §6.1.2: a mark lowers cwnd as a loss does, and nothing has to be sent again."""
    queue = Queue(packets=100, mark_above=15)
    network = Dumbbell(2, rate=RATE, rtt_us=40 * MS, queue=queue, jitter_us=2 * MS, ecn="ask")
    shares = network.goodputs(5 * SECOND, 25 * SECOND)
    counts = network.bottleneck.counts
    assert counts[MARKED] > 20
    assert counts[DROPPED] == network.counter("retransmissions") == 0
    assert queue.longest < 100
    assert sum(shares) > 0.95 * link_goodput(RATE)
    assert jain(shares) > 0.9
    assert counts[CARRIED] > 1000
