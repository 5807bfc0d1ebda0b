"""Ethernet frames: good ones around any payload, and those that no stack should let in."""

from __future__ import annotations

from hypothesis import strategies as st

from usernat.fuzz.strategies.mutate import damaged
from usernat.fuzz.strategies.scene import SCENE, Scene, hostile_macs, payloads
from usernat.stack.addr import MAC_BROADCAST, MAC_ZERO
from usernat.stack.l2.ethernet import (
    ETHERNET_CODEC,
    ETHERTYPE_IPV4,
    ETHERTYPES,
    HEADER_LENGTH,
    MIN_ETHERTYPE,
    VLAN_TAGS,
    EthernetHeader,
)

MIN_FRAME = 60  # bytes on a wire, without the check sequence


def frame(
    payload: bytes,
    ethertype: int = ETHERTYPE_IPV4,
    *,
    src: bytes | None = None,
    dst: bytes | None = None,
    scene: Scene = SCENE,
) -> bytes:
    """One frame, from the guest to the gateway unless said otherwise."""
    return (
        ETHERNET_CODEC.write(EthernetHeader(dst or scene.gateway_mac, src or scene.guest_mac, ethertype))
        + payload
    )


@st.composite
def framed(
    draw: st.DrawFn, contents: st.SearchStrategy[bytes], ethertype: int = ETHERTYPE_IPV4, scene: Scene = SCENE
) -> bytes:
    """Contents in good frames; some of the short ones padded, as a wire does it, with whatever was in the sender's memory."""
    whole = frame(draw(contents), ethertype, scene=scene)
    if len(whole) < MIN_FRAME and draw(st.booleans()):
        return whole + draw(st.sampled_from([b"\0", b"\xff", b"E"])) * (MIN_FRAME - len(whole))
    return whole


@st.composite
def valid_ethernet(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """A frame that Ethernet has to accept: to the gateway or to all, of a type that is spoken, with anything inside."""
    dst = draw(st.sampled_from([scene.gateway_mac, MAC_BROADCAST, bytes.fromhex("01005e000001")]))
    return frame(draw(payloads()), draw(st.sampled_from(ETHERTYPES)), dst=dst, scene=scene)


@st.composite
def refused_ethernet(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """A frame that Ethernet has to drop."""
    content = draw(payloads())
    good = frame(content, scene=scene)
    type_of = {
        "vlan": st.sampled_from(sorted(VLAN_TAGS)),
        "length": st.integers(0, MIN_ETHERTYPE - 1),
        "unknown": st.integers(MIN_ETHERTYPE, 0xFFFF).filter(lambda kind: kind not in ETHERTYPES),
    }
    flaw = draw(st.sampled_from(["short", "jumbo", "source", "stranger", "tagged", *type_of]))
    if flaw == "short":
        return good[: draw(st.integers(0, HEADER_LENGTH - 1))]
    if flaw == "jumbo":
        return good[:HEADER_LENGTH] + bytes(scene.mtu + draw(st.integers(1, 9000)))
    if flaw == "source":
        multicast = bytes.fromhex("01005e000001")
        source = draw(st.sampled_from([scene.gateway_mac, MAC_ZERO, MAC_BROADCAST, multicast]))
        return frame(content, src=source, scene=scene)
    if flaw == "stranger":
        other = draw(hostile_macs(scene).filter(lambda mac: not mac[0] & 1 and mac != scene.gateway_mac))
        return frame(content, dst=other, scene=scene)
    if flaw == "tagged":
        tag = draw(type_of["vlan"]).to_bytes(2, "big") + draw(st.binary(min_size=2, max_size=2))
        return good[:12] + tag + good[12:]
    return frame(content, draw(type_of[flaw]), scene=scene)


def hostile_ethernet(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """Frames to be refused, spoiled ones, and plain noise."""
    return st.one_of(refused_ethernet(scene), damaged(valid_ethernet(scene)), st.binary(max_size=80))
