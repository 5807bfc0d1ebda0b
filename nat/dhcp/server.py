"""The DHCP server at the gateway's address, port 67: the socket around the rules.

The owner of the sockets calls `serve` when the socket is readable: every waiting message is parsed, handed to `DhcpRules`, and its
reply sent by the addressing rules of RFC 2131 §4.1. Malformed messages are counted by their reason and get no answer. Nor do those that come
from another MAC address than their client's: a network of ours has no relays (§4.1-c), so nobody has to speak, and release, for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usernat.nat.dhcp.message import CLIENT_PORT, SERVER_PORT, parse_message
from usernat.nat.dhcp.rules import DhcpCounters, DhcpRules, Reply
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST

if TYPE_CHECKING:
    from usernat.nat.dhcp.config import DhcpConfig
    from usernat.nat.dhcp.leases import LeaseTable
    from usernat.stack.l4.udp import UdpLayer


class DhcpServer:
    """Leases addresses on one network. Times in µs."""

    def __init__(self, udp: UdpLayer, config: DhcpConfig) -> None:
        self.counters = DhcpCounters()
        self._config = config
        self._rules = DhcpRules(config, self.counters)
        self._socket = udp.bind(None, SERVER_PORT)  # our addresses and every kind of broadcast
        self._socket.owner = self

    @property
    def leases(self) -> LeaseTable:
        """Who holds which address: `leases.owner(address)` is the MAC address of the holder, or None."""
        return self._rules.leases

    def serve(self, now: int) -> None:
        """Answers every message that waits."""
        while (datagram := self._socket.recv()) is not None:
            message = parse_message(bytes(datagram.data))
            if isinstance(message, str):
                self.counters.drop(message)
                continue
            if message.chaddr != datagram.packet.link_source:
                self.counters.spoofed_mac += 1
                continue
            reply = self._rules.handle(message, now)
            if reply is not None and not self._send(reply):
                self.counters.send_failed += 1

    def _send(self, reply: Reply) -> bool:
        own = self._config.server
        if reply.unicast_to is None:  # RFC 2131 §4.1-e, §3.2-d
            return self._socket.send(reply.data, LIMITED_BROADCAST, CLIENT_PORT, src=own, mac=MAC_BROADCAST)
        return self._socket.send(reply.data, reply.unicast_to, CLIENT_PORT, src=own, mac=reply.chaddr)

    def on_time(self, now: int) -> None:
        """Lets offers, leases and quarantines run out."""
        self._rules.expire(now)

    def poll_at(self) -> int | None:
        """When the next of them runs out."""
        return self.leases.poll_at()

    def close(self) -> None:
        """Gives up the port; the leases are forgotten."""
        self._socket.close()
        self._rules = DhcpRules(self._config, self.counters)
