"""Rules of the outside: ports of the host that lead to the guest, and clients who call, flood, leave and come back.

Nothing is promised to them but an end: each is answered or reset, and in the end nothing of it is left. What they do must not harm the guest's own
streams, which go on beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from usernat.fuzz.fakepeers import Source
from usernat.fuzz.machines.bursts import UDP_HEADERS, Bursts
from usernat.nat.forward import Forward
from usernat.policy.decision import TCP, UDP
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from usernat.fuzz.fakesockets import FakeTcp
    from usernat.fuzz.machines.world import World
    from usernat.nat.forwards import Published
    from usernat.stack.l4.tcp.connection import Connection

DOOR = parse_ip("192.0.2.1")  # the host's, where it publishes
ABROAD = parse_ip("198.51.100.99")
SERVED, CLOSED = 80, 81  # ports of the guest
MOST_CALLS = 40  # of clients of one rule, and datagrams of all of them
SPOKEN = 100_000  # bytes in a row of one client


class GuestServer:
    """The guest's: answers whatever a caller says, and ends when the caller does."""

    def __init__(self, listener: Any) -> None:
        self._listener = listener
        listener.owner = self

    def serve(self, _now: int) -> None:
        """Takes all that wait."""
        while (connection := self._listener.accept()) is not None:
            _Answering(connection)


class _Answering:
    """One connection of the server's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.owner = self
        self.serve(0)

    def serve(self, _now: int) -> None:
        """Sends back what has come."""
        connection = self._connection
        while connection.readable and connection.send_room:
            connection.send(connection.recv(connection.send_room))
        if connection.at_eof and not connection.readable:
            connection.close()


class GuestEcho:
    """The guest's, at a UDP port: says to a caller what it has said, and at once what came at once. Only what fits into a frame."""

    def __init__(self, world: World, port: int) -> None:
        self._world = world
        self._socket = world.guest.udp.bind(None, port)
        self._socket.owner = self

    def serve(self, _now: int) -> None:
        """Answers all that wait."""
        together: list[bytes] = []
        caller = 0, 0
        while (datagram := self._socket.recv()) is not None:
            if (datagram.src, datagram.src_port) != caller:
                self._answer(together, *caller)
                together, caller = [], (datagram.src, datagram.src_port)
            if len(datagram.data) <= self._world.mtu - UDP_HEADERS:
                together.append(bytes(datagram.data))
        self._answer(together, *caller)
        self._socket.errors.clear()

    def _answer(self, together: list[bytes], address: int, port: int) -> None:
        lease, own = self._world.dhcp.lease, self._socket.port
        if together and lease is not None and own is not None:
            self._socket.send_all(together, address, port, src=lease.address, src_port=own, ttl=64)


class Outside(Bursts):
    """See above."""

    def __init__(self) -> None:
        super().__init__()
        self._published: dict[tuple[int, int], Published] = {}  # by protocol and port of the guest
        self._clients: list[FakeTcp] = []

    @rule(protocol=st.sampled_from([TCP, UDP]), port=st.sampled_from([SERVED, CLOSED]))
    def publish_or_close(self, protocol: int, port: int) -> None:
        """A port of the host leads to the guest, or does no more."""
        published = self._published.pop((protocol, port), None)
        if published is not None:
            published.close()
            self.world.forwards_closed += 1
        else:
            self._publish(protocol, port)
        self.after()

    def _publish(self, protocol: int, port: int) -> None:
        world = self.world
        if not world.guest.tcp.listeners:
            GuestServer(world.guest.tcp.listen(None, SERVED))
            GuestEcho(world, SERVED)
        try:
            self._published[protocol, port] = world.gateway.publish(Forward(protocol, DOOR, port, port))
        except OSError:
            assert world.host.faults.descriptors

    @rule(count=st.integers(1, MOST_CALLS), data=st.binary(max_size=100), ends=st.booleans())
    def clients_call(self, count: int, data: bytes, ends: bool) -> None:
        """They connect, say something, and may have ended their side already."""
        for number in range(count):
            for protocol, port in self._published:
                if protocol == TCP:
                    peer = Source(data, linger=not ends)
                    stream = self.world.host.call(DOOR, port, peer, (ABROAD, 1 + number))
                    if stream is not None:
                        self._clients.append(stream)
        self.after()

    @rule(
        count=st.sampled_from([1, 2, 3, MOST_CALLS]),
        each=st.integers(1, MOST_CALLS),
        size=st.one_of(st.sampled_from([40, 64, 1200]), st.integers(0, 65507)),
        last=st.integers(0, 64),
        whole=st.booleans(),
    )
    def clients_send_datagrams(self, count: int, each: int, size: int, last: int, whole: bool) -> None:
        """From each of many ports the same number of them, alike but for the last; all at once, so that not all of them fit. whole: into one frame each."""
        world = self.world
        if (UDP, SERVED) not in self._published:
            self._publish(UDP, SERVED)
        size = min(size, world.mtu - UDP_HEADERS) if whole else size
        each = max(1, min(each, MOST_CALLS // count, SPOKEN // (size + 1)))
        for client in range(count):
            for number in range(each):
                tag = client.to_bytes(2, "big") + number.to_bytes(2, "big")
                data = (tag + world.rng.randbytes(size))[: min(last, size) if number == each - 1 else size]
                for protocol, port in self._published:
                    if protocol == UDP:
                        world.host.post(DOOR, port, data, (ABROAD, client))
        self.after()

    @rule()
    def clients_leave(self) -> None:
        """All that have come so far reset."""
        for stream in self._clients:
            stream.reset()
        self._clients.clear()
        self.after()

    def come_to_rest(self) -> None:
        """See `GatewayMachineBase`."""
        for published in self._published.values():
            published.close()
        self._published.clear()
        for stream in self._clients:
            stream.finish()
        super().come_to_rest()
