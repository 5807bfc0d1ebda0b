"""The gateway: what stands at 10.0.2.2, and the way out.

    Interface.ready() ──> owner.serve(now)     guest side: DHCP, DNS, and the three wildcard sockets that take all other traffic
    selector events  ──> owner.on_host(…)      host side: flows and DNS questions
    poll_at / on_time                          time-outs

Nothing of where a guest goes is logged (RFC 6888 REQ-12); who wants to know asks `flows()`, or writes a policy that notes it.

Every socket of the stack names its owner, which has `serve(now)`; so the gateway knows neither flows nor connections, only where
readiness goes. The loop around it calls `serve` after each batch of frames or host events, then lets the interface transmit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat.admission import Admission
from usernat.nat.asking import Asker
from usernat.nat.audit import Audit
from usernat.nat.context import Context, microseconds
from usernat.nat.destinations import Budget
from usernat.nat.dhcp import DhcpConfig, DhcpServer
from usernat.nat.dns import DnsConfig, DnsForwarder, host_resolvers
from usernat.nat.dns.screening import Screening
from usernat.nat.echo_flow import EchoNat
from usernat.nat.flows import FlowInfo, FlowTable
from usernat.nat.forwards import Forwards, Published
from usernat.nat.names import NameTable
from usernat.nat.quota import Quota
from usernat.nat.source_guard import SourceGuard
from usernat.nat.tcp_nat import TcpNat
from usernat.nat.udp_flow import UdpNat
from usernat.stack.deadlines import earliest

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from usernat.nat.asking import Question
    from usernat.nat.audit import Record
    from usernat.nat.config import GatewayConfig
    from usernat.nat.forward import Forward
    from usernat.nat.host import Host
    from usernat.policy.decision import Policy
    from usernat.stack.interface import Interface

DESTINATIONS = 65536  # that all UDP mappings and echo bindings together remember


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an embedder hears of, and is asked. All are called in the gateway's thread, and must neither raise nor wait.

    audit: of each decision, and of the end of each allowed flow. ask: to decide where a rule says `ask`; None: nobody is there, and the answer is no.
    wake: has the loop call `Gateway.serve` soon; from any thread.
    """

    audit: Callable[[Record], None] | None = None
    ask: Callable[[Question], None] | None = None
    wake: Callable[[], None] = lambda: None


class Gateway:
    """One gateway on one interface, which has `any_ip` set and the addresses of `GatewayConfig.addresses`. Times in µs."""

    def __init__(
        self,
        interface: Interface,
        host: Host,
        config: GatewayConfig,
        policy: Policy,
        rng: Random,
        now: int,
        *,
        hooks: Hooks | None = None,
    ) -> None:
        """host: stays its owner's. rng: draws DNS ids, so it must be unpredictable outside of tests (RFC 5452 §9.2-c)."""
        hooks = hooks or Hooks()
        self.started = now
        self._config = config
        self._interface = interface
        self._quota = Quota(policy.limits, now)
        self._table = FlowTable(config.limits, self._quota)
        self.names = NameTable()
        self._asker = Asker(hooks.ask, hooks.wake, microseconds(config.timeouts.ask), now)
        audit = self._audit = Audit(hooks.audit, now)
        self._admission = Admission(config, policy, audit, self.names.names, host.is_own)
        self._budget = Budget(DESTINATIONS)
        context = Context(
            interface, host, config, self._table, self._admission, self._asker, audit, self._quota
        )
        self._tcp = TcpNat(context)
        self._udp = UdpNat(context, self._budget)
        self._echo = EchoNat(context, self._budget)
        self.dhcp = DhcpServer(interface.udp, dhcp_config(config))
        self._forwards = Forwards(context, self._udp, self._published_guest, now)
        self._screening = Screening(
            policy_of=lambda: self._admission.policy,
            names=self.names,
            is_own=host.is_own,
            audit=audit.decided,
            ask=self._asker.ask,
            used_up=lambda: self._quota.exhausted,
        )
        if config.anti_spoof:
            interface.validate_sources(SourceGuard(self.dhcp.leases, config.static, self.names.forget))
        resolvers = config.resolvers or tuple(host_resolvers())
        self.dns = DnsForwarder(
            interface.udp,
            interface.tcp,
            host,
            DnsConfig(address=config.dns, resolvers=resolvers),
            rng,
            screen=self._screening,
        )
        timed = (self._forwards, self._asker, self._quota, self.dhcp, self.dns)
        self._polls = (self._table.deadlines.next, *(part.poll_at for part in timed))

    @property
    def policy(self) -> Policy:
        """Decides what is new; what was decided before stays as it is (C34). May be set at any time."""
        return self._admission.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._admission.policy = policy
        if policy.limits != self._quota.limits:
            self._quota.set(policy.limits, self._audit.now)

    def serve(self, now: int) -> None:
        """Lets the owners of all sockets of the stack that have become ready do what there is to do, and flows what was asked for them."""
        self._audit.now = now
        self._asker.serve(now)
        self._quota.end_if_exhausted(self.end_flows)
        for socket in self._interface.ready():
            owner = socket.owner
            if owner is not None:
                owner.serve(now)

    def poll_at(self) -> int | None:
        """When `on_time` is due, None for never."""
        return earliest(self._polls)

    def on_time(self, now: int) -> None:
        """Does all that is due by now."""
        self._audit.now = now
        self._table.expire(now)
        self._forwards.on_time(now)
        self._asker.on_time(now)
        self._quota.on_time(now)
        self.dhcp.on_time(now)
        self.dns.on_time(now)

    def close(self) -> None:
        """The guest is gone (C27): every flow ends, every host socket is closed, nothing is taken any more."""
        self._asker.close()
        self.end_flows()
        for part in (self._forwards, self._tcp, self._udp, self._echo, self.dhcp, self.dns):
            part.close()

    def publish(self, forward: Forward) -> Published:
        """Begins a forward, whose `close` ends it. The policy has no say in it. Raises HostError."""
        return self._forwards.publish(forward)

    def _published_guest(self) -> int:
        """Where forwards lead: to the guest that has used its address for longest, or to where one without a lease would be."""
        return self.dhcp.leases.first() or self._config.lease_first

    def end_flows(self) -> None:
        """Ends every flow at once; what the guest opens next is decided anew."""
        self._table.abandon()
        self._forwards.abandon()

    def flows(self) -> list[FlowInfo]:
        """What lives now (RFC 6888 REQ-10): what guests have opened, then what has come in by forwards, the oldest of each first."""
        return self._table.snapshot() + self._forwards.flows()

    def counters(self) -> dict[str, int]:
        """Everything counted in nat, by name."""
        parts = {
            "flows.": self._table.counters,
            "admission.": self._admission.counters,
            "audit.": self._audit.counters,
            "asking.": self._asker.counters,
            "dns.screening.": self._screening.counters,
            "names.": self.names.counters,
            "quota.": self._quota.counters,
            "nat.tcp.": self._tcp.counters,
            "nat.udp.": self._udp.counters,
            "nat.echo.": self._echo.counters,
            "dhcp.": self.dhcp.counters,
            "dns.": self.dns.counters,
        }
        merged = {"flows.open": len(self._table), "nat.destinations_forgotten": self._budget.forgotten}
        merged.update(self._forwards.counters())
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
        bound_to_mac=config.anti_spoof,
        lease_s=config.lease_s,
    )
