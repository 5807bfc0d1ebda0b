"""May this flow be opened, and where does it lead? Asked once per flow, before the host is touched.

The destination decides first. The gateway's own addresses serve what their sockets serve and are closed otherwise, except that
the gateway's address stands for the host's loopback where that is switched on; it is the only way there (whatever the policy says, a guest's
127/8 goes nowhere). Other addresses of the guest's network belong to nobody. Everything else is a question for the policy, which can switch
translation off for any destination and port (RFC 6888 REQ-6), with an answer or without (RFC 1812 §5.2.7.1-b, RFC 5508 REQ-9). A resolver or an
authoritative server beyond the gateway is a destination like all others, over UDP and TCP (RFC 5625 §3-b, RFC 9210 §3-d).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.policy.decision import FlowRequest
from usernat.stack.addr import is_loopback, is_unicast
from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from usernat.nat.config import GatewayConfig
    from usernat.policy.decision import Policy
    from usernat.stack.l3.packet import Packet

LOOPBACK = 0x7F000001

# Answers that are not an address
CLOSED = -1  # an address of the gateway at which nothing listens
DENIED = -2  # the policy says no
SILENT = -3  # no, and no answer is due
NOBODY = -4  # no host has this address


@dataclass(slots=True)
class AdmissionCounters(Counters):
    """Questions by their outcome."""

    allowed: int = 0
    denied: int = 0
    denied_silently: int = 0
    closed: int = 0  # to an address of the gateway at which nothing listens
    nobody: int = 0  # to an address of the guest's network that is not the gateway's
    bad_destination: int = 0  # broadcast, multicast, 0/8, 127/8, class E: never forwarded
    bad_source: int = 0  # not an address that a guest of this network may bear


class Admission:
    """Answers for one gateway."""

    def __init__(self, config: GatewayConfig, policy: Policy) -> None:
        self.counters = AdmissionCounters()
        self._config = config
        self._policy = policy

    def host_address(self, destination: int) -> int:
        """The host's address for what the guest calls `destination`."""
        return LOOPBACK if destination == self._config.gateway else destination

    def guest_address(self, address: int) -> int | None:
        """What the guest calls the host's `address`; None for one it may not see (C56: never 127/8).

        The host may have neighbours whose addresses lie in the guest's network: they must not pass for its gateway or nameserver.
        """
        if not is_loopback(address):
            return None if self._config.on_link(address) else address
        return self._config.gateway if address == LOOPBACK and self._config.host_loopback else None

    def ask(self, packet: Packet, port: int, guest_port: int) -> int:
        """The host's address that the flow of `packet` leads to, or one of CLOSED, DENIED, SILENT, NOBODY."""
        counters = self.counters
        destination = packet.dst
        if packet.broadcast or not is_unicast(destination) or is_loopback(destination):
            counters.bad_destination += 1
            return SILENT  # RFC 1812 §5.3.7-b
        if not self._config.is_guest(packet.src):
            counters.bad_source += 1
            return SILENT  # RFC 1812 §5.3.7-a, §5.3.8-a
        if self._config.on_link(destination) and (closed := self._own_network(destination)):
            return closed
        verdict = self._policy.decide(
            FlowRequest(packet.src, packet.link_source, packet.proto, destination, port, guest_port)
        )
        if verdict.allowed:
            counters.allowed += 1
            return self.host_address(destination)
        if verdict.silent:
            counters.denied_silently += 1
            return SILENT
        counters.denied += 1
        return DENIED

    def _own_network(self, destination: int) -> int:
        """CLOSED or NOBODY; 0 where the destination is the host's loopback."""
        if destination == self._config.gateway and self._config.host_loopback:
            return 0
        if destination in (self._config.gateway, self._config.dns):
            self.counters.closed += 1
            return CLOSED
        self.counters.nobody += 1
        return NOBODY
