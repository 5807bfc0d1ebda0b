"""Watches TCP on a wire and says what must never be seen there, whatever the network does to the frames.

    watch = TcpObserver()
    watch.sent(frame, mtu)         # each frame as a host puts it on the wire, in final form (`offload.on_the_wire`)
    watch.heard(frame, trusted)    # each frame as it reaches the other host; trusted: its checksum need not be looked at

It shares no code with any stack and knows only what passed by. For each direction it keeps the stream as it was first sent, which numbers have
reached the other end, and what each end has been shown. FrameError where a segment

* carries other bytes than were sent at those numbers before, leaves a gap, has text behind the FIN, or the FIN at a second place;
* is larger than the peer's MSS and the MTU allow, or goes beyond every right edge that the peer's segments showed (but for a probe);
* acknowledges, or reports by SACK, what has not been delivered, or acknowledges less than before;
* shows a right edge that lies before one shown earlier (RFC 9293 SHLD-14);
* carries an option that was not negotiated, lacks time stamps that were, or a time stamp that goes back;
* is ECT before both ends have agreed to ECN, or is but text sent again, or echoes marks that have not come (RFC 3168).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from usernat.fuzz.machines.frame_check import (
    ACK,
    CE,
    CWR,
    ECE,
    ECN,
    FIN,
    IPV4,
    RST,
    SYN,
    TCP,
    TCP_PROTO,
    check_ecn,
    check_tcp,
    demand,
    internet_sum,
    pseudo_header,
)

CIRCLE = 1 << 32
DEFAULT_MSS, SMALLEST_MSS = 536, 48
MSS, SCALE, SACK_PERMITTED, SACK, STAMPS = 2, 3, 4, 5, 8

Flow = tuple[int, int, int, int]


def offset(number: int, origin: int) -> int:
    """How far `number` lies behind `origin` on the circle; negative where it lies before."""
    return (number - origin + CIRCLE // 2) % CIRCLE - CIRCLE // 2


@dataclass(slots=True)
class Segment:
    """A TCP segment taken apart. options: bytes by kind. ecn: the codepoint in the IP header."""

    flow: Flow
    seq: int
    ack: int
    flags: int
    wnd: int
    text: bytes
    options: dict[int, bytes]
    options_length: int
    ecn: int

    def sets_up_ecn(self) -> bool:
        """RFC 3168 §6.1.1: a SYN that asks for it, a SYN,ACK that agrees."""
        return self.flags & (ECE | CWR) == (ECE if self.flags & ACK else ECE | CWR)


@dataclass(slots=True)
class End:
    """What is known of one end. Numbers are offsets: 0 is the SYN, the first octet of text is 1.

    stream: its text as first sent. high: SND.NXT. fin: where its FIN is.
    heard: the peer's SYN as it arrived; delivered: a mark for each of the peer's numbers that arrived; whole: up to where all have.
    acked, edge: the furthest that it has acknowledged and shown. limit: the furthest edge that it has been shown. tsval: its last.
    wants_ecn: each of its SYNs has said so. may_ecn: one of the peer's has. marked: text marked CE has reached it.
    """

    isn: int
    syn: Segment
    stream: bytearray = field(default_factory=bytearray)
    high: int = 1
    fin: int | None = None
    heard: Segment | None = None
    delivered: bytearray = field(default_factory=bytearray)
    whole: int = 0
    acked: int = 0
    edge: int = 0
    limit: int = 0
    tsval: int | None = None
    wants_ecn: bool = True
    may_ecn: bool = False
    marked: bool = False

    def agreed(self, kind: int) -> bool:
        """Whether both SYNs had the option, as this end knows."""
        return self.heard is not None and kind in self.heard.options and kind in self.syn.options

    def shift(self) -> int:
        """Of the windows that it shows."""
        return min(self.syn.options[SCALE][0], 14) if self.agreed(SCALE) else 0

    def mss(self, mtu: int, options: int) -> int:
        """RFC 9293 §3.7.1 MUST-16: Eff.snd.MSS."""
        offered = self.heard.options.get(MSS) if self.heard is not None else None
        wanted = max(int.from_bytes(offered, "big"), SMALLEST_MSS) if offered else DEFAULT_MSS
        return min(wanted + 20, mtu - 20) - 20 - options

    def take(self, start: int, stop: int) -> None:
        """The peer's numbers [start, stop) have arrived."""
        if stop > len(self.delivered):
            self.delivered.extend(bytes(stop - len(self.delivered)))
        start = max(start, 0)
        self.delivered[start:stop] = b"\1" * (stop - start)
        missing = self.delivered.find(0, self.whole)
        self.whole = len(self.delivered) if missing < 0 else missing


