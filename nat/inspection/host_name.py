"""What both readers share: how far they look, and what counts as a host name in a ClientHello or in a Host header.

What comes out decides about a flow, and what a server makes of the same bytes decides where the request goes. So only names pass that every
server reads alike: a final dot is stripped by some and not by others, and a name that ends in a number is an address to whoever gives it to
inet_aton().
"""

from __future__ import annotations

import re

from usernat.policy.decision import UNREADABLE
from usernat.policy.names import normalise

# Bytes of the stream that are looked at, for either protocol. A ClientHello with post-quantum key shares has some 2,000; common servers
# take a request's head of 8 to 16 KiB.
LIMIT = 16 * 1024

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def host_name(raw: bytes) -> str:
    """The name in the form in which names are compared, or UNREADABLE where it is none."""
    name = normalise(raw.decode("latin-1"))  # which refuses what is not ASCII
    if name is None or raw.endswith(b".") or _NUMBER.fullmatch(name.rpartition(".")[2]):
        return UNREADABLE
    return name
