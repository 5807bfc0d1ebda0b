"""A client and a server, each with an application, on a cable that an observer watches.

`Watched` is an interface that shows the observer every frame that it sends or gets, and is asked, whenever it has nothing more to say, whether
`poll_at` told the truth. An `End` follows a script: send, read, pause, finish, give up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from tests.sim.wire import SECOND, Clock, Wire
from tests.stack.l4.tcp.peer import FixedIsn
from tests.stack.packets import icmp, ipv4
from usernat.fuzz.machines.offload import on_the_wire
from usernat.fuzz.machines.tcp_observer import TcpObserver, is_sound
from usernat.stack.addr import parse_ip
from usernat.stack.device import Capabilities
from usernat.stack.interface import Interface
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usernat.stack.device import Buffer, Frame

A, B = parse_ip("10.0.0.1"), parse_ip("10.0.0.2")
MACS = {A: bytes((2, 0, 0, 0, 0, 0)), B: bytes((2, 0, 0, 0, 0, 1))}
LIMIT = 3600 * SECOND
ALL = 1 << 30

Script = list[tuple[str, int]]


class Watched(Interface):
    """strip: kinds of TCP options that a middlebox takes off the SYNs on their way here."""

    def __init__(self, observer: TcpObserver, strip: Iterable[int], **options: Any) -> None:
        super().__init__(**options)
        self._observer = observer
        self._strip = frozenset(strip)

    def receive(self, frame: Buffer, now: int, checksum_ok: bool = False) -> None:
        data = bytes(frame)
        stripped = without_options(data, self._strip) if self._strip else data
        # A middlebox that changes a segment makes its checksum anew; one that was spoilt before it drops.
        checksum_ok = checksum_ok or (stripped != data and is_sound(data))
        self._observer.heard(stripped, checksum_ok)
        super().receive(stripped, now, checksum_ok)

    def transmit(self, now: int, budget: int = 64) -> list[Frame]:
        frames = super().transmit(now, budget)
        for frame in frames:
            for piece in on_the_wire(frame):
                self._observer.sent(piece, self.tcp.capabilities.mtu)
        if not frames:
            self._is_honest(now)
        return frames

    def _is_honest(self, now: int) -> None:
        """Nothing is due before `poll_at`: asked too early, the interface does nothing."""
        due = self.poll_at()
        if due is None or due > now:
            self.on_time(now)
            assert self.poll_at() == due, "poll_at has changed, though nothing was due"
            assert not super().transmit(now), "something was due before poll_at"


def without_options(frame: bytes, kinds: frozenset[int]) -> bytes:
    """A SYN with NOPs where these options were. The checksum is then wrong, and to be vouched for."""
    if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != 6 or not frame[47] & 2:
        return frame
    out = bytearray(frame)
    at, stop = 54, 34 + (frame[46] >> 4 << 2)
    while at + 1 < min(stop, len(frame)) and frame[at]:
        length = 1 if frame[at] == 1 else max(1, frame[at + 1])
        if frame[at] in kinds:
            out[at : at + length] = b"\x01" * length
        at += length
    return bytes(out)


@dataclass
class End:
    """One application. said: what it has to say. heard: what it has heard. script: its steps; without one it says and hears all.

    Steps: ("send", octets) as far as there is room, ("read", octets), ("wait", µs), ("shutdown", 0), ("close", 0), ("abort", 0), ("mtu", octets).
    """

    said: bytes = field(repr=False)
    script: Script = field(default_factory=list)
    conn: Connection | None = None
    write: int = ALL
    read: int = ALL
    sent: int = 0
    heard: bytearray = field(default_factory=bytearray, repr=False)
    reading_from: int = 0  # µs: not before
    gave_up: bool = False

    def serve(self, now: int, pair: Pair) -> None:
        """As many steps as can be taken now, then the rest."""
        while self.conn is not None and self.script and self._step(now, pair):
            self.script.pop(0)
        if self.conn is None or self.script or self.gave_up:
            return
        if self.sent < len(self.said):
            self.sent += self.conn.send(self.said[self.sent : self.sent + self.write])
        if self.sent == len(self.said):
            self.conn.shutdown()
        if now >= self.reading_from:
            self.heard += self.conn.recv(self.read)

    def _step(self, now: int, pair: Pair) -> bool:
        """Whether the first step is done."""
        conn, (what, count) = self.conn, self.script[0]
        assert conn is not None
        if what == "send":
            self.sent += conn.send(self.said[self.sent : self.sent + count])
        elif what == "read":
            self.heard += conn.recv(count)
        elif what == "wait":
            self.script[0] = ("until", now + count)
            pair.wire.call_at(now + count, lambda: None)
            return False
        elif what == "until":
            return now >= count
        elif what == "mtu":
            pair.cable_mtu = min(pair.cable_mtu, count)
        elif what == "shutdown":
            self.said = self.said[: self.sent]
            conn.shutdown()
        else:
            self.said = self.said[: self.sent]
            self.gave_up = True
            conn.close() if what == "close" else conn.abort()
        return True


class Pair:
    """strip: options that never arrive. ecn: what the client and the server do about it. cable_mtu: larger datagrams draw "fragmentation needed". isns: the client's and the server's."""

    def __init__(
        self,
        upload: bytes,
        download: bytes,
        *,
        seed: int = 1,
        isns: tuple[int, int] | None = None,
        mtus: tuple[int, int] = (1500, 1500),
        offload: bool = False,
        strip: Iterable[int] = (),
        config: dict[str, Any] | None = None,
        ecn: tuple[str, str] = ("answer", "answer"),
        scripts: tuple[Script, Script] = ([], []),
        **wire: Any,
    ) -> None:
        clock = Clock(1_000_000)
        self.observer = TcpObserver()
        self.cable_mtu = 1 << 16
        sides = []
        for number, (address, mtu) in enumerate(zip((A, B), mtus, strict=True)):
            side = Watched(
                self.observer,
                strip,
                mac=MACS[address],
                capabilities=Capabilities(mtu, offload, 65535 if offload else 0),
                rng=Random(seed + number),
                now=clock.now,
                addresses=[(address, 24)],
                tcp=TcpConfig(**(config or {}), ecn=ecn[number]),
            )
            if isns is not None:
                side.tcp.isn = FixedIsn(isns[number])
            sides.append(side)
        self.a, self.b = sides
        self._picked = wire.pop("lose", None)
        self.wire = Wire(self.a, self.b, clock, rng=Random(seed), lose=self._lose, **wire)
        self.listener = self.b.tcp.listen(None, 80)
        self.client = End(upload, list(scripts[0]), self.a.tcp.connect(B, 80))
        self.server = End(download, list(scripts[1]))
        self.wire.apps.append(self._serve)

    def _serve(self, now: int) -> None:
        if self.server.conn is None:
            conn = self.listener.accept()
            assert conn is None or isinstance(conn, Connection)
            self.server.conn = conn
        self.client.serve(now, self)
        self.server.serve(now, self)

    def _lose(self, frame: bytes, to_b: bool) -> bool:
        if self._picked is not None and self._picked(frame, to_b):
            return True
        if len(frame) - 14 <= self.cable_mtu or frame[12:14] != b"\x08\x00":
            return False
        # The router's answer comes from the far end, for there is no other on a cable (RFC 792, RFC 1191).
        sender, far = (A, B) if to_b else (B, A)
        error = icmp(3, 4, self.cable_mtu.to_bytes(4, "big"), frame[14:42])
        answer = MACS[sender] + MACS[far] + b"\x08\x00" + ipv4(error, src=far, dst=sender, proto=1)
        side = self.a if to_b else self.b
        now = self.wire.clock.now
        self.wire.call_at(now, lambda: side.receive(answer, self.wire.clock.now))
        return True

    @property
    def over(self) -> bool:
        """Whether both connections are CLOSED."""
        ends = (self.client.conn, self.server.conn)
        return all(conn is not None and conn.state is State.CLOSED for conn in ends)

    def run(self) -> None:
        """To the end, which must be a good one."""
        assert self.wire.run_for(LIMIT, lambda: self.over), (self.client.conn, self.server.conn)
        self.check()

    def check(self) -> None:
        """Both have heard all, nobody has an error, and nothing is held."""
        assert self.server.heard == self.client.said
        assert self.client.heard == self.server.said
        for end in (self.client, self.server):
            assert end.conn is not None
            assert end.conn.error is None
            assert end.conn.at_eof
        self.check_nothing_held()
        assert self.observer.heard_count, "the observer was not asked"

    def check_nothing_held(self) -> None:
        """The tables are empty, the memory is free, no timer runs."""
        for side in (self.a, self.b):
            report = side.tcp.report()
            assert report == dict.fromkeys(report, 0)
            assert side.tcp.poll_at() is None
