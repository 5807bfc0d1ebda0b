"""The guest: one `Interface` on one link, and calls that return when what they are for has happened.

There is no thread. Whoever calls moves the stack: frames are taken from the link, owners of ready sockets served, timers met, frames
sent while the link has room, until the call is done or its time is over. Between calls nothing happens, as with
a machine that is suspended; `run_until` gives it time of its own.

Every frame passes the link, so a link wrapped around it (`usernat.links.wrapper`) sees all that the guest says and hears.
"""

from __future__ import annotations

import http.client
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit

from usernat.guest.clock import Clock, SystemClock
from usernat.guest.dhcp_client import BOUND, DhcpClient, Lease
from usernat.guest.lookup import Lookup, NameNotFound
from usernat.guest.stream import Stream
from usernat.stack.addr import format_ip, parse_ip
from usernat.stack.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address
    from types import TracebackType

    from usernat.links.link import Link
    from usernat.stack.l4.tcp.config import TcpConfig

    Address = int | str | IPv4Address

SECOND_US = 1_000_000
BATCH = 64  # frames, each way
HTTP_PORT = 80
LOCALLY_ADMINISTERED = b"\x02"


class Timed(Protocol):
    """What has a deadline."""

    def poll_at(self) -> int | None:
        """When, in µs."""

    def on_time(self, now: int) -> None:
        """It may have come."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer to an HTTP request."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes


class Guest:
    """A client host on `link`, which it owns from now on. Time-outs are in seconds and end in TimeoutError.

    mac: of its interface, a random one where not given. mtu: bytes, the link's where not given. address: (address, prefix length, router)
    for a guest without DHCP; name servers are then set by `dns`. tcp: settings of its TCP. Every call may raise `LinkClosed`.
    """

    def __init__(
        self,
        link: Link,
        *,
        mac: bytes | None = None,
        mtu: int | None = None,
        rng: random.Random | None = None,
        clock: Clock | None = None,
        address: tuple[Address, int, Address] | None = None,
        dns: Iterable[Address] = (),
        tcp: TcpConfig | None = None,
    ) -> None:
        self.link = link
        self.rng = rng or random.SystemRandom()
        self.mac = mac or LOCALLY_ADMINISTERED + self.rng.randbytes(5)
        self.clock = clock or SystemClock()
        self.dns = [parse_ip(server) for server in dns]
        capabilities = link.capabilities
        if mtu is not None:
            capabilities = replace(
                capabilities, mtu=mtu, tx_segmentation=min(capabilities.tx_segmentation, mtu)
            )
        self.interface = Interface(
            mac=self.mac, capabilities=capabilities, rng=self.rng, now=self.clock.now(), tcp=tcp
        )
        if address is not None:
            self.interface.add_address(parse_ip(address[0]), address[1])
            self.interface.ipv4.routes.add_default(parse_ip(address[2]))
        self._dhcp: DhcpClient | None = None
        self._timed: list[Timed] = [self.interface]

    # -- what a guest does --------------------------------------------------------------------------------------------

    @property
    def lease(self) -> Lease | None:
        """What DHCP granted, None without."""
        return self._dhcp.lease if self._dhcp is not None else None

    def dhcp(self, timeout: float = 10.0) -> Lease:
        """Takes a lease and uses it: address, router, name servers. From now on it is kept up whenever the guest runs."""
        if self._dhcp is None:
            self._dhcp = DhcpClient(self.interface, self.mac, self.rng)
            self._timed.append(self._dhcp)
        client = self._dhcp
        client.start(self.clock.now())
        if not self.run_until(lambda: client.state == BOUND, timeout):
            raise TimeoutError(f"no DHCP lease within {timeout} s")
        lease = client.lease
        assert lease is not None
        self.dns = list(lease.dns)
        return lease

    def release(self) -> None:
        """Gives the lease back, and has no address afterwards."""
        if self._dhcp is not None:
            self._dhcp.release(self.clock.now())
            self.run_until(lambda: not self.interface.udp.pending, 1.0)
            self._dhcp.drop()

    def ping(
        self, address: Address, *, data: bytes = b"usernat", ttl: int = 64, timeout: float = 5.0
    ) -> float:
        """Round-trip time in seconds. OSError where an ICMP error comes back instead of the reply."""
        socket = self.interface.echo.bind(self.rng.getrandbits(16))
        try:
            sent = self.clock.now()
            socket.request(parse_ip(address), 1, data, ttl=ttl)
            if not self.run_until(lambda: bool(len(socket.inbox)) or bool(socket.errors), timeout):
                raise TimeoutError(f"{format_ip(parse_ip(address))} did not answer within {timeout} s")
            if socket.errors:
                raise OSError(str(socket.errors[0]))
            return (self.clock.now() - sent) / SECOND_US
        finally:
            socket.close()

    def resolve(self, name: str, timeout: float = 12.0) -> list[int]:
        """The addresses of a name. NameNotFound where it has none, or no server says so."""
        lookup = Lookup(self.interface, self.dns, name, self.rng, self.clock.now())
        self._timed.append(lookup)
        try:
            if not self.run_until(lambda: lookup.done, timeout):
                raise TimeoutError(f"no answer for {name!r} within {timeout} s")
        finally:
            self._timed.remove(lookup)
            lookup.close()
        if lookup.addresses is None:
            raise NameNotFound(lookup.error)
        return lookup.addresses

    def connect(self, host: Address, port: int, timeout: float = 10.0) -> Stream:
        """A TCP connection to an address or name. `timeout` is also that of the stream's calls."""
        connection = self.interface.tcp.connect(self._address_of(host), port)
        stream = Stream(connection, self.run_until, timeout)
        try:
            stream.connected()
        except OSError:
            connection.abort()
            raise
        return stream

    def http_get(self, url: str, timeout: float = 30.0) -> HttpReply:
        """The answer to a GET, whatever its status. ValueError for other URLs than http, http.client's errors for broken answers."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http URL: {url!r}")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        stream = self.connect(parts.hostname, parts.port or HTTP_PORT, timeout)
        try:
            stream.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            response = http.client.HTTPResponse(stream, method="GET")  # type: ignore[arg-type]  # of a socket it needs makefile() alone
            with response:
                response.begin()
                return HttpReply(response.status, response.reason, response.headers, response.read())
        finally:
            stream.close()

    def _address_of(self, host: Address) -> int:
        try:
            return parse_ip(host)
        except ValueError:
            return self.resolve(str(host))[0]

    # -- how it runs --------------------------------------------------------------------------------------------------

    def run_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Moves the stack until the condition holds (True) or the time is over (False)."""
        end = self.clock.now() + int(timeout * SECOND_US)
        while True:
            busy = self._step()
            if condition():
                return True
            now = self.clock.now()
            if now >= end:
                return False
            if not busy:
                self.clock.wait(
                    self.link,
                    min(end, *(due for one in self._timed if (due := one.poll_at()) is not None), end),
                )

    def _step(self) -> bool:
        """One batch each way. True where there may be more at once."""
        now = self.clock.now()
        frames = self.link.receive(BATCH)
        for frame, checksum_ok in frames:
            self.interface.receive(frame, now, checksum_ok)
        for one in list(self._timed):
            one.on_time(now)
        for socket in self.interface.ready():
            if socket.owner is not None:
                socket.owner.serve(now)
        self.link.flush()
        room = min(self.link.room(), BATCH)
        sent = self.interface.transmit(now, room) if room else []
        if sent:
            self.link.send(sent)
        return len(frames) == BATCH or (bool(sent) and len(sent) == room)

    def close(self) -> None:
        """Closes the link: the guest is gone."""
        self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
