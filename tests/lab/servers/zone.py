"""The names of the pretend internet, and the odd answers that some of them have.

    www       one address               alias     CNAME www
    many      60 addresses, about 1,000 bytes: more than 512
    huge      200 addresses, about 3,200 bytes: more than 1,232
    text      TXT of three strings

    fronted   CNAME to another zone's edge.cdn.test, as with content networks
    cloaked   CNAME over a harmless name to tracker.evil.test
    stuffed   its answer carries an address for victim.lab.test besides
    rebind-*  addresses that are no business of the internet (DNS rebinding)

Anything else does not exist.
"""

from __future__ import annotations

from tests.lab.servers.places import BAD, CDN, FOUND, INTRANET, OTHER, SHARED, STUFFED, VICTIM, WILD, WWW

Record = tuple[str, list[str]]  # type, values

REBOUND = {
    "loopback": "127.0.0.1",
    "metadata": "169.254.169.254",
    "gateway": "10.0.2.2",
    "host": "192.0.2.2",
    "private": "192.168.1.1",
    "zero": "0.0.0.0",
}
"""What names of the form rebind-*.lab.test have for their address."""

RECORDS: dict[str, Record] = {
    "www.lab.test": ("A", [WWW]),
    "alias.lab.test": ("CNAME", ["www.lab.test."]),
    "many.lab.test": ("A", [f"203.0.113.{host}" for host in range(100, 160)]),
    "huge.lab.test": ("A", [f"198.51.100.{host}" for host in range(1, 201)]),
    "text.lab.test": ("TXT", ['"one" "two words" "three"']),
    "slow.lab.test": ("A", [WWW]),
    "never.lab.test": ("A", [WWW]),
    "garbage.lab.test": ("A", [WWW]),
    "other.lab.test": ("A", [OTHER]),
    "wild.lab.test": ("A", [WILD]),
    "a.wild.lab.test": ("A", [WILD]),
    "b.a.wild.lab.test": ("A", [WILD]),
    "one.shared.lab.test": ("A", [SHARED]),
    "two.shared.lab.test": ("A", [SHARED]),
    "found.lab.test": ("A", [FOUND]),
    "fronted.lab.test": ("CNAME", ["edge.cdn.test."]),
    "edge.cdn.test": ("A", [CDN]),
    "cloaked.lab.test": ("CNAME", ["harmless.lab.test."]),
    "harmless.lab.test": ("CNAME", ["tracker.evil.test."]),
    "tracker.evil.test": ("A", [BAD]),
    "stuffed.lab.test": ("A", [STUFFED]),
    "victim.lab.test": ("A", [VICTIM]),
    "git.lab.test": ("A", [INTRANET]),
    "rebind-half.lab.test": ("A", [WWW, "192.168.1.1"]),
    "rebind-mapped.lab.test": ("AAAA", ["::ffff:127.0.0.1"]),
    **{f"rebind-{place}.lab.test": ("A", [address]) for place, address in REBOUND.items()},
}

STUFFING: dict[str, tuple[str, str]] = {"stuffed.lab.test": ("victim.lab.test.", STUFFED)}
"""A record for another name that an answer carries unasked: its owner and its address."""
