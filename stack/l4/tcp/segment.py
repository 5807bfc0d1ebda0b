"""A segment as it arrives: header, time stamps and text, with the other options if there are any (RFC 9293 §3.3.1, SEG.*)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.stack.l4.tcp.header import FIN, FLAG_NAMES, HEADER_LENGTH, SYN, TCP
from usernat.stack.l4.tcp.options import TIMESTAMPS_LENGTH, TIMESTAMPS_PREFIX, read_options, timestamps_at

if TYPE_CHECKING:
    from usernat.stack.l3.packet import Packet
    from usernat.stack.l4.tcp.options import Options


class Segment:
    """Slots record.

    seq, ack, urgent: as on the wire. window: unscaled. flags: header bits. text: the payload view.
    length: SEG.LEN, the sequence space taken: text, SYN and FIN.
    takes_over: SND.NXT of the connection in TIME-WAIT that this SYN displaces (`time_wait.py`), else None.
    tsval, tsecr: time stamps as on the wire, tsval -1 where absent. options: None where there were none but time stamps.
    """

    __slots__ = (
        "ack",
        "destination_port",
        "flags",
        "length",
        "options",
        "packet",
        "seq",
        "source_port",
        "takes_over",
        "text",
        "tsecr",
        "tsval",
        "urgent",
        "window",
    )

    def __init__(
        self,
        packet: Packet,
        source_port: int,
        destination_port: int,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        urgent: int,
        text: memoryview,
    ) -> None:
        self.packet = packet
        self.source_port = source_port
        self.destination_port = destination_port
        self.seq = seq
        self.ack = ack
        self.flags = flags
        self.window = window
        self.urgent = urgent
        self.text = text
        self.length = len(text) + (flags & FIN) + (flags & SYN > 0)
        self.tsval = -1
        self.tsecr = 0
        self.options: Options | None = None
        self.takes_over: int | None = None

    def __str__(self) -> str:
        flags = ",".join(name for bit, name in FLAG_NAMES if self.flags & bit) or "none"
        return f"TCP {self.source_port} > {self.destination_port} [{flags}] seq {self.seq} ack {self.ack} win {self.window} {len(self.text)} bytes"


def read_segment(packet: Packet) -> Segment | None:
    """The segment in an IP payload, or None where header or data offset do not fit into it. The checksum is not looked at."""
    payload = packet.payload
    values = TCP.read_values(payload)
    if values is None:
        return None
    source_port, destination_port, seq, ack, data_offset, _, flags, window, _, urgent = values
    header_length = data_offset * 4
    if header_length < HEADER_LENGTH or header_length > len(payload):
        return None
    segment = Segment(
        packet, source_port, destination_port, seq, ack, flags, window, urgent, payload[header_length:]
    )
    if header_length > HEADER_LENGTH:  # RFC 9293 §3.1 MUST-5: options of any segment, not of SYNs alone
        if header_length == HEADER_LENGTH + TIMESTAMPS_LENGTH:
            prefix, tsval, tsecr = timestamps_at(payload, HEADER_LENGTH)
            if prefix == TIMESTAMPS_PREFIX:
                segment.tsval = tsval
                segment.tsecr = tsecr
                return segment
        options = segment.options = read_options(payload[HEADER_LENGTH:header_length])
        if options.timestamps is not None:
            segment.tsval, segment.tsecr = options.timestamps
    return segment
