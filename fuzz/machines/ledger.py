"""The books of UDP: of every datagram that the gateway was given, on either side, and of every one that it has passed on.

    guest ── entered ──> gateway ── left ──> host
    guest <── emitted ── gateway <── brought ── host

What leaves on one side has come in on the other, from the same endpoint, to the same, with the same data, DF and one TTL more; and not more
often. That is asked of the far ends that are watched, at once and of each datagram. So it is of the clients of forwards, whom the guest knows by
ports of the gateway: what is said to one of them begins with its number, as what it has said did. Of all others the numbers must be those that the
gateway's counters say.

A frame of the guest's is read here by `frame_check.py`, not by the stack. Fragments of the guest's are none of these: what goes to a far end that
is watched must fit into a frame.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING

from usernat.fuzz.machines.frame_check import (
    DF,
    ETHERNET,
    IPV4,
    MF,
    OFFSET,
    UDP,
    UDP_PROTO,
    FrameError,
    check_udp,
    demand,
    internet_sum,
)

if TYPE_CHECKING:
    from usernat.fuzz.machines.run_sockets import RunDatagrams
    from usernat.nat.host_sockets import Origin

Endpoint = tuple[int, int]  # address, port
# The guest's end, the far end, TTL as it is on the far side, DF, data. Of a forward: the port of both, all its clients.
Entry = tuple[Endpoint, Endpoint, int, bool, bytes]
CLIENTS = (0, 0)

DHCP_CLIENT = 68
# What becomes of a datagram that a host socket has brought, by the counters of the gateway.
FATES = ("delivered", "filtered", "guest_full")
FORWARDED_FATES = ("delivered", "bad_source", "no_resources", "guest_full", "over_quota")


class DatagramLedger:
    """See above. gateway: its address. watched: far ends. overrun: datagrams that a host socket has lost for want of room."""

    def __init__(self, gateway: int) -> None:
        self._gateway = gateway
        self.watched: set[Endpoint] = set()
        self.overrun = 0
        self._up: Counter[Entry] = Counter()
        self._down: Counter[Entry] = Counter()
        self._left: Counter[bool] = Counter()  # by whether a forward's socket it was
        self._brought: Counter[bool] = Counter()
        self._emitted = 0

    # -- the guest's side -------------------------------------------------------------------------------------------------

    def entered(self, frame: bytes, *, vouched: bool) -> None:
        """The gateway takes a frame. vouched: as it is, whatever its transport checksum."""
        entry = _read(frame, vouched=vouched)
        if entry is None:
            return
        (_, src_port), far_end, ttl, df, data = entry
        if far_end in self.watched:
            self._up[entry] += 1
        elif far_end[0] == self._gateway:
            self._up[(0, src_port), CLIENTS, ttl, df, data] += 1

    def emitted(self, src: int, dst: int, ttl: int, datagram: bytes) -> None:
        """The gateway has sent the guest a whole UDP datagram, which starts with UDP's header."""
        self._emitted += 1
        src_port, dst_port, _, _ = UDP.unpack_from(datagram)
        if (src, src_port) in self.watched:
            _strike(self._down, ((dst, dst_port), (src, src_port), ttl, False, datagram[UDP.size :]))
        elif src == self._gateway and dst_port != DHCP_CLIENT:
            _strike(self._down, ((0, dst_port), CLIENTS, ttl, False, datagram[UDP.size :]))

    # -- the host's -------------------------------------------------------------------------------------------------------

    def left(self, sock: RunDatagrams, data: bytes, address: int, port: int, ttl: int, df: bool) -> None:
        """A host socket has taken a datagram."""
        self._left[sock.published] += 1
        if (address, port) in self.watched:
            _strike(self._up, (sock.guest_end, (address, port), ttl, df, data))
        elif sock.published:
            demand(len(data) < 2 or int.from_bytes(data[:2], "big") == port, "an answer to another client")
            _strike(self._up, ((0, sock.port), CLIENTS, ttl, df, data))

    def brought(self, sock: RunDatagrams, datagrams: list[bytes], origin: Origin) -> None:
        """A host socket has handed out datagrams of one origin."""
        self._brought[sock.published] += len(datagrams)
        address, port, ttl, _ = origin
        ttl = max(ttl - 1, 1)
        for data in datagrams:
            if sock.published:
                self._down[(0, sock.port), CLIENTS, ttl, False, data] += 1
            elif (address, port) in self.watched:
                self._down[sock.guest_end, (address, port), ttl, False, data] += 1

    # -- the sums ---------------------------------------------------------------------------------------------------------

    def check(self, counters: dict[str, int]) -> None:
        """AssertionError where the gateway's counters say something else."""

        def agree(what: str, ours: int, *names: str) -> None:
            theirs = sum(counters[name] for name in names)
            assert ours == theirs, f"{ours} datagrams {what}, {theirs} by {names}"

        agree("left", self._left[False], "nat.udp.forwarded")
        agree("left for clients", self._left[True], "forwards.udp.answered")
        agree("were brought", self._brought[False], *(f"nat.udp.{fate}" for fate in FATES))
        agree(
            "came from clients",
            self._brought[True],
            *(f"forwards.udp.{fate}" for fate in FORWARDED_FATES),
        )
        assert self._emitted <= counters["udp.sent"], "more datagrams than were counted"


def _strike(book: Counter[Entry], entry: Entry) -> None:
    guest, (address, port), ttl, df, data = entry
    demand(
        book[entry] > 0,
        f"a datagram between {guest} and {address:#x}:{port} that was not given, or twice "
        f"(TTL {ttl}, DF {df}, {len(data)} bytes): {data[:40].hex()}",
    )
    book[entry] -= 1


def _read(frame: bytes, *, vouched: bool) -> Entry | None:
    """The UDP datagram of a guest's frame, None where that is none, or a wrong one."""
    try:
        _, _, kind = ETHERNET.unpack_from(frame)
        first, _, total, _, fragment, ttl, proto, _, src, dst = IPV4.unpack_from(frame, ETHERNET.size)
        header = 4 * (first & 15)
        datagram = frame[ETHERNET.size : ETHERNET.size + total]
        if (kind, proto, first >> 4, fragment & (MF | OFFSET)) != (0x0800, UDP_PROTO, 4, 0):
            return None
        demand(internet_sum(datagram[:header]) == 0xFFFF, "the header's checksum is wrong")
        udp = datagram[header:]
        src_port, dst_port, length, field = UDP.unpack_from(udp)
        udp = udp[:length]
        if field and not vouched:
            check_udp(src, dst, udp)
    except (FrameError, struct.error):
        return None
    return (src, src_port), (dst, dst_port), ttl - 1, bool(fragment & DF), udp[UDP.size :]