class TcpObserver:
    """Of all connections between any hosts. sent_count, heard_count: segments that were judged."""

    def __init__(self) -> None:
        self.sent_count = 0
        self.heard_count = 0
        self._ends: dict[Flow, End] = {}
        self._calls: dict[Flow, Segment] = {}  # the last SYN that reached somebody, by the flow that answers
        self._hosts: set[bytes] = set()  # MAC addresses that frames are sent to

    def end(self, flow: Flow) -> End | None:
        """What is known of the sender of a flow (source, source port, destination, destination port)."""
        return self._ends.get(flow)

    # -- as it leaves ---------------------------------------------------------------------------------------------------

    def sent(self, frame: bytes, mtu: int) -> None:
        """FrameError where this may not be sent. mtu: of the path, as the sender knows it."""
        self._hosts.add(frame[:6])
        seg = read(frame)
        if seg is None:
            return
        segment = frame[14 + 4 * (frame[14] & 15) :]
        check_tcp(seg.flow[0], seg.flow[2], segment)
        check_ecn(seg.ecn, segment)
        demand(len(frame) - 14 <= mtu, "larger than the MTU")
        self.sent_count += 1
        if seg.flags & RST:
            return
        if seg.flags & SYN:
            self._syn_sent(seg)
        end = self._ends.get(seg.flow)
        demand(end is not None, "of no connection")
        assert end is not None
        if not seg.flags & SYN:
            self._check_marks(end, seg)
            self._check_text(end, seg, mtu)
        if seg.flags & ACK:
            self._check_acknowledgement(end, seg)
        self._check_stamps(end, seg)

    def _syn_sent(self, seg: Segment) -> None:
        end = self._ends.get(seg.flow)
        if end is None or end.isn != seg.seq:
            end = self._ends[seg.flow] = End(seg.seq, seg)
            call = self._calls.get(seg.flow)
            if call is not None and seg.flags & ACK:
                self._meet(end, call)
        end.wants_ecn = end.wants_ecn and seg.sets_up_ecn()
        demand(not seg.text, "text on a SYN")

    @staticmethod
    def _check_marks(end: End, seg: Segment) -> None:
        demand(not seg.ecn or (end.wants_ecn and end.may_ecn), "ECT where ECN was not agreed on")
        demand(not seg.ecn or offset(seg.seq, end.isn) == end.high, "ECT on what is sent again")
        demand(not seg.flags & ECE or end.marked, "ECE for no mark")

    def _check_text(self, end: End, seg: Segment, mtu: int) -> None:
        start = offset(seg.seq, end.isn)
        stop = start + len(seg.text)
        length = len(seg.text) + (seg.flags & FIN)
        first = 1 if length else 0  # a keep-alive before any text repeats the number of the SYN
        demand(first <= start <= end.high, f"number {start} leaves a gap behind {end.high}")
        demand(
            len(seg.text) <= end.mss(mtu, seg.options_length), f"{len(seg.text)} octets are more than the MSS"
        )
        if length > 1 or not end.limit:
            demand(
                not length or start + length <= end.limit,
                f"{start + length} is beyond the window, {end.limit}",
            )
        known = bytes(end.stream[start - 1 : stop - 1])
        demand(seg.text[: len(known)] == known, "other bytes than were sent there before")
        end.stream += seg.text[len(known) :]
        if seg.flags & FIN:
            demand(end.fin in (None, stop), f"a FIN at {stop} and at {end.fin}")
            demand(stop > len(end.stream), "a FIN before the end of the text")
            end.fin = stop
        demand(end.fin is None or not seg.text or stop <= end.fin, "text behind the FIN")
        end.high = max(end.high, start + length)

    def _check_acknowledgement(self, end: End, seg: Segment) -> None:
        demand(end.heard is not None, "an ACK to somebody who has not been heard")
        assert end.heard is not None
        acked = offset(seg.ack, end.heard.seq)
        demand(acked <= end.whole, f"acknowledges {acked}, and only {end.whole} was delivered")
        demand(acked >= end.acked, f"acknowledges {acked} after {end.acked}")
        end.acked = acked
        edge = acked + (seg.wnd if seg.flags & SYN else seg.wnd << end.shift())
        demand(edge >= end.edge, f"the window's edge moves back from {end.edge} to {edge}")
        end.edge = edge
        blocks = seg.options.get(SACK, b"")
        demand(not blocks or end.agreed(SACK_PERMITTED), "SACK where it was not permitted")
        for left, right in struct.iter_unpack(">II", blocks):
            start, stop = offset(left, end.heard.seq), offset(right, end.heard.seq)
            demand(0 < start < stop <= len(end.delivered), f"SACK of [{start}, {stop})")
            demand(
                0 not in end.delivered[start:stop], f"SACK of [{start}, {stop}), which was not all delivered"
            )

    def _check_stamps(self, end: End, seg: Segment) -> None:
        stamps = seg.options.get(STAMPS)
        if not seg.flags & SYN:
            demand((stamps is not None) is end.agreed(STAMPS), "time stamps missing, or not agreed on")
        if stamps is not None:
            tsval = int.from_bytes(stamps[:4], "big")
            demand(end.tsval is None or offset(tsval, end.tsval) >= 0, "a time stamp that goes back")
            end.tsval = tsval

    # -- as it arrives ----------------------------------------------------------------------------------------------------

    def heard(self, frame: bytes, trusted: bool = False) -> None:
        """Note what a host has been told. Frames that were spoilt on the way tell it nothing."""
        if frame[:6] not in self._hosts or (seg := read(frame)) is None:
            return
        if not trusted and not is_sound(frame):
            return
        self.heard_count += 1
        source, source_port, destination, destination_port = seg.flow
        back = (destination, destination_port, source, source_port)
        if seg.flags & SYN:
            self._calls[back] = seg
        end = self._ends.get(back)
        if end is None or seg.flags & RST:
            return
        if seg.flags & SYN and end.heard is None:
            self._meet(end, seg)
        if end.heard is None:
            return
        start = offset(seg.seq, end.heard.seq)
        length = len(seg.text) + bool(seg.flags & SYN) + (seg.flags & FIN)
        if -(1 << 20) < start < len(end.delivered) + (1 << 20):
            end.take(start, start + length)
        if seg.flags & SYN:
            end.may_ecn = end.may_ecn or seg.sets_up_ecn()
        end.marked = end.marked or (seg.ecn == CE and bool(seg.text))
        if seg.flags & ACK:
            shift = min(end.heard.options[SCALE][0], 14) if end.agreed(SCALE) and not seg.flags & SYN else 0
            end.limit = max(end.limit, offset(seg.ack, end.isn) + (seg.wnd << shift))

    @staticmethod
    def _meet(end: End, syn: Segment) -> None:
        """The peer's SYN, and with it what it can do, is known."""
        end.heard = syn
        end.may_ecn = syn.sets_up_ecn()
        end.take(0, 1)
        end.limit = max(end.limit, 1 + syn.wnd)


