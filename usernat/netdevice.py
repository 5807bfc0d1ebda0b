"""Linux network devices through ioctl: make a TAP, give a device its address, route and MTU.

No `ip` binary and no netlink library is needed: the ioctls of netdevice(7) and of linux/if_tun.h do all of it, in whatever
network namespace the calling process is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import struct
from typing import NamedTuple

IFF_UP = 0x1
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ, _TUNSETVNETLE = 0x400454CA, 0x400454D0, 0x400454D8, 0x400454DC
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO_ECN = 0x01, 0x02, 0x08
_TUN_F_USO = 0x20 | 0x40  # IPv4 and IPv6: kernels take both or none
_SIOCADDRT, _SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x890B, 0x8913, 0x8914
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8916, 0x891C, 0x8922
_RTF_UP, _RTF_GATEWAY = 0x1, 0x2

VNET_HEADER_SIZE = 10  # struct virtio_net_hdr without the fields of later versions
_USO_SINCE = (6, 2)  # Linux: TAP devices cut large UDP datagrams

# struct rtentry of linux/route.h, in the machine's own alignment: destination, gateway and mask are sockaddrs.
_RTENTRY = struct.Struct("@L16s16s16sHhLPhPLLH")


class Address(NamedTuple):
    """An IPv4 address with its netmask, in text, as the kernel's ioctls take them."""

    address: str
    netmask: str


def open_tap(name: str) -> int:
    """Make a TAP device in this network namespace; its descriptor. The device lives as long as the descriptor.

    Every frame carries a little-endian virtio_net_hdr, and the kernel may leave segmentation of TCP, cutting of UDP and checksums to us.
    Raises OSError with a message that says what is missing.
    """
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"cannot open /dev/net/tun: {error.strerror}") from error
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(descriptor, _TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_SIZE))
        fcntl.ioctl(descriptor, _TUNSETVNETLE, struct.pack("i", 1))
        _offer_offloads(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, f"cannot make the TAP device {name}: {error.strerror}") from error
    return descriptor


def _offer_offloads(descriptor: int) -> None:
    """Offer as much as this kernel accepts. With none the guest kernel segments and sums itself, which only is slower."""
    tcp = _TUN_F_CSUM | _TUN_F_TSO4
    for offloads in (tcp | _TUN_F_TSO_ECN | _TUN_F_USO, tcp | _TUN_F_TSO_ECN, tcp, _TUN_F_CSUM):
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _TUNSETOFFLOAD, offloads)
            return


def cuts_datagrams() -> bool:
    """Whether a TAP device of this kernel takes a frame with a run of UDP datagrams and cuts it, as it says for sure only to who makes such a device."""
    try:
        major, minor = os.uname().release.split(".")[:2]
        return (int(major), int(re.sub(r"\D.*", "", minor))) >= _USO_SINCE
    except (AttributeError, ValueError):  # not Linux, or not as Linux writes it
        return False


def configure(name: str, address: Address, *, gateway: str | None = None, mtu: int | None = None) -> None:
    """Give a device its MTU and address, switch it on, and route everything through `gateway`. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if mtu is not None:
            fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si20x", name.encode(), mtu))
        fcntl.ioctl(control, _SIOCSIFADDR, _address_request(name, address.address))
        fcntl.ioctl(control, _SIOCSIFNETMASK, _address_request(name, address.netmask))
        bring_up(name, control)
        if gateway is not None:
            fcntl.ioctl(control, _SIOCADDRT, _default_route(gateway))


def bring_up(name: str, control: socket.socket) -> None:
    """Switch a device on. Raises OSError."""
    answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh22x", name.encode(), 0))
    (flags,) = struct.unpack_from("h", answer, 16)
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", name.encode(), flags | IFF_UP))


def _sockaddr(address: str) -> bytes:
    """A struct sockaddr_in, port 0."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


def _address_request(name: str, address: str) -> bytes:
    """A struct ifreq with an address in it."""
    return struct.pack("16s16s8x", name.encode(), _sockaddr(address))


def _default_route(gateway: str) -> bytes:
    """A struct rtentry: 0.0.0.0/0 by way of `gateway`."""
    anywhere, flags = _sockaddr("0.0.0.0"), _RTF_UP | _RTF_GATEWAY  # noqa: S104 - a route's destination, not a bind
    return _RTENTRY.pack(0, anywhere, _sockaddr(gateway), anywhere, flags, 0, 0, 0, 0, 0, 0, 0, 0)
