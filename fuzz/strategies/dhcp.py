"""DHCP: what clients say on their way to a lease, and what makes servers read past the end."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from usernat.fuzz.strategies import udp
from usernat.fuzz.strategies.ethernet import frame
from usernat.fuzz.strategies.mutate import Field, damaged
from usernat.fuzz.strategies.scene import BYTES, LONGS, SCENE, WORDS, Scene, hostile_addresses
from usernat.nat.dhcp.message import (
    BOOTREQUEST,
    BROADCAST_FLAG,
    CLIENT_PORT,
    DECLINE,
    DISCOVER,
    ETHERNET,
    HEADER,
    INFORM,
    MAGIC_COOKIE,
    RELEASE,
    REQUEST,
    SERVER_PORT,
    Header,
)
from usernat.nat.dhcp.options import (
    CLIENT_IDENTIFIER,
    END,
    LEASE_TIME,
    MAXIMUM_MESSAGE_SIZE,
    MESSAGE_TYPE,
    PARAMETER_REQUEST_LIST,
    REQUESTED_ADDRESS,
    SERVER_IDENTIFIER,
)
from usernat.stack.addr import LIMITED_BROADCAST, MAC_BROADCAST

FIELDS = [
    Field(0, 1),
    Field(1, 1),
    Field(2, 1),
    Field(3, 1),
    Field(10, 2),
    Field(12, 4),
    Field(24, 4),
    Field(236, 4),
]


def option(tag: int, data: bytes) -> bytes:
    """One option: tag, length, data (255 bytes at most)."""
    return bytes((tag, len(data))) + data


def message(options: bytes, mac: bytes, *, xid: int = 1, **fields: Any) -> bytes:
    """A client's message around an option field. fields: of `Header`, in place of what would be right."""
    header = Header(
        op=BOOTREQUEST,
        htype=ETHERNET,
        hlen=6,
        hops=0,
        xid=xid,
        secs=0,
        flags=0,
        ciaddr=0,
        yiaddr=0,
        siaddr=0,
        giaddr=0,
        chaddr=mac.ljust(16, b"\0"),
        sname=bytes(64),
        file=bytes(128),
        cookie=MAGIC_COOKIE,
    )
    return HEADER.write(header._replace(**fields)) + options


def in_frame(content: bytes, scene: Scene = SCENE, *, src: int = 0, mac: bytes | None = None) -> bytes:
    """A client's message in a broadcast frame."""
    datagram = udp.packet(content, src, CLIENT_PORT, LIMITED_BROADCAST, SERVER_PORT)
    return frame(datagram, src=mac, dst=MAC_BROADCAST, scene=scene)


def _address(value: int) -> bytes:
    return value.to_bytes(4, "big")


@st.composite
def _extras(draw: st.DrawFn) -> bytes:
    """Options that any message of a client may carry."""
    possible = [
        option(PARAMETER_REQUEST_LIST, bytes((1, 3, 6, 15, 26, 51, 58, 59))),
        option(CLIENT_IDENTIFIER, b"\x01" + draw(st.binary(min_size=6, max_size=6))),
        option(MAXIMUM_MESSAGE_SIZE, draw(st.integers(576, 1500)).to_bytes(2, "big")),
        option(LEASE_TIME, draw(LONGS).to_bytes(4, "big")),
        option(12, b"guest"),
        b"\0\0",
    ]
    return b"".join(draw(st.lists(st.sampled_from(possible), max_size=4, unique=True)))


@st.composite
def dhcp_messages(draw: st.DrawFn, scene: Scene = SCENE) -> bytes:
    """A well-formed message of a client on this link."""
    kind = draw(st.sampled_from([DISCOVER, REQUEST, DECLINE, RELEASE, INFORM]))
    wanted = draw(st.sampled_from([scene.guest, scene.guest + 1]))
    options = option(MESSAGE_TYPE, bytes((kind,)))
    selecting = kind == REQUEST and draw(st.booleans())
    if kind in (DECLINE, RELEASE) or selecting:
        options += option(SERVER_IDENTIFIER, _address(scene.gateway))
    if kind == DECLINE or selecting:
        options += option(REQUESTED_ADDRESS, _address(wanted))
    settled = kind in (RELEASE, INFORM) or (kind == REQUEST and not selecting)
    flags = draw(st.sampled_from([0, BROADCAST_FLAG]))
    end = bytes((END,)) + bytes(draw(st.sampled_from([0, 20])))
    fields = {
        "xid": draw(LONGS),
        "flags": flags,
        "ciaddr": wanted if settled else 0,
        "secs": draw(st.integers(0, 100)),
    }
    return message(options + draw(_extras()) + end, scene.guest_mac, **fields)


def valid_dhcp(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """A frame with a client's message."""
    return dhcp_messages(scene).map(lambda content: in_frame(content, scene))


def option_bombs() -> st.SearchStrategy[bytes]:
    """Option fields without an end, with lengths of nought or past it, overload that leads in circles, one tag over and over, noise."""
    tags = st.sampled_from([1, 3, 12, 50, 51, 52, 53, 54, 55, 57, 61, 82, 255])
    lying = st.builds(
        lambda tag, length, data: bytes((tag, length)) + data, tags, BYTES, st.binary(max_size=60)
    )
    start = st.sampled_from(
        [b"", option(MESSAGE_TYPE, b"\x01"), option(MESSAGE_TYPE, b"\x03"), b"\x35\x00", b"\x35"]
    )
    tail = st.sampled_from(
        [
            b"",
            b"\xff",
            option(52, b"\x03") + b"\xff",
            option(52, b"\x07"),
            bytes(300),
            option(55, b"\x06") * 200,
        ]
    )
    return st.builds(lambda *parts: b"".join(parts), start, st.lists(lying, max_size=4).map(b"".join), tail)


@st.composite
def _senseless(draw: st.DrawFn, scene: Scene) -> bytes:
    """Fields that lie around options that explode; sname and file full of options in case they are looked at."""
    fields: dict[str, Any] = {
        "op": draw(st.sampled_from([1, 1, 1, 0, 2, 255])),
        "htype": draw(st.sampled_from([1, 1, 1, 0, 6, 255])),
        "hlen": draw(st.sampled_from([6, 6, 6, 0, 16, 17, 255])),
        "flags": draw(WORDS),
        "ciaddr": draw(hostile_addresses(scene)),
        "giaddr": draw(st.one_of(st.just(0), hostile_addresses(scene))),
        "sname": draw(option_bombs())[:64].ljust(64, b"\x06"),
        "file": draw(option_bombs())[:128].ljust(128, b"\xff"),
    }
    return message(draw(option_bombs()), draw(st.binary(min_size=6, max_size=6)), **fields)


def hostile_dhcp(scene: Scene = SCENE) -> st.SearchStrategy[bytes]:
    """Frames with senseless messages and with spoiled ones."""
    contents = st.one_of(_senseless(scene), damaged(dhcp_messages(scene), FIELDS))
    return contents.map(lambda content: in_frame(content[:1400], scene))
