"""Runs of UDP datagrams: one large datagram that somebody else cuts, on the way down as on the way out.

    device   UDP segmentation offload: one frame, whose headers stand once, is cut into datagrams of gso_size bytes of data
    host     UDP_SEGMENT: one `sendmsg`, cut in the same way

Either saves all that is done once a datagram, above all a system call and the wake-up of whoever waits for it. What can be cut in that way is a
run: datagrams from one endpoint to another that differ in their data alone, all of one size but for the last, which may be shorter. None
is empty, for nothing is left to cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usernat.stack.device import Buffer

MAX_RUN = 64  # datagrams: what kernels from before 6.9 cut
MAX_RUN_BYTES = 65507  # of data in all: they stand behind the headers of one datagram until they are cut


def runs(datagrams: Sequence[Buffer]) -> Iterator[Sequence[Buffer]]:
    """The same datagrams in the same order, in as few runs as there may be. A datagram that fits into none is one by itself."""
    sizes = [len(data) for data in datagrams]
    if is_run(sizes):
        yield datagrams
        return
    begin = total = 0
    for index, size in enumerate(sizes):
        first = sizes[begin]
        total += size
        # Another size may end a run, as long as it is shorter; nothing may follow it.
        if begin < index and (
            index - begin == MAX_RUN
            or total > MAX_RUN_BYTES
            or not 0 < size <= first
            or sizes[index - 1] != first
        ):
            yield datagrams[begin:index]
            begin, total = index, size
    if begin < len(sizes):
        yield datagrams[begin:]


def is_run(sizes: list[int]) -> bool:
    """Whether datagrams of one size are a run: nearly all that come are."""
    return (
        0 < len(sizes) <= MAX_RUN
        and sizes.count(sizes[0]) == len(sizes)
        and 0 < sizes[0] * len(sizes) <= MAX_RUN_BYTES
    )
