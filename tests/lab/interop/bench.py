"""The test bench: our stack (`usernat.guest.Guest`) on a TAP behind a link with faults, the kernel at the TAP's other end.

One thread moves both: while the guest waits, it waits for the kernel's sockets too. The clock is the machine's, but can be put
forward, so that nobody waits for TIME-WAIT.
"""

from __future__ import annotations

import select
import time
from contextlib import suppress
from functools import cache
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.lab.interop.ends import End, KernelEnd, OurEnd
from usernat.fuzz.faultylink import Faults, FaultyLink, Weather
from usernat.guest import Guest
from usernat.links.tap import TapLink
from usernat.stack.addr import parse_ip

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.lab.interop.kernel import Kernel
    from usernat.fuzz.delayline import Distance
    from usernat.links.link import Link
    from usernat.stack.device import Buffer
    from usernat.stack.l4.tcp.config import TcpConfig
    from usernat.stack.l4.tcp.listener import Listener

OURS, THEIRS = "198.51.100.1", "198.51.100.2"
OUR_PORT, THEIR_PORT = 7000, 7001
DEVICE = "tap0"
SHORTAGE_US = 1000
PATIENCE = 30.0
LOOK_SECONDS = 0.02  # between two looks at the kernel's table
TIME_WAIT_US = 120_000_000  # longer than TIME-WAIT and every lingering of ours

FAIR = Faults()

# Counters of the kernel that say that a segment of ours was wrong. Whatever the weather, they stay at 0.
NEVER = ("TcpInCsumErrors", "IpInHdrErrors", "IpInAddrErrors")
EXCUSED = {"TcpInErrs": "TcpExtTCPSYNChallenge", "TcpExtTCPSACKDiscard": "TcpExtTCPDSACKIgnoredDubious"}
OUR_NEVER = ("tcp.bad_checksum", "tcp.malformed_options", "tcp.truncated", "tcp.bad_data_offset")


@cache
def content(size: int, seed: str) -> bytes:
    """Bytes of no pattern, the same for the same seed."""
    return Random(seed).randbytes(size)


class Clock:
    """The guest's clock (`usernat.guest.clock.Clock`): µs, put forward by what was skipped. It looks after the kernel's sockets too."""

    def __init__(self) -> None:
        self.skipped = 0
        self.kernel_ends: list[KernelEnd] = []
        self.our_ends: list[OurEnd] = []
        self.listening: list[socket.socket] = []

    def now(self) -> int:
        return time.monotonic_ns() // 1000 + self.skipped

    def wait(self, link: Link, until: int) -> None:
        if link.pending:
            return
        if link.held and not link.wants_write:
            until = min(until, self.now() + SHORTAGE_US)
        until = min(until, link.poll_at() or until)
        poll = select.poll()
        poll.register(link.fileno(), select.POLLIN | (select.POLLOUT if link.wants_write else 0))
        for sock in self.listening:
            poll.register(sock, select.POLLIN)
        for end in self.kernel_ends:
            if wanted := end.wants():
                poll.register(end.sock, wanted)
        poll.poll(max(0, until - self.now()) / 1000)

    def turn(self) -> None:
        """Let the kernel's sockets be served, and the states of ours be seen."""
        for end in self.kernel_ends:
            end.turn()
        for our_end in self.our_ends:
            our_end.look()


class Pair(NamedTuple):
    """One connection, seen from both ends."""

    ours: OurEnd
    theirs: KernelEnd


class Acceptor:
    """The owner of a listener of ours: the first call becomes an end."""

    def __init__(self, listener: Listener, data: Buffer, *, finishing: bool) -> None:
        self.end: OurEnd | None = None
        self._listener = listener
        self._data = data
        self._finishing = finishing
        listener.owner = self

    def serve(self, _now: int) -> None:
        while (connection := self._listener.accept()) is not None:
            assert self.end is None, "called twice"
            self.end = OurEnd(connection, self._data, finishing=self._finishing)  # type: ignore[arg-type]  # not held: never an Incoming


