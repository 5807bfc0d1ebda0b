"""Is a frame that somebody emitted well formed? An opinion that shares no code with the stack it judges.

    checker = FrameChecker(mac=…, mtu=1500, from_ok=…, to_ok=…)
    checker.check(frame)      # FrameError where the frame is wrong, with the reason and the frame in hex

Lengths, checksums, flags and options are read here with `struct` alone. Fragments are put together, so that the transport in them is judged as well.
What is judged are rules that hold for every frame; whether it should have been sent at this moment is not asked.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ETHERNET = struct.Struct(">6s6sH")
ARP = struct.Struct(">HHBBH6sI6sI")
IPV4 = struct.Struct(">BBHHHBBHII")
TCP = struct.Struct(">HHIIBBHHH")
UDP = struct.Struct(">HHHH")

ICMP_PROTO, TCP_PROTO, UDP_PROTO = 1, 6, 17
DF, MF, OFFSET = 0x4000, 0x2000, 0x1FFF
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
ECN = CE = 0b11  # RFC 3168 §5, the two low bits of the TOS octet
ECHO_REPLY, UNREACHABLE, ECHO, TIME_EXCEEDED, PARAMETER_PROBLEM = 0, 3, 8, 11, 12
TCP_OPTION_LENGTHS = {2: {4}, 3: {3}, 4: {2}, 5: {10, 18, 26, 34}, 8: {10}}  # RFC 9293, 7323, 2018
MAX_ERROR = 576  # RFC 1812 §4.3.2.3: an ICMP error's datagram
KEPT_FRAGMENTS = 512  # datagrams of which pieces are kept

Key = tuple[int, int, int, int]


class FrameError(AssertionError):
    """The frame is wrong."""


def internet_sum(data: bytes) -> int:
    """RFC 1071, the plain way: 0xFFFF over data that holds its own right checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_header(src: int, dst: int, proto: int, length: int) -> bytes:
    """What TCP and UDP checksums cover besides the segment (RFC 9293 §3.1)."""
    return struct.pack(">IIBBH", src, dst, 0, proto, length)


