"""The visit of a guest made of our own stack: a DHCP lease first, then what `visit.py` does, by the calls of `usernat.guest`."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from usernat.demo.visit import PINGS, TIMEOUT, Visit
from usernat.guest import Guest
from usernat.links.link import LinkClosed
from usernat.stack.addr import format_ip

if TYPE_CHECKING:
    from usernat.config import Config
    from usernat.links.link import Link

_GOODBYE_SECONDS = 0.2  # for the end of the connection and the RELEASE to be seen


class VisitError(Exception):
    """The guest could not do all of it; `str()` says what failed, in one line."""


def visit_in_process(link: Link, config: Config, url: str) -> Visit:
    """Do all of it on the far end of the gateway's link, which is closed with the guest. Raises VisitError."""
    with Guest(link) as guest:
        try:
            return _visit(guest, config, url)
        except (OSError, LinkClosed) as error:
            raise VisitError(f"{type(error).__name__}: {error}") from error


def _visit(guest: Guest, config: Config, url: str) -> Visit:
    lease = guest.dhcp(TIMEOUT)
    rtt = min(guest.ping(config.gateway, timeout=TIMEOUT) for _ in range(PINGS))
    resolved = guest.resolve(urlsplit(url).hostname or "", TIMEOUT)
    started = time.monotonic()
    body = guest.http_get(url, TIMEOUT).body
    seconds = time.monotonic() - started
    guest.run_until(lambda: False, _GOODBYE_SECONDS)
    guest.release()
    return {
        "address": format_ip(lease.address),
        "lease_seconds": lease.lease_s,
        "rtt_ms": 1e3 * rtt,
        "resolved": format_ip(resolved[0]),
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "seconds": seconds,
    }
