"""A connection: what the application sees of it, and the glue between its halves.

The public part only marks what is wanted; `transmit.py` does it in the connection's next turn. The private part (from "the machine" on) is
called by `arrival.py`, `timers.py` and `layer.py`, which own the rules. A connection leaves the layer's tables the moment it is CLOSED or in
TIME-WAIT (`time_wait.py` stands in for it then); the object lives on in the application's hands with what is still to be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usernat.stack.addr import format_ip
from usernat.stack.l3.ipv4_header import PROTO_TCP
from usernat.stack.l4.tcp.arrival import segment_arrives
from usernat.stack.l4.tcp.challenge import ChallengeAllowance
from usernat.stack.l4.tcp.cubic import Cubic
from usernat.stack.l4.tcp.header import ACK, RST
from usernat.stack.l4.tcp.keepalive import KeepAlive
from usernat.stack.l4.tcp.negotiation import DEFAULT_MSS, effective_mss
from usernat.stack.l4.tcp.newreno import NewReno
from usernat.stack.l4.tcp.receiver import ACK_NOW, Receiver
from usernat.stack.l4.tcp.rtt import RttEstimator
from usernat.stack.l4.tcp.sender import Sender
from usernat.stack.l4.tcp.seq import wrap
from usernat.stack.l4.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    State,
    TcpError,
)
from usernat.stack.l4.tcp.timers import Timers, on_time, start_linger
from usernat.stack.l4.tcp.timestamps import Timestamps

if TYPE_CHECKING:
    from usernat.stack.device import Buffer
    from usernat.stack.l4.tcp.black_hole import BlackHole
    from usernat.stack.l4.tcp.congestion import CongestionControl
    from usernat.stack.l4.tcp.ecn import Ecn
    from usernat.stack.l4.tcp.layer import TcpLayer
    from usernat.stack.l4.tcp.segment import Segment

CONGESTION: dict[str, type[CongestionControl]] = {"cubic": Cubic, "newreno": NewReno}

Key = tuple[int, int, int, int]  # remote, remote_port, local, local_port


class Connection:
    """One TCP connection, made by `TcpLayer.connect`, `Listener.accept` or `Incoming.accept`.

    local, remote: addresses as integers, with local_port and remote_port. state: RFC 9293 §3.3.2.
    owner: anything; for whoever drains `Interface.ready()`. error: why it ended badly, None while it has not.
    soft_error: the last ICMP error that did not end it, as (type, code) (RFC 9293 §3.9.1.8 MUST-47, §3.9.2.2 SHLD-25).
    in_trouble: retransmissions go unanswered (R1, §3.8.3 SHLD-9). soft_reports: whether these two are reported (§3.9.1.8 SHLD-20).
    user_timeout_us: R2, None for ever (§3.8.3 MUST-21).
    ttl, tos: of what is sent from now on (MUST-48, MUST-49, SHLD-21, SHLD-22).
    link_header: of frames of the peer's that the layers below have found sound (`stack/early_demux.py`), empty where there was none.
    """

    __slots__ = (
        "__weakref__",
        "_challenges",
        "black_hole",
        "config",
        "ecn",
        "error",
        "heard_at",
        "in_trouble",
        "keepalive",
        "keepalive_due",
        "key",
        "layer",
        "link_header",
        "listener",
        "local",
        "local_port",
        "offer_sack",
        "offer_scale",
        "owner",
        "passive",
        "path_mtu",
        "peer_mss",
        "ports",
        "probe_due",
        "pseudo_sum",
        "queued",
        "rcv",
        "reading_over",
        "remote",
        "remote_port",
        "sent_at",
        "snd",
        "soft_error",
        "soft_reports",
        "state",
        "syn_due",
        "timers",
        "timestamps",
        "tos",
        "ttl",
        "tx_checksum",
        "unfinished",
        "user_timeout_us",
    )

    def __init__(
        self, layer: TcpLayer, key: Key, now: int, *, passive: bool, after: int | None = None
    ) -> None:
        self.layer = layer
        self.config = config = layer.config
        self.key = key
        self.remote, self.remote_port, self.local, self.local_port = key
        self.owner: Any = None
        self.passive = passive  # RFC 9293 §3.5 MUST-11
        self.listener: Any = None  # whose accept queue waits for it
        self.state: State = SYN_RECEIVED if passive else SYN_SENT
        self.error: TcpError | None = None
        self.soft_error: tuple[int, int] | None = None
        self.in_trouble = False
        self.soft_reports = True
        self.ttl = 64
        self.tos = 0
        self.user_timeout_us = config.user_timeout_us
        self.keepalive: KeepAlive | None = None

        self.peer_mss = DEFAULT_MSS
        self.path_mtu = layer.ipv4.path_mtu(self.remote)
        self.offer_scale = True
        self.offer_sack = True
        self.ecn: Ecn | None = None
        self.black_hole: BlackHole | None = None
        self.tx_checksum = layer.capabilities.tx_checksum
        self.ports = self.local_port << 16 | self.remote_port  # as in the header
        self.pseudo_sum = self.local + self.remote + PROTO_TCP
        self.timestamps: Timestamps | None = Timestamps(layer.isn.timestamp_offset(*key), 0, 0, now)
        self.timers = Timers()
        self.rcv = Receiver(
            layer.memory, layer.advertised_mss(), config.receive_buffer, config.initial_receive_window
        )
        rtt = RttEstimator(
            initial_rto_us=config.initial_rto_us, min_rto_us=config.min_rto_us, max_rto_us=config.max_rto_us
        )
        smss = effective_mss(self)
        iss = layer.isn.initial_sequence(*key, now, after)
        self.snd = Sender(iss, smss, CONGESTION[config.congestion](smss), rtt, layer.memory)

        self.syn_due = True
        self.probe_due = False
        self.keepalive_due = False
        self.reading_over = False
        self.unfinished = False
        self.queued = False
        self.link_header = b""
        self.heard_at = now
        self.sent_at = now
        self._challenges: ChallengeAllowance | None = None  # once there was one

    def __repr__(self) -> str:
        return (
            f"<Connection {format_ip(self.local)}:{self.local_port} - {format_ip(self.remote)}:{self.remote_port} "
            f"{self.state.name}>"
        )

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def readable(self) -> int:
        """Bytes that can be read now."""
        return self.rcv.queue.size

    @property
    def at_eof(self) -> bool:
        """Whether the peer has finished and everything was read."""
        return self.rcv.finished and not self.rcv.queue.size

    def peek(self, limit: int) -> list[Buffer]:
        """Views of the first `limit` readable bytes, or of fewer. They are of the frames as they arrived and stay valid."""
        return self.rcv.queue.peek(limit)

    def consume(self, count: int) -> None:
        """Take the first `count` bytes off, which opens the window. ValueError for more than are readable."""
        if self.rcv.consume(count) and self.state >= ESTABLISHED:
            self.rcv.ack = ACK_NOW
            self.wake()

    def recv(self, limit: int) -> bytes:
        """Read at most `limit` bytes: b"" where none are there (`at_eof` tells the end)."""
        data = b"".join(self.peek(limit))
        self.consume(len(data))
        return data

    @property
    def urgent_remaining(self) -> int:
        """How many bytes, from the next one to be read, the peer calls urgent (RFC 9293 §3.8.5 MUST-33); not all need be there yet."""
        read = self.rcv.rcv_nxt - self.rcv.finished - self.rcv.queue.size  # the number of the next byte
        return max(0, self.rcv.urgent - read)

    # -- writing ------------------------------------------------------------------------------------------------------

    @property
    def send_room(self) -> int:
        """Bytes that `send` takes now.

        The connection becomes ready when at least half of the buffer is free again, and when the peer has acknowledged everything.
        """
        snd = self.snd
        if snd.fin_queued or self.state in (CLOSED, TIME_WAIT):
            return 0
        queue = snd.queue
        return max(0, self.layer.memory.share(self.config.send_buffer) - queue.end + queue.start)

    @property
    def has_room(self) -> bool:
        """Whether at least half of what may be queued is free."""
        queue = self.snd.queue
        return 2 * (queue.end - queue.start) <= self.layer.memory.share(self.config.send_buffer)

    @property
    def unacknowledged(self) -> int:
        """Bytes that `send` has taken and the peer has not acknowledged."""
        return len(self.snd.queue)

    def send(self, data: Buffer, *, urgent: bool = False) -> int:
        """Queue bytes, by reference: they must not change until acknowledged. Returns how many were taken, by `send_room`.

        Allowed from the beginning, before the connection stands. 0 once it is shut down or over. Everything leaves as soon as windows,
        Nagle and cwnd let it: there is no PUSH to wait for (RFC 9293 §3.9.1.2 MUST-60).
        urgent: the peer is told that what is queued so far is urgent (RFC 9293 §3.8.5; RFC 6093 advises against it).
        """
        room, size = self.send_room, len(data)
        if size > room:
            data, size = memoryview(data)[:room], room
        if size:
            queue = self.snd.queue
            queue.append(data)
            self.layer.memory.used += size
            if urgent:
                self.snd.urgent = queue.end
            self.wake()
        return size

    # -- ending ---------------------------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """No more writing: a FIN follows what is queued. Reading goes on."""
        if not self.snd.fin_queued and self.state not in (CLOSED, TIME_WAIT):
            self.snd.fin_queued = True
            self.wake()

    def close(self) -> None:
        """No more reading nor writing. What is queued is still sent; unread data, now or later, makes it a reset (RFC 9293 §3.6.1 MAY-1, SHLD-3)."""
        if self.reading_over:
            return
        if self.state in (CLOSED, TIME_WAIT):
            self.reading_over = True
            self.rcv.clear()
        elif self.rcv.queue.size or self.state == SYN_SENT:
            self.abort()
        else:
            self.reading_over = True
            self.shutdown()
            start_linger(self, self.layer.now)
            self.wake()

    def abort(self) -> None:
        """End at once: RST to the peer (RFC 9293 §3.10.5), everything held is let go of."""
        if self.state not in (CLOSED, TIME_WAIT):
            self.reset()
        self.reading_over = True
        self.rcv.clear()

    @property
    def established(self) -> bool:
        """Whether the handshake is done and the connection not over."""
        return ESTABLISHED <= self.state < TIME_WAIT

    @property
    def closed(self) -> bool:
        """Whether both directions are over: nothing comes or goes any more, though something may be left to read."""
        return self.state in (CLOSED, TIME_WAIT)

    # -- settings -----------------------------------------------------------------------------------------------------

    @property
    def nodelay(self) -> bool:
        """Whether small segments are sent without waiting for acknowledgements (RFC 9293 §3.7.4 MUST-17)."""
        return self.snd.nodelay

    @nodelay.setter
    def nodelay(self, value: bool) -> None:
        self.snd.nodelay = value
        self.wake()

    def keep_alive(self, enabled: bool, *, idle_us: int | None = None) -> None:
        """Switch keep-alive for this connection (RFC 9293 §3.8.4 MUST-24, MUST-27). idle_us: before the first probe."""
        config = self.config
        idle = config.keepalive_idle_us if idle_us is None else idle_us
        interval = min(config.keepalive_interval_us, idle)
        self.keepalive = KeepAlive(idle, interval, config.keepalive_probes) if enabled else None
        self.wake()

    # -- the machine --------------------------------------------------------------------------------------------------

    def receive(self, seg: Segment, now: int) -> None:
        """A segment for this connection."""
        segment_arrives(self, seg, now)

    def on_time(self, now: int) -> None:
        """A timer may be due."""
        on_time(self, now)

    def wake(self) -> None:
        """Ask for a turn to transmit."""
        if not self.queued and self.state not in (CLOSED, TIME_WAIT):
            self.queued = True
            self.layer.work.append(self)

    def mark_ready(self) -> None:
        """Let the application know that something changed, if it knows the connection yet."""
        if self.listener is None:
            self.layer.ready[self] = None

    def challenge(self, now: int) -> None:
        """A challenge ACK (RFC 5961 §3.2, §4.2, §5.2), while the allowance lasts."""
        if self._challenges is None:
            self._challenges = ChallengeAllowance(self.config.challenge_acks, self.config.challenge_window_us)
        if self._challenges.take(now):
            self.layer.counters.challenge_acks += 1
            self.rcv.ack = ACK_NOW
        else:
            self.layer.counters.challenge_acks_throttled += 1

    def report_trouble(self, now: int) -> None:
        """R1 is reached. RFC 9293 §3.8.3 MUST-20: IP is told, which may find another way; SHLD-9: and the application."""
        self.layer.ipv4.doubt(self.remote, now)
        if self.soft_reports:
            self.in_trouble = True
            self.mark_ready()

    def report_soft_error(self, type_: int, code: int) -> None:
        """An ICMP error that ends nothing (RFC 9293 §3.9.1.8 MUST-47, §3.9.2.2 SHLD-25), unless switched off (§3.9.1.8 SHLD-20)."""
        if self.soft_reports:
            self.soft_error = (type_, code)
            self.mark_ready()

    def reset(self) -> None:
        """Send RST (RFC 9293 §3.10.5) and be gone."""
        snd = self.snd
        if self.state != SYN_SENT:
            options = self.timestamps
            self.layer.counters.resets_sent += 1
            self.layer.reply(
                self.key,
                wrap(snd.acceptable_seq),
                wrap(self.rcv.rcv_nxt),
                RST | ACK,
                0,
                (options.value(self.layer.now), options.recent)
                if options is not None
                else None,  # RFC 7323 §3.2-c
            )
        self.fail(None)

    def fail(self, error: TcpError | None) -> None:
        """CLOSED at once: queues are flushed, timers stopped, the table entry is gone (RFC 9293 §3.10.8-a)."""
        self.error = error
        self.rcv.clear()
        self.finish()

    def finish(self) -> None:
        """CLOSED. What arrived in order can still be read."""
        self.state = CLOSED
        self.snd.clear()
        self.rcv.drop_held()
        if self.reading_over:
            self.rcv.clear()
        self.layer.forget(self)
        self.mark_ready()

    def enter_time_wait(self, now: int) -> None:
        """Hand over to a compact record that keeps 2 MSL for us (RFC 9293 §3.6.1 MUST-13)."""
        self.state = TIME_WAIT
        self.snd.clear()
        self.rcv.drop_held()
        if self.reading_over:
            self.rcv.clear()
        self.layer.enter_time_wait(self, now)
        self.mark_ready()

    @property
    def peer_finished(self) -> bool:
        """Whether the peer's FIN has come (there may be something left to read)."""
        return self.state >= CLOSE_WAIT
