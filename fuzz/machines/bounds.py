"""The caps that every table keeps, and the sums that must come out, whatever a guest sends."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from usernat.stack.interface import OUTGOING_LIMIT, Interface
from usernat.stack.l4.tcp.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from usernat.fuzz.machines.world import World

KINDS = {1: "echo", 6: "tcp", 17: "udp"}
DNS_SOCKETS = 4 * 256  # the tries of all outstanding questions, and connections to the resolvers
Row = tuple[str, int, int]  # a table, its size, its cap


def check_bounds(world: World) -> None:
    """AssertionError where a table is above its cap."""
    for name, size, cap in (*_stack_rows(world), *_flow_rows(world)):
        assert 0 <= size <= cap, f"{name}: {size} entries, {cap} allowed"


def _stack_rows(world: World) -> Iterator[Row]:
    interface, bounds = world.interface, world.bounds
    tcp, ethernet, reassembly = interface.tcp, interface.ethernet, interface.ipv4.reassembly
    yield "tcp.table", len(tcp.table) - len(tcp.time_wait), bounds.tcp.max_connections
    yield "tcp.half_open", len(tcp.half_open), bounds.tcp.max_half_open
    yield "tcp.time_wait", len(tcp.time_wait), bounds.tcp.max_time_wait
    neighbours = bounds.neighbours
    yield "neighbours", len(ethernet.neighbours), neighbours.capacity + neighbours.questions
    yield "ethernet.outgoing", len(ethernet.outgoing), OUTGOING_LIMIT
    yield "reassembly", len(reassembly), bounds.datagrams
    yield "reassembly.bytes", reassembly.bytes, bounds.datagram_bytes


def _flow_rows(world: World) -> Iterator[Row]:
    limits = world.bounds.limits
    caps = {"tcp": limits.tcp, "udp": limits.udp, "echo": limits.echo}
    everything = world.gateway.flows()
    flows = [info for info in everything if not info.inbound]
    published = world.gateway.counters()["forwards.published"]
    yield "flows", len(flows), limits.total
    yield "forwarded", len(everything) - len(flows), limits.forwarded_tcp + limits.forwarded_udp
    forwards = published + world.forwards_closed  # what one has accepted goes on when it is closed
    yield "calling", sum(info.state == "calling" for info in everything), forwards * limits.forward_opening
    yield "host sockets", len(world.host.sockets), len(everything) + published + DNS_SOCKETS
    for (guest, protocol), count in Counter((info.guest, info.protocol) for info in flows).items():
        yield f"{KINDS[protocol]} flows of {guest:#x}", count, caps[KINDS[protocol]]
    opening = Counter(info.guest for info in flows if info.state in ("connecting", "opening"))
    for guest, count in opening.items():
        yield f"opening flows of {guest:#x}", count, limits.tcp_opening
    leases = world.gateway.dhcp.leases
    yield "dhcp leases", len(leases), len(leases.pool)


def check_memory(interface: Interface, aside: Iterable[Connection] = ()) -> None:
    """The budget counts what the queues hold. aside: connections that are out of the table and may have unread data.

    Where `aside` is not all of them, the budget may only be larger.
    """
    tcp = interface.tcp
    standing = {entry for entry in tcp.table.values() if isinstance(entry, Connection)}
    held = sum(map(_held, standing.union(aside)))
    assert held <= tcp.memory.used, f"TCP holds {held} bytes and counts {tcp.memory.used}"


def check_memory_exactly(interface: Interface, aside: Iterable[Connection]) -> None:
    """`aside` is all of them, so the sum is exact."""
    check_memory(interface, aside)
    held = sum(map(_held, set(aside)))
    assert held == interface.tcp.memory.used, f"TCP holds {held} bytes and counts {interface.tcp.memory.used}"


def _held(connection: Connection) -> int:
    rcv = connection.rcv
    ahead = 0 if rcv.reassembly is None else len(rcv.reassembly)
    return len(connection.snd.queue) + rcv.queue.size + ahead


class OnlyGrowing:
    """Counters never go back."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def check(self, counters: dict[str, int]) -> None:
        """AssertionError naming those that did."""
        shrunk = [name for name, value in self._last.items() if counters[name] < value]
        assert not shrunk, f"counters went back: {shrunk}"
        self._last = counters


def check_empty(world: World) -> None:
    """After the end of everything and all time-outs: no table holds anything on account of the guest."""
    for name, interface in (("guest", world.guest), ("gateway", world.interface)):
        tcp = interface.tcp
        assert not tcp.table, f"{name}: TCP still has {list(tcp.table.values())}"
        assert not tcp.half_open, f"{name}: half-open calls are left"
        assert not tcp.time_wait, f"{name}: TIME-WAIT records are left"
        assert not tcp.pending, f"{name}: TCP still has something to send"
        assert tcp.memory.used == 0, f"{name}: TCP still counts {tcp.memory.used} bytes"
        assert len(interface.ipv4.reassembly) == interface.ipv4.reassembly.bytes == 0, (
            f"{name}: fragments are left"
        )
        assert not interface.udp.pending, f"{name}: UDP still has something to send"
        assert not interface.ethernet.outgoing, f"{name}: frames are left"
    assert not world.gateway.flows(), f"flows are left: {world.gateway.flows()}"
    assert not world.host.sockets, f"sockets of the host are left: {list(world.host.sockets)}"
