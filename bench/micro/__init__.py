"""Rows without a guest: what a packet, a header, a checksum, a decision cost in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.micro.growth import Growth
from bench.micro.headers import CODECS, DEEDS, Header
from bench.micro.packets import DOWN, UP, Packets
from bench.micro.small import Checksum, Decision

if TYPE_CHECKING:
    from bench.micro.row import MicroRow

KINDS = {
    "tcp": "TCP segments of 1,448 bytes",
    "tcp-offload": "TCP segments of up to 64 KiB",
    "udp": "UDP datagrams of 64 bytes",
}


def micro_rows() -> list[MicroRow]:
    """In the order of the report."""
    rows: list[MicroRow] = [Packets(way, kind, what) for way in (UP, DOWN) for kind, what in KINDS.items()]
    rows += [Growth(way) for way in (UP, DOWN)]
    rows += [Header(header, deed) for deed in DEEDS for header in CODECS]
    rows += [Checksum(size) for size in (64, 1460, 65535)]
    rows += [Decision(rules) for rules in (100, 10_000)]
    return rows
