"""UDP through the gateway: every guest endpoint has one host socket, whatever it sends to (RFC 4787 REQ-1).

Who may answer is a choice of the gateway (RFC 4787 REQ-8): by default the addresses that the guest has sent to from that endpoint,
from any port of theirs (address-dependent filtering); with `endpoint-independent`, anyone. TCP from the same guest port is another mapping
with a filter of its own (RFC 7857 §5-a, §6-a). Accepted answers keep the mapping alive, as what the guest sends does (RFC 4787 REQ-6,
REQ-6a); what is filtered does not. Payloads are never looked into (REQ-10).

A guest that sends to an address of the host and the port of another guest's mapping reaches that guest by the host's own loopback path, and
from the address and port that the world would see (RFC 4787 REQ-9, REQ-9a). `hairpin.py` has the way back for errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.config import ENDPOINT_INDEPENDENT
from usernat.nat.context import microseconds
from usernat.nat.datagrams import DatagramNat
from usernat.nat.hairpin import Hairpin
from usernat.nat.host_end import LARGEST, MOST_AN_EVENT, alike
from usernat.policy.decision import UDP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.context import Context
    from usernat.nat.datagram_flow import DatagramFlow
    from usernat.nat.destinations import Budget
    from usernat.nat.host_sockets import DatagramSocket
    from usernat.stack.device import Buffer
    from usernat.stack.l3.icmp_message import IcmpError

DNS_PORT = 53


class UdpNat(DatagramNat):
    """All UDP mappings."""

    protocol = UDP
    replies_refresh = True

    def __init__(self, context: Context, budget: Budget) -> None:
        config = context.config
        super().__init__(context, budget, config.limits.udp_destinations)
        self._timeout_us = microseconds(config.timeouts.udp)
        self._dns_timeout_us = microseconds(config.timeouts.udp_dns)
        self._anyone = config.udp_filtering == ENDPOINT_INDEPENDENT
        self._hairpin = Hairpin()
        self._socket = context.interface.udp.bind(None, None)
        self._socket.owner = self

    def serve(self, now: int) -> None:
        """Takes what guests have sent, and goes on reading for them if it had to stop."""
        for datagrams in alike(self._socket):
            self.handle_all(datagrams, now)
        self.take_errors(self._socket)
        if self._paused and self.room() >= LARGEST:
            self.resume()

    def close(self) -> None:
        """Takes nothing from guests any more."""
        self.closed = True
        self._socket.close()

    def decided(self, flow: DatagramFlow, destination: int, port: int) -> bool:
        """See `DatagramNat`."""
        return destination << 16 | port in flow.destinations

    def account(self, address: int, port: int) -> int:
        """See `DatagramNat`."""
        return address << 16 | port

    def policy_port(self, port: int) -> int:
        """See `DatagramNat`."""
        return port

    def timeout_for(self, port: int) -> int:
        """See `DatagramNat`. RFC 4787 REQ-5a: a mapping is as short-lived as a DNS query while it carries nothing else."""
        return self._dns_timeout_us if port == DNS_PORT else self._timeout_us

    def permits(self, flow: DatagramFlow, source: int, port: int) -> bool:
        """See `DatagramNat`. RFC 4787 REQ-8; port 0 means "no reply" (RFC 768), and a guest could not tell it from none."""
        return port != 0 and (self._anyone or flow.destinations.permits(source))

    def open_socket(self, flow: DatagramFlow) -> DatagramSocket:
        """See `DatagramNat`."""
        sock = self.context.host.open_udp(flow)
        self._hairpin.opened(flow)
        return sock

    def forget(self, flow: DatagramFlow) -> None:
        """See `DatagramNat`."""
        self._hairpin.closed(flow)
        super().forget(flow)

    def hairpinned(self, error: IcmpError) -> bool:
        """See `DatagramNat`."""
        flow = self._flows.get(error.dst << 16 | int.from_bytes(error.payload[2:4], "big"))
        return flow is not None and self._hairpin.pass_on(self.context, flow, error)

    def room(self) -> int:
        """See `DatagramNat`."""
        return self._socket.room_for(MOST_AN_EVENT)

    def deliver(
        self, flow: DatagramFlow, datagrams: Sequence[Buffer], source: int, port: int, ttl: int
    ) -> bool:
        """See `DatagramNat`."""
        return self._socket.send_all(
            datagrams, flow.guest, flow.guest_port, src=source, src_port=port, ttl=ttl
        )
