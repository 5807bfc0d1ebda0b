"""Rules of the honest guest: it opens streams and uses them, pings, sends datagrams, resolves names."""

from __future__ import annotations

import errno

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from usernat.fuzz.fakehost import BLACK_HOLE as NOBODY
from usernat.fuzz.fakehost import Failing, FakeHost, Listening
from usernat.fuzz.machines.base import GatewayMachineBase
from usernat.fuzz.machines.services import GOOD, RESOLVER_MODES, SERVING_MODES, TRUNCATING, address_of
from usernat.fuzz.machines.streams import (
    BLACK_HOLE,
    ECHO,
    FAILING,
    NO_ROUTE,
    READ,
    REFUSING,
    SERVING,
    UNREACHABLE,
    Stream,
)
from usernat.fuzz.machines.world import MS, SECOND
from usernat.guest.lookup import Lookup
from usernat.nat.host_datagram import ReportedError

FIRST_PORT = 10_000  # of the far ends: each stream has one to itself
UDP_ECHO, UDP_CLOSED = 7, 9
ROUTER = 0xC6336401  # 198.51.100.1
SOON = 3 * SECOND
SYN_US = 175 * SECOND  # RFC 9293 MUST-23: a SYN is repeated for three minutes
HANDSHAKE_US = 10 * MS
PICKS = st.integers(0, 7)
SIZES = st.sampled_from([1, 100, 1_000, 5_000, 40_000])
LARGEST_DATAGRAM = 9_000  # bytes; 64 KiB at the smallest MTU is more fragments than wait for a neighbour


