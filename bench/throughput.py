"""Rows of one TCP stream's throughput: each way, at each MTU.

All guests of an MTU stand ready, and the runs go round: every peer once, then every peer again. So a machine that is slower for a while
is so for all of them, and the median of at least three rounds is what counts.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from bench.iperf import throughput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bench.peers.peer import Peer
    from tests.lab.netns import Place

GIGABIT = 1e9


@dataclass
class Row:
    """One measured thing. samples: bits per second by the peer's name. failures: why a peer has none."""

    mtu: int
    down: bool
    samples: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"MTU {self.mtu}, {'host to guest' if self.down else 'guest to host'}"

    def result(self, name: str) -> float | None:
        """Median of a peer's samples in Gbit/s."""
        samples = self.samples.get(name)
        return median(samples) / GIGABIT if samples else None

    def measure(self, peer: Peer, guest: Place, seconds: int) -> None:
        """One sample, or the reason why there is none."""
        try:
            sample = throughput(guest, peer.server, down=self.down, seconds=seconds)
        except AssertionError as error:
            self.failures[peer.name] = str(error).strip().splitlines()[-1]
        else:
            self.samples.setdefault(peer.name, []).append(sample)


def run(
    host: Place, peers: Iterable[Peer], mtus: Iterable[int], *, rounds: int, seconds: int
) -> Iterator[tuple[Row, Row]]:
    """The two rows of each MTU, as soon as they are measured."""
    for mtu in mtus:
        rows = (Row(mtu, down=False), Row(mtu, down=True))
        with ExitStack() as stack:
            guests = []
            for peer in peers:
                try:
                    guests.append((peer, stack.enter_context(peer.guest(host, mtu))))
                except (OSError, AssertionError) as error:
                    for row in rows:
                        row.failures[peer.name] = str(error).strip().splitlines()[0]
            for _ in range(rounds):
                for row in rows:
                    for peer, guest in guests:
                        row.measure(peer, guest, seconds)
        yield rows