class FrameChecker:
    """The judge of one sender. mac: its address. mtu: bytes. from_ok, to_ok: whether it may send from, or to, an IPv4 address (int).

    count: frames judged. told: of each whole UDP datagram source, destination, TTL, and the bytes from the UDP header on.
    """

    def __init__(
        self,
        *,
        mac: bytes,
        mtu: int,
        from_ok: Callable[[int], bool],
        to_ok: Callable[[int], bool],
        told: Callable[[int, int, int, bytes], None] | None = None,
    ) -> None:
        self.count = 0
        self._told = told
        self._mac = mac
        self._mtu = mtu
        self._from_ok = from_ok
        self._to_ok = to_ok
        self._pieces: dict[Key, dict[int, bytes]] = {}
        self._ends: dict[Key, int] = {}

    def check(self, frame: bytes) -> None:
        """FrameError where the frame is not one that a sound sender emits."""
        self.count += 1
        try:
            self._frame(frame)
        except (FrameError, struct.error) as wrong:
            raise FrameError(f"{wrong}: {frame.hex()}") from wrong

    def _frame(self, frame: bytes) -> None:
        dst, src, kind = ETHERNET.unpack_from(frame)
        payload = frame[ETHERNET.size :]
        demand(src == self._mac, "not from the sender's MAC address")
        demand(dst not in (self._mac, bytes(6)), "to itself or to nobody")
        demand(len(payload) <= self._mtu, f"{len(payload)} bytes are more than the MTU")
        if kind == 0x0806:
            self._arp(payload, dst)
        else:
            demand(kind == 0x0800, f"ethertype {kind:#x}")
            self._ipv4(payload, group=bool(dst[0] & 1))

    def _arp(self, payload: bytes, to: bytes) -> None:
        demand(len(payload) == ARP.size, "an ARP packet has 28 bytes")
        hrd, pro, hln, pln, op, sha, spa, _, tpa = ARP.unpack(payload)
        demand((hrd, pro, hln, pln) == (1, 0x0800, 6, 4), "not IPv4 over Ethernet")
        demand(op in (1, 2), f"ARP operation {op}")
        demand(sha == self._mac, "ARP in another's name")
        demand(spa == 0 or self._from_ok(spa), f"ARP from address {spa:#x}")
        demand(op == 1 or not to[0] & 1, "an ARP reply goes to one")
        demand(tpa != 0, "ARP about nobody")

    def _ipv4(self, datagram: bytes, *, group: bool) -> None:
        first, _, total, ident, fragment, ttl, proto, _, src, dst = IPV4.unpack_from(datagram)
        header = 4 * (first & 15)
        demand(first >> 4 == 4, "not version 4")
        demand(IPV4.size <= header <= len(datagram), "the header's length is wrong")
        demand(total == len(datagram), f"total length {total} of {len(datagram)} bytes")
        demand(internet_sum(datagram[:header]) == 0xFFFF, "the header's checksum is wrong")
        demand(ttl > 0, "TTL 0")
        demand(not fragment & 0x8000, "the reserved flag is set")
        demand(self._from_ok(src), f"from address {src:#x}")
        demand(self._to_ok(dst), f"to address {dst:#x}")
        demand(src != dst, "to its own address")
        demand(not group or dst == 0xFFFFFFFF, "unicast to a group's MAC address")
        payload = datagram[header:]
        if fragment & (MF | OFFSET):
            demand(not fragment & DF, "a fragment with DF")
            whole = self._assemble((src, dst, proto, ident), fragment, payload)
            if whole is None:
                return
            payload = whole
        self._transport(proto, src, dst, payload)
        if proto == TCP_PROTO:
            check_ecn(datagram[1], payload)
        elif proto == UDP_PROTO and self._told is not None:
            self._told(src, dst, ttl, payload)

    def _assemble(self, key: Key, fragment: int, payload: bytes) -> bytes | None:
        """The payload of the datagram that this fragment completes."""
        offset, more = 8 * (fragment & OFFSET), bool(fragment & MF)
        demand(bool(payload), "an empty fragment")
        demand(not (more and len(payload) % 8), "a fragment of odd length")
        demand(offset + len(payload) <= 65515, "a datagram that is too long")
        if key not in self._pieces and len(self._pieces) >= KEPT_FRAGMENTS:
            oldest = next(iter(self._pieces))
            del self._pieces[oldest]
            self._ends.pop(oldest, None)
        pieces = self._pieces.setdefault(key, {})
        pieces[offset] = payload
        if not more:
            self._ends[key] = offset + len(payload)
        reached = 0
        for start in sorted(pieces):
            demand(start >= reached, "fragments overlap")
            if start > reached:
                return None
            reached += len(pieces[start])
        if reached != self._ends.get(key):
            return None
        del self._pieces[key], self._ends[key]
        return b"".join(pieces[start] for start in sorted(pieces))

    def _transport(self, proto: int, src: int, dst: int, payload: bytes) -> None:
        if proto == TCP_PROTO:
            check_tcp(src, dst, payload)
        elif proto == UDP_PROTO:
            check_udp(src, dst, payload)
        else:
            demand(proto == ICMP_PROTO, f"protocol {proto}")
            check_icmp(dst, payload)


def check_tcp(src: int, dst: int, segment: bytes) -> None:
    """FrameError where the segment is malformed, its checksum wrong, or its flags contradict each other."""
    sport, dport, _, ack, offset, flags, window, _, urgent = TCP.unpack_from(segment)
    header = 4 * (offset >> 4)
    demand(TCP.size <= header <= len(segment), "the data offset is wrong")
    covered = pseudo_header(src, dst, TCP_PROTO, len(segment)) + segment
    demand(internet_sum(covered) == 0xFFFF, "the TCP checksum is wrong")
    demand(bool(sport and dport), "port 0")
    demand(not offset & 15, "reserved bits")
    demand((flags & (SYN | FIN | RST)).bit_count() <= 1, f"flags {flags:#x}")
    demand(bool(flags & (SYN | ACK | RST)), "neither SYN, ACK nor RST")
    demand(bool(flags & ACK) or ack == 0, "an acknowledgement without ACK")
    demand(bool(flags & URG) or urgent == 0, "an urgent pointer without URG")
    demand(not flags & (RST | SYN) or header == len(segment), "text on RST or SYN")
    demand(not flags & RST or window == 0, "RST with a window")
    kinds = tcp_options(segment[TCP.size : header])
    demand(bool(flags & SYN) or not kinds & {2, 3, 4}, "SYN's options elsewhere")
    demand(not flags & SYN or 2 in kinds, "a SYN without MSS")