class HonestGuest(GatewayMachineBase):
    """See above."""

    @rule(kind=st.sampled_from([*SERVING, *SERVING, *SERVING, *FAILING]), answer=SIZES, wait=st.booleans())
    def connect(self, kind: str, answer: int, wait: bool) -> None:
        """A stream to a far end of its own. wait: until it has had time to stand."""
        world = self.world
        if world.dhcp.lease is None:
            self.after()
            return
        number = len(self.streams)
        address, port = world.scene.outside[number % 2], FIRST_PORT + number
        stream = Stream(world, number, kind, address, port, self._fair(answer))
        _prepare(world.host, stream, address, port)
        self.streams.append(stream)
        connection = stream.connection
        if kind in SERVING:

            def stands() -> bool:
                return stream.secured or bool(stream.excuse)

            self.expect(f"{stream} to stand", stands, SOON)
            self.expect(f"{stream} to stand in the end", stands, SYN_US, anyway=True)
        elif kind != BLACK_HOLE:
            self.expect(f"{stream} to fail", lambda: connection.closed or bool(connection.soft_error), SOON)
        self.after(HANDSHAKE_US if wait else 0)

    @precondition(lambda self: self.streams)
    @rule(pick=PICKS, up=SIZES, down=SIZES, times=st.integers(1, 4), pace=st.sampled_from([0, 300, 5 * MS]))
    def converse(self, pick: int, up: int, down: int, times: int, pace: int) -> None:
        """Bytes both ways, and what has come is read."""
        stream = self.one(pick, lambda stream: stream.kind in SERVING)
        for _ in range(times if stream is not None else 0):
            assert stream is not None
            stream.send(self._fair(up))
            if stream.kind != ECHO:
                stream.far_send(self._fair(down))
            self.after(pace)
            stream.recv()
        self.after()

    @precondition(lambda self: self.streams)
    @rule(pick=PICKS, size=SIZES)
    def send(self, pick: int, size: int) -> None:
        """Some bytes, and nothing is read."""
        stream = self.one(pick, lambda stream: stream.open)
        if stream is not None:
            stream.send(self._fair(size))
        self.after()

    @precondition(lambda self: self.streams)
    @rule(pick=PICKS, limit=st.sampled_from([1, 1_000, 30_000, READ]))
    def recv(self, pick: int, limit: int) -> None:
        """What there is, or a part."""
        stream = self.one(pick, lambda stream: stream.connection.readable > 0)
        if stream is not None:
            stream.recv(limit)
        self.after()

    @precondition(lambda self: self.streams)
    @rule(pick=PICKS, how=st.sampled_from(["shut down", "shut down", "close", "abort"]))
    def end(self, pick: int, how: str) -> None:
        """The guest has sent all and goes on reading; or closes without; or resets."""
        stream = self.one(pick, lambda stream: stream.open)
        if stream is not None:
            if how == "shut down":
                stream.connection.shutdown()
            else:
                stream.excuse = stream.excuse or "given up by the guest"
                (stream.connection.close if how == "close" else stream.connection.abort)()
        self.after()

    @rule(where=st.sampled_from(["gateway", "name server", "outside"]), size=st.integers(0, LARGEST_DATAGRAM))
    def ping(self, where: str, size: int) -> None:
        """An echo request, whose reply holds the same."""
        world = self.world
        scene = world.scene
        target = {"gateway": scene.gateway, "name server": scene.services[0], "outside": scene.outside[0]}[
            where
        ]
        world.host.echo_hosts.add(scene.outside[0])
        data = world.rng.randbytes(size)
        socket = world.guest.echo.bind(self._free_identifier())
        socket.request(target, 1, data)
        refused = self._refused("echo")

        def answered() -> bool:
            while (reply := socket.recv()) is not None:
                if self._is(data, reply.data, "a ping came back changed"):
                    socket.close()
                    return True
            return where == "outside" and self._refused("echo") > refused

        self.expect(f"a ping to the {where}", answered, SOON)
        self.after()

    @rule(size=st.integers(0, LARGEST_DATAGRAM), closed=st.booleans(), df=st.booleans())
    def datagram(self, size: int, closed: bool, df: bool) -> None:
        """A UDP datagram to an echo server, or to a port where nobody listens."""
        world = self.world
        server = world.scene.outside[1]
        world.host.udp[server, UDP_ECHO] = lambda data: [data]
        report = ReportedError(errno.ECONNREFUSED, icmp=True, code=3, offender=server)
        world.host.udp[server, UDP_CLOSED] = Failing(report)
        data = world.rng.randbytes(size)
        socket = world.guest.udp.bind(None, 0)
        socket.send(data, server, UDP_CLOSED if closed else UDP_ECHO, df=df)
        limited = self._rate_limited()

        def answered() -> bool:
            while (reply := socket.recv()) is not None:
                assert (reply.src, reply.src_port) == (server, UDP_ECHO), "a datagram from somebody else"
                if self._is(data, reply.data, "a datagram came back changed"):
                    socket.close()
                    return True
            return bool(socket.errors) or self._rate_limited() > limited

        self.expect("an answer to a datagram", answered, SOON)
        self.after()

    @rule(mode=st.sampled_from([*SERVING_MODES, *RESOLVER_MODES]))
    def resolve(self, mode: str) -> None:
        """A name that nobody asked for before, over UDP and where that is not enough over TCP. mode: how names are answered now."""
        world = self.world
        if mode not in SERVING_MODES:
            self.disturb()
        self.resolver.mode = mode
        name = f"n{world.rng.getrandbits(40):x}.example.test"
        lookup = Lookup(world.guest, [world.config.dns], name, world.rng, world.now)
        world.timed.append(lookup)

        def answered() -> bool:
            if lookup.addresses is None:
                return False
            assert lookup.addresses == [address_of(name)], "a name with a wrong address"
            return True

        self.expect(f"the address of {name}", answered, SOON)
        self.after()

    def serve_a_newcomer(self) -> None:
        """See `GatewayMachineBase`. Even tables that are tiny have room for him: all that was in them has timed out."""
        self.tight = False
        self.rough_until = self.impossible_until = self.world.now
        self.after(1)
        for kind in SERVING:
            self.connect(kind, 1_000, wait=True)
            self.streams[-1].send(1_000)
        for where in ("gateway", "outside"):
            self.ping(where, 100)
        for closed in (False, True):
            self.datagram(100, closed=closed, df=False)
        self.resolve(TRUNCATING)
        self.resolve(GOOD)
        self.after(2 * SOON)
        for stream in self.streams:
            stream.connection.shutdown()

    def _is(self, data: bytes, came: memoryview, otherwise: str) -> bool:
        """Whether that has come. Damage to two fragments of one datagram may leave no trace in its sum: then it was bad weather."""
        same = bytes(came) == data
        assert same or self.rough_until > self.world.now, otherwise
        return same

    def _fair(self, size: int) -> int:
        """Fewer bytes where the MTU makes many frames of them."""
        return max(1, min(size, self.world.mtu * 30))

    def _free_identifier(self) -> int:
        return self.world.rng.randrange(1 << 15) << 1 | 1

    def _refused(self, kind: str) -> int:
        return self.world.gateway.counters()[f"flows.refused_{kind}"]

    def _rate_limited(self) -> int:
        return self.world.interface.icmp.errors.counters.rate_limited


def _prepare(host: FakeHost, stream: Stream, address: int, port: int) -> None:
    """The far end of a stream, or what stands in its way."""
    unreachable = ReportedError(errno.EHOSTUNREACH, icmp=True, code=1, offender=ROUTER)
    scripts: dict[str, Failing | str] = {
        REFUSING: Failing(ReportedError(errno.ECONNREFUSED)),
        UNREACHABLE: Failing(unreachable),
        NO_ROUTE: Failing(ReportedError(errno.ENETUNREACH), delay_us=None),
        BLACK_HOLE: NOBODY,
    }
    host.tcp[address, port] = scripts.get(stream.kind) or Listening(stream.far_end)
