"""Echo sockets: sending pings, and answering them in another's name (RFC 792, RFC 1122 §3.2.2.6).

A socket bound to an identifier sends requests and receives the replies that carry it. The transparent socket (None) of a gateway
receives every echo request to an address that is not ours, and replies in that address's name once the owner knows that it did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from usernat.stack.addr import UNSPECIFIED
from usernat.stack.device import MAX_DATAGRAM, Buffer
from usernat.stack.l3.icmp_message import (
    ECHO,
    ECHO_REPLY,
    ECHO_REQUEST,
    ICMP_HEADER_LENGTH,
    EchoMessage,
    IcmpError,
    write_echo,
)
from usernat.stack.l3.ipv4_header import HEADER_LENGTH, PROTO_ICMP
from usernat.stack.l4.datagrams import DatagramCounters, DatagramLayer, DatagramSocket

if TYPE_CHECKING:
    from usernat.stack.l3.ipv4 import Ipv4Layer

MAX_DATA = MAX_DATAGRAM - HEADER_LENGTH - ICMP_HEADER_LENGTH  # 65,507 bytes


class _Outgoing(NamedTuple):
    type: int
    src: int | None
    dst: int
    ident: int
    seq: int
    data: Buffer
    ttl: int | None
    tos: int
    df: bool


class EchoSocket(DatagramSocket[EchoMessage, _Outgoing]):
    """For one identifier, or (None) for the requests to everybody else's addresses."""

    def __init__(self, layer: EchoLayer, ident: int | None) -> None:
        super().__init__(layer)
        self.ident = ident

    def request(self, dst: int, seq: int, data: Buffer, *, ttl: int | None = None, df: bool = False) -> bool:
        """Queue an echo request (RFC 1122 §3.2.2.6-b); False where the queue is full. ValueError where it could never be sent."""
        if self.ident is None:
            raise ValueError("the transparent echo socket has no identifier to ask with")
        return self._put(_Outgoing(ECHO_REQUEST, None, dst, self.ident, seq, data, ttl, 0, df))

    def reply(
        self,
        src: int,
        dst: int,
        ident: int,
        seq: int,
        data: Buffer,
        *,
        ttl: int | None = None,
        tos: int = 0,
    ) -> bool:
        """Queue an echo reply from `src`, who was asked, to `dst`, who asked; False where the queue is full. ValueError as above."""
        return self._put(_Outgoing(ECHO_REPLY, src, dst, ident, seq, data, ttl, tos, df=False))

    def _put(self, message: _Outgoing) -> bool:
        if len(message.data) > MAX_DATA:
            raise ValueError(f"an echo carries at most {MAX_DATA} bytes, not {len(message.data)}")
        if not 0 <= message.ident < 65536 or not 0 <= message.seq < 65536:
            raise ValueError(
                f"identifier and sequence number are 0 to 65535, not {message.ident}, {message.seq}"
            )
        if (message.ttl is not None and not 0 < message.ttl < 256) or not 0 <= message.tos < 256:
            raise ValueError(f"TTL is 1 to 255 and TOS 0 to 255, not {message.ttl} and {message.tos}")
        return self._enqueue(message, len(message.data))


class EchoLayer(DatagramLayer):
    """The echo sockets of one interface."""

    def __init__(self, ipv4: Ipv4Layer) -> None:
        super().__init__(ipv4)
        self.counters = DatagramCounters()
        self._sockets: dict[int | None, EchoSocket] = {}

    def bind(self, ident: int | None) -> EchoSocket:
        """A socket for an identifier, or (None) the transparent one. ValueError where it is taken or cannot be."""
        if ident is not None and not 0 <= ident < 65536:
            raise ValueError(f"an identifier is 0 to 65535, not {ident}")
        if ident in self._sockets:
            raise ValueError(f"echo identifier {ident} is taken")
        socket = self._sockets[ident] = EchoSocket(self, ident)
        return socket

    def receive(self, message: EchoMessage) -> None:
        """Take a reply, or a request that is not for us, off ICMP. What nobody waits for gets no answer at all."""
        self.counters.received += 1
        if message.is_request:
            socket = self._sockets.get(None)
        else:
            # RFC 1122 §3.2.2.6-f; a reply to somebody else's address answers none of our requests
            socket = None if message.packet.forwarded else self._sockets.get(message.ident)
        if socket is None:
            self.counters.no_listener += 1
            return
        if not socket.inbox.put(message, ICMP_HEADER_LENGTH + len(message.data)):
            self.counters.queue_full += 1
            return
        self.counters.delivered += 1
        self.ready[socket] = None

    def on_icmp_error(self, error: IcmpError, now: int) -> None:
        """Take an error about an echo message that one of our sockets may have sent."""
        header = ECHO.read(error.payload)
        socket = None
        if header is not None and header.type == ECHO_REQUEST and error.src in self._ipv4.addresses.own:
            socket = self._sockets.get(header.ident)
        elif header is not None and header.type == ECHO_REPLY:
            socket = self._sockets.get(None)
        self.deliver_error(socket, error, now)

    def emit(self, socket: Any, message: _Outgoing, now: int) -> None:
        """Put the header on and hand to IP."""
        src, dst = message.src, message.dst
        if src is None:
            src = self._ipv4.source_for(dst)
            if src is None:
                src = UNSPECIFIED
        parts = write_echo(message.type, message.ident, message.seq, message.data)
        result = self._ipv4.send(
            PROTO_ICMP, src, dst, parts, ttl=message.ttl, tos=message.tos, df=message.df, now=now
        )
        if self.report_unsent(socket, result, PROTO_ICMP, src, dst, parts, df=message.df):
            self.counters.not_sent += 1
        else:
            self.counters.sent += 1

    def release(self, socket: Any) -> None:
        """Forget a socket that was closed."""
        super().release(socket)
        del self._sockets[socket.ident]
