"""What the host's sockets complain of, in the words that a guest understands.

A host error is an errno. Towards the guest it becomes a TCP reset or the code of an ICMP Destination Unreachable:
the one closest to the cause (RFC 1812 §5.2.7.1-a), never the obsolete codes 6 and 8.
"""

from __future__ import annotations

import errno
import os

NET_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
ADMINISTRATIVELY_PROHIBITED = 13

# The host has run out of descriptors, ports or memory: RFC 6888 REQ-11 wants the guest told, and "host unreachable" is the
# code of a lack that may pass, where 13 would speak of a rule (RFC 7857 and RFC 5508 REQ-8 leave the choice to the gateway).
NO_RESOURCES = HOST_UNREACHABLE

RESOURCE_ERRNOS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}
)

# RFC 5382 REQ-9; RFC 1812 §4.3.3.1-a, §4.3.3.1-b, §5.2.7.1-a
_CODES = {
    errno.ENETUNREACH: NET_UNREACHABLE,
    errno.ENETDOWN: NET_UNREACHABLE,
    errno.EHOSTUNREACH: HOST_UNREACHABLE,
    errno.EHOSTDOWN: HOST_UNREACHABLE,
    errno.ETIMEDOUT: HOST_UNREACHABLE,
    errno.ENOPROTOOPT: PROTOCOL_UNREACHABLE,
    errno.ECONNREFUSED: PORT_UNREACHABLE,
    errno.EMSGSIZE: FRAGMENTATION_NEEDED,
    errno.EACCES: ADMINISTRATIVELY_PROHIBITED,
    errno.EPERM: ADMINISTRATIVELY_PROHIBITED,
}

# The peer's own answer to a SYN: the guest gets what the peer sent.
_RESETS = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})


class HostError(OSError):
    """A host socket could not be made or connected; `errno` says why."""

    def __init__(self, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.number = number


def unreachable_code(number: int) -> int:
    """The code of the Destination Unreachable for an errno; host unreachable for one that nothing is known of."""
    return _CODES.get(number, HOST_UNREACHABLE)


def is_reset(number: int) -> bool:
    """Whether the errno of a TCP connect stands for a RST of the peer rather than an ICMP error."""
    return number in _RESETS


def is_resources(number: int) -> bool:
    """Whether the errno says that this host has run out of something."""
    return number in RESOURCE_ERRNOS
