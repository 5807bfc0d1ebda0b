"""A guest made of our own stack: a client host on a link, for demonstrations, tests and programs that want a network of their own.

with Guest(link) as guest:
    guest.dhcp()
    print(guest.http_get("http://files.demo.test:8080/").status)

guest.py         the host: one interface on one link, and calls that wait
dhcp_client.py   its lease (RFC 2131)
lookup.py        its stub resolver (RFC 1035)
stream.py        a TCP connection that looks like a socket
clock.py         where it gets the time from, and how it waits
"""

from __future__ import annotations

from usernat.guest.dhcp_client import Lease
from usernat.guest.guest import Guest, HttpReply
from usernat.guest.lookup import NameNotFound
from usernat.guest.stream import Stream

__all__ = ["Guest", "HttpReply", "Lease", "NameNotFound", "Stream"]
