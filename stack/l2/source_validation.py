"""Source address validation: may this MAC address speak from that IPv4 address? (RFC 1812 §5.3.8, BCP 38)

Whoever knows who has which address (a gateway that leases them) hands one to `Interface.validate_sources`. ARP and IP ask it about every
sender, before anything is learnt, put together or answered; what it refuses is dropped and counted there. Who has no address
yet speaks from 0.0.0.0 (RFC 2131 §4.1, RFC 5227 §2.1.1), and is not asked about.
"""

from __future__ import annotations

from typing import Protocol


class SourceValidation(Protocol):
    """Who says so. The bindings are asked for every packet, so they are a plain dict."""

    @property
    def bindings(self) -> dict[int, bytes]:
        """The MAC address that has each address now. To be read only."""

    def admit(self, address: int, mac: bytes) -> bool:
        """Whether the address is this MAC address's though `bindings` does not say so."""
