"""C60 as a whole: a guest that never does the same thing twice, and the memory of everything that its gateway keeps.

Each round brings a new flow of every kind, a new MAC address, a new name, a new half-open and a new finished connection, a new fragment. Once
every table has met its cap, as many rounds again must need no more memory. `make fuzz` plays a million of them.
"""

from __future__ import annotations

import gc
import struct
import tracemalloc

from hypothesis import settings

from tests.nat.dns.kit import answer_to, query
from tests.nat.kit import GATEWAY_MAC, MS, SERVER, GatewaySide, Lab
from tests.stack.packets import GATEWAY, GUEST, ICMP, MF, TCP, UDP, echo, internet_checksum, ipv4, udp
from usernat.fuzz.fakehost import BLACK_HOLE, Listening
from usernat.fuzz.fakepeers import Peer
from usernat.nat.config import Limits
from usernat.nat.dhcp.message import BOOTREQUEST, Message, build_message

LONG = settings().max_examples > 1000
ROUNDS = 500_000 if LONG else 1_500  # played twice: enough for the first time to meet the caps
LIMITS = Limits(tcp=100, tcp_opening=30, udp=40, total=200, udp_destinations=16, new_per_second=1_000_000)
FAR, HOLE, NAMESERVER = SERVER, SERVER + 1, GATEWAY + 1
BROADCAST = 0xFFFFFFFF
SLACK = 0.05


def tcp(port: int, dst: int, flags: int, seq: int, ack: int = 0) -> bytes:
    head = struct.pack(">HHIIBBHHH", port, 80, seq, ack, 5 << 4, flags, 65535, 0, 0)
    pseudo = struct.pack(">IIBBH", GUEST, dst, 0, TCP, len(head))
    checksum = struct.pack(">H", internet_checksum(pseudo + head))
    return ipv4(head[:16] + checksum + head[18:], dst=dst, proto=TCP)


def datagrams(number: int) -> list[bytes]:
    """What one round brings; everything in it that can differ from the rounds before does."""
    port, ident = 1024 + number % 60_000, number % 65_536
    mac = b"\x02" + number.to_bytes(5, "big")
    discover = build_message(Message(BOOTREQUEST, 1, number, mac), [])
    name = query(f"n{number}.example.", id_=ident)
    other = FAR + 2 + number % 0x00FFFFFF
    return [
        tcp(port, HOLE, 2, number),  # never answered
        tcp(port, FAR, 2, number),  # half open
        tcp(port, FAR, 4, number + 1),  # and reset, every time
        ipv4(udp(b"x", port, 7, dst=other), dst=other),
        ipv4(echo(ident), dst=other, proto=ICMP),
        ipv4(udp(name, port, 53, dst=NAMESERVER), dst=NAMESERVER),
        ipv4(udp(discover, 68, 67, src=0, dst=BROADCAST), src=0, dst=BROADCAST),
        ipv4(bytes(8), dst=other, proto=UDP, ident=ident, flags=MF),
    ]


class Soak:
    """A lab whose wire ends in nothing: what the gateway says is dropped, so that only the gateway can remember."""

    def __init__(self) -> None:
        self.lab = lab = Lab(limits=LIMITS)
        lab.host.tcp[FAR, 80] = Listening(Peer)
        lab.host.tcp[HOLE, 80] = BLACK_HOLE
        lab.host.udp[FAR, 53] = lambda question: [answer_to(question, "192.0.2.9")]
        self.side = GatewaySide(lab.interface, lab.gateway, lab.host)
        self.now = lab.clock.now

    def play(self, rounds: range) -> None:
        for number in rounds:
            mac = b"\x02" + number.to_bytes(5, "big")
            who = struct.pack(
                ">HHBBH6sI6sI", 1, 0x0800, 6, 4, 1, mac, GUEST + 1 + number % 200, bytes(6), GATEWAY
            )
            self.side.receive(GATEWAY_MAC + mac + b"\x08\x06" + who, self.now)
            for datagram in datagrams(number):
                self.side.receive(GATEWAY_MAC + mac + b"\x08\x00" + datagram, self.now)
            self.now += 5 * MS
            self.side.on_time(self.now)
            while self.side.transmit(self.now):
                pass
            record = self.lab.host.record  # what the scripted host remembers, for other tests
            record.datagrams.clear()
            record.connects.clear()


def used() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_c60_memory_levels_off_whatever_is_new() -> None:
    tracemalloc.start()
    try:
        soak = Soak()
        soak.play(range(1, ROUNDS))
        first = used()
        soak.play(range(ROUNDS, 2 * ROUNDS))
        second = used()
    finally:
        tracemalloc.stop()
    assert second < first * (1 + SLACK)
    for counter in ("flows.refused_udp", "flows.refused_echo", "nat.tcp.evicted"):
        assert soak.lab.count(counter) > ROUNDS, counter
