"""Datagram sockets of the host: UDP and ICMP echo, with TTL, DF and the errors that ICMP reports.

On Linux a socket with IP_RECVERR keeps each ICMP error about its datagrams in an error queue, with the type and code, the router that
sent it, the destination it is about and the first bytes of the datagram; `read_error_queue` makes `ReportedError`s of them.
Elsewhere only an errno comes back, if anything, and `errors()` is empty. The kernel has found the socket by the transport header in the quote,
behind IP options if there are any (RFC 5508 REQ-3b), whatever the checksum there says (§4.1, REQ-3c).

Port numbers are drawn by the kernel, at random (RFC 6056 §4-a, RFC 7857 §9-a, RFC 6888 REQ-15, RFC 5452 §10-a), and so are the identifications
of the datagrams, which are not those of the guests (RFC 6864 §5.3.1-a, RFC 7857 §10-a). It fragments what is sent without DF, and puts
together what comes in fragments, in any order (RFC 4787 REQ-13a, REQ-14).

TTL and DF belong to the socket, not to the datagram, so they are set when a datagram differs from the one before. What is derived from the
datagram before is kept for the next, which mostly has the same far end. `host_segmentation.py` says how many datagrams go and come at once.

An echo socket is an unprivileged ICMP socket, whose identifier the kernel chooses and whose replies it sorts out, or a raw one that
is sent an identifier of ours and sees every ICMP message of the host: what is not a reply to that identifier is dropped here.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from typing import TYPE_CHECKING

from usernat.nat import host_segmentation
from usernat.nat.host_segmentation import UDP_GRO
from usernat.stack.addr import format_ip, is_loopback, is_unicast
from usernat.stack.checksum import checksum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer

_LINUX = sys.platform == "linux"
# <linux/in.h>, <linux/errqueue.h>: Python names few of these
_IP_RECVERR: int | None = 11 if _LINUX else None
_IP_RECVTTL: int | None = 12 if _LINUX else None
_IP_MTU_DISCOVER: int | None = 10 if _LINUX else None
_IP_PKTINFO: int | None = 8 if _LINUX else None
_PMTUDISC_DONT = 0
_PMTUDISC_DO = 2
_HAS_ANCILLARY = hasattr(socket.socket, "recvmsg")  # not on Windows: the TTL is the default one there
_MSG_ERRQUEUE = 0x2000
_ORIGIN_LOCAL = 1
_ORIGIN_ICMP = 2
_EXTENDED_ERROR = struct.Struct("=IBBBxII")  # errno, origin, type, code, padding, info, data
_PKTINFO = struct.Struct("=i4s4s")  # interface, the address to answer from, the one in the header
_SOCKADDR_IN = struct.Struct("=HH4s")  # family, port, address
_ICMP_RAW_FILTER = 1  # <linux/icmp.h> ICMP_FILTER at level SOL_RAW: a bit set blocks that type
_SOL_RAW = 255
# Errors with which the kernel refuses to cut: the path's MTU is smaller, or the device makes no checksums, or the option is not known after all
_NOT_CUT = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT})

MAX_DATAGRAM = 65535
# Bytes of datagrams that no kernel cuts; ours cuts none where it does not know the option
_NEVER_CUT = MAX_DATAGRAM if host_segmentation.CAN_SEGMENT else 0
_PATHS_KEPT = 8  # of which a socket knows that a run is too large for them
DEFAULT_TTL = 64
_ANCILLARY_BYTES = 256
_QUOTED_BYTES = 64
_ERRORS_A_READ = 32
_OTHERS_A_READ = 64  # replies to others that a raw socket passes over; the selector tells if there are more

# Echo request and reply: type, code, checksum, identifier, sequence number (RFC 792)
_ECHO = struct.Struct("!BBHHH")
_ECHO_REQUEST = 8
_ECHO_REPLY = 0
DESTINATION_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4


class ReportedError:
    """What the host knows of a failure.

    errno: always. icmp: whether ICMP or the path MTU says so, and type, code and mtu (bytes, 0 if not said) hold.
    offender: address of the router or host that sent it, None where it is this host.
    address, port: the destination it is about (for echo, port is the sequence number). data: the first bytes of the payload.
    """

    __slots__ = ("address", "code", "data", "errno", "icmp", "mtu", "offender", "port", "type")

    def __init__(
        self,
        errno: int,
        *,
        icmp: bool = False,
        type: int = DESTINATION_UNREACHABLE,  # noqa: A002 - the RFC's word
        code: int = 0,
        mtu: int = 0,
        offender: int | None = None,
        address: int = 0,
        port: int = 0,
        data: bytes = b"",
    ) -> None:
        self.errno = errno
        self.icmp = icmp
        self.type = type
        self.code = code
        self.mtu = mtu
        self.offender = offender
        self.address = address
        self.port = port
        self.data = data


def address_of(text: str) -> int:
    """The integer form of an address that the kernel has written."""
    return int.from_bytes(socket.inet_aton(text), "big")


def is_own_address(address: int) -> bool:
    """Whether the host has it, loopback apart. No packet is sent.

    What can be bound is the host's, but for all the world where Linux has ip_nonlocal_bind; what is reached from loopback is too, but for what
    route_localnet lets out. (From where a socket would send there says less: to a second address of an interface, from the first.)
    """
    if is_loopback(address) or not is_unicast(address):
        return False
    text = format_ip(address)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((text, 0))
            except OSError as error:
                return error.errno != errno.EADDRNOTAVAIL
        if not _LINUX:
            return True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.connect_ex((text, 9)) == 0
    except OSError:  # no descriptor is left: nothing can be opened, and nothing is told
        return True


def read_error_queue(sock: socket.socket) -> list[ReportedError]:
    """Up to 32 errors from the socket's queue, oldest first; none where the system has no such queue."""
    found: list[ReportedError] = []
    if _IP_RECVERR is None:
        return found
    for _ in range(_ERRORS_A_READ):
        try:
            data, ancillary, _flags, peer = sock.recvmsg(_QUOTED_BYTES, _ANCILLARY_BYTES, _MSG_ERRQUEUE)
        except OSError:
            break
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_IP and kind == _IP_RECVERR and len(value) >= _EXTENDED_ERROR.size:
                found.append(_reported(value, data, peer))
    return found


