"""A guest's frames, made by hand: ARP, TCP as Linux sends it (timestamps, window scale), UDP."""

from __future__ import annotations

import struct

from usernat.stack.addr import parse_ip
from usernat.stack.checksum import checksum, fold, pseudo_header
from usernat.stack.l3.ipv4_header import FLAG_DF, PROTO_TCP, PROTO_UDP, write_header
from usernat.stack.l4.tcp.header import ACK, PSH, SYN

MAC = b"\x52\x54\x00\x12\x34\x56"
GATEWAY_MAC = b"\x52\x55\x0a\x00\x02\x02"
ADDRESS, GATEWAY = parse_ip("10.0.2.15"), parse_ip("10.0.2.2")
ETHERNET = GATEWAY_MAC + MAC + b"\x08\x00"
IP_START, TCP_START = 14, 34
PORTS = struct.Struct("!HH")
TCP = struct.Struct("!HHIIBBHHH")
TIMESTAMP = struct.Struct("!BBBBII")  # NOP, NOP, kind 8, length 10
SCALE = 8
WINDOW = 0xFFFF  # scaled: 16 MB


def arp_request() -> bytes:
    """Who has the gateway's address? So it knows ours."""
    head = b"\xff" * 6 + MAC + b"\x08\x06" + b"\0\1\x08\0\6\4\0\1"
    return head + MAC + ADDRESS.to_bytes(4, "big") + bytes(6) + GATEWAY.to_bytes(4, "big")


def datagram(port: int, to_port: int, data: bytes) -> bytes:
    """A UDP datagram to the gateway's address."""
    length = 8 + len(data)
    head = struct.pack("!HHHH", port, to_port, length, 0)
    total = fold(pseudo_header(ADDRESS, GATEWAY, PROTO_UDP, length) + (checksum(head, data) ^ 0xFFFF))
    return _ip(PROTO_UDP, length) + head[:6] + (total ^ 0xFFFF or 0xFFFF).to_bytes(2, "big") + data


def _ip(proto: int, length: int) -> bytes:
    return ETHERNET + write_header(0, 20 + length, 1, FLAG_DF, 64, proto, ADDRESS, GATEWAY)


class Stream:
    """Our end of a TCP connection. complete: whether to compute checksums, as a guest does that has no offload."""

    def __init__(self, port: int, to_port: int, *, complete: bool) -> None:
        self.port = port
        self.to_port = to_port
        self.complete = complete
        self.sequence = 1000
        self.expected = 0  # RCV.NXT
        self.acknowledged = 0  # SND.UNA
        self.window = 0
        self._scale = 0
        self._now = 1
        self._theirs = 0

    def syn(self) -> bytes:
        options = b"\2\4\x05\xb4" + b"\1\3\3" + bytes((SCALE,)) + self._timestamp()
        frame = self._segment(SYN, options, b"")
        self.sequence += 1
        return frame

    def data(self, payload: bytes) -> bytes:
        frame = self._segment(ACK | PSH, self._timestamp(), payload)
        self.sequence = (self.sequence + len(payload)) & 0xFFFFFFFF
        return frame

    def ack(self) -> bytes:
        return self._segment(ACK, self._timestamp(), b"")

    def arrived(self, frame: bytes) -> int:
        """Take what the gateway has sent to us; bytes of payload."""
        _, _, sequence, self.acknowledged, offset, flags, window, _, _ = TCP.unpack_from(frame, TCP_START)
        header = (offset >> 4) * 4
        payload: int = len(frame) - TCP_START - header
        self.window = window << (0 if flags & SYN else self._scale)
        options = frame[TCP_START + 20 : TCP_START + header]
        at = options.find(b"\x08\x0a")
        if at >= 0:
            self._theirs = int.from_bytes(options[at + 2 : at + 6], "big")
        if flags & SYN:
            self._scale = options[options.index(b"\3\3") + 2]
            self.expected = sequence
        self.expected = (sequence + payload + (flags & SYN != 0)) & 0xFFFFFFFF
        return payload

    def _timestamp(self) -> bytes:
        self._now += 1
        return TIMESTAMP.pack(1, 1, 8, 10, self._now, self._theirs)

    def _segment(self, flags: int, options: bytes, payload: bytes) -> bytes:
        offset = (20 + len(options)) // 4 << 4
        fields = (self.port, self.to_port, self.sequence, self.expected, offset, flags, WINDOW)
        head = TCP.pack(*fields, 0, 0) + options
        length = len(head) + len(payload)
        if self.complete:
            total = pseudo_header(ADDRESS, GATEWAY, PROTO_TCP, length) + (checksum(head, payload) ^ 0xFFFF)
            head = TCP.pack(*fields, fold(total) ^ 0xFFFF, 0) + options
        return _ip(PROTO_TCP, length) + head + payload
