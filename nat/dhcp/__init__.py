"""DHCP (RFC 2131): the message, the lease table, the server at the gateway."""

from __future__ import annotations

from usernat.nat.dhcp.config import DhcpConfig
from usernat.nat.dhcp.server import DhcpServer

__all__ = ["DhcpConfig", "DhcpServer"]
