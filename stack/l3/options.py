"""IP options (RFC 791 §3.1): walked to see that they are well formed, and for the two that are refused.

    type: copied(1) class(2) number(5) | length, both octets included | data …

End (0) and No Operation (1) are one octet. Source routes are dropped (RFC 7126 §4.3, §4.4: they lead a packet around
filters); every other option, known or not, is passed over (RFC 1122 §3.2.1.8-c, -e) and handed up raw. A datagram of ours carries those that the transport
gives it.
"""

from __future__ import annotations

END = 0
NO_OPERATION = 1
COPIED = 0x80
LOOSE_SOURCE_ROUTE = 131
STRICT_SOURCE_ROUTE = 137

MAX_LENGTH = 40

OPTIONS_OK = -1
OPTIONS_SOURCE_ROUTE = -2


def check_options(options: memoryview) -> int:
    """OPTIONS_OK, OPTIONS_SOURCE_ROUTE, or else the offset into `options` of the octet that is wrong (RFC 1122 §3.2.2.5-a)."""
    at, end = 0, len(options)
    while at < end:
        kind = options[at]
        if kind == END:
            return OPTIONS_OK
        if kind == NO_OPERATION:
            at += 1
            continue
        if kind in {LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE}:
            return OPTIONS_SOURCE_ROUTE
        # RFC 791 §3.1-g: a length below two would not move on, one past the end would read what is not there
        if at + 1 >= end:
            return at
        length = options[at + 1]
        if length < 2 or at + length > end:
            return at + 1
        at += length
    return OPTIONS_OK


def to_send(options: bytes) -> bytes:
    """The options of a datagram of ours, filled up with zeros to whole words (RFC 791 §3.1-h). ValueError for what must not leave."""
    if len(options) > MAX_LENGTH:
        raise ValueError(f"IP options are {MAX_LENGTH} bytes at most, not {len(options)}")
    wrong = check_options(memoryview(options))
    if wrong == OPTIONS_SOURCE_ROUTE:
        raise ValueError("no source routes: they lead a datagram around filters")
    if wrong != OPTIONS_OK:
        raise ValueError(f"IP options are malformed at byte {wrong}")
    return options + bytes(-len(options) % 4)


def copied(options: bytes) -> bytes:
    """Those of `options`, which are well formed, that every fragment carries (RFC 791 §3.2-frag-d), in whole words."""
    kept = b""
    at, end = 0, len(options)
    while at < end and options[at] != END:
        length = 1 if options[at] == NO_OPERATION else options[at + 1]
        if options[at] & COPIED:
            kept += options[at : at + length]
        at += length
    return kept + bytes(-len(kept) % 4)