def _reported(value: bytes, data: bytes, peer: tuple[str, int] | None) -> ReportedError:
    number, origin, icmp_type, code, info, _data = _EXTENDED_ERROR.unpack_from(value)
    report = ReportedError(number, data=data)
    if peer:
        report.address, report.port = address_of(peer[0]), peer[1]
    if origin == _ORIGIN_ICMP:
        report.icmp, report.type, report.code = True, icmp_type, code
        if len(value) >= _EXTENDED_ERROR.size + _SOCKADDR_IN.size:
            family, _port, offender = _SOCKADDR_IN.unpack_from(value, _EXTENDED_ERROR.size)
            report.offender = int.from_bytes(offender, "big") if family == socket.AF_INET else None
        if icmp_type == DESTINATION_UNREACHABLE and code == FRAGMENTATION_NEEDED:
            report.mtu = info
    elif origin == _ORIGIN_LOCAL and info:  # EMSGSIZE: the host knows a smaller path MTU already
        report.icmp, report.code, report.mtu = True, FRAGMENTATION_NEEDED, info
    return report


class _Datagrams:
    """What UDP and echo sockets share."""

    __slots__ = ("_df", "_socket", "_to", "_to_key", "_ttl")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._ttl = -1
        self._df: bool | None = None
        self._to_key = -1  # address << 16 | port of the latest destination
        self._to = ("", 0)  # the same as the system takes it
        for option in (_IP_RECVERR, _IP_RECVTTL):
            if option is not None:
                sock.setsockopt(socket.IPPROTO_IP, option, 1)

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """See `DatagramSocket`."""
        number: int = self._socket.getsockname()[1]
        return number

    def close(self) -> None:
        """Gives the descriptor back."""
        self._socket.close()

    def _address(self, address: int, port: int) -> tuple[str, int]:
        key = address << 16 | port
        if key != self._to_key:
            self._to_key, self._to = key, (format_ip(address), port)
        return self._to

    def _set(self, ttl: int, df: bool) -> None:
        if ttl != self._ttl:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            self._ttl = ttl
        if df is not self._df and _IP_MTU_DISCOVER is not None:
            # RFC 4787 REQ-13, RFC 6864 §4.3-c: DF is kept, and what is too big comes back; without it the kernel fragments
            self._socket.setsockopt(
                socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DO if df else _PMTUDISC_DONT
            )
            self._df = df

    def _take(self) -> tuple[bytes, list[tuple[int, int, bytes]], tuple[str, int]] | None:
        """The next datagram, what the kernel says of it, and who has sent it."""
        try:
            if _HAS_ANCILLARY:
                data, ancillary, _flags, peer = self._socket.recvmsg(MAX_DATAGRAM, _ANCILLARY_BYTES)
                return data, ancillary, peer
            data, peer = self._socket.recvfrom(MAX_DATAGRAM)
        except BlockingIOError:
            return None
        return data, [], peer


