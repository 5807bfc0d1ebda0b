"""What the kernel says that processes have used: CPU seconds and memory, from /proc.

CPU time is counted in ticks of 10 ms, so it means something over seconds only. "Of all" is the whole machine: what else runs on it is
counted too, and so is what no process is charged with, softirqs above all.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS = os.sysconf("SC_CLK_TCK")
BUSY = (0, 1, 2, 5, 6)  # of the numbers in /proc/stat: user, nice, system, irq, softirq
UTIME = 11  # in /proc/PID/stat, counted from behind the name; stime follows
KIB = 1024
MEGABYTE = 1e6


class Cpu(NamedTuple):
    """CPU seconds. gateway: of its processes. everyone: of the machine."""

    gateway: float
    everyone: float

    def since(self, before: Cpu) -> Cpu:
        return Cpu(self.gateway - before.gateway, self.everyone - before.everyone)


def cpu(gateway: Iterable[int]) -> Cpu:
    """Used up to now."""
    busy = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return Cpu(sum(map(_cpu_of, gateway)), sum(int(busy[index]) for index in BUSY) / TICKS)


def peak_mb(processes: Iterable[int]) -> float:
    """The most that each had resident at any time (VmHWM), summed, in MB."""
    return sum(_status(pid, "VmHWM") for pid in processes) * KIB / MEGABYTE


def resident_mb(processes: Iterable[int]) -> float:
    """What they have resident now (VmRSS), in MB."""
    return sum(_status(pid, "VmRSS") for pid in processes) * KIB / MEGABYTE


def children(parent: int) -> tuple[int, ...]:
    """The processes that one has started and that live."""
    return tuple(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _parent(entry) == parent
    )


def _parent(entry: Path) -> int | None:
    """None for a process that has ended meanwhile."""
    try:
        stat = (entry / "stat").read_text()
    except OSError:
        return None
    return int(stat[stat.rindex(")") + 2 :].split()[1])


def _cpu_of(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()
    return (int(fields[UTIME]) + int(fields[UTIME + 1])) / TICKS


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0  # a zombie has none
