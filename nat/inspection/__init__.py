"""Whose name a guest's first bytes claim: the SNI of a ClientHello, the Host of an HTTP request. Pure functions over bytes."""

from __future__ import annotations

from usernat.nat.inspection.client_hello import read_tls_name
from usernat.nat.inspection.host_name import LIMIT
from usernat.nat.inspection.http_head import read_http_name

__all__ = ["LIMIT", "read_http_name", "read_tls_name"]
