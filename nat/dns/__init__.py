"""The DNS forwarder at the gateway's DNS address (RFC 5625)."""

from __future__ import annotations

from usernat.nat.dns.config import DnsConfig
from usernat.nat.dns.forwarder import DnsForwarder
from usernat.nat.dns.resolvers import host_resolvers
from usernat.nat.dns.screening import Screening

__all__ = ["DnsConfig", "DnsForwarder", "Screening", "host_resolvers"]
