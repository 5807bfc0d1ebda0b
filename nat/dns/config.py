"""The forwarder's settings and counters."""

from __future__ import annotations

from dataclasses import dataclass

from usernat.stack.counters import Counters

Resolver = tuple[int, int]  # address, port


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """Times in µs.

    address: the forwarder's on the guests' network. resolvers: upstream servers in order of preference.
    try_us: how long one resolver may think before the next is asked too. total_us: when the guest is told SERVFAIL; below the 5 s after
    which stub resolvers give up on us. tries: questions sent upstream for one query, at most.
    dead_us: how long a resolver that did not answer is asked last.
    outstanding, outstanding_bytes: queries waiting for upstream answers, at most. joined: clients that may wait for the same answer.
    sessions: TCP connections of guests (RFC 9210 §4.2-a). session_queries: queries of one that wait. session_bytes: answers that one has not read.
    session_idle_us: a session without traffic is closed (RFC 9210 §4.2-c). upstream_idle_us: the same of our own connections.
    """

    address: int
    resolvers: tuple[Resolver, ...]
    try_us: int = 1_500_000
    total_us: int = 4_500_000
    tries: int = 3
    dead_us: int = 30_000_000
    outstanding: int = 256
    outstanding_bytes: int = 1_048_576
    joined: int = 16
    sessions: int = 100
    session_queries: int = 64
    session_bytes: int = 262_144
    session_idle_us: int = 10_000_000
    upstream_idle_us: int = 5_000_000


@dataclass(slots=True)
class DnsCounters(Counters):
    """Of the forwarder. A `mismatch` is an upstream message with the wrong id or question; `spoofed` counts the tries given up for too many."""

    queries: int = 0
    answers: int = 0
    short: int = 0
    not_a_query: int = 0
    rejected: int = 0
    screened: int = 0
    joined: int = 0
    repeated: int = 0
    too_many_joined: int = 0
    overload: int = 0
    tries: int = 0
    try_failed: int = 0
    try_timed_out: int = 0
    mismatch: int = 0
    spoofed: int = 0
    no_answer: int = 0
    truncated: int = 0
    send_failed: int = 0
    sessions: int = 0
    sessions_evicted: int = 0
    sessions_refused: int = 0
    sessions_idle: int = 0
    sessions_not_reading: int = 0
    upstream_connections: int = 0
