"""The first slow start (HyStart++, RFC 9406), on round trips made by hand and on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.l4.tcp.losing import RTT, SIZE
from tests.stack.l4.tcp.peer import Peer
from tests.stack.l4.tcp.segments import MS, mss
from usernat.stack.l4.tcp.cubic import Cubic
from usernat.stack.l4.tcp.hystart import CSS_ROUNDS, N_RTT_SAMPLE, HyStart
from usernat.stack.l4.tcp.newreno import NewReno


class Rounds:
    """Feeds a HyStart with whole rounds: una and nxt move by 100 an ACK and a round."""

    def __init__(self) -> None:
        self.hystart = HyStart()
        self.una = 0
        self.over = False

    def round(self, rtt_us: int, samples: int = N_RTT_SAMPLE) -> bool:
        """Whether slow start is over after it."""
        nxt = self.una + 1000
        for number in range(samples):
            self.una += 1 if number else 2
            self.over |= self.hystart.on_round_trip(rtt_us, self.una, nxt)
        self.una = nxt
        return self.over


@pytest.mark.rfc("9406", "4.2-c", "4.3-a")
@pytest.mark.parametrize(
    ("before", "threshold"), [(8_000, 4_000), (40_000, 5_000), (128_000, 16_000), (400_000, 16_000)]
)
def test_threshold(before: int, threshold: int) -> None:
    """An eighth of the last round's smallest round trip, from 4 to 16 ms."""
    for more, expected in ((threshold - 1, False), (threshold, True)):
        rounds = Rounds()
        rounds.round(before)
        rounds.round(before + more)
        assert (rounds.hystart.css_baseline is not None) is expected


@pytest.mark.rfc("9406", "4.2-b")
def test_eight_samples_a_round() -> None:
    rounds = Rounds()
    rounds.round(40_000)
    rounds.round(90_000, N_RTT_SAMPLE - 1)
    assert rounds.hystart.css_baseline is None
    rounds.round(40_000)
    rounds.round(90_000)
    assert rounds.hystart.css_baseline == 90_000


@pytest.mark.rfc("9406", "4.2-a")
def test_a_round_is_a_window() -> None:
    """Samples of the same round do not make a new one: the smallest of all of them counts."""
    hystart = HyStart()
    hystart.on_round_trip(40_000, 10, 1000)
    for una in range(11, 900):
        hystart.on_round_trip(90_000, una, 5000)
    assert hystart.css_baseline is None
    assert hystart.current_min == 40_000
    hystart.on_round_trip(90_000, 1001, 5000)
    assert (hystart.last_min, hystart.current_min) == (40_000, 90_000)


@pytest.mark.rfc("9406", "4.2-f")
def test_five_rounds_of_conservative_slow_start() -> None:
    """The one in which it began counts; then slow start is over, without a loss."""
    rounds = Rounds()
    rounds.round(40_000)
    assert not rounds.round(60_000)
    for _ in range(CSS_ROUNDS - 1):
        assert not rounds.round(60_000)
    assert rounds.round(60_000)


@pytest.mark.rfc("9406", "4.2-e")
def test_what_was_no_queue_ends_it() -> None:
    """The round trip falls below where it was when conservative slow start began: back to slow start."""
    rounds = Rounds()
    rounds.round(40_000)
    rounds.round(60_000)
    assert rounds.hystart.growth(SIZE, SIZE) == SIZE // 4
    rounds.round(59_999)
    assert rounds.hystart.css_baseline is None
    assert rounds.hystart.growth(SIZE, SIZE) == SIZE
    for _ in range(CSS_ROUNDS + 2):
        assert not rounds.round(60_000)


@pytest.mark.rfc("9406", "4.2-d", "4.3-b")
@given(st.integers(1, 100_000), st.integers(1, 9000), st.booleans())
def test_growth(acked: int, smss: int, css: bool) -> None:
    """At most L = 8 segments for an ACK; a quarter of that in conservative slow start."""
    hystart = HyStart()
    hystart.css_baseline = 1 if css else None
    assert hystart.growth(acked, smss) == min(acked, 8 * smss) // (4 if css else 1)


@pytest.mark.rfc("9406", "4.2-f", "4.2-g")
@pytest.mark.rfc("9438", "4.10-b")
@pytest.mark.parametrize("kind", [NewReno, Cubic])
def test_the_first_slow_start_alone(kind: type[NewReno | Cubic]) -> None:
    """When it is over, ssthresh is cwnd; after a loss or a time-out there is none."""
    cc = kind(SIZE)
    cwnd = cc.cwnd
    una = 0
    for rtt_us in (40_000, *[60_000] * (CSS_ROUNDS + 1)):
        for number in range(N_RTT_SAMPLE):
            una += 1 if number else 2
            cc.on_round_trip(rtt_us, una, una + 100)
        una += 100
    assert cc.hystart is None
    assert cc.ssthresh == cc.cwnd == cwnd
    lossy = kind(SIZE)
    lossy.on_loss(10_000, 0)
    assert lossy.hystart is None
    late = kind(SIZE)
    late.on_timeout(10_000, 0, again=False)
    assert late.hystart is None


@pytest.mark.rfc("9406", "4.2-c")
@pytest.mark.parametrize("queueing", [0, 30 * MS])
def test_on_the_wire(queueing: int) -> None:
    """Ten segments a round, ACKed one by one: a queue that builds up slows the growth, a steady path does not."""
    peer = Peer().calls(options=mss(SIZE))
    peer.sends("A", at=RTT)
    assert peer.listener.accept() is peer.conn
    peer.conn.send(bytes(500 * SIZE))
    cc = peer.conn.snd.cc
    grown = []
    for number in range(4):
        peer.drain()
        top = (peer.conn.snd.snd_nxt - peer.conn.snd.iss - 1) // SIZE
        low = (peer.conn.snd.snd_una - peer.conn.snd.iss - 1) // SIZE
        before = cc.cwnd
        peer.wait(peer.now + RTT + (queueing if number else 0))
        for index in range(low + 1, min(top, low + 40) + 1):
            peer.sends("A", ack=1 + SIZE * index, window=65535)
        grown.append((cc.cwnd - before) / before)
    assert grown[0] == 1.0
    assert (cc.hystart is not None and cc.hystart.css_baseline is not None) is bool(queueing)
    assert grown[2] > 0.2