def read(frame: bytes) -> Segment | None:
    """The TCP segment in a frame; None where there is none, or it is malformed."""
    if frame[12:14] != b"\x08\x00" or len(frame) < 54 or frame[23] != TCP_PROTO:
        return None
    first, tos, total, _, _, _, _, _, src, dst = IPV4.unpack_from(frame, 14)
    at = 14 + 4 * (first & 15)
    if 14 + total != len(frame) or at + TCP.size > len(frame):
        return None
    sport, dport, seq, ack, header, flags, wnd, _, _ = TCP.unpack_from(frame, at)
    text_at = at + 4 * (header >> 4)
    if text_at > len(frame):
        return None
    area = frame[at + TCP.size : text_at]
    return Segment(
        (src, sport, dst, dport),
        seq,
        ack,
        flags,
        wnd,
        frame[text_at:],
        options_of(area),
        len(area),
        tos & ECN,
    )


def options_of(area: bytes) -> dict[int, bytes]:
    """Options by kind, as far as they can be read."""
    options: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(area) and area[at]:
        if area[at] == 1:
            at += 1
            continue
        if area[at + 1] < 2:
            break
        options[area[at]] = area[at + 2 : at + area[at + 1]]
        at += area[at + 1]
    return options


def is_sound(frame: bytes) -> bool:
    """Whether the checksums of IP and TCP are right."""
    header = 4 * (frame[14] & 15)
    src, dst = struct.unpack_from(">II", frame, 26)
    segment = frame[14 + header :]
    covered = pseudo_header(src, dst, TCP_PROTO, len(segment)) + segment
    return internet_sum(frame[14 : 14 + header]) == 0xFFFF and internet_sum(covered) == 0xFFFF
