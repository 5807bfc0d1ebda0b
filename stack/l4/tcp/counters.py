"""Counters of the TCP layer: every discard and every noteworthy event has a name."""

from __future__ import annotations

from dataclasses import dataclass

from usernat.stack.counters import Counters


@dataclass(slots=True)
class TcpCounters(Counters):
    """In the order of the way in, then the way out."""

    segments_received: int = 0
    # Dropped before a connection was looked up.
    truncated: int = 0
    bad_checksum: int = 0
    bad_data_offset: int = 0
    broadcast: int = 0
    port_zero: int = 0
    malformed_options: int = 0  # not dropped: what could be read counts
    # Not for a connection.
    for_neighbour: int = 0
    stray_reset: int = 0
    no_syn: int = 0
    backlog_full: int = 0
    table_full: int = 0
    half_open_evicted: int = 0
    time_wait_evicted: int = 0
    time_wait_reused: int = 0
    # Dropped by a connection.
    duplicate_syn: int = 0
    missing_timestamps: int = 0
    paws: int = 0
    out_of_window: int = 0
    blind_reset: int = 0
    blind_syn: int = 0
    no_ack: int = 0
    bad_ack: int = 0
    text_after_fin: int = 0
    text_after_close: int = 0
    # What happened.
    resets_received: int = 0
    duplicate_acks: int = 0
    urgent: int = 0
    congestion_marks: int = 0
    black_holes: int = 0
    icmp_errors: int = 0
    icmp_unknown: int = 0
    icmp_not_in_flight: int = 0
    # Sent.
    segments_sent: int = 0
    resets_sent: int = 0
    resets_limited: int = 0
    replies_dropped: int = 0  # RSTs, and ACKs out of TIME-WAIT, that found their queue full
    retransmissions: int = 0
    retransmit_timeouts: int = 0
    tail_loss_probes: int = 0
    window_probes: int = 0
    keepalive_probes: int = 0
    challenge_acks: int = 0
    challenge_acks_throttled: int = 0
    fin_wait_2_timeouts: int = 0
