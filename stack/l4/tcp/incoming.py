"""A SYN that waits for the application's word before anything is answered (`listen(hold=True)`).

A gateway must not accept what it cannot deliver: it holds the SYN, tries the way beyond, and then accepts, refuses or stays silent. Meanwhile the
peer may repeat its SYN, which is absorbed, or give up, which cancels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from usernat.stack.addr import format_ip
from usernat.stack.l4.tcp.connection import Connection
from usernat.stack.l4.tcp.header import ACK, RST, SYN
from usernat.stack.l4.tcp.negotiation import take_syn
from usernat.stack.l4.tcp.state import TcpError

if TYPE_CHECKING:
    from usernat.stack.l4.tcp.connection import Key
    from usernat.stack.l4.tcp.layer import TcpLayer
    from usernat.stack.l4.tcp.listener import Listener
    from usernat.stack.l4.tcp.segment import Segment


class Incoming:
    """One held SYN. Exactly one of accept, refuse, unreachable and drop ends it; after `cancelled` only silence is left.

    remote, local: addresses as integers, with remote_port and local_port. ttl, tos, packet: of the SYN.
    cancelled: the peer gave up, or the SYN was pushed out by newer ones. owner: anything, for whoever drains `Interface.ready()`.
    """

    __slots__ = ("_layer", "_listener", "_segment", "cancelled", "done", "key", "owner")

    def __init__(self, layer: TcpLayer, listener: Listener, key: Key, segment: Segment) -> None:
        self._layer = layer
        self._listener = listener
        self._segment = segment
        self.key = key
        self.cancelled = False
        self.done = False
        self.owner: Any = None

    def __repr__(self) -> str:
        return f"<Incoming {format_ip(self.remote)}:{self.remote_port} > {format_ip(self.local)}:{self.local_port}>"

    @property
    def remote(self) -> int:
        """Who calls."""
        return self.key[0]

    @property
    def remote_port(self) -> int:
        """The caller's port."""
        return self.key[1]

    @property
    def local(self) -> int:
        """Who is called."""
        return self.key[2]

    @property
    def local_port(self) -> int:
        """The called port."""
        return self.key[3]

    @property
    def ttl(self) -> int:
        """TTL of the SYN."""
        return self._segment.packet.ttl

    @property
    def tos(self) -> int:
        """TOS of the SYN."""
        return self._segment.packet.tos

    @property
    def packet(self) -> Any:
        """The datagram that carried the SYN (`stack.l3.packet.Packet`)."""
        return self._segment.packet

    def accept(self) -> Connection:
        """Answer with SYN,ACK. The connection can be written to at once; where the call was off already it is CLOSED, with RESET."""
        layer, seg = self._layer, self._segment
        held = self._end()
        connection = Connection(layer, self.key, layer.now, passive=True, after=seg.takes_over)
        take_syn(connection, seg, layer.now)
        if held:
            layer.admit_half_open(self.key, connection)
            connection.wake()
        else:
            connection.fail(TcpError.RESET)
        return connection

    def refuse(self) -> None:
        """Answer with RST, as if nobody listened."""
        if self._end():
            self._layer.refuse(self._segment)

    def unreachable(self, code: int) -> None:
        """Answer with ICMP destination unreachable of that code, quoting the SYN."""
        if self._end():
            self._layer.ipv4.errors.unreachable(self._segment.packet, code)

    def drop(self) -> None:
        """Do not answer. A repeated SYN comes as a new one."""
        self._end()

    def receive(self, seg: Segment, now: int) -> None:
        """What comes for the tuple meanwhile. Towards the peer this is still LISTEN (RFC 9293 §3.10.7.2)."""
        layer, flags = self._layer, seg.flags
        if flags & RST:
            # Nothing was sent that a RST could answer, so it must at least know the SYN's number (RFC 5961 §3.2).
            if (seg.seq - self._segment.seq) & 0xFFFFFFFF <= 1:
                layer.counters.resets_received += 1
                self.cancel()
            else:
                layer.counters.blind_reset += 1
        elif flags & ACK:
            layer.refuse(seg)  # §3.10.7.2-b
        elif flags & SYN:
            layer.counters.duplicate_syn += 1
            self._segment.flags &= seg.flags  # RFC 3168 §6.1.1: it may no longer ask for congestion marks
            if seg.seq != self._segment.seq:
                # A new call from the same port: the old one has been given up.
                self.cancel()
                layer.listen_for(seg, now)

    def cancel(self) -> None:
        """The call is off; whoever has taken it from the listener learns of it."""
        if self._end():
            self.cancelled = True
            if not self._listener.withdraw(self):
                self._layer.ready[self] = None

    def _end(self) -> bool:
        """Leave the tables. False where that happened before."""
        if self.done:
            return False
        self.done = True
        self._layer.forget_half_open(self.key, self)
        return True
