"""Frames against a gateway's state: floods that fill its tables, and blows at streams that stand, none of which may break one.

The strategies of `usernat.fuzz.strategies` draw frames without knowing what the gateway knows. What is built here uses such knowledge.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from usernat.fuzz.strategies import arp, dhcp, dns, icmp, tcp, udp
from usernat.fuzz.strategies.ethernet import frame
from usernat.fuzz.strategies.ipv4 import datagram
from usernat.fuzz.strategies.scene import Scene
from usernat.nat.dhcp.message import DISCOVER
from usernat.nat.dhcp.options import MESSAGE_TYPE
from usernat.stack.l2.arp import ARP_CODEC, REQUEST
from usernat.stack.l2.ethernet import ETHERTYPE_ARP
from usernat.stack.l3.icmp_message import ECHO_REQUEST
from usernat.stack.l3.ipv4_header import PROTO_ICMP, PROTO_UDP
from usernat.stack.l4.tcp.header import ACK, FIN, PSH, RST, SYN, URG

if TYPE_CHECKING:
    from usernat.fuzz.machines.streams import Stream
    from usernat.stack.l4.tcp.connection import Connection

MASK = 0xFFFFFFFF
GARBAGE = b"\xde\xad" * 40
_timestamps = struct.Struct(">BBBBII")

Flood = Callable[[Scene, Random], bytes]


# -- floods -----------------------------------------------------------------------------------------------------------


def _port(rng: Random) -> int:
    return rng.randrange(1, 65536)


def syn(scene: Scene, rng: Random) -> bytes:
    """A call to nobody, never completed."""
    packet = tcp.packet(scene.guest, rng.choice(scene.outside), SYN, _port(rng), _port(rng))
    return frame(packet, scene=scene)


def stray_ack(scene: Scene, rng: Random) -> bytes:
    """A segment of no connection: to a host outside, to the gateway, to nobody, to the guest itself."""
    target = rng.choice((*scene.outside, scene.gateway, scene.guest, scene.guest + 84))
    packet = tcp.packet(scene.guest, target, ACK, _port(rng), _port(rng), GARBAGE)
    return frame(packet, scene=scene)


def mapping(scene: Scene, rng: Random) -> bytes:
    """A UDP datagram from another port than before."""
    packet = udp.packet(GARBAGE, scene.guest, _port(rng), rng.choice(scene.outside), _port(rng))
    return frame(packet, scene=scene)


def binding(scene: Scene, rng: Random) -> bytes:
    """An echo request with another identifier than before."""
    message = icmp.echo(ECHO_REQUEST, rng.randrange(65536), rng.randrange(65536), GARBAGE)
    return frame(datagram(message, PROTO_ICMP, scene.guest, rng.choice(scene.outside)), scene=scene)


def neighbour(scene: Scene, rng: Random) -> bytes:
    """An ARP request from another address of the network."""
    said = arp.packet(REQUEST, scene.guest + rng.randrange(1, 200), scene.gateway, scene=scene)
    return frame(ARP_CODEC.write(said), ETHERTYPE_ARP, scene=scene)


def stranger(scene: Scene, rng: Random) -> bytes:
    """A ping from an address that nobody has, so that the answer has to wait for ARP."""
    message = icmp.echo(ECHO_REQUEST, 1, 1, GARBAGE)
    source = scene.guest + rng.randrange(1, 200)
    return frame(datagram(message, PROTO_ICMP, source, scene.gateway), scene=scene)


def first_fragment(scene: Scene, rng: Random) -> bytes:
    """The beginning of a datagram whose rest never comes."""
    ident = rng.randrange(65536)
    piece = datagram(bytes(800), PROTO_UDP, scene.guest, scene.gateway, identification=ident, mf=True)
    return frame(piece, scene=scene)


def client(scene: Scene, rng: Random) -> bytes:
    """A DHCP client that is new here."""
    mac = b"\x02" + rng.randbytes(5)
    options = dhcp.option(MESSAGE_TYPE, bytes((DISCOVER,))) + b"\xff"
    return dhcp.in_frame(dhcp.message(options, mac, xid=rng.getrandbits(32)), scene, mac=mac)


def question(scene: Scene, rng: Random) -> bytes:
    """A DNS query for a name that nobody asked for before."""
    name = b"\x08%08x\x04test\0" % rng.getrandbits(32)
    query = rng.randbytes(2) + b"\x01\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1"
    packet = udp.packet(query, scene.guest, _port(rng), scene.services[0], dns.DNS_PORT)
    return frame(packet, scene=scene)


FLOODS: dict[str, Flood] = {
    make.__name__: make
    for make in (syn, stray_ack, mapping, binding, neighbour, stranger, first_fragment, client, question)
}


# -- blows at a stream --------------------------------------------------------------------------------------------------

Numbers = tuple[int, int, int, bytes]  # sequence, acknowledgement, flags, text


def _reset_beyond(c: Connection, k: int) -> Numbers:
    return c.rcv.edge + k, 0, RST, b""


def _reset_inside(c: Connection, k: int) -> Numbers:
    """In the window but not exact (RFC 5961 §3.2)."""
    return c.rcv.rcv_nxt + 1 + k % max(1, c.rcv.edge - c.rcv.rcv_nxt), 0, RST, b""


def _syn(c: Connection, k: int) -> Numbers:
    """RFC 5961 §4.2: whatever its number."""
    return c.rcv.rcv_nxt + k - 500, 0, SYN, b""


def _syn_ack(c: Connection, k: int) -> Numbers:
    return c.rcv.rcv_nxt + k - 500, c.snd.snd_nxt, SYN | ACK, b""


def _text_beyond(c: Connection, k: int) -> Numbers:
    return c.rcv.edge + k, c.snd.snd_nxt, ACK | PSH | FIN, GARBAGE


def _text_before(c: Connection, k: int) -> Numbers:
    return c.rcv.rcv_nxt - len(GARBAGE) - 1 - k, c.snd.snd_nxt, ACK | FIN, GARBAGE


def _ack_ahead(c: Connection, k: int) -> Numbers:
    """Of what was never sent (RFC 5961 §5.2)."""
    return c.rcv.rcv_nxt, c.snd.snd_nxt + 1 + k, ACK | PSH, GARBAGE


def _ack_ancient(c: Connection, k: int) -> Numbers:
    return c.rcv.rcv_nxt, c.snd.snd_una - c.snd.max_window - 1 - k, ACK | PSH, GARBAGE


def _without_ack(c: Connection, k: int) -> Numbers:  # noqa: ARG001 - of the same shape as the others
    return c.rcv.rcv_nxt, 0, PSH | FIN, GARBAGE


def _urgent_beyond(c: Connection, k: int) -> Numbers:
    return c.rcv.edge + k, c.snd.snd_nxt, ACK | URG, GARBAGE


def _right_but_old(c: Connection, k: int) -> Numbers:  # noqa: ARG001 - of the same shape as the others
    return c.rcv.rcv_nxt, c.snd.snd_nxt, ACK | PSH | FIN, GARBAGE


BLOWS: dict[str, Callable[[Connection, int], Numbers]] = {
    "reset beyond": _reset_beyond,
    "reset inside": _reset_inside,
    "syn": _syn,
    "syn, ack": _syn_ack,
    "text beyond": _text_beyond,
    "text before": _text_before,
    "ack ahead": _ack_ahead,
    "ack ancient": _ack_ancient,
    "without ack": _without_ack,
    "urgent beyond": _urgent_beyond,
    "old time stamp": _right_but_old,  # RFC 7323 §5.3: PAWS
    "no time stamp": _right_but_old,  # RFC 7323 §3.2: dropped
}


def blow(stream: Stream, kind: str, k: int, scene: Scene) -> bytes | None:
    """A frame for the tuple of a stream that stands, right in all but one respect; None where there is no such frame now. k: 0 to 999."""
    c = stream.gateway_side()
    if c is None or not stream.standing or c.timestamps is None:
        return None
    sequence, acknowledgment, flags, data = BLOWS[kind](c, k)
    options = b""
    if kind != "no time stamp" and not flags & RST:
        stamp = c.timestamps.recent - (1 + k if kind == "old time stamp" else 0)
        options = _timestamps.pack(1, 1, 8, 10, stamp & MASK, 0)
    packet = tcp.packet(
        c.remote,
        c.local,
        flags,
        c.remote_port,
        c.local_port,
        data,
        options=options,
        sequence=sequence & MASK,
        acknowledgment=acknowledgment & MASK,
        urgent_pointer=k if flags & URG else 0,
    )
    return frame(packet, scene=scene)
