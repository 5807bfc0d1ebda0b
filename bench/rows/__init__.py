"""All rows, in the order of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers import NAMESPACES, QEMU, RAW
from bench.rows.bulk import Bulk
from bench.rows.datagrams import Datagrams
from bench.rows.idle import Idle
from bench.rows.latency import Ping, Start
from bench.rows.names import Names
from bench.rows.qemu import QemuBulk
from bench.rows.web import Web

if TYPE_CHECKING:
    from bench.rows.row import Row

MTUS = (1500, 65520)
MANY = 2 / 3  # of the run's length, for all but the first rows


def guest_rows() -> list[Row]:
    """Those that have a guest."""
    everyone = (RAW, *NAMESPACES)
    rows: list[Row] = []
    for mtu in MTUS:
        rows += [Bulk(way, 1, mtu, everyone) for way in ("up", "down")]
        rows += [Bulk(way, 16, mtu, everyone, share=MANY) for way in ("up", "down")]
        rows.append(Bulk("both", 1, mtu, everyone, share=MANY))
    rows += [Web(connections, everyone) for connections in (1, 64)]
    rows.append(Web(64, everyone, close=True))
    rows += [Datagrams(way, size, everyone) for size in (64, 1200) for way in ("up", "down")]
    rows += [Ping(everyone), Names(everyone), Start(NAMESPACES), Idle(NAMESPACES)]
    rows += [QemuBulk(way, mtu, QEMU) for mtu in MTUS for way in ("up", "down")]
    return rows


__all__ = ["guest_rows"]
