"""A guest, a gateway and a scripted host on one virtual clock, moved on by `poll_at` alone and judged while they move.

    guest Interface ══ two lanes of a cable ══ gateway Interface ── Gateway ── FakeHost

`run` is the loop of `usernat.usernat` without I/O. On its way it holds every part to the promises of sans-I/O code; what it raises is an AssertionError:

* after `on_time(t)`, `poll_at` is None or later than t;
* nothing was due before `poll_at`: now and then the parts are called a moment early, and then nothing may happen;
* the loop comes to rest at every moment, and does not wake up without end;
* every frame that either side emits is well formed (`frame_check.py`), also when a device has to complete it (`offload.py`);
* a run of datagrams that the guest's device leaves whole is cut by the gateway's link as any device would;
* of the datagrams of UDP none is made up, goes twice or to somebody else (`ledger.py`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from usernat.fuzz.machines.cable import Crossing, Lane
from usernat.fuzz.machines.frame_check import FrameChecker, demand
from usernat.fuzz.machines.ledger import DatagramLedger
from usernat.fuzz.machines.offload import NOTHING, UDP_CHECKSUM, capabilities, is_run, on_the_wire
from usernat.fuzz.machines.run_sockets import RunHost
from usernat.fuzz.strategies.scene import SCENE, Scene
from usernat.guest.dhcp_client import BOUND, DhcpClient
from usernat.links.datagram_cut import cut
from usernat.nat.config import GatewayConfig, Limits
from usernat.nat.gateway import Gateway
from usernat.policy import NetworkPolicy
from usernat.stack.addr import LIMITED_BROADCAST, is_loopback, is_unicast
from usernat.stack.interface import NEIGHBOURS, Interface
from usernat.stack.l3.reassembly import Reassembly
from usernat.stack.l4.tcp.config import TcpConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.stack.device import Frame
    from usernat.stack.l2.neighbour import NeighbourConfig

MS, SECOND, MINUTE, HOUR = 1_000, 1_000_000, 60_000_000, 3_600_000_000
START = SECOND
RESOLVER = (0xC6336435, 53)  # 198.51.100.53
ROUNDS = 2_000  # at one moment: more is a busy loop
WAKEUPS, WAKEUPS_A_SECOND = 20_000, 100  # of one `run`: more is a loop that never sleeps
EARLY_CHECKS = 8  # one in so many waits is interrupted a moment before its end
DHCP_US = 30 * SECOND
KEPT = 64  # of the guest's frames, to be replayed


@dataclass(frozen=True, slots=True)
class Bounds:
    """The caps of the gateway's tables. The defaults are the product's; `TIGHT` ones are met within a few frames."""

    limits: Limits = field(default_factory=Limits)
    tcp: TcpConfig = field(default_factory=TcpConfig)
    neighbours: NeighbourConfig = NEIGHBOURS
    datagrams: int = 1024  # being reassembled
    datagram_bytes: int = 4 << 20


TIGHT = Bounds(
    Limits(
        tcp=8,
        tcp_opening=3,
        udp=3,
        echo=2,
        total=12,
        new_per_second=20,
        udp_destinations=2,
        echo_pending=2,
        forwarded_tcp=3,
        forwarded_udp=2,
        forward_opening=2,
    ),
    TcpConfig(memory=1 << 16, max_connections=8, max_half_open=2, max_time_wait=1, resets_per_second=20),
    replace(NEIGHBOURS, capacity=4, questions=2, waiting_each=8, waiting_all=8),
    4,
    8192,
)


class Timed(Protocol):
    """What has a deadline."""

    def poll_at(self) -> int | None:
        """When, in µs."""

    def on_time(self, now: int) -> None:
        """It may have come."""


class Counting(Timed, Protocol):
    """What has counters besides."""

    def counters(self) -> dict[str, int]:
        """By name."""


class World:
    """See above. Times in µs. The guest has its lease when the constructor returns.

    forwards_closed: how many there were that are no more. seed: of all chance. mtu: bytes, of both ends. offload: what both devices take over, one of OFFLOADS. host_runs: the host's
    sockets take and bring many datagrams at once. bounds: of the gateway's tables.
    budget: frames that the gateway's link takes per call; 0 while it takes none.
    said: the guest's latest frames. timed: what the loop serves for the guest besides its interface.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        mtu: int = 1500,
        offload: str = NOTHING,
        host_runs: bool = False,
        bounds: Bounds | None = None,
        lease_s: int = 86_400,
        scene: Scene = SCENE,
    ) -> None:
        self.rng = Random(seed)  # noqa: S311 - to be repeated
        self.now = START
        self.mtu = mtu
        self.bounds = bounds or Bounds()
        self.scene = scene
        self.budget, self.closed = 64, False
        self.said: deque[bytes] = deque(maxlen=KEPT)
        self.timed: list[Timed] = []
        device = capabilities(mtu, offload)
        self.config = GatewayConfig(
            gateway=scene.gateway,
            dns=scene.services[0],
            network=scene.network,
            prefix=scene.prefix,
            lease_first=scene.guest,
            lease_last=scene.guest + 15,
            lease_s=lease_s,
            mtu=mtu,
            resolvers=(RESOLVER,),
            limits=self.bounds.limits,
        )
        self.guest = Interface(mac=scene.guest_mac, capabilities=device, rng=self._dice(), now=self.now)
        self.interface = Interface(
            mac=scene.gateway_mac,
            capabilities=device,
            rng=self._dice(),
            now=self.now,
            addresses=self.config.addresses,
            any_ip=True,
            tcp=self.bounds.tcp,
            neighbours=self.bounds.neighbours,
            reassembly=Reassembly(max_datagrams=self.bounds.datagrams, max_bytes=self.bounds.datagram_bytes),
        )
        self.ledger = DatagramLedger(scene.gateway)
        self.host = RunHost(self._dice(), self.ledger, runs=host_runs)
        self.forwards_closed = 0
        self.host.now = self.now
        policy = NetworkPolicy.allow_all()
        self.gateway = Gateway(self.interface, self.host, self.config, policy, self._dice(), self.now)
        self.to_guest, self.to_gateway = Lane(self._dice()), Lane(self._dice())
        self._parts: tuple[Counting, ...] = (self.guest, self.interface, self.gateway)
        self._gateway_says = FrameChecker(
            mac=scene.gateway_mac,
            mtu=mtu,
            from_ok=self._gateway_may_be,
            to_ok=self._gateway_may_reach,
            told=self.ledger.emitted,
        )
        self._guest_says = FrameChecker(
            mac=scene.guest_mac,
            mtu=mtu,
            from_ok=lambda address: address in (0, scene.guest),
            to_ok=lambda address: is_unicast(address) or address == LIMITED_BROADCAST,
        )
        self.dhcp = DhcpClient(self.guest, scene.guest_mac, self._dice())
        self._lease_an_address()

    def _lease_an_address(self) -> None:
        self.timed.append(self.dhcp)
        self.dhcp.start(self.now)
        self.run(DHCP_US, stop=lambda: self.dhcp.state == BOUND)
        assert self.dhcp.state == BOUND, "the guest gets no lease"

    # -- time ---------------------------------------------------------------------------------------------------------

    def run(self, duration: int, stop: Callable[[], bool] | None = None) -> bool:
        """Let µs pass, or less where `stop()` comes true at a moment of rest. Says whether it did."""
        until = self.now + duration
        wakeups = WAKEUPS + WAKEUPS_A_SECOND * (duration // SECOND)
        self.settle()
        while not (stop is not None and stop()):
            due = self._next()
            if due is None or due > until:
                self.now = until
                return False
            if due > self.now + 1 and not self.rng.randrange(EARLY_CHECKS):
                self._come_early(due - 1)
            self.now = max(self.now, due)
            self.settle()
            wakeups -= 1
            assert wakeups, "the loop wakes up without end"
        return True

    def settle(self) -> None:
        """Do all that there is to do at this moment."""
        for _ in range(ROUNDS):
            if not self._round():
                return
        raise AssertionError("the loop does not come to rest")

    @property
    def leased(self) -> bool:
        """Whether the guest has the address that it was given first."""
        return self.dhcp.lease is not None and self.dhcp.lease.address == self.scene.guest

    def inject(self, frame: bytes) -> None:
        """A frame of the guest's that its stack knows nothing of."""
        self.host.now = self.now
        self._enters(frame, vouched=False)

    def inject_run(self, frame: bytes, size: int) -> None:
        """The same, as a run of datagrams of so many bytes, by which the guest's kernel vouches for all checksums."""
        self.host.now = self.now
        for piece in cut(frame, size) or ():
            self._enters(piece, vouched=True)

    def counters(self) -> dict[str, int]:
        """Of all parts, by name; gauges left out."""
        merged = {f"guest.{name}": value for name, value in self.guest.counters().items()}
        merged |= self.interface.counters() | self.gateway.counters()
        for gauge in ("flows.open", "forwards.open", "forwards.published"):
            del merged[gauge]
        return merged

    def close(self) -> None:
        """The guest is gone: the gateway closes, and must leave nothing."""
        self.gateway.close()
        self.closed = True
        assert not self.host.sockets, "sockets of the host are left"
        assert self.host.record.opened == self.host.record.closed
        assert not self.gateway.flows(), "flows are left"
        assert self.gateway.poll_at() is None, "a closed gateway waits for something"

    def _next(self) -> int | None:
        times = (
            self.to_guest.poll_at(),
            self.to_gateway.poll_at(),
            self.host.poll_at(),
            *(part.poll_at() for part in self._parts),
            *(part.poll_at() for part in self.timed),
        )
        return min((at for at in times if at is not None), default=None)

    def _round(self) -> bool:
        """One turn of the loop. Whether anything moved."""
        now = self.host.now = self.now
        busy = False
        for crossing in self.to_gateway.take(now):
            self._arrives(crossing)
            busy = True
        for crossing in self.to_guest.take(now):
            self.guest.receive(crossing.data, now)
            busy = True
        busy |= self.host.run(now)
        for part in (*self._parts, *self.timed):
            busy |= self._meet(part)
        for socket in self.guest.ready():
            if socket.owner is not None:
                socket.owner.serve(now)
        for frame in self._emit(self.guest, 64):
            self._from_guest(frame)
            busy = True
        self.gateway.serve(now)
        for frame in self._emit(self.interface, self.budget):
            for data in on_the_wire(frame):
                self._gateway_says.check(data)
                self.to_guest.send(Crossing(data), now)
            busy = True
        return busy

    def _meet(self, part: Timed) -> bool:
        due = part.poll_at()
        if due is None or due > self.now:
            return False
        part.on_time(self.now)
        after = part.poll_at()
        assert after is None or after > self.now, (
            f"{part!r} is still due at {after} after on_time({self.now})"
        )
        return True

    def _come_early(self, moment: int) -> None:
        """Nothing is due yet, so a call changes nothing."""
        self.now = moment
        for part in self._parts:
            before = part.poll_at(), part.counters()
            part.on_time(moment)
            assert (part.poll_at(), part.counters()) == before, f"{part!r} had something to do before poll_at"
        assert not self.guest.transmit(moment), "the guest's stack had something to send before poll_at"
        if self.budget:
            assert not self.interface.transmit(moment), "the gateway had something to send before poll_at"

    def _emit(self, side: Interface, budget: int) -> list[Frame]:
        frames: list[Frame] = side.transmit(self.now, budget) if budget else []
        assert len(frames) <= budget, "more frames than the link takes"
        return frames

    def _from_guest(self, frame: Frame) -> None:
        """Judged piece by piece. A run goes on whole, and the gateway's link makes the same pieces of it."""
        pieces = on_the_wire(frame)
        for data in pieces:
            self._guest_says.check(data)
            self.said.append(data)
            if not is_run(frame):
                self.to_gateway.send(Crossing(data), self.now)
        if is_run(frame):
            whole, checksum = bytes(frame), frame.csum_start + UDP_CHECKSUM
            made = [_without(piece, checksum) for piece in cut(whole, frame.gso_size) or ()]
            demand(made == [_without(piece, checksum) for piece in pieces], "a run that is cut otherwise")
            self.to_gateway.send(Crossing(whole, frame.gso_size), self.now)

    def _arrives(self, crossing: Crossing) -> None:
        """At the gateway's link."""
        if not crossing.run_of:
            self._enters(crossing.data, vouched=False)
        for piece in cut(crossing.data, crossing.run_of) or ():
            self._enters(piece, vouched=True)

    def _enters(self, frame: bytes, *, vouched: bool) -> None:
        """The gateway's interface takes it."""
        self.ledger.entered(frame, vouched=vouched)
        self.interface.receive(frame, self.now, vouched)

    # -- who may speak ------------------------------------------------------------------------------------------------

    def _gateway_may_be(self, address: int) -> bool:
        """Its own addresses, and those of hosts beyond it, in whose name it answers."""
        if address in (self.config.gateway, self.config.dns):
            return True
        return is_unicast(address) and not is_loopback(address) and not self.config.on_link(address)

    def _gateway_may_reach(self, address: int) -> bool:
        return address == LIMITED_BROADCAST or self.config.is_guest(address)

    def _dice(self) -> Any:
        return Random(self.rng.getrandbits(64))  # noqa: S311 - to be repeated


def _without(frame: bytes, checksum: int) -> bytes:
    """All but the two bytes there, which nobody reads where checksums are vouched for."""
    return frame[:checksum] + frame[checksum + 2 :]
