"""Who is on the link: the addresses that the strategies speak from and to.

Everything that draws a frame takes a `Scene`, so that the strategies serve any stack on any network; the default is the
network of slirp, which is usernat's too.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST, MAC_ZERO, parse_ip, parse_mac, prefix_mask


@dataclass(frozen=True, slots=True)
class Scene:
    """One link and what lies behind it. Addresses are integers, MAC addresses six bytes.

    guest_mac, guest: whose frames are drawn. gateway_mac, gateway: the stack that receives them. services: further addresses of
    the gateway's (a name server). prefix: length of the link's network prefix. outside: hosts beyond the gateway.
    mtu: largest IP datagram of the link, in bytes.
    """

    guest_mac: bytes = parse_mac("52:54:00:12:34:56")
    gateway_mac: bytes = parse_mac("52:55:0a:00:02:02")
    guest: int = parse_ip("10.0.2.15")
    gateway: int = parse_ip("10.0.2.2")
    services: tuple[int, ...] = (parse_ip("10.0.2.3"),)
    prefix: int = 24
    outside: tuple[int, ...] = (parse_ip("203.0.113.1"), parse_ip("198.51.100.7"))
    mtu: int = 1500

    @property
    def network(self) -> int:
        """The address of the network, all host bits zero."""
        return self.guest & prefix_mask(self.prefix)

    @property
    def broadcast(self) -> int:
        """The directed broadcast address of the network."""
        return self.network | ~prefix_mask(self.prefix) & 0xFFFFFFFF


SCENE = Scene()

BYTES = st.integers(0, 0xFF)
WORDS = st.integers(0, 0xFFFF)
LONGS = st.integers(0, 0xFFFFFFFF)
PORTS = st.one_of(st.sampled_from([7, 53, 67, 68, 80, 443, 8080, 40000, 65535]), st.integers(1, 65535))


def destinations(scene: Scene = SCENE) -> st.SearchStrategy[int]:
    """Addresses that a guest may well send to."""
    return st.sampled_from([scene.gateway, *scene.services, *scene.outside])


def hostile_addresses(scene: Scene = SCENE) -> st.SearchStrategy[int]:
    """Addresses that mean something else than one host at that place: groups, loopback, nobody, the wrong one, or any."""
    special = [
        0,
        1,
        LIMITED_BROADCAST,
        scene.broadcast,
        scene.network,
        scene.gateway,
        scene.guest,
        scene.guest + 1,
        *map(
            parse_ip,
            ("127.0.0.1", "127.255.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "169.254.169.254"),
        ),
    ]
    return st.one_of(st.sampled_from(special), LONGS)


def hostile_macs(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """MAC addresses of the wrong host, of groups, of nobody, or any."""
    special = [MAC_ZERO, MAC_BROADCAST, scene.gateway_mac, scene.guest_mac, parse_mac("01:00:5e:00:00:01")]
    return st.one_of(st.sampled_from(special), st.binary(min_size=6, max_size=6))


def payloads(max_size: int = 64) -> st.SearchStrategy[bytes]:
    """Data that nobody looks at: mostly short, sometimes up to the MTU, which hypothesis alone would hardly draw."""
    long = st.builds(
        lambda seed, size: (seed * size)[:size],
        st.binary(min_size=1, max_size=4),
        st.integers(0, max(max_size, 1400)),
    )
    return st.one_of(st.binary(max_size=max_size), long)
