"""The TCP header (RFC 9293 §3.1).

    0                   1                   2                   3
    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
   +-------------------------------+-------------------------------+
   |          Source Port          |       Destination Port        |
   +-------------------------------+-------------------------------+
   |                        Sequence Number                        |
   +---------------------------------------------------------------+
   |                    Acknowledgment Number                      |
   +-------+-------+---------------+-------------------------------+
   | Data  |       |C|E|U|A|P|R|S|F|                               |
   | Offset| Rsrvd |W|C|R|C|S|S|Y|I|            Window             |
   |       |       |R|E|G|K|H|T|N|N|                               |
   +-------+-------+---------------+-------------------------------+
   |           Checksum            |         Urgent Pointer        |
   +-------------------------------+-------------------------------+
   |             Options, padded with zeros to 32 bits             |
   +---------------------------------------------------------------+

Incoming headers are read with the codec; outgoing ones are packed in `emit.py`, options and all, in one call.
"""

from __future__ import annotations

from typing import NamedTuple

from construct import BitsInteger, BitStruct, Int8ub, Int16ub, Int32ub, Struct

from usernat.stack.wire import Codec

HEADER_LENGTH = 20  # bytes, without options
MAX_HEADER_LENGTH = 60
MAX_OPTIONS_LENGTH = MAX_HEADER_LENGTH - HEADER_LENGTH
CHECKSUM_OFFSET = 16

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10
URG = 0x20
ECE = 0x40
CWR = 0x80

FLAG_NAMES = (
    (SYN, "SYN"),
    (FIN, "FIN"),
    (RST, "RST"),
    (PSH, "PSH"),
    (ACK, "ACK"),
    (URG, "URG"),
    (ECE, "ECE"),
    (CWR, "CWR"),
)

TCP_DECLARATION = Struct(
    "source_port" / Int16ub,
    "destination_port" / Int16ub,
    "sequence" / Int32ub,
    "acknowledgment" / Int32ub,
    "offset_reserved" / BitStruct("data_offset" / BitsInteger(4), "reserved" / BitsInteger(4)),
    "flags" / Int8ub,
    "window" / Int16ub,
    "checksum" / Int16ub,
    "urgent_pointer" / Int16ub,
)


class TcpHeader(NamedTuple):
    """The fixed part. data_offset: header length in words of 32 bits. window: unscaled (MUST-1: never negative)."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgment: int
    data_offset: int
    reserved: int
    flags: int
    window: int
    checksum: int
    urgent_pointer: int

    def __str__(self) -> str:
        flags = ",".join(name for bit, name in FLAG_NAMES if self.flags & bit) or "none"
        return (
            f"TCP {self.source_port} > {self.destination_port} [{flags}] seq {self.sequence} "
            f"ack {self.acknowledgment} win {self.window}"
        )


TCP = Codec(TCP_DECLARATION, TcpHeader)
