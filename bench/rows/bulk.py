"""TCP throughput by iperf3: streams up, down, or both ways at once; and what they cost in CPU time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bench.meter import cpu, peak_mb
from bench.results import Line
from bench.rows.row import GuestRow
from bench.servers import iperf_port

if TYPE_CHECKING:
    from bench.peers.peer import Peer, Seat

GIGABIT = 1e9
GIGABYTE = 1e9
SPARE_SECONDS = 15.0
WAYS = {"up": (), "down": ("-R",), "both": ("--bidir",)}
WORDS = {"up": "guest to host", "down": "host to guest", "both": "both ways at once, summed"}


class Bulk(GuestRow):
    """way: of WAYS. share: of the run's length."""

    def __init__(
        self,
        way: str,
        streams: int,
        mtu: int,
        peers: tuple[Peer, ...],
        *,
        share: float = 1.0,
        prefix: str = "tcp",
    ) -> None:
        name = f"{prefix}-{way}{'' if streams == 1 else f'-{streams}'}-{mtu}"
        title = f"TCP {WORDS[way]}, MTU {mtu}" + ("" if streams == 1 else f", {streams} streams")
        lines = {
            "rate": Line(name, title, "Gbit/s"),
            "gateway": Line(f"{name}.cpu", f"{title}: the gateway", "CPU s/GB", less=True),
            "everyone": Line(f"{name}.cpu-all", f"{title}: whole machine", "CPU s/GB", less=True),
        }
        if way == "both":  # the last of its MTU
            lines["peak"] = Line(
                f"{name}.peak", f"peak memory (VmHWM) with all of the above, MTU {mtu}", "MB", less=True
            )
        super().__init__(name, lines, peers, mtu)
        self.way = way
        self.streams = streams
        self.share = share

    def measure(self, seat: Seat, seconds: float) -> dict[str, float]:
        length = max(1, round(seconds * self.share))
        before = cpu(seat.gateway)
        end = iperf(seat, *WAYS[self.way], "-P", str(self.streams), "-t", str(length), seconds=length)
        used = cpu(seat.gateway).since(before)
        sums = [end[key] for key in ("sum_received", "sum_received_bidir_reverse") if key in end]
        gigabytes = sum(each["bytes"] for each in sums) / GIGABYTE
        if not gigabytes:
            raise AssertionError("not a byte arrived")
        figures = {
            "rate": sum(each["bits_per_second"] for each in sums) / GIGABIT,
            "everyone": used.everyone / gigabytes,
        }
        if seat.gateway:
            figures["gateway"] = used.gateway / gigabytes
        if seat.gateway and "peak" in self.lines:
            figures["peak"] = peak_mb(seat.gateway)
        return figures


def iperf(seat: Seat, *options: str, seconds: float) -> dict[str, Any]:
    """The `end` of iperf3's report. AssertionError with its words where it fails."""
    command = ("iperf3", "-c", seat.server, "-p", str(iperf_port(seat.peer)), "-i", "0", "-J", *options)
    try:
        told = seat.run(*command, timeout=seconds + SPARE_SECONDS)
    except AssertionError as error:
        raise AssertionError(_said(str(error))) from error
    report = json.loads(told[told.index("{") :])
    if "error" in report:
        raise AssertionError(f"iperf3: {report['error']}")
    end: dict[str, Any] = report["end"]
    return end


def _said(text: str) -> str:
    """iperf3's own words, out of what it printed as JSON."""
    start = text.find("{")
    try:
        return f"iperf3: {json.loads(text[start:])['error']}"
    except (ValueError, KeyError):
        return text