class Bench:
    """kernel: made fresh by the caller, sysctls set. seed: of the weather; the default one spares the first frames, which cost a second each. mtu: of the TAP, our_mtu: of the stack where it is another.

    peer, peer_address: a kernel beyond that one, which is then a router on the way. inner: the link where it is not a TAP of the kernel's;
    our_address: ours then, with the length of its prefix and our router. their_door, our_door: where the
    kernel's sockets listen and what they call, where a NAT stands between. wrap: what is put around the link, inside of the faults.
    """

    def __init__(
        self,
        kernel: Kernel,
        faults: Faults = FAIR,
        *,
        distance: Distance | None = None,
        offload: bool = True,
        mtu: int = 1500,
        our_mtu: int | None = None,
        tcp: TcpConfig | None = None,
        seed: int = 4,
        peer: Kernel | None = None,
        peer_address: str = THEIRS,
        inner: Link | None = None,
        wrap: Callable[[Link], Link] | None = None,
        our_address: tuple[str, int, str] = (OURS, 24, THEIRS),
        their_door: str | None = None,
        our_door: tuple[str, int] = (OURS, OUR_PORT),
    ) -> None:
        self.kernel = kernel
        self.peer = peer or kernel
        self.peer_address = peer_address
        self._their_door = their_door or peer_address
        self._our_door = our_door
        self.clock = Clock()
        rng = Random(seed)
        if inner is None:
            inner = TapLink(kernel.tap(DEVICE, THEIRS, mtu=mtu, offload=offload), our_mtu or mtu)
        if wrap is not None:
            inner = wrap(inner)
        self.our_address = parse_ip(our_address[0])
        self.link = FaultyLink(inner, faults, rng, offload=offload, distance=distance, now=self.clock.now)
        self.guest = Guest(
            self.link, rng=Random(seed), clock=self.clock, address=our_address, tcp=tcp, mac=b"\x02usern"
        )
        self.interface = self.guest.interface

    # -- to run it ----------------------------------------------------------------------------------------------------

    def run(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Until the condition holds. AssertionError where it does not in time."""
        assert self.happens(condition, seconds), f"not in {seconds} s: {self.report()}"

    def happens(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Run for so long at most: whether the condition came to hold."""

        def done() -> bool:
            self.clock.turn()
            return condition()

        return self.guest.run_until(done, seconds)

    def report(self) -> str:
        """How things stand."""
        moved = {name: value for name, value in self.interface.counters().items() if value}
        return f"{self.interface.tcp.report()} {self.interface.tcp.table} {self.peer.states()} {moved}"

    # -- to open ------------------------------------------------------------------------------------------------------

    def listening(self, prepare: Callable[[socket.socket], None] | None = None) -> socket.socket:
        """A socket of the kernel that takes calls."""
        sock = self.peer.stream()
        if prepare is not None:
            prepare(sock)
        sock.bind((self._their_door, THEIR_PORT))
        sock.listen()
        return sock

    def connect(
        self,
        up: Buffer = b"",
        down: Buffer = b"",
        *,
        finishing: bool = True,
        prepare: Callable[[socket.socket], None] | None = None,
    ) -> Pair:
        """We call the kernel. up: what we send, down: what it sends. prepare: called with its socket before it listens."""
        with self.listening(prepare) as listening:
            self.clock.listening.append(listening)
            connection = self.interface.tcp.connect(parse_ip(self.peer_address), THEIR_PORT)
            ours = self.watched(OurEnd(connection, up, finishing=finishing))
            accepted: list[socket.socket] = []

            def called() -> bool:
                with suppress(BlockingIOError):
                    accepted.append(listening.accept()[0])
                return bool(accepted)

            self.run(called)
            self.clock.listening.remove(listening)
        sock = self.peer.adopt(accepted[0])
        return self.paired(ours, KernelEnd(sock, down, finishing=finishing))

    def accept(
        self,
        up: Buffer = b"",
        down: Buffer = b"",
        *,
        finishing: bool = True,
        prepare: Callable[[socket.socket], None] | None = None,
    ) -> Pair:
        """The kernel calls us. The rest as in `connect`."""
        listener = self.interface.tcp.listen(self.our_address, OUR_PORT)
        acceptor = Acceptor(listener, up, finishing=finishing)
        sock = self.peer.stream()
        if prepare is not None:
            prepare(sock)
        sock.connect_ex(self._our_door)
        theirs = KernelEnd(sock, down, finishing=False)  # to finish what is not yet open would be to close it
        self.clock.kernel_ends.append(theirs)
        self.run(lambda: acceptor.end is not None)
        self.clock.kernel_ends.remove(theirs)
        theirs.finishing = finishing
        listener.close()
        assert acceptor.end is not None
        return self.paired(self.watched(acceptor.end), theirs)

    def pause(self, seconds: float) -> None:
        """Let time pass for both."""
        self.happens(lambda: False, seconds)

    def cut(self, way: str, seconds: float) -> None:
        """For that long all frames of one direction are lost: "inward" to us, "outward" to the kernel. Fair weather afterwards."""
        setattr(self.link, way, Weather(Faults(loss=1.0), Random(1)))
        self.pause(seconds)
        setattr(self.link, way, Weather(FAIR, Random(1)))

    def open(self, role: str, *data: Buffer, **options: object) -> Pair:
        """role: ours, "client" or "server"."""
        opened: Pair = {"client": self.connect, "server": self.accept}[role](*data, **options)  # type: ignore[arg-type]  # see there
        return opened

    def watched(self, ours: OurEnd) -> OurEnd:
        """Each state that it is in after a batch is noted from now on."""
        self.clock.our_ends.append(ours)
        return ours

    def paired(self, ours: OurEnd, theirs: KernelEnd) -> Pair:
        """Both are served from now on."""
        self.clock.kernel_ends.append(theirs)
        return Pair(ours, theirs)

    # -- to end -------------------------------------------------------------------------------------------------------

    def exchange(self, pair: Pair, up: bytes, down: bytes, seconds: float = PATIENCE) -> None:
        """Both streams to their ends, byte by byte as they were sent."""
        both: tuple[End, End] = pair
        self.run(lambda: all(end.ended or end.error for end in both), seconds)
        assert (pair.ours.error, pair.theirs.error) == (None, None), self.report()
        assert pair.theirs.received == up
        assert pair.ours.received == down

    def finish(self, *pairs: Pair) -> None:
        """Both ends let go of it: what must be empty is, and nobody counted a mistake of the other."""
        for pair in pairs:
            self.clock.kernel_ends.remove(pair.theirs)
            self.clock.our_ends.remove(pair.ours)
            pair.theirs.close()
            pair.ours.close()
        self.settle()
        self.no_mistakes()

    def settle(self) -> None:
        """Nothing is left but TIME-WAIT, and of ours after that time nothing at all."""
        looked_at = 0.0

        def over() -> bool:
            nonlocal looked_at
            report = self.interface.tcp.report()
            if report["table"] > report["time_wait"] or time.monotonic() < looked_at + LOOK_SECONDS:
                return False
            looked_at = time.monotonic()
            return not self.peer.states()

        self.run(over)
        self.clock.skipped += TIME_WAIT_US
        self.interface.on_time(self.clock.now())
        assert set(self.interface.tcp.report().values()) == {0}, self.report()

    def no_mistakes(self) -> None:
        """What each side counts against the other is 0."""
        theirs, ours = self.peer.counters(), self.interface.counters()
        assert {name: theirs[name] for name in NEVER if theirs[name]} == {}
        assert {name: ours[name] for name in OUR_NEVER if ours[name]} == {}
        # What the link doubled is no fault of ours: a SYN-ACK; a segment of the kernel's, for which it calls our D-SACK dubious.
        for mistake, excuse in EXCUSED.items():
            assert theirs[mistake] <= theirs[excuse], mistake

    def close(self) -> None:
        """The TAP goes with it."""
        self.guest.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
