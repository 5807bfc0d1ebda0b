"""The interface as a whole: nothing raises, budgets are kept, everybody gets a turn, deadlines are true."""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.wire import MS, Clock, Faults, Wire
from tests.stack.packets import (
    BROADCAST_MAC,
    DF,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    ICMP,
    MF,
    REMOTE,
    TCP,
    UDP,
    echo,
    icmp,
    ipv4,
    udp,
)
from tests.stack.rig import SECOND, Rig
from usernat.fuzz.strategies import tcp as tcp_strategies
from usernat.stack.addr import LIMITED_BROADCAST, MAC_ZERO
from usernat.stack.device import Capabilities
from usernat.stack.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.stack.device import Frame


def interface(
    mac: bytes, *addresses: int, any_ip: bool = False, seed: int = 1, **capabilities: Any
) -> Interface:
    return Interface(
        mac=mac,
        capabilities=Capabilities(**capabilities),
        rng=Random(seed),
        now=0,
        addresses=[(address, 24) for address in addresses],
        any_ip=any_ip,
    )


def pair(**options: Any) -> Wire:
    gateway, guest = interface(GATEWAY_MAC, GATEWAY), interface(GUEST_MAC, GUEST, seed=2)
    return Wire(gateway, guest, Clock(), **options)


@pytest.mark.parametrize("mac", [b"", bytes(5), MAC_ZERO, BROADCAST_MAC, b"\x01\0\0\0\0\1"])
def test_mac_addresses_that_cannot_be(mac: bytes) -> None:
    with pytest.raises(ValueError, match="MAC"):
        interface(mac)


# Nothing that comes in raises

ADDRESSES = st.sampled_from(
    [GATEWAY, GUEST, REMOTE, LIMITED_BROADCAST, 0, 0x7F000001, 0xE0000001]
) | st.integers(0, 0xFFFFFFFF)
OCTETS = st.binary(max_size=80)


@st.composite
def datagrams(draw: st.DrawFn) -> bytes:
    """Sound and unsound IPv4, mostly sound outside and anything inside."""
    src, dst = draw(ADDRESSES), draw(ADDRESSES)
    proto = draw(st.sampled_from([ICMP, TCP, UDP, 2]))
    quote = ipv4(draw(OCTETS), src=dst, dst=src, proto=draw(st.sampled_from([ICMP, TCP, UDP])))
    payload = draw(
        OCTETS
        | st.builds(
            udp, OCTETS, st.integers(0, 65535), st.integers(0, 100), src=st.just(src), dst=st.just(dst)
        )
        | st.builds(
            icmp,
            st.integers(0, 20),
            st.integers(0, 16),
            st.binary(min_size=4, max_size=4),
            OCTETS | st.just(quote),
        )
    )
    return ipv4(
        payload,
        src=src,
        dst=dst,
        proto=proto,
        ttl=draw(st.integers(0, 255)),
        flags=draw(st.sampled_from([0, DF, MF, 0x8000])),
        offset=8 * draw(st.sampled_from([0, 0, 0, 1, 8191])),
        options=draw(st.just(b"") | st.binary(min_size=4, max_size=4)),
        ident=draw(st.integers(0, 3)),
    )


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    to = draw(st.sampled_from([GATEWAY_MAC, BROADCAST_MAC]))
    kind = draw(st.sampled_from([b"\x08\x00", b"\x08\x00", b"\x08\x00", b"\x08\x06"]))
    payload = draw(datagrams() if kind == b"\x08\x00" else st.binary(max_size=60))
    frame = bytearray(to + GUEST_MAC + kind + payload)
    for at, value in draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=2)):
        if at < len(frame):
            frame[at] = value
    return bytes(frame)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(frames() | st.binary(max_size=100), st.integers(0, 70 * SECOND), st.booleans()), max_size=12
    ),
    st.booleans(),
)
def test_whatever_comes_in_nothing_raises_and_deadlines_are_true(
    arrivals: list[tuple[bytes, int, bool]], any_ip: bool
) -> None:
    """`poll_at` is later than now after `on_time`, and every frame that leaves is within the MTU."""
    rig = Rig(any_ip=any_ip, mtu=600)
    rig.interface.udp.bind(None, 53)
    rig.interface.tcp.listen(None, 80)
    if any_ip:
        rig.interface.udp.bind(None, None)
        rig.interface.echo.bind(None)
        rig.interface.tcp.listen(None, None, hold=True)
    for frame, wait, checksum_ok in arrivals:
        rig.interface.receive(frame, rig.now, checksum_ok)
        rig.interface.ready()
        assert all(len(sent) <= 614 for sent in rig.frames())
        rig.pass_time(wait)
    assert all(value >= 0 for value in rig.interface.counters().values())


