"""One name to be resolved (RFC 1035 §7): asked over UDP under a random id from a random port, again over TCP where the answer is cut off.

Sans-I/O, like the DHCP client. An answer counts only if it comes from the server and port that were asked, under the id and with the
question that were sent (RFC 5452 §9.1-a), and of its records only those on the question's own CNAME chain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from usernat.nat.dns.framing import MessageBuffer, framed
from usernat.nat.dns.resolvers import DNS_PORT
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from usernat.stack.interface import Interface
    from usernat.stack.l4.tcp.connection import Connection
    from usernat.stack.l4.udp import UdpSocket

TRY_US = 5_000_000  # resolv.conf(5): the time-out of one server
ROUNDS = 2  # through all servers
READ_SIZE = 4096


class NameNotFound(OSError):  # noqa: N818 - as the built-in FileNotFoundError
    """The name has no address, or nobody who was asked knew; `str()` says which in one line."""


class Lookup:
    """The A records of `name`. `addresses` once there is an answer, `error` once there will be none. Times in µs.

    Raises NameNotFound for what cannot be a name, or where there is no server to ask.
    """

    def __init__(
        self, interface: Interface, servers: Sequence[int], name: str, rng: Random, now: int
    ) -> None:
        try:
            asked = dns.name.from_text(name)
        except dns.exception.DNSException as error:
            raise NameNotFound(f"{name!r} is not a name: {error}") from error
        if not servers:
            raise NameNotFound(f"no server to ask for {name!r}")
        self.addresses: list[int] | None = None
        self.error: str | None = None
        self._interface = interface
        self._servers = list(servers) * ROUNDS
        self._server = 0
        self._rng = rng
        self._query = dns.message.make_query(asked, dns.rdatatype.A, use_edns=0, payload=1232, id=0)
        self._socket: UdpSocket | None = None
        self._connection: Connection | None = None
        self._buffer = MessageBuffer()
        self._due: int | None = None
        self._ask(now)

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.addresses is not None or self.error is not None

    def poll_at(self) -> int | None:
        """When the present server has had its time."""
        return self._due

    def on_time(self, now: int) -> None:
        """Asks the next server, when it is time."""
        if self._due is not None and now >= self._due:
            self._ask(now)

    def serve(self, now: int) -> None:
        """Takes what has come."""
        if self._socket is not None:
            while (
                not self.done and self._socket is not None and (datagram := self._socket.recv()) is not None
            ):
                if (datagram.src, datagram.src_port) == (self._server, DNS_PORT):
                    self._take(bytes(datagram.data), now)
            if self._socket is not None and self._socket.errors:
                self._ask(now)  # RFC 1122 §4.1.3.3-a: nobody listens there
        elif self._connection is not None:
            self._read(self._connection, now)

    def close(self) -> None:
        """Lets go of its sockets."""
        self._due = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._connection is not None:
            self._connection.abort()
            self._connection.owner = None
            self._connection = None

    def _ask(self, now: int) -> None:
        """The next server, over UDP."""
        self.close()
        if not self._servers:
            self.error = f"no server answered for {self._query.question[0].name}"
            return
        self._server = self._servers.pop(0)
        self._query.id = self._rng.getrandbits(16)  # RFC 5452 §9.2-c
        self._socket = self._interface.udp.bind(None, 0)
        self._socket.owner = self
        self._socket.send(self._query.to_wire(), self._server, DNS_PORT)
        self._due = now + TRY_US

    def _ask_by_tcp(self, now: int) -> None:
        """RFC 7766 §5-a: the answer was cut off, so the same server is asked over TCP."""
        self.close()
        self._buffer = MessageBuffer()
        self._connection = self._interface.tcp.connect(self._server, DNS_PORT)
        self._connection.owner = self
        self._connection.send(framed(self._query.to_wire()))
        self._due = now + TRY_US

    def _read(self, connection: Connection, now: int) -> None:
        while data := connection.recv(READ_SIZE):
            self._buffer.feed(data)
        while not self.done and (message := self._buffer.take()) is not None:
            self._take(message, now)
        if not self.done and (connection.at_eof or connection.error is not None):
            self._ask(now)

    def _take(self, data: bytes, now: int) -> None:
        """One message from the server: an answer, or nothing worth a thought."""
        try:
            answer = dns.message.from_wire(data)
            if not self._query.is_response(answer):
                return
            if answer.flags & dns.flags.TC and self._connection is None:
                self._ask_by_tcp(now)
                return
            self._finish(answer)
        except (dns.exception.DNSException, ValueError):
            return  # dnspython could not read it: RFC 1035 §7.1-a, ignored

    def _finish(self, answer: dns.message.Message) -> None:
        name = self._query.question[0].name
        if answer.rcode() != dns.rcode.NOERROR:
            self.error = f"{name}: {dns.rcode.to_text(answer.rcode())}"
        elif (
            not isinstance(answer, dns.message.QueryMessage)
            or (records := answer.resolve_chaining().answer) is None
        ):
            self.error = f"{name} has no address"
        else:
            self.addresses = [parse_ip(record.address) for record in records]
        self.close()
