"""The gateway: what stands at 10.0.2.2, and the way out.

    Interface.ready() ──> owner.serve(now)     guest side: DHCP, DNS, and the three wildcard sockets that take all other traffic
    selector events  ──> owner.on_host(…)      host side: flows and DNS questions
    poll_at / on_time                          time-outs

Nothing of where a guest goes is logged (RFC 6888 REQ-12); who wants to know asks `flows()`, or writes a policy that notes it.

Every socket of the stack names its owner, which has `serve(now)`; so the gateway knows neither flows nor connections, only where
readiness goes. The loop around it calls `serve` after each batch of frames or host events, then lets the interface transmit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.admission import Admission
from usernat.nat.context import Context
from usernat.nat.destinations import Budget
from usernat.nat.dhcp import DhcpConfig, DhcpServer
from usernat.nat.dns import DnsConfig, DnsForwarder, host_resolvers
from usernat.nat.echo_flow import EchoNat
from usernat.nat.flows import FlowInfo, FlowTable
from usernat.nat.tcp_nat import TcpNat
from usernat.nat.udp_flow import UdpNat

if TYPE_CHECKING:
    from random import Random

    from usernat.nat.config import GatewayConfig
    from usernat.nat.host import Host
    from usernat.policy.decision import Policy
    from usernat.stack.interface import Interface

DESTINATIONS = 65536  # that all UDP mappings and echo bindings together remember


class Gateway:
    """One gateway on one interface, which has `any_ip` set and the addresses of `GatewayConfig.addresses`. Times in µs."""

    def __init__(
        self, interface: Interface, host: Host, config: GatewayConfig, policy: Policy, rng: Random, now: int
    ) -> None:
        """host: stays its owner's. rng: draws DNS ids, so it must be unpredictable outside of tests (RFC 5452 §9.2-c)."""
        self.started = now
        self._interface = interface
        self._table = FlowTable(config.limits)
        self._admission = Admission(config, policy)
        self._budget = Budget(DESTINATIONS)
        context = Context(interface, host, config, self._table, self._admission)
        self._tcp = TcpNat(context)
        self._udp = UdpNat(context, self._budget)
        self._echo = EchoNat(context, self._budget)
        self.dhcp = DhcpServer(interface.udp, dhcp_config(config))
        resolvers = config.resolvers or tuple(host_resolvers())
        self.dns = DnsForwarder(
            interface.udp, interface.tcp, host, DnsConfig(address=config.dns, resolvers=resolvers), rng
        )

    def serve(self, now: int) -> None:
        """Lets the owners of all sockets of the stack that have become ready do what there is to do."""
        for socket in self._interface.ready():
            owner = socket.owner
            if owner is not None:
                owner.serve(now)

    def poll_at(self) -> int | None:
        """When `on_time` is due, None for never."""
        due = [self._table.deadlines.next(), self.dhcp.poll_at(), self.dns.poll_at()]
        return min((when for when in due if when is not None), default=None)

    def on_time(self, now: int) -> None:
        """Does all that is due by now."""
        self._table.expire(now)
        self.dhcp.on_time(now)
        self.dns.on_time(now)

    def close(self) -> None:
        """The guest is gone (C27): every flow ends, every host socket is closed, nothing is taken any more."""
        self._table.abandon()
        for part in (self._tcp, self._udp, self._echo, self.dhcp, self.dns):
            part.close()

    def flows(self) -> list[FlowInfo]:
        """What lives now, oldest first (RFC 6888 REQ-10)."""
        return self._table.snapshot()

    def counters(self) -> dict[str, int]:
        """Everything counted in nat, by name."""
        parts = {
            "flows.": self._table.counters,
            "admission.": self._admission.counters,
            "nat.tcp.": self._tcp.counters,
            "nat.udp.": self._udp.counters,
            "nat.echo.": self._echo.counters,
            "dhcp.": self.dhcp.counters,
            "dns.": self.dns.counters,
        }
        merged = {"flows.open": len(self._table), "nat.destinations_forgotten": self._budget.forgotten}
        for prefix, counters in parts.items():
            merged.update(counters.as_dict(prefix))
        return merged


def dhcp_config(config: GatewayConfig) -> DhcpConfig:
    """What the DHCP server tells the guests of this gateway."""
    return DhcpConfig(
        server=config.gateway,
        prefix=config.prefix,
        first=config.lease_first,
        last=config.lease_last,
        dns=config.guest_dns or (config.dns,),
        mtu=config.mtu,
        boot_file=config.boot_file,
        lease_s=config.lease_s,
    )