def test_a_frame_may_be_any_buffer() -> None:
    frame = GATEWAY_MAC + GUEST_MAC + b"\x08\x00" + ipv4(echo(), proto=ICMP)
    for buffer in (frame, bytearray(frame), memoryview(frame), memoryview(bytearray(b"__" + frame))[2:]):
        rig = Rig()
        rig.interface.receive(buffer, rig.now)
        assert len(rig.sent()) == 1


def test_arp_goes_its_own_way() -> None:
    rig = Rig()
    question = struct.pack(">HHBBH6sI6sI", 1, 0x0800, 6, 4, 1, GUEST_MAC, GUEST, bytes(6), GATEWAY)
    rig.interface.receive(BROADCAST_MAC + GUEST_MAC + b"\x08\x06" + question, rig.now)
    (answer,) = rig.frames()
    assert bytes(answer)[:22] == GUEST_MAC + GATEWAY_MAC + b"\x08\x06\0\1\x08\0\6\4\0\2"


# Budgets and turns


def test_transmit_keeps_to_its_budget() -> None:
    """A frame that is not taken is not lost."""
    rig = Rig()
    socket = rig.interface.udp.bind(None, 7)
    socket.send(bytes(9000), GUEST, 9)
    socket.send(b"last", GUEST, 9)
    sizes = [len(rig.interface.transmit(rig.now, budget)) for budget in (0, 1, 3, 2, 64)]
    assert sizes == [0, 1, 3, 2, 2]
    assert rig.interface.transmit(rig.now) == []
    assert len(rig.interface.ethernet.outgoing) == 0


def test_control_goes_first_and_the_others_take_turns() -> None:
    rig = Rig(any_ip=True)
    udp_socket, echo_socket = rig.interface.udp.bind(None, 7), rig.interface.echo.bind(7)
    for seq in range(5):
        udp_socket.send(b"", GUEST, 9)
        echo_socket.request(GUEST, seq, b"")
    rig.receive(ipv4(udp(b"nobody", dst_port=99)))
    rig.receive(ipv4(echo(), proto=ICMP))
    sent = [
        (datagram.proto, datagram.payload[0] if datagram.proto == ICMP else None) for datagram in rig.sent()
    ]
    # The transparent UDP socket does not exist here, so port 99 draws an error; the echo reply precedes it.
    assert sent == [(ICMP, 0), (ICMP, 3)] + [(UDP, None), (ICMP, 8)] * 5


@pytest.mark.parametrize("neighbour", [GUEST, GUEST + 84])
def test_c45_a_gateway_resets_nothing_in_the_name_of_a_neighbour(neighbour: int) -> None:
    """Found by the gateway machine: the sender's own subnet answers for itself, if anybody there does."""
    rig = Rig(any_ip=True)
    rig.receive(tcp_strategies.packet(GUEST, neighbour, 0x10, 5, 6))
    assert rig.silent()
    assert rig.interface.tcp.counters.for_neighbour == 1
    rig.receive(tcp_strategies.packet(GUEST, 0xCB007107, 0x10, 5, 6))
    assert [datagram.src for datagram in rig.sent()] == [0xCB007107]


