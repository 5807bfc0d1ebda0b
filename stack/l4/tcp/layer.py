"""The TCP of one interface: which segment is whose, whose turn it is to send, what is due when.

One table maps the tuple (remote address and port, local address and port) to whatever lives there: a connection, a held SYN or a TIME-WAIT record.
Each of them takes segments by `receive`. What is not in the table goes to a listener, or draws a RST.

Connections that may have something to say queue up in `work`; `transmit` serves them in turn, a few frames each, until the budget is used
up. Their earliest timers stand in one `Deadlines`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any
from weakref import ref

from usernat.stack.addr import format_ip, is_loopback, is_unicast
from usernat.stack.checksum import checksum, pseudo_header
from usernat.stack.deadlines import Deadlines
from usernat.stack.l3.ipv4_header import PROTO_TCP
from usernat.stack.l4.ports import choose_port
from usernat.stack.l4.tcp.config import TcpConfig
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.counters import TcpCounters
from usernat.stack.l4.tcp.header import HEADER_LENGTH
from usernat.stack.l4.tcp.icmp_errors import on_icmp_error
from usernat.stack.l4.tcp.incoming import Incoming
from usernat.stack.l4.tcp.isn import IsnGenerator
from usernat.stack.l4.tcp.listener import Listener
from usernat.stack.l4.tcp.memory import MemoryBudget
from usernat.stack.l4.tcp.negotiation import FIXED_HEADERS
from usernat.stack.l4.tcp.reset import Replies, Reply
from usernat.stack.l4.tcp.segment import read_segment
from usernat.stack.l4.tcp.state import TcpError
from usernat.stack.l4.tcp.time_wait import TimeWait
from usernat.stack.l4.tcp.transmit import transmit

if TYPE_CHECKING:
    from random import Random

    from usernat.stack.device import Capabilities
    from usernat.stack.l3.icmp_message import IcmpError
    from usernat.stack.l3.ipv4 import Ipv4Layer
    from usernat.stack.l3.packet import Packet
    from usernat.stack.l4.tcp.connection import Key
    from usernat.stack.l4.tcp.segment import Segment

MAX_TURN = 16  # frames that one connection sends before the next has its turn


class TableFullError(RuntimeError):
    """No room for another connection, or no port left for it."""


class TcpLayer:
    """ready: sockets whose readiness has changed, as the keys of a dictionary; whoever drains it clears it."""

    def __init__(
        self,
        ipv4: Ipv4Layer,
        capabilities: Capabilities,
        rng: Random,
        now: int,
        config: TcpConfig | None = None,
    ) -> None:
        self.ipv4 = ipv4
        self.capabilities = capabilities
        self.config = config or TcpConfig()
        self.now = now  # of the last call that brought the time: what the calls of the application go by
        self.counters = TcpCounters()
        self.memory = MemoryBudget(self.config.memory)
        self.isn = IsnGenerator(rng)
        self.ready: dict[Connection | Listener | Incoming, None] = {}
        self.table: dict[Key, Connection | Incoming | TimeWait] = {}
        self.half_open: OrderedDict[Key, Connection | Incoming] = OrderedDict()  # the oldest first
        self.time_wait: OrderedDict[Key, TimeWait] = OrderedDict()  # the first to expire first
        self.listeners: dict[tuple[int | None, int | None], Listener] = {}
        self.work: deque[Connection] = deque()
        self._rng = rng
        self._replies = Replies(self.counters, self.config.resets_per_second, now)
        self._deadlines: Deadlines[Connection] = Deadlines()

    # -- the application ------------------------------------------------------------------------------------------------

    def connect(
        self, remote: int, remote_port: int, *, local: int | None = None, local_port: int | None = None
    ) -> Connection:
        """Open a connection (RFC 9293 §3.10.1). It is returned at once; `established` or `closed` comes true later.

        local: the address to speak from (MUST-43), kept for the connection's life (MUST-45). ValueError for impossible
        addresses or ports and for a tuple in use, TableFullError where there is no room.
        """
        if not 0 < remote_port < 65536 or (local_port is not None and not 0 < local_port < 65536):
            raise ValueError("a port is 1 to 65535")
        if not is_unicast(remote) or is_loopback(remote) or self.ipv4.addresses.is_broadcast(remote):
            raise ValueError(f"cannot connect to {format_ip(remote)}")  # MUST-46
        if local is None:
            local = self.ipv4.source_for(remote)  # MUST-44
            if local is None:
                raise ValueError(f"no route to {format_ip(remote)}")
        elif not is_unicast(local) or not (self.ipv4.any_ip or local in self.ipv4.addresses.own):
            raise ValueError(f"cannot connect from {format_ip(local)}")
        if not self.has_table_room():
            raise TableFullError("too many connections")
        if local_port is None:
            local_port = self._choose_port(remote, remote_port, local)
        key = (remote, remote_port, local, local_port)
        old = self.table.get(key)
        after = None
        if isinstance(old, TimeWait):
            self.end_time_wait(old)
            after = old.snd_nxt
        elif old is not None:
            raise ValueError(f"port {local_port} is in use for {format_ip(remote)}:{remote_port}")
        connection = Connection(self, key, self.now, passive=False, after=after)
        self.table[key] = connection
        connection.wake()
        return connection

    def listen(
        self, address: int | None, port: int | None, *, backlog: int = 128, hold: bool = False
    ) -> Listener:
        """Take calls (RFC 9293 §3.10.1). None stands for any address or port; the most specific listener gets a call.

        ValueError where there is such a listener already (MUST-41). Connections on that port, in whatever state, are none (MUST-42).
        """
        if (address, port) in self.listeners:
            raise ValueError("somebody listens there already")
        if port is not None and not 0 < port < 65536:
            raise ValueError("a port is 1 to 65535")
        listener = self.listeners[address, port] = Listener(self, address, port, backlog, hold=hold)
        return listener

    def _choose_port(self, remote: int, remote_port: int, local: int) -> int:
        listeners, table = self.listeners, self.table

        def in_use(port: int) -> bool:
            taken = (remote, remote_port, local, port) in table
            return taken or (local, port) in listeners or (None, port) in listeners

        port = choose_port(self._rng, in_use)
        if port is None:
            raise TableFullError(f"all ports towards {format_ip(remote)}:{remote_port} are taken")
        return port

    # -- arriving ---------------------------------------------------------------------------------------------------------

    def receive(self, packet: Packet, now: int) -> None:
        """Take in one segment. Nothing is sent before `transmit`. `packet.options`, IP's, mean nothing here (RFC 9293 §3.9.2 MUST-50)."""
        self.now = now
        counters = self.counters
        counters.segments_received += 1
        payload = packet.payload
        if len(payload) < HEADER_LENGTH:
            counters.truncated += 1
            return
        # RFC 9293 §3.1 MUST-3; over what holds its own checksum the result is 0
        if not packet.checksum_ok and checksum(
            payload, initial=pseudo_header(packet.src, packet.dst, PROTO_TCP, len(payload))
        ):
            counters.bad_checksum += 1
            return
        seg = read_segment(packet)
        if seg is None:
            counters.bad_data_offset += 1
            return
        if packet.broadcast:
            counters.broadcast += 1  # RFC 9293 §3.9.2.3 MUST-57; MUST-63: IP has dropped impossible sources
            return
        if not seg.source_port or not seg.destination_port:
            counters.port_zero += 1
            return
        if seg.options is not None and seg.options.malformed:
            # RFC 9293 §3.1 MUST-7: what could be read counts, the rest is passed over
            counters.malformed_options += 1
        key = (packet.src, seg.source_port, packet.dst, seg.destination_port)
        entry = self.table.get(key)
        if entry is not None:
            entry.receive(seg, now)
        else:
            self.listen_for(seg, now)

    def listen_for(self, seg: Segment, now: int) -> None:
        """A segment whose tuple has no entry: LISTEN or CLOSED."""
        dst, port = seg.packet.dst, seg.destination_port
        listeners = self.listeners
        listener = (
            (
                listeners.get((dst, port))
                or listeners.get((None, port))
                or listeners.get((dst, None))
                or listeners.get((None, None))
            )
            if listeners
            else None
        )
        if listener is None:
            self.refuse(seg)
        else:
            listener.receive(seg, (seg.packet.src, seg.source_port, dst, port), now)

    def on_icmp_error(self, error: IcmpError, now: int) -> None:
        """An ICMP error that quotes a TCP segment of ours."""
        self.now = now
        on_icmp_error(self, error, now)

    # -- leaving ----------------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether `transmit` may have something to do."""
        return bool(self.work) or bool(self._replies)

    def transmit(self, now: int, budget: int) -> int:
        """Emit at most `budget` frames; returns how many. State moves only with what is emitted."""
        self.now = now
        emitted = self._replies.transmit(self.ipv4, now, budget) if self._replies else 0
        work = self.work
        while work and emitted < budget:
            connection = work.popleft()
            connection.queued = False
            if connection.closed:
                continue
            emitted += transmit(connection, now, min(MAX_TURN, budget - emitted))
            if connection.unfinished:
                connection.wake()
            self._deadlines.set(connection, connection.timers.due())
        return emitted

    def refuse(self, seg: Segment) -> None:
        """RFC 9293 §3.10.7.1: the RST that a segment draws, if any.

        A gateway answers for those beyond it, never for a neighbour of the sender's: that one is there itself, or nobody is (C45).
        """
        packet = seg.packet
        if packet.forwarded and self.ipv4.addresses.on_link(packet.dst) is not None:
            self.counters.for_neighbour += 1
            return
        self._replies.push_reset_for(seg, self.now)

    def reply(
        self, key: Key, seq: int, ack: int, flags: int, window: int, timestamps: tuple[int, int] | None
    ) -> None:
        """Queue a segment without text for a tuple that has, or will have, no connection."""
        self._replies.push(Reply(key, seq, ack, flags, window, timestamps))

    # -- time -------------------------------------------------------------------------------------------------------------

    def poll_at(self) -> int | None:
        """The next moment at which a timer is due."""
        for connection in self.work:
            if not connection.closed:
                self._deadlines.set(connection, connection.timers.due())
        due = self._deadlines.next()
        for record in self.time_wait.values():
            return record.expires if due is None else min(due, record.expires)
        return due

    def on_time(self, now: int) -> None:
        """Do what is due; what is to be sent for it leaves with `transmit`."""
        self.now = now
        while self.time_wait:
            record = next(iter(self.time_wait.values()))
            if record.expires > now:
                break
            self.end_time_wait(record)  # RFC 9293 §3.10.8-c
        for connection in self._deadlines.expire(now):
            connection.on_time(now)

    # -- the tables -------------------------------------------------------------------------------------------------------

    def advertised_mss(self) -> int:
        """RFC 9293 §3.7.1 MUST-67, §3.7.3 SHLD-6 (RFC 6691): what the link and reassembly can take, less the fixed headers only."""
        return min(self.capabilities.mtu - FIXED_HEADERS, self.ipv4.max_receive() - HEADER_LENGTH)

    def has_table_room(self) -> bool:
        """Whether another connection may be made."""
        return len(self.table) - len(self.time_wait) < self.config.max_connections

    def admit_half_open(self, key: Key, entry: Connection | Incoming) -> None:
        """A call enters the tables; where too many are half open, the oldest leaves."""
        while len(self.half_open) >= self.config.max_half_open:
            oldest = next(iter(self.half_open.values()))
            self.counters.half_open_evicted += 1
            if isinstance(oldest, Incoming):
                oldest.cancel()
            else:
                oldest.fail(TcpError.EVICTED)
        self.table[key] = self.half_open[key] = entry

    def forget_half_open(self, key: Key, entry: Incoming) -> None:
        """A held SYN has been decided on."""
        if self.table.get(key) is entry:
            del self.table[key]
            del self.half_open[key]

    def forget_listener(self, listener: Listener) -> None:
        """It takes no more calls; handshakes that it began end with it."""
        del self.listeners[listener.address, listener.port]
        for entry in list(self.half_open.values()):
            if isinstance(entry, Connection) and entry.listener is listener:
                entry.abort()

    def on_established(self, connection: Connection) -> None:
        """A handshake is complete."""
        self.half_open.pop(connection.key, None)
        if connection.listener is None:
            connection.mark_ready()
        else:
            connection.listener.on_established(connection)

    def forget(self, connection: Connection) -> None:
        """The connection is CLOSED."""
        key = connection.key
        if self.table.get(key) is connection:
            del self.table[key]
        if self.half_open.get(key) is connection:
            del self.half_open[key]
        self._deadlines.clear(connection)

    def enter_time_wait(self, connection: Connection, now: int) -> None:
        """The connection makes room for a record of what must be remembered, and its last ACK leaves if that is still due."""
        self._deadlines.clear(connection)
        if len(self.time_wait) >= self.config.max_time_wait:
            self.counters.time_wait_evicted += 1
            self.end_time_wait(next(iter(self.time_wait.values())))
        record = TimeWait(self, connection, ref(connection), now + 2 * self.config.msl_us)
        self.table[record.key] = self.time_wait[record.key] = record
        if connection.rcv.ack:
            record.acknowledge(now)

    def restart_time_wait(self, record: TimeWait, now: int) -> None:
        """RFC 9293 §3.10.7.4-m: the wait of 2 MSL begins anew, behind all others."""
        record.expires = now + 2 * self.config.msl_us
        self.time_wait.move_to_end(record.key)

    def end_time_wait(self, record: TimeWait) -> None:
        """The tuple is free."""
        del self.time_wait[record.key]
        del self.table[record.key]
        record.ended()

    def report(self) -> dict[str, Any]:
        """Sizes of the tables, for tests and for the curious."""
        return {
            "table": len(self.table),
            "half_open": len(self.half_open),
            "time_wait": len(self.time_wait),
            "deadlines": len(self._deadlines),
            "memory": self.memory.used,
        }
