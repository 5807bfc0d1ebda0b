"""Memory at 10 and at 10,000 idle TCP connections of one guest, and what so many do to one that is busy."""

from __future__ import annotations

import select
import subprocess
from statistics import median
from typing import IO, TYPE_CHECKING

from bench.meter import resident_mb
from bench.peers.peer import NamespacePeer
from bench.results import Line
from bench.rows.bulk import GIGABIT, iperf
from bench.rows.row import OwnRow
from bench.servers import IDLE_PORT, load

if TYPE_CHECKING:
    from bench.peers.peer import Peer, PlaceSeat
    from tests.lab.netns import Place

FEW = 10
MTU = 1500
OPEN_SECONDS = 60.0
STREAMS = 3  # one after the other, at either number


class Idle(OwnRow):
    """many: 10,000, or fewer for a look."""

    def __init__(self, peers: tuple[Peer, ...], many: int = 10_000) -> None:
        lines = {
            "start": Line("idle.start", "memory at the start", "MB", less=True),
            "few": Line("idle.few", f"{FEW} idle connections, above the start", "MB", less=True),
            "many": Line("idle.many", f"{many:,} idle connections, above the start", "MB", less=True),
            "busy": Line(
                "idle.busy", f"a busy stream beside {many:,} idle ones, to one beside {FEW}", "ratio"
            ),
        }
        super().__init__(
            "idle", lines, peers, most_rounds=1
        )  # memory hardly varies, and some take a minute for this
        self.many_flows = many

    def measure(self, host: Place, peer: Peer, seconds: float) -> dict[str, float]:
        assert isinstance(peer, NamespacePeer)
        length = max(1, round(seconds / 3))
        with peer.guest(host, MTU, flows=self.many_flows) as seat:
            begin = resident_mb(seat.gateway)
            holder = seat.place.start(
                *load("idle", "hold", seat.server, IDLE_PORT), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            have(holder, FEW)
            figures = {"start": begin, "few": resident_mb(seat.gateway) - begin}
            alone = stream(seat, length)
            grown = resident_mb(
                seat.gateway
            )  # what the stream took stays taken, and is none of the idle ones' doing
            try:
                have(holder, self.many_flows)
                figures["many"] = resident_mb(seat.gateway) - grown + figures["few"]
                figures["busy"] = stream(seat, length) / alone
            except AssertionError as error:  # what was found before stays
                for line in ("many", "busy"):
                    self.lines[line].fail(peer.name, str(error))
        return figures


def stream(seat: PlaceSeat, seconds: int) -> float:
    """Gbit/s from the guest, the median of some runs."""
    ends = [iperf(seat, "-t", str(seconds), seconds=seconds) for _ in range(STREAMS)]
    return median(float(end["sum_received"]["bits_per_second"]) for end in ends) / GIGABIT


def have(holder: subprocess.Popen[bytes], number: int) -> None:
    """Have the guest hold that many. AssertionError with its words where it cannot."""
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(b"%d\n" % number)
    holder.stdin.flush()
    told = _line(holder.stdout)
    if told != str(number):
        raise AssertionError(told or "the guest's program has ended")


def _line(pipe: IO[bytes]) -> str:
    if not select.select([pipe], [], [], OPEN_SECONDS)[0]:
        raise AssertionError(f"no word from the guest in {OPEN_SECONDS:.0f} s")
    return pipe.readline().decode().strip()