def _read_ancillary(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int, int]:
    """Of what has been received: its TTL, at which size it is to be cut (0: it is one datagram), and to which address of the host it was sent (0: not said)."""
    ttl, size, called = DEFAULT_TTL, 0, 0
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind in (socket.IP_TTL, _IP_RECVTTL) and len(value) >= 4:
            ttl = int.from_bytes(value[:4], sys.byteorder)
        elif level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= _PKTINFO.size:
            called = int.from_bytes(_PKTINFO.unpack_from(value)[1], "big")
        elif level == socket.IPPROTO_UDP and kind == UDP_GRO and len(value) >= 4:
            size = int.from_bytes(value[:4], sys.byteorder)
    return ttl, size, called


def _leaving_from(source: int) -> list[tuple[int, int, bytes]]:
    """The control messages by which a datagram leaves from that address of the host."""
    if _IP_PKTINFO is None:
        return []
    return [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, source.to_bytes(4, "big"), bytes(4)))]


class HostUdp(_Datagrams):
    """An unconnected UDP socket.

    published: it has a port of its own and answers from the address that was spoken to: it may be bound to all of them, and the kernel would take
    the one that it finds on the way back, of which the client knows nothing.
    """

    __slots__ = ("_ancillary", "_origin", "_peer", "_size", "_too_large")

    def __init__(self, sock: socket.socket, *, published: bool = False) -> None:
        super().__init__(sock)
        # Of the latest run: what the system said of it, and what that means
        self._peer: object = None
        self._ancillary: object = None
        self._origin: Origin = (0, 0, DEFAULT_TTL, 0)
        self._size = 0
        # By address, of the latest few: bytes of datagrams that the kernel does not cut, too large for their path, it seems
        self._too_large: dict[int, int] = {}
        host_segmentation.gather(sock)
        if published and _IP_PKTINFO is not None:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def send(self, data: Buffer, address: int, port: int, ttl: int, df: bool, source: int = 0) -> None:
        """See `DatagramSocket`."""
        self._set(ttl, df)
        if source:
            self._socket.sendmsg([data], _leaving_from(source), 0, self._address(address, port))
        else:
            self._socket.sendto(data, self._address(address, port))

    def send_run(
        self, run: Sequence[Buffer], address: int, port: int, ttl: int, df: bool, source: int = 0
    ) -> bool:
        """See `DatagramSocket`."""
        size = len(run[0])
        if size >= self._too_large.get(address, _NEVER_CUT):
            return False
        self._set(ttl, df)
        control = host_segmentation.segmented(size)
        if source:
            control += _leaving_from(source)
        try:
            self._socket.sendmsg(run, control, 0, self._address(address, port))
        except OSError as error:
            if error.errno in _NOT_CUT:
                if len(self._too_large) == _PATHS_KEPT:
                    del self._too_large[next(iter(self._too_large))]
                self._too_large[address] = size
            return False
        return True

    def receive(self) -> tuple[list[Buffer], Origin] | None:
        """See `DatagramSocket`."""
        taken = self._take()
        if taken is None:
            return None
        data, ancillary, peer = taken
        if ancillary != self._ancillary or peer != self._peer:
            ttl, self._size, called = _read_ancillary(ancillary)
            self._origin = address_of(peer[0]), peer[1], ttl, called
            self._peer, self._ancillary = peer, ancillary
        size = self._size
        return [data] if not size else host_segmentation.cut(data, size), self._origin

    def errors(self) -> list[ReportedError]:
        """See `DatagramSocket`."""
        return read_error_queue(self._socket)


