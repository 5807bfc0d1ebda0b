"""Ping through the gateway: every identifier of a guest is a binding with one host socket (RFC 5508 REQ-1, REQ-1a).

The host socket has an identifier of its own; the guest's identifier and sequence numbers come back in the reply. A reply reaches the guest only if it
answers a request of that binding, by address and sequence number, so nothing is invented and nothing strays to another guest.
A binding ends 60 s after its last request; replies and errors do not prolong it (REQ-2, REQ-6). Its host socket goes with it (RFC 7857 §11-a).
Besides echo, guests get Destination Unreachable and Time Exceeded (RFC 5508 REQ-10a), and never a Source Quench or an Information Request (REQ-10c).

Pings to the gateway's own addresses never come here: the stack answers them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.context import microseconds
from usernat.nat.datagrams import DatagramNat
from usernat.nat.host_end import LARGEST, MOST_AN_EVENT
from usernat.policy.decision import ICMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.context import Context
    from usernat.nat.datagram_flow import DatagramFlow
    from usernat.nat.destinations import Budget
    from usernat.nat.host_sockets import DatagramSocket
    from usernat.stack.device import Buffer


class EchoNat(DatagramNat):
    """All echo bindings."""

    protocol = ICMP
    replies_refresh = False

    def __init__(self, context: Context, budget: Budget) -> None:
        config = context.config
        super().__init__(context, budget, config.limits.echo_pending)
        self._timeout_us = microseconds(config.timeouts.echo)
        self._socket = context.interface.echo.bind(None)
        self._socket.owner = self

    def serve(self, now: int) -> None:
        """Takes what guests have sent."""
        sock = self._socket
        while (message := sock.recv()) is not None:
            if message.is_request:
                self.handle(message.packet, message.ident, message.seq, message.data, now)
            else:
                self.counters.not_a_request += 1  # RFC 5508 REQ-11
        self.take_errors(sock)
        if self._paused and self.room() >= LARGEST:
            self.resume()

    def close(self) -> None:
        """Takes nothing from guests any more."""
        self.closed = True
        self._socket.close()

    def decided(self, flow: DatagramFlow, destination: int, port: int) -> bool:  # noqa: ARG002 - one host, all its requests
        """See `DatagramNat`."""
        return flow.destinations.permits(destination)

    def account(self, address: int, port: int) -> int:  # noqa: ARG002 - one host, all its requests
        """See `DatagramNat`."""
        return address << 16

    def policy_port(self, port: int) -> int:  # noqa: ARG002 - a sequence number is no port
        """See `DatagramNat`."""
        return 0

    def timeout_for(self, port: int) -> int:  # noqa: ARG002 - all requests are alike
        """See `DatagramNat`. RFC 5508 REQ-2."""
        return self._timeout_us

    def permits(self, flow: DatagramFlow, source: int, port: int) -> bool:
        """See `DatagramNat`."""
        return source << 16 | port in flow.destinations

    def open_socket(self, flow: DatagramFlow) -> DatagramSocket | None:
        """See `DatagramNat`."""
        return self.context.host.open_echo(flow)

    def room(self) -> int:
        """See `DatagramNat`."""
        return self._socket.room_for(MOST_AN_EVENT)

    def deliver(
        self, flow: DatagramFlow, datagrams: Sequence[Buffer], source: int, port: int, ttl: int
    ) -> bool:
        """See `DatagramNat`."""
        reply = self._socket.reply
        return all(reply(source, flow.guest, flow.guest_port, port, data, ttl=ttl) for data in datagrams)
