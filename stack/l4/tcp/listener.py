"""LISTEN (RFC 9293 §3.10.7.2): who takes which calls, and the queue of those that wait to be accepted.

A listener stands for an address and a port, either of which may be left open; the most specific one gets the call.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from usernat.stack.addr import format_ip
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.header import ACK, RST, SYN
from usernat.stack.l4.tcp.incoming import Incoming
from usernat.stack.l4.tcp.negotiation import take_syn

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Key
    from usernat.stack.l4.tcp.layer import TcpLayer
    from usernat.stack.l4.tcp.segment import Segment


class Listener:
    """Made by `TcpLayer.listen`. address, port: None for any. backlog: how many may wait in the queue. hold: see `incoming.py`.

    owner: anything, for whoever drains `Interface.ready()`. Ready when `accept` has something.
    """

    __slots__ = ("_layer", "_queue", "address", "backlog", "closed", "hold", "owner", "port")

    def __init__(
        self, layer: TcpLayer, address: int | None, port: int | None, backlog: int, *, hold: bool
    ) -> None:
        self._layer = layer
        self._queue: OrderedDict[Connection | Incoming, None] = OrderedDict()
        self.address = address
        self.port = port
        self.backlog = backlog
        self.hold = hold
        self.closed = False
        self.owner: Any = None

    def __repr__(self) -> str:
        address = "any" if self.address is None else format_ip(self.address)
        return f"<Listener {address}:{'any' if self.port is None else self.port}>"

    @property
    def waiting(self) -> int:
        """How many wait in the queue."""
        return len(self._queue)

    def accept(self) -> Connection | Incoming | None:
        """The next established connection, or with hold the next SYN; None where there is none."""
        if not self._queue:
            return None
        first, _ = self._queue.popitem(last=False)
        if isinstance(first, Connection):
            first.listener = None
        return first

    def withdraw(self, call: Incoming) -> bool:
        """A held SYN was cancelled. False where it had been taken already."""
        if call not in self._queue:
            return False
        del self._queue[call]
        return True

    def close(self) -> None:
        """Take no more calls. Those still in the queue are reset or refused; accepted ones live on (RFC 9293 §3.10.4)."""
        if self.closed:
            return
        self.closed = True
        self._layer.forget_listener(self)
        while (waiting := self.accept()) is not None:
            if isinstance(waiting, Connection):
                waiting.abort()
            else:
                waiting.refuse()

    def receive(self, seg: Segment, key: Key, now: int) -> None:
        """A segment to a tuple that has no connection: first RST, second ACK, third SYN, fourth the rest."""
        layer, flags = self._layer, seg.flags
        if flags & RST:
            layer.counters.stray_reset += 1  # §3.10.7.2-a
        elif flags & ACK:
            layer.refuse(seg)  # §3.10.7.2-b
        elif flags & SYN:
            self._call(seg, key, now)
        else:
            layer.counters.no_syn += 1  # §3.10.7.2-d

    def _call(self, seg: Segment, key: Key, now: int) -> None:
        """§3.10.7.2-c: a SYN. Text on it is not acknowledged, so that the peer sends it again."""
        layer = self._layer
        if len(self._queue) >= self.backlog:
            layer.counters.backlog_full += 1  # silence: the peer tries again
            return
        if not layer.has_table_room():
            layer.counters.table_full += 1
            return
        if self.hold:
            held = Incoming(layer, self, key, seg)
            layer.admit_half_open(key, held)
            self._queue[held] = None
            layer.ready[self] = None
            return
        connection = Connection(layer, key, now, passive=True, after=seg.takes_over)
        connection.listener = self
        take_syn(connection, seg, now)
        layer.admit_half_open(key, connection)
        connection.wake()

    def on_established(self, connection: Connection) -> None:
        """A handshake is complete: the connection may be accepted."""
        if self.closed or len(self._queue) >= self.backlog:
            self._layer.counters.backlog_full += 1
            connection.abort()  # the application does not hear of it: it never knew it
            return
        self._queue[connection] = None
        self._layer.ready[self] = None