class HostEcho(_Datagrams):
    """An ICMP socket for the echo requests of one binding. raw_ident: its identifier if the socket is raw, else None."""

    __slots__ = ("_last_sequence", "raw_ident")

    def __init__(self, sock: socket.socket, raw_ident: int | None) -> None:
        super().__init__(sock)
        self.raw_ident = raw_ident
        self._last_sequence = 0
        if raw_ident is not None and _LINUX:
            blocked = ~(1 << _ECHO_REPLY) & 0xFFFFFFFF
            sock.setsockopt(_SOL_RAW, _ICMP_RAW_FILTER, struct.pack("=I", blocked))

    def send(
        self,
        data: Buffer,
        address: int,
        port: int,
        ttl: int,
        df: bool,
        source: int = 0,  # noqa: ARG002 - nobody has pinged one address of the host rather than another
    ) -> None:
        """An echo request with the sequence number `port`."""
        self._last_sequence = port
        ident = self.raw_ident or 0  # the kernel writes its own in an unprivileged one, and the checksum
        header = _ECHO.pack(_ECHO_REQUEST, 0, 0, ident, port)
        if self.raw_ident is not None:
            header = _ECHO.pack(_ECHO_REQUEST, 0, checksum(header, data), ident, port)
        self._set(ttl, df)
        self._socket.sendto(b"".join((header, data)), self._address(address, 0))

    def send_run(self, *_run: object, **_how: object) -> bool:
        """See `DatagramSocket`: the kernel cuts nothing but UDP."""
        return False

    def receive(self) -> tuple[list[Buffer], Origin] | None:
        """The next echo reply to this binding, whose port is the sequence number."""
        for _ in range(_OTHERS_A_READ):
            taken = self._take()
            if taken is None:
                break
            message, ancillary, peer = taken
            ttl = _read_ancillary(ancillary)[0]
            if len(message) >= 20 and message[0] >> 4 == 4:  # raw, and macOS always: with the IP header
                ttl = message[8]
                message = message[(message[0] & 0xF) * 4 :]
            if len(message) < _ECHO.size:
                continue
            kind, code, _sum, ident, sequence = _ECHO.unpack_from(message)
            if kind == _ECHO_REPLY and code == 0 and self.raw_ident in (None, ident):
                return [message[_ECHO.size :]], (address_of(peer[0]), sequence, ttl, 0)
        return None

    def errors(self) -> list[ReportedError]:
        """Errors about requests of this binding; `port` is the sequence number."""
        found = []
        for report in read_error_queue(self._socket):
            if len(report.data) < _ECHO.size:
                # The host's own, about what `send` has just refused
                if report.icmp and report.offender is None:
                    report.port = self._last_sequence
                    found.append(report)
                continue
            kind, _code, _sum, ident, sequence = _ECHO.unpack_from(report.data)
            if kind == _ECHO_REQUEST and self.raw_ident in (None, ident):
                report.port, report.data = sequence, report.data[_ECHO.size :]
                found.append(report)
        return found
