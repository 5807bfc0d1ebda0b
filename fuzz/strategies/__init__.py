"""Hypothesis strategies for the frames of a guest, good and bad, protocol by protocol.

Each module has `valid_…()` and `hostile_…()`, which draw whole Ethernet frames as bytes (fragments: lists of frames),
plain functions that build one exactly as told, and strategies for the parts. `valid` frames are such as a stack has to
accept; `hostile` ones such as it has to survive: truncated, with lengths that lie, checksums that are wrong, bits flipped, options
that explode. What is wrong lies in one layer, and the layers around it are true, so that it is met where it should be.

    from usernat.fuzz.strategies import SCENE, Scene, hostile_frames

    @given(hostile_frames(Scene(gateway=parse_ip("192.0.2.1"), guest=parse_ip("192.0.2.2"))))
    def test_nothing_raises(frame): my_stack.receive(frame)
"""

from __future__ import annotations

from hypothesis import strategies as st

from usernat.fuzz.strategies.arp import hostile_arp, valid_arp
from usernat.fuzz.strategies.dhcp import hostile_dhcp, valid_dhcp
from usernat.fuzz.strategies.dns import hostile_dns, valid_dns
from usernat.fuzz.strategies.ethernet import hostile_ethernet, valid_ethernet
from usernat.fuzz.strategies.icmp import hostile_icmp, valid_icmp
from usernat.fuzz.strategies.ipv4 import hostile_fragments, hostile_ipv4, valid_fragments, valid_ipv4
from usernat.fuzz.strategies.scene import SCENE, Scene
from usernat.fuzz.strategies.tcp import hostile_tcp, valid_tcp
from usernat.fuzz.strategies.udp import hostile_udp, valid_udp

__all__ = [
    "SCENE",
    "Scene",
    "hostile_arp",
    "hostile_dhcp",
    "hostile_dns",
    "hostile_ethernet",
    "hostile_fragments",
    "hostile_frames",
    "hostile_icmp",
    "hostile_ipv4",
    "hostile_tcp",
    "hostile_udp",
    "valid_arp",
    "valid_dhcp",
    "valid_dns",
    "valid_ethernet",
    "valid_fragments",
    "valid_frames",
    "valid_icmp",
    "valid_ipv4",
    "valid_tcp",
    "valid_udp",
]


def valid_frames(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """One good frame of any protocol."""
    makers = (valid_arp, valid_ipv4, valid_icmp, valid_udp, valid_tcp, valid_dhcp, valid_dns)
    return st.one_of([make(scene) for make in makers])


def hostile_frames(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """One bad frame of any protocol."""
    makers = (
        hostile_ethernet,
        hostile_arp,
        hostile_ipv4,
        hostile_icmp,
        hostile_udp,
        hostile_tcp,
        hostile_dhcp,
        hostile_dns,
    )
    return st.one_of([make(scene) for make in makers])
