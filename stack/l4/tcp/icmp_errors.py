"""What ICMP errors mean for a connection (RFC 9293 §3.9.2.2), and how far they are believed (RFC 5927).

Anyone can send one, so it must quote a segment that is in flight right now: the tuple and a sequence number in [SND.UNA, SND.NXT) (RFC 5927 §4.1).
Even then a hard error ends only a connection that does not stand yet; on one that does, every error is a hint (RFC 5927 §6.1, RFC 5382 REQ-10).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from usernat.stack.l3.icmp_message import (
    CODE_FRAGMENTATION_NEEDED,
    CODE_PORT_UNREACHABLE,
    CODE_PROHIBITED,
    CODE_PROTOCOL_UNREACHABLE,
    UNREACHABLE,
)
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.negotiation import resize
from usernat.stack.l4.tcp.seq import unwrap
from usernat.stack.l4.tcp.state import SYN_RECEIVED, TcpError

if TYPE_CHECKING:
    from usernat.stack.l3.icmp_message import IcmpError
    from usernat.stack.l4.tcp.layer import TcpLayer

HARD_CODES = frozenset({CODE_PROTOCOL_UNREACHABLE, CODE_PORT_UNREACHABLE, 9, 10, CODE_PROHIBITED})

_quoted = struct.Struct(">HHI").unpack_from


def on_icmp_error(layer: TcpLayer, error: IcmpError, now: int) -> None:
    """An error about a segment of ours (MUST-54: it goes to the connection that caused it, and to no other)."""
    local_port, remote_port, seq = _quoted(error.payload)
    connection = layer.table.get((error.dst, remote_port, error.src, local_port))
    if not isinstance(connection, Connection):
        layer.counters.icmp_unknown += 1
        return
    snd = connection.snd
    if not snd.snd_una <= unwrap(seq, snd.snd_una) < snd.snd_nxt:
        layer.counters.icmp_not_in_flight += 1
        return
    layer.counters.icmp_errors += 1
    if error.type == UNREACHABLE and error.code == CODE_FRAGMENTATION_NEEDED:
        _too_big(layer, connection, error, now)
    elif error.type == UNREACHABLE and error.code in HARD_CODES and connection.state <= SYN_RECEIVED:
        # SHLD-26, as far as RFC 5927 §6.1 lets it: a connection being opened has nothing to lose
        connection.fail(TcpError.REFUSED if error.code == CODE_PORT_UNREACHABLE else TcpError.UNREACHABLE)
    else:
        connection.report_soft_error(error.type, error.code)  # RFC 9293 §3.9.2.2 MUST-56, SHLD-25


def _too_big(layer: TcpLayer, connection: Connection, error: IcmpError, now: int) -> None:
    """RFC 1191 §6.4-a: what was too big goes again in smaller pieces at once, and is not taken for congestion."""
    if layer.ipv4.too_big(error, now):
        connection.path_mtu = layer.ipv4.path_mtu(connection.remote)
        resize(connection)
        connection.snd.resend()
        connection.wake()
