"""A guest, a gateway and a scripted host on one virtual clock.

The guest is our own stack on the other end of `tests.sim.wire.Wire`; the gateway's side of the wire is the interface, the `Gateway` and the `FakeHost`
together, run as the face's loop runs them. A loop that never comes to rest at one moment is a failure here.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.wire import MS, SECOND, Clock, Faults, Wire
from usernat.fuzz.fakehost import FakeHost
from usernat.nat.config import GatewayConfig
from usernat.nat.gateway import Gateway, Hooks
from usernat.policy import NetworkPolicy, Policy
from usernat.stack.addr import parse_ip
from usernat.stack.device import Capabilities, Frame
from usernat.stack.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Callable

GUEST, SECOND_GUEST = parse_ip("10.0.2.15"), parse_ip("10.0.2.16")
GATEWAY, NAMESERVER, FREE = parse_ip("10.0.2.2"), parse_ip("10.0.2.3"), parse_ip("10.0.2.99")
SERVER, OTHER, ROUTER = parse_ip("203.0.113.7"), parse_ip("203.0.113.8"), parse_ip("198.51.100.1")
LOOPBACK = parse_ip("127.0.0.1")
GUEST_MAC, GATEWAY_MAC = b"\x02\0\0\0\0\x15", b"\x02\0\0\0\0\x02"
TURNS = 10_000  # of one moment: more is a busy loop

__all__ = ["MS", "SECOND", "Faults", "Lab"]


class GatewaySide:
    """What the wire takes for an interface."""

    def __init__(self, interface: Interface, gateway: Gateway, host: FakeHost) -> None:
        self.interface = interface
        self.gateway = gateway
        self.host = host

    def receive(self, frame: bytes, now: int, checksum_ok: bool = False) -> None:
        self.host.now = now
        self.interface.receive(frame, now, checksum_ok)

    def transmit(self, now: int) -> list[Frame]:
        self._rest(now)
        return self.interface.transmit(now)

    def poll_at(self) -> int | None:
        due = (self.interface.poll_at(), self.gateway.poll_at(), self.host.poll_at())
        return min((at for at in due if at is not None), default=None)

    def on_time(self, now: int) -> None:
        self.host.now = now
        self.interface.on_time(now)
        self.gateway.on_time(now)
        self._rest(now)

    def _rest(self, now: int) -> None:
        self.gateway.serve(now)
        turns = 0
        while self.host.run(now):
            self.gateway.serve(now)
            turns += 1
            assert turns < TURNS, "the loop does not come to rest"


class Lab:
    """The whole; keyword options beyond those named here are of `GatewayConfig`."""

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        seed: int = 1,
        host: dict[str, Any] | None = None,
        faults: Faults | None = None,
        capabilities: Capabilities | None = None,
        lose: Callable[[bytes, bool], bool] | None = None,
        hooks: Hooks | None = None,
        **config: Any,
    ) -> None:
        rng = Random(seed)
        self.clock = Clock(SECOND)
        capabilities = capabilities or Capabilities()
        self.config = GatewayConfig(**{"resolvers": ((SERVER, 53),), **config})
        self.guest = Interface(
            mac=GUEST_MAC,
            capabilities=capabilities,
            rng=Random(seed + 1),
            now=SECOND,
            addresses=((GUEST, 24), (SECOND_GUEST, 24)),
            gateways=(GATEWAY,),
        )
        self.interface = Interface(
            mac=GATEWAY_MAC,
            capabilities=capabilities,
            rng=Random(seed + 2),
            now=SECOND,
            addresses=self.config.addresses,
            any_ip=True,
        )
        # A test counts errors, and sets its own limit if that is meant.
        self.interface.icmp.errors.limit(100_000, 100_000, SECOND)
        self.host = FakeHost(rng, **(host or {}))
        self.gateway = Gateway(
            self.interface,
            self.host,
            self.config,
            policy or NetworkPolicy.allow_all(),
            Random(seed + 3),
            SECOND,
            hooks=hooks,
        )
        side: Any = GatewaySide(self.interface, self.gateway, self.host)
        self.wire = Wire(self.guest, side, self.clock, faults=faults, rng=Random(seed + 4), lose=lose)

    def run(self, duration: int = SECOND, stop: Callable[[], bool] | None = None) -> bool:
        """Virtual µs, or until `stop()`."""
        return self.wire.run_for(duration, stop)

    def count(self, name: str) -> int:
        """One counter of the gateway's."""
        return self.gateway.counters()[name]
