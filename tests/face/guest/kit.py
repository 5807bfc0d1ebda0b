"""A guest and a gateway's services on a wire, in virtual time, with a resolver that answers by script."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.nat.dns.kit import ONE, FakeHost, Upstream, answer_to
from usernat.guest import Guest
from usernat.links.memory import memory_pair
from usernat.links.wrapper import LinkWrapper
from usernat.nat.dhcp import DhcpConfig, DhcpServer
from usernat.nat.dns import DnsConfig, DnsForwarder
from usernat.stack.addr import parse_ip
from usernat.stack.device import Capabilities, Frame
from usernat.stack.interface import Interface

if TYPE_CHECKING:
    from usernat.links.link import Link, Received

GATEWAY = parse_ip("10.0.2.2")
DNS = parse_ip("10.0.2.3")
FIRST = parse_ip("10.0.2.15")
LAST = parse_ip("10.0.2.254")
GATEWAY_MAC = b"\x52\x55\x0a\x00\x02\x02"
S = 1_000_000

Resolver = Callable[[Upstream, bytes], bytes | None]


class Wiretap(LinkWrapper):
    """The guest's end of the wire: sees every frame, loses those that it is told to."""

    def __init__(self, inner: Link, now: Callable[[], int]) -> None:
        super().__init__(inner)
        self._now = now
        self.said: list[tuple[int, bytes]] = []  # when, and the frame
        self.heard: list[bytes] = []
        self.loses: Callable[[bytes], bool] = lambda frame: False

    def send(self, frames: list[Frame]) -> None:
        kept = []
        for frame in frames:
            data = bytes(frame)
            self.said.append((self._now(), data))
            if not self.loses(data):
                kept.append(frame)
        self.inner.send(kept)

    def receive(self, limit: int) -> list[Received]:
        received = [(frame, ok) for frame, ok in self.inner.receive(limit) if not self.loses(bytes(frame))]
        self.heard += [bytes(frame) for frame, _ in received]
        return received


class Services:
    """The far end: the gateway's stack with DHCP and DNS, no NAT. It is the guest's clock too: when the guest waits, it works."""

    def __init__(
        self, link: Link, *, resolver: Resolver | None = None, lease_s: int = 86_400, seed: int = 1
    ) -> None:
        self.link = link
        self.resolver = resolver
        self.host = FakeHost()
        self.rng = random.Random(seed)
        self.interface = Interface(
            mac=GATEWAY_MAC,
            capabilities=Capabilities(),
            rng=self.rng,
            now=0,
            addresses=((GATEWAY, 24), (DNS, 24)),
        )
        self._lease_s = lease_s
        self.dhcp = self._dhcp_server()
        host: Any = self.host
        self.dns = DnsForwarder(
            self.interface.udp, self.interface.tcp, host, DnsConfig(address=DNS, resolvers=(ONE,)), self.rng
        )

    def _dhcp_server(self) -> DhcpServer:
        config = DhcpConfig(
            server=GATEWAY,
            prefix=24,
            first=FIRST,
            last=LAST,
            dns=(DNS,),
            lease_s=self._lease_s,
            min_lease_s=10,
        )
        return DhcpServer(self.interface.udp, config)

    def forget_leases(self) -> None:
        self.dhcp.close()
        self.dhcp = self._dhcp_server()

    def now(self) -> int:
        return self.host.now

    def wait(self, link: Link, until: int) -> None:
        """Works; where there is nothing to do on the spot, time passes to the next thing that is due."""
        if self.step() or link.pending:
            return
        due = [self.interface.poll_at(), self.dhcp.poll_at(), self.dns.poll_at(), until]
        self.host.now = max(self.host.now, min(when for when in due if when is not None))
        self.step()

    def step(self) -> bool:
        now = self.host.now
        frames = self.link.receive(64)
        for frame, checksum_ok in frames:
            self.interface.receive(frame, now, checksum_ok)
        for part in (self.interface, self.dhcp, self.dns):
            part.on_time(now)
        self._serve(now)
        self._resolve()
        self._serve(now)
        sent = self.interface.transmit(now)
        self.link.send(sent)
        return bool(frames or sent)

    def _serve(self, now: int) -> None:
        for socket in self.interface.ready():
            if socket.owner is not None:
                socket.owner.serve(now)

    def _resolve(self) -> None:
        for sock in self.host.live:
            if sock.kind == "tcp" and sock.writable:
                sock.connects()
            if self.resolver is None or not sock.sent:
                continue
            if sock.kind == "udp":
                question = sock.question
                sock.sent.clear()
                answer = self.resolver(sock, question)
                if answer is not None:
                    sock.gives(answer)
            else:
                sock.says(*[answer for q in sock.take() if (answer := self.resolver(sock, q)) is not None])


def knows(*records: str) -> Resolver:
    """A resolver that gives the same records to every question."""
    return lambda _, question: answer_to(question, *records)


class Network:
    """Both ends, and the tap between."""

    def __init__(self, guest: Guest, services: Services, tap: Wiretap) -> None:
        self.guest = guest
        self.services = services
        self.tap = tap


@contextmanager
def network(**options: Any) -> Iterator[Network]:
    """A guest without an address yet. options: as of `Services`."""
    ours, theirs = memory_pair()
    services = Services(theirs, **options)
    tap = Wiretap(ours, services.now)
    try:
        with Guest(tap, mac=b"\x02\0\0\0\0\x01", rng=random.Random(2), clock=services) as guest:
            yield Network(guest, services, tap)
    finally:
        theirs.close()
