"""IP options of datagrams that we send (RFC 791 §3.1, §3.2, RFC 1122 §3.2.1.8, §4.1.3.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stack.packets import GATEWAY, GUEST, internet_checksum
from tests.stack.rig import Rig
from usernat.stack.device import MAX_DATAGRAM
from usernat.stack.l3.ipv4_header import PROTO_UDP
from usernat.stack.l3.options import copied, to_send
from usernat.stack.l4.udp import MAX_DATA

ROUTER_ALERT = bytes((148, 4, 0, 0))  # RFC 2113; copied
RECORD_ROUTE = bytes((7, 7, 4, 0, 0, 0, 0))  # not copied
NO_OPERATION = b"\x01"


@st.composite
def options(draw: st.DrawFn) -> bytes:
    """Any well-formed options but source routes, at most 40 octets."""
    kinds = st.integers(2, 255).filter(lambda kind: kind not in {131, 137})
    one = st.one_of(
        st.just(NO_OPERATION),
        st.builds(lambda kind, data: bytes((kind, 2 + len(data))) + data, kinds, st.binary(max_size=8)),
    )
    taken = b""
    for part in draw(st.lists(one, max_size=6)):
        if len(taken) + len(part) <= 40:
            taken += part
    return taken


@pytest.mark.rfc("791", "3.1-c", "3.1-h")
@pytest.mark.rfc("1122", "3.2.1.8-a", "4.1.3.2-a")
@given(options(), st.binary(max_size=50))
def test_they_leave_as_they_were_given_in_whole_words(given_options: bytes, data: bytes) -> None:
    rig = Rig()
    assert rig.interface.udp.bind(None, 2000).send(data, GUEST, 1000, options=given_options)
    (frame,) = rig.frames()
    datagram = bytes(frame)[14:]
    header_length = 4 * (datagram[0] & 15)
    assert header_length == 20 + (len(given_options) + 3) // 4 * 4
    assert datagram[20:header_length] == given_options.ljust(header_length - 20, b"\0")
    assert internet_checksum(datagram[:header_length]) == 0
    assert int.from_bytes(datagram[2:4], "big") == len(datagram) == header_length + 8 + len(data)
    assert datagram[header_length + 8 :] == data


@pytest.mark.rfc("1122", "4.1.3.2-a", "3.2.1.8-b")
def test_the_receiving_application_sees_them() -> None:
    rig, other = Rig(), Rig(addresses=((GUEST, 24),))
    socket = other.interface.udp.bind(None, 1000)
    rig.interface.udp.bind(None, 2000).send(b"hello", GUEST, 1000, options=ROUTER_ALERT)
    (frame,) = rig.frames()
    other.receive(bytes(frame)[14:])
    datagram = socket.recv()
    assert datagram is not None
    assert bytes(datagram.data) == b"hello"
    assert bytes(datagram.packet.options) == ROUTER_ALERT


@pytest.mark.rfc("791", "3.2-frag-d")
@given(options(), st.integers(100, 1500), st.integers(100, 4000))
def test_fragments_carry_those_that_are_to_be_copied(given_options: bytes, mtu: int, size: int) -> None:
    """All are in the first; and the whole can be put together again."""
    rig, other = Rig(mtu=mtu), Rig(addresses=((GUEST, 24),))
    socket = other.interface.udp.bind(None, 1000)
    data = bytes(index % 251 for index in range(size))
    rig.interface.udp.bind(None, 2000).send(data, GUEST, 1000, options=given_options)
    datagrams = [bytes(frame)[14:] for frame in rig.frames()]
    found = [datagram[20 : 4 * (datagram[0] & 15)] for datagram in datagrams]
    assert found[0] == to_send(given_options)
    assert set(found[1:]) <= {copied(given_options)}
    assert all(
        len(datagram) <= mtu and not internet_checksum(datagram[: 4 * (datagram[0] & 15)])
        for datagram in datagrams
    )
    for datagram in datagrams:
        other.receive(datagram)
    whole = socket.recv()
    assert whole is not None
    assert bytes(whole.data) == data


@pytest.mark.rfc("791", "3.2-frag-d")
def test_which_are_copied() -> None:
    """The highest bit of the type says so; what only fills up is left out."""
    assert copied(NO_OPERATION + RECORD_ROUTE + ROUTER_ALERT + b"\0") == ROUTER_ALERT
    assert copied(RECORD_ROUTE) == b""
    assert copied(b"\x82\x03\xaa") == b"\x82\x03\xaa\0"
    assert copied(b"") == b""


def test_the_device_completes_the_checksum_behind_them() -> None:
    rig = Rig(tx_checksum=True)
    rig.interface.udp.bind(None, 2000).send(b"hello", GUEST, 1000, options=ROUTER_ALERT)
    (frame,) = rig.frames()
    assert frame.csum_start == 14 + 24
    assert frame.header_length == 14 + 24 + 8


def test_fragments_of_a_datagram_that_its_options_make_too_long_are_summed_here() -> None:
    """No fragment holds what the device would have to sum."""
    rig = Rig(tx_checksum=True)
    rig.interface.udp.bind(None, 2000).send(bytes(1500 - 20 - 8), GUEST, 1000, options=ROUTER_ALERT)
    frames = rig.frames()
    assert len(frames) == 2
    assert not any(frame.csum_start for frame in frames)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (bytes((131, 7, 4, 1, 2, 3, 4)), "no source routes"),
        (bytes((137, 7, 4, 1, 2, 3, 4)), "no source routes"),
        (b"\x07", "malformed at byte 0"),
        (b"\x01\x07\x01", "malformed at byte 2"),
        (b"\x07\x09", "malformed at byte 1"),
        (b"\x01" * 41, "40 bytes at most, not 41"),
    ],
)
def test_what_must_not_leave(wrong: bytes, words: str) -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, 2000)
    with pytest.raises(ValueError, match=words):
        socket.send(b"", GUEST, 1000, options=wrong)
    assert rig.silent()


def test_options_and_data_share_the_largest_datagram() -> None:
    rig = Rig()
    socket = rig.interface.udp.bind(None, 2000)
    with pytest.raises(ValueError, match="at most"):
        socket.send(bytes(MAX_DATA - 3), GUEST, 1000, options=ROUTER_ALERT)
    assert socket.send(bytes(MAX_DATA - 4), GUEST, 1000, options=ROUTER_ALERT)
    last = bytes(rig.frames()[-1])[14:]
    offset = (int.from_bytes(last[6:8], "big") & 0x1FFF) * 8
    assert offset + len(last) - 4 * (last[0] & 15) + 24 == MAX_DATAGRAM


@pytest.mark.rfc("1122", "3.2.1.8-a")
def test_any_transport_may_give_them() -> None:
    rig = Rig()
    rig.interface.ipv4.send(PROTO_UDP, GATEWAY, GUEST, [bytes(8)], now=rig.now, options=to_send(RECORD_ROUTE))
    (frame,) = rig.frames()
    assert bytes(frame)[14 + 20 : 14 + 28] == RECORD_ROUTE + b"\0"
