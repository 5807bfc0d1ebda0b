"""What can be set for TCP, with the reasons for the defaults. Sizes in bytes, times in µs."""

from __future__ import annotations

from dataclasses import dataclass

from usernat.stack.l4.tcp.ecn import MODES

MS = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND

# RFC 7323 §2.3-a, -c: a shift of at most 14 keeps the largest window below 2**30.
MAX_WINDOW_SCALE = 14
MAX_RECEIVE_BUFFER = 0xFFFF << MAX_WINDOW_SCALE


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpConfig:
    """Of one TCP layer. Raises ValueError for what cannot work.

    send_buffer: bytes that `Connection.send` keeps until they are acknowledged.
    receive_buffer: the largest window that a connection grows to. initial_receive_window: what it starts with.
    memory: bytes that all queues of the layer may hold together before windows close (`memory.py`).
    max_connections, max_half_open, max_time_wait: entries of the tables; the oldest half-open or TIME-WAIT one makes room.

    congestion: "cubic" (RFC 9438) or "newreno" (RFC 5681).
    ecn: congestion marks (RFC 3168): "answer" peers that ask for them, "ask" peers that are called, or "off".
    min_rto_us: RFC 6298 §2.4-a asks for one second. The guest's link answers within a millisecond and Linux uses 200 ms: a departure.
    max_rto_us: RFC 6298 §2.5-a: at least 60 s.
    delayed_ack_us: RFC 9293 §3.8.6.3 MUST-40: below 0.5 s.
    msl_us: RFC 9293 §3.4.2 takes two minutes; TIME-WAIT lasts twice this. Half a minute is what hosts use today: a departure.
    fin_wait_2_us: how long a connection that was closed both ways by us waits for the peer's FIN. RFC 9293 waits for
        ever; a peer that never closes must not hold a table entry for ever: a departure, and `shutdown` alone does not start it.
    user_timeout_us: R2 of RFC 9293 §3.8.3 (MUST-21, SHLD-11: at least 100 s), None for ever. A connection can have its own.
    syn_timeout_us: R2 of the SYN (MUST-23: at least 3 minutes).
    keepalive_idle_us: RFC 9293 §3.8.4 MUST-28: at least two hours. Keep-alive is off unless a connection switches it on (MUST-25).
    keepalive_interval_us, keepalive_probes: between unanswered probes, and how many of them end the connection (MUST-29).
    challenge_acks, challenge_window_us: RFC 5961 §7-a, per connection.
    resets_per_second: RSTs for segments that belong to no connection.
    """

    send_buffer: int = 2 << 20
    receive_buffer: int = 1 << 20
    initial_receive_window: int = 0xFFFF
    memory: int = 256 << 20
    max_connections: int = 16384
    max_half_open: int = 512
    max_time_wait: int = 8192

    congestion: str = "cubic"
    ecn: str = "answer"
    min_rto_us: int = 200 * MS
    initial_rto_us: int = SECOND
    max_rto_us: int = MINUTE
    delayed_ack_us: int = 40 * MS
    msl_us: int = 30 * SECOND
    fin_wait_2_us: int = MINUTE
    user_timeout_us: int | None = 5 * MINUTE
    syn_timeout_us: int = 3 * MINUTE
    keepalive_idle_us: int = 120 * MINUTE
    keepalive_interval_us: int = 75 * SECOND
    keepalive_probes: int = 9
    challenge_acks: int = 10
    challenge_window_us: int = 5 * SECOND
    resets_per_second: int = 1000

    def __post_init__(self) -> None:
        if self.congestion not in {"cubic", "newreno"}:
            raise ValueError(f"no such congestion control: {self.congestion!r}")
        if self.ecn not in MODES:
            raise ValueError(f"ecn must be one of {', '.join(MODES)}, not {self.ecn!r}")
        if not 1 <= self.receive_buffer <= MAX_RECEIVE_BUFFER:
            raise ValueError(f"receive_buffer must be 1 to {MAX_RECEIVE_BUFFER}, not {self.receive_buffer}")
        if self.delayed_ack_us >= 500 * MS:
            raise ValueError("RFC 9293 MUST-40: an ACK is delayed by less than half a second")
        if self.syn_timeout_us < 3 * MINUTE:
            raise ValueError("RFC 9293 MUST-23: a SYN is repeated for at least three minutes")
        for name in (
            "send_buffer",
            "memory",
            "max_connections",
            "max_half_open",
            "max_time_wait",
            "msl_us",
            "min_rto_us",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive")


def window_scale(buffer: int) -> int:
    """The smallest shift with which a 16-bit window field can offer `buffer` bytes (RFC 7323 §2.2)."""
    shift = 0
    while shift < MAX_WINDOW_SCALE and 0xFFFF << shift < buffer:
        shift += 1
    return shift
