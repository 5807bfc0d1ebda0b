"""A fake host whose UDP sockets can do what Linux's can: take a run of datagrams in one call, and bring many at once. It tells the ledger of every datagram.

What comes at once is what UDP_GRO leaves together: of one origin, of one size but for the last, and where that ends is up to the kernel, so chance has
it here. A run that goes out (UDP_SEGMENT) goes whole or not at all; a kernel may refuse it for reasons of its own, and does so here as often
as it takes a part of what a stream offers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.fuzz.fakehost import LATENCY_US, UDP, FakeHost
from usernat.fuzz.fakesockets import BACKLOG, FakeDatagrams
from usernat.fuzz.machines.frame_check import demand

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from usernat.fuzz.machines.ledger import DatagramLedger
    from usernat.nat.host import Owner
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer

MOST_SENT, MOST_BROUGHT = 64, 128  # datagrams: UDP_MAX_SEGMENTS of <linux/udp.h> before and since 6.9
MOST_BYTES = 65507
HEADERS = 28


class RunDatagrams(FakeDatagrams):
    """An unconnected UDP socket. runs: whether it takes and brings more than one at once. published: whether it is a forward's."""

    host: RunHost

    def __init__(self, host: RunHost, owner: Owner, port: int, address: int, *, published: bool) -> None:
        super().__init__(host, owner, UDP, port, address)
        self.published = published

    @property
    def guest_end(self) -> tuple[int, int]:
        """For which of the guest's endpoints it stands, if it is no forward's: address and port."""
        owner = self.owner
        return owner.guest, owner.guest_port  # type: ignore[attr-defined] # a `DatagramFlow`

    def send(self, data: Buffer, address: int, port: int, ttl: int, df: bool, source: int = 0) -> None:
        """See `DatagramSocket`."""
        super().send(data, address, port, ttl, df, source)
        self.host.ledger.left(self, bytes(data), address, port, ttl, df)

    def send_run(
        self, run: Sequence[Buffer], address: int, port: int, ttl: int, df: bool, source: int = 0
    ) -> bool:
        """See `DatagramSocket`."""
        sizes = [len(data) for data in run]
        demand(1 < len(run) <= MOST_SENT and sum(sizes) <= MOST_BYTES, f"no kernel cuts {sizes}")
        demand(
            {*sizes[:-1]} == {sizes[0]} and 0 < sizes[-1] <= sizes[0], f"cut otherwise than it was: {sizes}"
        )
        host = self.host
        refused = host.rng.random() < host.faults.short or (df and sizes[0] + HEADERS > host.mtu)
        if not host.runs or refused:
            return False
        try:
            self.raise_pending()
            for data in run:
                host.carry(self, bytes(data), address, port, ttl, df)
        except OSError:  # with the first, for they are alike
            return False
        for data in run:
            self.left_from.append(source)
            host.ledger.left(self, bytes(data), address, port, ttl, df)
        return True

    def receive(self) -> tuple[list[Buffer], Origin] | None:
        """See `DatagramSocket`."""
        received = super().receive()
        if received is None:
            return None
        run, origin = received
        size, rng = len(run[0]), self.host.rng
        most = rng.choice((1, 2, 7, MOST_BROUGHT)) if self.host.runs and size else 1
        while len(run[-1]) == size and len(run) < most and self._in:
            data, came_from = self._in[0]
            if came_from != origin or not 0 < len(data) <= size or (len(run) + 1) * size > MOST_BYTES:
                break
            run.append(self._in.popleft()[0])
        self.host.ledger.brought(self, [bytes(data) for data in run], origin)
        return run, origin

    def arrive(self, data: bytes, address: int, port: int, ttl: int = 64, called: int = 0) -> None:
        """See `FakeDatagrams`."""
        self.host.ledger.overrun += len(self._in) >= BACKLOG
        super().arrive(data, address, port, ttl, called)


class RunHost(FakeHost):
    """A host with such sockets. runs: whether its kernel is one that can."""

    def __init__(self, rng: Random, ledger: DatagramLedger, *, runs: bool) -> None:
        super().__init__(rng)
        self.ledger = ledger
        self.runs = runs

    def open_udp(self, owner: Owner) -> RunDatagrams:
        """See `usernat.nat.host.Host`."""
        return self._open(0, 0, owner, published=False)

    def publish_udp(self, address: int, port: int, owner: Owner) -> RunDatagrams:
        """See `usernat.nat.host.Host`."""
        return self._open(address, port, owner, published=True)

    def speak_to(self, guest_port: int | None, data: bytes, address: int, port: int) -> None:
        """Somebody sends a datagram to the port of the host by which a guest's is known."""
        for sock in self.sockets:
            if isinstance(sock, RunDatagrams) and not sock.published and sock.guest_end[1] == guest_port:
                self.at(LATENCY_US, lambda sock=sock: sock.arrive(data, address, port))  # type: ignore[misc]

    def _open(self, address: int, port: int, owner: Owner, *, published: bool) -> RunDatagrams:
        self._permit()
        name = self._take_name(address, port, UDP)
        sock = RunDatagrams(self, owner, name, address, published=published)
        self._add(sock)
        return sock
