"""ARP packets in frames: the exchanges of a good neighbour, and claims to what is not one's own."""

from __future__ import annotations

from hypothesis import strategies as st

from usernat.fuzz.strategies.ethernet import frame, framed
from usernat.fuzz.strategies.mutate import Field, damaged
from usernat.fuzz.strategies.scene import BYTES, SCENE, WORDS, Scene, hostile_addresses, hostile_macs
from usernat.stack.addr import MAC_BROADCAST, MAC_ZERO
from usernat.stack.l2.arp import ARP_CODEC, HARDWARE_ETHERNET, REPLY, REQUEST, ArpPacket
from usernat.stack.l2.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4

FIELDS = [Field(0, 2), Field(2, 2), Field(4, 1), Field(5, 1), Field(6, 2), Field(14, 4), Field(24, 4)]


def packet(
    op: int, spa: int, tpa: int, *, sha: bytes | None = None, tha: bytes = MAC_ZERO, scene: Scene = SCENE
) -> ArpPacket:
    """A packet of the guest's, to be changed with `_replace` and written with `ARP_CODEC`."""
    return ArpPacket(HARDWARE_ETHERNET, ETHERTYPE_IPV4, 6, 4, op, sha or scene.guest_mac, spa, tha, tpa)


def _packets(scene: Scene) -> st.SearchStrategy[ArpPacket]:
    """Requests, probes, announcements and replies."""
    ours = st.sampled_from([scene.gateway, *scene.services])
    return st.one_of(
        st.builds(lambda target: packet(REQUEST, scene.guest, target, scene=scene), ours),
        st.builds(
            lambda target: packet(REQUEST, 0, target, scene=scene),
            st.sampled_from([scene.guest, scene.guest + 1]),
        ),
        st.just(packet(REQUEST, scene.guest, scene.guest, scene=scene)),
        st.builds(
            lambda target: packet(REPLY, scene.guest, target, tha=scene.gateway_mac, scene=scene), ours
        ),
    )


@st.composite
def valid_arp(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """What a well-behaved guest says: it asks for the gateway, probes for and announces its own address, answers."""
    said = draw(_packets(scene))
    padding = draw(st.sampled_from([b"", bytes(18)]))
    dst = MAC_BROADCAST if said.op == REQUEST else scene.gateway_mac
    return frame(ARP_CODEC.write(said) + padding, ETHERTYPE_ARP, dst=dst, scene=scene)


@st.composite
def _forged(draw: st.DrawFn, scene: Scene) -> bytes:
    """Well-formed, by somebody who claims anything: the gateway's address, a group's, another's MAC address."""
    forged = packet(
        draw(st.one_of(st.sampled_from([REQUEST, REPLY]), WORDS)),
        draw(hostile_addresses(scene)),
        draw(hostile_addresses(scene)),
        sha=draw(st.one_of(st.just(scene.guest_mac), hostile_macs(scene))),
        tha=draw(hostile_macs(scene)),
        scene=scene,
    )
    if draw(st.booleans()):
        forged = forged._replace(hrd=draw(WORDS), pro=draw(WORDS), hln=draw(BYTES), pln=draw(BYTES))
    source = draw(st.sampled_from([scene.guest_mac, forged.sha]))
    return frame(ARP_CODEC.write(forged), ETHERTYPE_ARP, src=source, dst=MAC_BROADCAST, scene=scene)


def hostile_arp(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """Forged packets, and spoiled ones in good frames."""
    spoiled = damaged(_packets(scene).map(ARP_CODEC.write), FIELDS)
    return st.one_of(_forged(scene), framed(spoiled, ETHERTYPE_ARP, scene))
