"""A fake host whose UDP sockets take and bring runs of datagrams (`usernat.fuzz.fakeruns`), or do not. It tells the ledger of every datagram.

Where what comes at once ends is up to the kernel, so chance has it here. A kernel may refuse a run for reasons of its own, and does so here as often
as it takes a part of what a stream offers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.fuzz.fakehost import LATENCY_US, UDP, FakeHost
from usernat.fuzz.fakeruns import MOST_BROUGHT, FakeRuns
from usernat.fuzz.fakesockets import BACKLOG
from usernat.fuzz.machines.frame_check import FrameError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from usernat.fuzz.machines.ledger import DatagramLedger
    from usernat.nat.host import Owner
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer


class RunDatagrams(FakeRuns):
    """An unconnected UDP socket. published: whether it is a forward's."""

    host: RunHost
    fault = FrameError

    def __init__(self, host: RunHost, owner: Owner, port: int, address: int, *, published: bool) -> None:
        super().__init__(host, owner, port, address)
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
        gone = super().send_run(run, address, port, ttl, df, source)
        for data in run if gone else ():
            self.host.ledger.left(self, bytes(data), address, port, ttl, df)
        return gone

    def refuses(self) -> bool:
        """See `FakeRuns`."""
        rng, faults = self.host.rng, self.host.faults
        return not self.host.runs or rng.random() < faults.short or rng.random() < faults.again

    def most_at_once(self) -> int:
        """See `FakeRuns`."""
        return self.host.rng.choice((1, 2, 7, MOST_BROUGHT)) if self.host.runs else 1

    def receive(self) -> tuple[list[Buffer], Origin] | None:
        """See `DatagramSocket`."""
        received = super().receive()
        if received is not None:
            run, origin = received
            self.host.ledger.brought(self, [bytes(data) for data in run], origin)
        return received

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