def test_tcp_is_not_starved_by_datagrams_nor_they_by_it() -> None:
    wire = pair()
    gateway, guest = wire.a, wire.b
    gateway.tcp.listen(None, 80)
    connection = guest.tcp.connect(GATEWAY, 80)
    assert wire.run_for(SECOND, lambda: connection.established)
    wire.run_for(SECOND)
    connection.send(bytes(100_000))
    socket = guest.udp.bind(None, 7)
    for _ in range(20):
        socket.send(b"", GATEWAY, 9)
    protocols = [bytes(frame)[23] for frame in guest.transmit(wire.clock.now, 10)]
    assert protocols == [UDP] + [TCP] * 8 + [UDP]


@pytest.mark.rfc("1191", "3-e")
def test_tcp_forbids_fragments() -> None:
    """SYN, SYN-ACK, data and RST are atomic datagrams, without an identification."""
    wire = pair()
    gateway, guest = wire.a, wire.b
    gateway.tcp.listen(None, 80)
    seen: list[bytes] = []
    for station in (gateway, guest):
        station.transmit = recorded(station.transmit, seen)  # type: ignore[method-assign]  # overheard
    connection = guest.tcp.connect(GATEWAY, 80)
    assert wire.run_for(SECOND, lambda: connection.established)
    connection.send(bytes(10_000))
    wire.run_for(SECOND)
    connection.abort()
    guest.tcp.connect(GATEWAY, 81)
    wire.run_for(SECOND)
    segments = [frame for frame in seen if frame[12:14] == b"\x08\x00" and frame[23] == TCP]
    assert len(segments) > 10
    assert {frame[18:22] for frame in segments} == {b"\0\0\x40\0"}


def recorded(transmit: Callable[..., list[Frame]], seen: list[bytes]) -> Callable[..., list[Frame]]:
    def overheard(*arguments: int) -> list[Frame]:
        frames = transmit(*arguments)
        seen.extend(map(bytes, frames))
        return frames

    return overheard


def test_each_socket_is_ready_once() -> None:
    rig = Rig()
    one, other = rig.interface.udp.bind(None, 2000), rig.interface.udp.bind(None, 2001)
    for _ in range(3):
        rig.receive(ipv4(udp(b"x", dst_port=2001)))
        rig.receive(ipv4(udp(b"x", dst_port=2000)))
    assert rig.interface.ready() == [other, one]
    assert rig.interface.ready() == []


# Time


def test_poll_at_is_the_earliest_of_all() -> None:
    rig = Rig()
    rig.pass_time(1000 * SECOND)
    rig.frames()
    assert rig.interface.poll_at() is None
    rig.receive(ipv4(bytes(8), flags=MF))
    assert rig.interface.poll_at() == rig.now + 60 * SECOND
    rig.interface.udp.bind(None, 7).send(b"", GUEST + 1, 9)
    rig.frames()
    assert rig.interface.poll_at() == rig.now + SECOND  # the next ARP request
    rig.pass_time(100 * SECOND)
    assert rig.interface.poll_at() is None


@pytest.mark.rfc("5227", "2.3-a")
def test_addresses_are_announced_and_given_up() -> None:
    """Twice, two seconds apart."""
    guest = interface(GUEST_MAC)
    guest.add_address(GUEST, 24)
    assert [bytes(frame)[12:14] for frame in guest.transmit(0)] == [b"\x08\x06"]
    assert guest.poll_at() == 2 * SECOND
    guest.remove_address(GUEST)
    assert guest.poll_at() is None
    with pytest.raises(ValueError, match="not an address"):
        guest.remove_address(GUEST)
    with pytest.raises(ValueError, match="host's address"):
        guest.add_address(0, 24)


@pytest.mark.rfc("1122", "3.3.1.4-a", "3.3.8-a")
def test_a_gateway_that_does_not_answer_is_passed_over() -> None:
    """Its datagrams are reported once each, however many fragments waited, and the next one is asked."""
    first, second = GATEWAY + 20, GATEWAY + 21
    rig = Rig(gateways=(first, second))
    socket = rig.interface.udp.bind(None, 7)
    socket.send(b"\0\7" * 2000, REMOTE, 9)  # so that every fragment looks like a header of this socket's
    rig.frames()
    rig.pass_time(10 * SECOND)
    assert [(error.type, error.code, error.dst) for error in socket.errors] == [(3, 1, REMOTE)]
    assert rig.interface.ipv4.routes.next_hop(REMOTE) == second
    rig.frames()
    socket.send(b"again", REMOTE, 9)
    (question,) = map(bytes, rig.frames())
    assert question[38:42] == second.to_bytes(4, "big")
    rig.pass_time(60 * SECOND)
    assert rig.interface.ipv4.routes.next_hop(REMOTE) == first


