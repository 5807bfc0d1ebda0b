"""A header, read and built in four ways: by construct, by construct's own compiler, by our compiler, and by a `struct` call written by hand.

By hand means what somebody in a hurry would write: one precompiled `Struct`, no record, bit fields left in their words.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

from bench.micro.row import MicroRow
from bench.results import OURS, Line
from usernat.stack.l2.ethernet import ETHERNET_CODEC
from usernat.stack.l3.ipv4_header import IPV4
from usernat.stack.l4.tcp.header import TCP
from usernat.stack.l4.udp import UDP

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.stack.wire import Codec

INTERPRETED, COMPILED, BY_HAND = "construct", "construct compiled", "struct by hand"
SECONDS = 0.02  # of a sample of samples
SAMPLES = 7  # of which the fastest counts: what is slower was disturbed
CODECS: dict[str, tuple[Codec[Any], str]] = {
    "ethernet": (ETHERNET_CODEC, "!6s6sH"),
    "ipv4": (IPV4, "!BBHHHBBHII"),
    "tcp": (TCP, "!HHIIBBHHH"),
    "udp": (UDP, "!HHHH"),
}
SAMPLE = bytes.fromhex("4500003c1c4640004006b1e6ac100a63ac100a0c5010faf0000000000000000000000000")


class Header(MicroRow):
    """header: of CODECS. build: whether to build it; else it is read."""

    def __init__(self, header: str, *, build: bool) -> None:
        name = f"{'build' if build else 'read'}-{header}"
        line = Line(name, f"{'build' if build else 'read'} {header}", "ns", less=True)
        super().__init__(name, {"time": line}, (OURS, INTERPRETED, COMPILED, BY_HAND))
        self.header = header
        self.build = build

    def measure(self, variant: str, seconds: float) -> dict[str, float]:  # noqa: ARG002  # of a length of its own
        codec, form = CODECS[self.header]
        return {"time": nanoseconds((builder if self.build else reader)(variant, codec, form))}


def reader(variant: str, codec: Codec[Any], form: str) -> Callable[[], Any]:
    if variant == OURS:
        return lambda: codec.read(SAMPLE)
    if variant == BY_HAND:
        unpack = struct.Struct(form).unpack_from
        return lambda: unpack(SAMPLE)
    declaration: Any = codec.declaration.compile() if variant == COMPILED else codec.declaration
    data = SAMPLE[: codec.size]
    return lambda: declaration.parse(data)


def builder(variant: str, codec: Codec[Any], form: str) -> Callable[[], Any]:
    if variant == OURS:
        record = codec.read(SAMPLE)
        return lambda: codec.write(record)
    if variant == BY_HAND:
        by_hand = struct.Struct(form)
        pack, values = by_hand.pack, by_hand.unpack_from(SAMPLE)
        return lambda: pack(*values)
    declaration: Any = codec.declaration.compile() if variant == COMPILED else codec.declaration
    parsed = codec.declaration.parse(SAMPLE[: codec.size])
    return lambda: declaration.build(parsed)


def nanoseconds(call: Callable[[], object]) -> float:
    """What one call takes; the loop around it, some 20 ns, is in it, whatever is called."""
    call()
    number = 1
    while (taken := _time(call, number)) < SECONDS * 1e9 / 4:
        number *= 2
    number = max(1, int(number * SECONDS * 1e9 / taken))
    return min(_time(call, number) for _ in range(SAMPLES)) / number


def _time(call: Callable[[], object], number: int) -> int:
    repeat = range(number)
    begin = time.perf_counter_ns()
    for _ in repeat:
        call()
    return time.perf_counter_ns() - begin
