"""What Linux tells of a connection: struct tcp_info (linux/tcp.h), and the states of its tables."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Final

from construct import Int8ul, Int32ul, Int64ul, Struct

# tcpi_options
TIMESTAMPS: Final = 1
SACK: Final = 2
WINDOW_SCALE: Final = 4
ECN: Final = 8
ECN_SEEN: Final = 16

# tcpi_state, and the column `st` of /proc/net/tcp
(
    ESTABLISHED,
    SYN_SENT,
    SYN_RECV,
    FIN_WAIT1,
    FIN_WAIT2,
    TIME_WAIT,
    CLOSE,
    CLOSE_WAIT,
    LAST_ACK,
    LISTEN,
    CLOSING,
) = range(1, 12)

TCP_INFO = Struct(
    "state" / Int8ul,
    "ca_state" / Int8ul,
    "retransmits" / Int8ul,
    "probes" / Int8ul,
    "backoff" / Int8ul,
    "options" / Int8ul,
    "scales" / Int8ul,  # a bit field of the machine: low nibble snd_wscale, high nibble rcv_wscale
    "limits" / Int8ul,
    *(
        name / Int32ul
        for name in (
            *("rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets"),
            *("last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv"),
            *("pmtu", "rcv_ssthresh", "rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "advmss", "reordering"),
            *("rcv_rtt", "rcv_space", "total_retrans"),
        )
    ),
    *(name / Int64ul for name in ("pacing_rate", "max_pacing_rate", "bytes_acked", "bytes_received")),
    *(
        name / Int32ul
        for name in ("segs_out", "segs_in", "notsent_bytes", "min_rtt", "data_segs_in", "data_segs_out")
    ),
    *(name / Int64ul for name in ("delivery_rate", "busy_time", "rwnd_limited", "sndbuf_limited")),
    *(name / Int32ul for name in ("delivered", "delivered_ce")),
    *(name / Int64ul for name in ("bytes_sent", "bytes_retrans")),
    *(name / Int32ul for name in ("dsack_dups", "reord_seen", "rcv_ooopack", "snd_wnd")),
)


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """The part that tests ask for. snd_scale: the shift that the kernel got from us; rcv_scale: the one it gave."""

    state: int
    options: int
    snd_scale: int
    rcv_scale: int
    snd_mss: int
    pmtu: int
    total_retrans: int
    dsack_dups: int
    reord_seen: int
    snd_wnd: int
    delivered_ce: int


def tcp_info(sock: socket.socket) -> TcpInfo:
    """Of this socket, now."""
    raw: Any = TCP_INFO.parse(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.sizeof()))
    return TcpInfo(
        state=raw.state,
        options=raw.options,
        snd_scale=raw.scales & 15,
        rcv_scale=raw.scales >> 4,
        **{
            name: raw[name]
            for name in (
                *("snd_mss", "pmtu", "total_retrans", "dsack_dups", "reord_seen"),
                *("snd_wnd", "delivered_ce"),
            )
        },
    )
