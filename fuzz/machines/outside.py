"""Rules of the outside: ports of the host that lead to the guest, and clients who call, flood, leave and come back.

Nothing is promised to them but an end: each is answered or reset, and in the end nothing of it is left. What they do must not harm the guest's own
streams, which go on beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from usernat.fuzz.fakepeers import Source
from usernat.fuzz.machines.honest import HonestGuest
from usernat.nat.forward import Forward
from usernat.policy.decision import TCP, UDP
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    from usernat.fuzz.fakesockets import FakeTcp
    from usernat.nat.forwards import Published
    from usernat.stack.l4.tcp.connection import Connection

DOOR = parse_ip("192.0.2.1")  # the host's, where it publishes
ABROAD = parse_ip("198.51.100.99")
SERVED, CLOSED = 80, 81  # ports of the guest
MOST_CALLS = 40  # of clients of one rule


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


class Outside(HonestGuest):
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
            world = self.world
            if not world.guest.tcp.listeners:
                GuestServer(world.guest.tcp.listen(None, SERVED))
            try:
                published = world.gateway.publish(Forward(protocol, DOOR, port, port))
            except OSError:
                assert world.host.faults.descriptors
            else:
                self._published[protocol, port] = published
        self.after()

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

    @rule(count=st.integers(1, MOST_CALLS), size=st.integers(0, 65507))
    def clients_send_datagrams(self, count: int, size: int) -> None:
        """One from each of many ports."""
        for number in range(count):
            for protocol, port in self._published:
                if protocol == UDP:
                    self.world.host.post(DOOR, port, bytes(size), (ABROAD, number))
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
