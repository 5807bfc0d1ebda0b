"""A fake UDP socket that can do what Linux's can: take a run of datagrams in one call (UDP_SEGMENT), and bring many at once (UDP_GRO).

What comes at once is what a kernel leaves together: of one origin, of one size but for the last. A run that goes out goes whole or not at all, and has to be one
that a kernel cuts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.fuzz.fakehost import UDP, Failing, FakeHost, find
from usernat.fuzz.fakesockets import FakeDatagrams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.host import Owner
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer

MOST_SENT, MOST_BROUGHT = 64, 128  # datagrams: UDP_MAX_SEGMENTS of <linux/udp.h> before and since 6.9
MOST_BYTES = 65507
HEADERS = 28


class FakeRuns(FakeDatagrams):
    """See above. Subclasses say how much comes at once, what is refused besides, and hear of what has passed.

    fault: raised where no kernel would cut what was handed in into the same.
    """

    fault: type[AssertionError] = AssertionError

    def __init__(self, host: FakeHost, owner: Owner, port: int, address: int) -> None:
        super().__init__(host, owner, UDP, port, address)

    def send_run(
        self, run: Sequence[Buffer], address: int, port: int, ttl: int, df: bool, source: int = 0
    ) -> bool:
        """See `DatagramSocket`."""
        sizes = [len(data) for data in run]
        if not 1 < len(run) <= MOST_SENT or sum(sizes) > MOST_BYTES:
            raise self.fault(f"no kernel cuts {sizes}")
        if {*sizes[:-1]} != {sizes[0]} or not 0 < sizes[-1] <= sizes[0]:
            raise self.fault(f"cut otherwise than it was: {sizes}")
        script = find(self.host.udp, address, port)
        failing = isinstance(script, Failing) and script.delay_us is None
        too_large = df and sizes[0] + HEADERS > self.host.mtu
        if self.refuses() or failing or too_large or self.getsockopt(0, 0):
            return False
        for data in run:
            self.left_from.append(source)
            self.host.carry(self, bytes(data), address, port, ttl, df)
        return True

    def receive(self) -> tuple[list[Buffer], Origin] | None:
        """See `DatagramSocket`."""
        received = super().receive()
        if received is None:
            return None
        run, origin = received
        size = len(run[0])
        most = self.most_at_once() if size else 1
        while self._in and len(run) < most and len(run[-1]) == size:
            data, came_from = self._in[0]
            if came_from != origin or not 0 < len(data) <= size or (len(run) + 1) * size > MOST_BYTES:
                break
            run.append(self._in.popleft()[0])
        return run, origin

    def refuses(self) -> bool:
        """Whether the kernel takes no run now, for reasons of its own."""
        return False

    def most_at_once(self) -> int:
        """Datagrams that it leaves together now."""
        return MOST_BROUGHT
