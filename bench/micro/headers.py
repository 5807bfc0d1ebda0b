"""A header, read and built in four ways: by construct, by construct's own compiler, by our compiler, and by a `struct` call written by hand.

    read      the values, as every packet takes them: `Codec.read_values`. By hand: one `unpack_from` of a precompiled `Struct`, and nothing
              else; bit fields stay in their words, and what is cut off raises
    record    the values as a record with names: `Codec.read`. What construct reads is one as well, and `struct` has none
    build     the bytes of a record

What is read is called as packets call it: bound to a local name, with the buffer alone. So the loop around it is all that is in the figure besides.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any, TypeVar

from bench.micro.row import MicroRow
from bench.results import OURS, Line
from usernat.stack.l2.ethernet import ETHERNET_CODEC
from usernat.stack.l3.ipv4_header import IPV4
from usernat.stack.l4.tcp.header import TCP
from usernat.stack.l4.udp import UDP

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.stack.wire import Codec

T = TypeVar("T")
INTERPRETED, COMPILED, BY_HAND = "construct", "construct compiled", "struct by hand"
DEEDS = {"read": "read", "record": "read as a record:", "build": "build"}
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
    """header: of CODECS. deed: of DEEDS."""

    def __init__(self, header: str, deed: str) -> None:
        name = f"{deed}-{header}"
        line = Line(name, f"{DEEDS[deed]} {header}", "ns", less=True)
        super().__init__(name, {"time": line}, (OURS, INTERPRETED, COMPILED, BY_HAND))
        self.header = header
        self.deed = deed

    def measure(self, variant: str, seconds: float) -> dict[str, float]:  # noqa: ARG002  # of a length of its own
        codec, form = CODECS[self.header]
        if self.deed == "build":
            return {"time": nanoseconds(*builder(variant, codec, form))}
        return {"time": nanoseconds(reader(variant, codec, form, record=self.deed == "record"), SAMPLE)}


def reader(variant: str, codec: Codec[Any], form: str, *, record: bool) -> Callable[[bytes], Any]:
    """What reads the header at the start of a buffer."""
    if variant == OURS:
        return codec.read if record else codec.read_values
    if variant == BY_HAND:
        return struct.Struct(form).unpack_from
    declaration: Any = codec.declaration.compile() if variant == COMPILED else codec.declaration
    parse: Callable[[bytes], Any] = declaration.parse
    return parse


def builder(variant: str, codec: Codec[Any], form: str) -> tuple[Callable[[Any], Any], Any]:
    """What builds the header, and of what."""
    if variant == OURS:
        return codec.write, codec.read(SAMPLE)
    if variant == BY_HAND:
        by_hand = struct.Struct(form)
        pack = by_hand.pack
        # One call more than by hand; the others take a record whole.
        return lambda values: pack(*values), by_hand.unpack_from(SAMPLE)
    declaration: Any = codec.declaration.compile() if variant == COMPILED else codec.declaration
    return declaration.build, codec.declaration.parse(SAMPLE)


def nanoseconds(call: Callable[[T], object], argument: T) -> float:
    """What one call takes; the loop around it, some 10 ns, is in it, whatever is called."""
    call(argument)
    number = 1
    while (taken := _time(call, argument, number)) < SECONDS * 1e9 / 4:
        number *= 2
    number = max(1, int(number * SECONDS * 1e9 / taken))
    return min(_time(call, argument, number) for _ in range(SAMPLES)) / number


def _time(call: Callable[[T], object], argument: T, number: int) -> int:
    repeat = range(number)
    begin = time.perf_counter_ns()
    for _ in repeat:
        call(argument)
    return time.perf_counter_ns() - begin