def check_ecn(tos: int, segment: bytes) -> None:
    """FrameError where a sound segment is marked though it must not be, or says CWR where no mark could be (RFC 3168 §6.1.1, §6.1.2, §6.1.4).

    tos: of its IP header.
    """
    _, _, _, _, offset, flags, _, _, _ = TCP.unpack_from(segment)
    codepoint = tos & ECN
    demand(codepoint != CE, "a mark set by the sender itself")
    demand(not codepoint or len(segment) > 4 * (offset >> 4), "ECT without text")
    demand(not flags & RST or not flags & (ECE | CWR), "a RST with ECE or CWR")
    demand(bool(flags & SYN or codepoint) or not flags & CWR, "CWR on what is not ECT")


def tcp_options(area: bytes) -> set[int]:
    """The kinds of the options. FrameError where they are malformed."""
    kinds: set[int] = set()
    at = 0
    while at < len(area) and area[at]:
        kind = area[at]
        if kind == 1:
            at += 1
            continue
        demand(at + 1 < len(area), "half an option")
        length = area[at + 1]
        demand(length in TCP_OPTION_LENGTHS.get(kind, ()), f"option {kind} of {length} bytes")
        demand(at + length <= len(area), "an option past the header")
        demand(kind not in kinds, f"option {kind} twice")
        kinds.add(kind)
        at += length
    return kinds


def check_udp(src: int, dst: int, datagram: bytes) -> None:
    """FrameError where the lengths disagree or the checksum is wrong or missing."""
    sport, dport, length, field = UDP.unpack_from(datagram)
    demand(length == len(datagram), f"UDP length {length} of {len(datagram)} bytes")
    demand(bool(sport and dport), "port 0")
    demand(field != 0, "UDP without a checksum")
    covered = pseudo_header(src, dst, UDP_PROTO, length) + datagram
    demand(internet_sum(covered) == 0xFFFF, "the UDP checksum is wrong")


def check_icmp(dst: int, message: bytes) -> None:
    """FrameError where the checksum is wrong, the type is none that is sent, or an error quotes what it must not."""
    demand(len(message) >= 8, "half an ICMP header")
    demand(internet_sum(message) == 0xFFFF, "the ICMP checksum is wrong")
    kind = message[0]
    if kind in (ECHO, ECHO_REPLY):
        demand(message[1] == 0, "an echo with a code")
        return
    demand(kind in (UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM), f"ICMP type {kind}")
    quote = message[8:]
    demand(len(quote) >= IPV4.size, "no header quoted")
    demand(IPV4.size + len(message) <= MAX_ERROR, "an error of more than 576 bytes")
    first, _, total, _, fragment, _, proto, _, src, to = IPV4.unpack_from(quote)
    header = 4 * (first & 15)
    demand(first >> 4 == 4 and header >= IPV4.size, "what is quoted is no datagram")
    demand(src == dst, "an error to somebody else than its source")
    demand(len(quote) >= min(header + 8, total), "fewer than 8 bytes quoted")  # RFC 792
    demand(not fragment & OFFSET, "an error about a later fragment")  # RFC 1122 §3.2.2
    demand(to >> 28 < 0xE, "an error about a broadcast or multicast")
    about_error = proto == ICMP_PROTO and quote[header : header + 1] in (
        b"\x03",
        b"\x04",
        b"\x05",
        b"\x0b",
        b"\x0c",
    )
    demand(not about_error, "an error about an error")


def demand(condition: bool, wrong: str) -> None:
    """FrameError, saying what is wrong."""
    if not condition:
        raise FrameError(wrong)