def test_counters_name_their_layers() -> None:
    rig = Rig()
    names = rig.interface.counters()
    assert {name.split(".")[0] for name in names} == {
        "interface", "ethernet", "neighbours", "arp", "ipv4", "ipv4_output", "path_mtu", "ip_id",
        "reassembly", "icmp", "icmp_errors", "udp", "echo", "tcp",
    }  # fmt: skip
    rig.receive(b"\x45")
    assert rig.count("ipv4.truncated") == 1


# Two of them


@pytest.mark.rfc("1122", "2.4-c")
def test_two_interfaces_find_each_other() -> None:
    """The first datagram to a neighbour not yet known draws no error and is not lost."""
    wire = pair()
    ping = wire.b.echo.bind(7)
    ping.request(GATEWAY, 1, b"hello")
    assert wire.run_for(SECOND, lambda: len(ping.inbox) > 0)
    assert not ping.errors
    # The other's announcement, half a millisecond on its way, told where it is; then there and back.
    assert wire.clock.now == 3 * 500


@pytest.mark.rfc("1122", "3.3.3-d")
def test_c47_datagrams_of_all_sizes_both_ways() -> None:
    """Through links of several MTUs."""
    for mtu in (576, 1500, 9000, 65521):
        gateway, guest = interface(GATEWAY_MAC, GATEWAY, mtu=mtu), interface(GUEST_MAC, GUEST, mtu=mtu)
        wire = Wire(gateway, guest, Clock())
        a, b = gateway.udp.bind(None, 7), guest.udp.bind(None, 7)
        for size in (0, 1, 1472, 1473, 9000, 65507):
            data = Random(size).randbytes(size)
            for source, sink, dst in ((a, b, GUEST), (b, a, GATEWAY)):
                assert source.send(data, dst, 7)
                wire.run_for(100 * MS)
                datagram = sink.recv()
                assert datagram is not None
                assert datagram.data == data


def test_c47_fragments_over_a_bad_wire() -> None:
    """What arrives is what was sent, however the wire treats it."""
    faults = Faults(loss=0.02, duplicate=0.1, reorder=0.2, corrupt=0.01)
    wire = pair(faults=faults, rng=Random(7))
    source, sink = wire.a.udp.bind(None, 7), wire.b.udp.bind(None, 7)
    sent = [Random(n).randbytes(4000) for n in range(100)]
    got: list[bytes] = []
    for data in sent:
        source.send(data, GUEST, 7)
        wire.run_for(20 * MS)
        got += [bytes(datagram.data) for datagram in iter(sink.recv, None)]
    assert len(got) > 70
    assert set(got) <= set(sent)
    assert len(set(got)) == len(got)
    wire.run_for(61 * SECOND)
    assert len(wire.b.ipv4.reassembly) == 0


def test_a_gateway_answers_for_everybody() -> None:
    """any_ip: the guest's default route leads to it, and its sockets speak as any address."""
    gateway, guest = interface(GATEWAY_MAC, GATEWAY, any_ip=True), interface(GUEST_MAC, GUEST, seed=2)
    guest.ipv4.routes.add_default(GATEWAY)
    wire = Wire(gateway, guest, Clock())
    world, client = gateway.udp.bind(None, None), guest.udp.bind(None, 0)

    def serve(_now: int) -> None:
        for datagram in iter(world.recv, None):
            world.send(
                datagram.data, datagram.src, datagram.src_port, src=datagram.dst, src_port=datagram.dst_port
            )

    wire.apps.append(serve)
    client.send(b"hello", REMOTE, 53)
    wire.run_for(SECOND)
    answer = client.recv()
    assert answer is not None
    assert (answer.src, answer.src_port, bytes(answer.data)) == (REMOTE, 53, b"hello")
