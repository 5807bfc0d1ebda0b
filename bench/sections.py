"""Which line stands under which heading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.table import Section

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.results import Line
    from bench.rows.row import Row

# key prefixes of rows, heading, note
PLAN: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("tcp-",), "TCP throughput", "iperf3 in the guest, its server on the host's loopback."),
    (
        ("requests-", "connections"),
        "HTTP",
        "wrk with one thread in the guest, nginx with one worker on the host's loopback.",
    ),
    (
        ("udp-",),
        "UDP without loss",
        "A closed loop: the pace is that of the slowest part, and a run that loses a datagram is void.",
    ),
    (
        ("ping", "dns", "start"),
        "Latency, names, start",
        "The ping is of an address of the host, so it crosses the gateway.",
    ),
    (
        ("idle",),
        "Idle connections",
        "Resident memory of the gateway's processes. usernat's cap of 4,096 flows is raised for this row.",
    ),
    (
        ("qemu-",),
        "QEMU guest",
        "Emulated (tcg), virtio-net without offloads, one virtual CPU that also runs iperf3.",
    ),
    (
        ("receive", "transmit", "growth"),
        "A packet in this process",
        "No guest's kernel: frames are made here, host sockets are real.",
    ),
    (
        ("read-", "record-", "build-"),
        "A header",
        "The same declaration, read and built in four ways. Packets take the values (read); a record has names, which `struct` by hand has not.",
    ),
    (
        ("checksum", "policy"),
        "Checksum, policy",
        "Policy: a mixed one of that many rules (`python -m bench.policy` shows more).",
    ),
)
COSTS = (".cpu", ".cpu-all", ".peak")


def sections(rows: Iterable[Row]) -> list[Section]:
    """Those that have something measured. Costs stand in a table of their own behind each."""
    made = []
    given = list(rows)
    for prefixes, title, note in PLAN:
        mine = [row for row in given if row.name.startswith(prefixes)]
        lines = [line for row in mine for line in row.lines.values()]
        for heading, some in (
            (title, [line for line in lines if not _is_cost(line)]),
            (f"{title}: cost", list(filter(_is_cost, lines))),
        ):
            names = [name for row in mine for name in row.names if _has(some, name)]
            if names:
                made.append(
                    Section(heading, tuple(dict.fromkeys(names)), some, note if heading == title else "")
                )
    return made


def _is_cost(line: Line) -> bool:
    return line.key.endswith(COSTS)


def _has(lines: list[Line], name: str) -> bool:
    return any(name in line.samples for line in lines)
