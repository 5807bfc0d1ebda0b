"""The whole gateway as a hypothesis state machine: a guest that is honest and hostile at once, a flaky host, virtual time.

    TestGateway = GatewayMachine.TestCase          # for pytest or unittest
    run_state_machine_as_test(GatewayMachine)

The honest guest is an `Interface` on a cable (`world.py`). Its streams, pings, datagrams and names are held to what they should give; the
hostile frames come from the same MAC and IP address, and must not break any of that. After every step (`GatewayMachineBase.check`):

* nothing has raised, deadlines are true, the loop rests, all emitted frames are well formed (`World.run`);
* no datagram of UDP was made up, changed, doubled or given to somebody else, and the counters of UDP say what has gone (`ledger.py`);
* no stream has bytes that were not sent at that place, and none that stood has broken without an excuse;
* tables are within their caps, the TCP memory adds up, counters only grow;
* what was asked in calm weather has been answered in time.

In the end every stream must complete, all tables become empty, and a closed gateway hold nothing. To test more, subclass: add rules,
override `make_world` (another scene, other bounds) or `check` (call the inherited one).
"""

from __future__ import annotations

import struct
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from usernat.fuzz.machines.frame_check import TCP_PROTO, FrameError, check_tcp
from usernat.fuzz.machines.honest import PICKS, SIZES
from usernat.fuzz.machines.hostile import BLOWS, FLOODS, blow
from usernat.fuzz.machines.surroundings import Surroundings
from usernat.fuzz.machines.world import SECOND
from usernat.fuzz.strategies import (
    SCENE,
    hostile_arp,
    hostile_dhcp,
    hostile_dns,
    hostile_ethernet,
    hostile_fragments,
    hostile_icmp,
    hostile_ipv4,
    hostile_tcp,
    hostile_udp,
    valid_frames,
)
from usernat.fuzz.strategies.mutate import damaged
from usernat.stack.l2.ethernet import ETHERTYPE_ARP

# DHCP servers go by the MAC address, so the guest's own could give its own lease away.
OTHER_CLIENT = replace(SCENE, guest_mac=b"\x52\x54\x00\x66\x66\x66")
POISON_US = 65 * SECOND  # until a false neighbour entry is asked about, and given up
FLOOD = 48  # frames
ON_ITS_WAY_US = 400  # less than a round trip


def some(*frames: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[bytes]]:
    """A few frames of any of these strategies."""
    return st.lists(st.one_of(frames), min_size=1, max_size=4)


class GatewayMachine(Surroundings):
    """See above."""

    @rule(frames=some(hostile_ethernet(), hostile_arp()))
    def hostile_link(self, frames: list[bytes]) -> None:
        """What Ethernet and ARP should not take."""
        self._throw_all(frames)

    @rule(frames=some(hostile_ipv4(), hostile_icmp()))
    def hostile_packets(self, frames: list[bytes]) -> None:
        """What IP and ICMP should not take."""
        self._throw_all(frames)

    @rule(frames=some(hostile_tcp()))
    def hostile_segments(self, frames: list[bytes]) -> None:
        """What TCP should not take."""
        self._throw_all(frames)

    @rule(frames=some(hostile_udp(), hostile_dhcp(OTHER_CLIENT), hostile_dns()))
    def hostile_messages(self, frames: list[bytes]) -> None:
        """What UDP, DHCP and DNS should not take."""
        self._throw_all(frames)

    @rule(frames=some(hostile_udp()), size=st.integers(0, 2000))
    def hostile_runs(self, frames: list[bytes], size: int) -> None:
        """What the guest's kernel may call runs of datagrams, and vouch for."""
        for frame in frames:
            self.world.inject_run(frame, size)
        self.after()

    @rule(frames=some(valid_frames(OTHER_CLIENT)))
    def strange_frames(self, frames: list[bytes]) -> None:
        """Good ones that nobody expects."""
        self._throw_all(frames)

    @rule(frames=hostile_fragments())
    def hostile_pieces(self, frames: list[bytes]) -> None:
        """Fragments that fit together badly; an honest datagram may have had the same identification."""
        self.disturb()
        self._throw_all(frames)

    @rule(kinds=st.sets(st.sampled_from(sorted(FLOODS)), min_size=1, max_size=4), count=st.integers(1, FLOOD))
    def flood(self, kinds: set[str], count: int) -> None:
        """Many frames of a few kinds, each of which wants an entry of some table."""
        world = self.world
        makers = [FLOODS[kind] for kind in sorted(kinds)]
        self._throw_all([makers[at % len(makers)](world.scene, world.rng) for at in range(count)])

    @precondition(lambda self: self.world.said)
    @rule(data=st.data(), count=st.integers(1, 3))
    def replay(self, data: st.DataObject, count: int) -> None:
        """Frames that the guest has sent come again, late and more than once."""
        frame = data.draw(st.sampled_from(list(self.world.said)))
        for _ in range(count):
            self._throw(frame)
        self.after()

    @precondition(lambda self: self.world.said)
    @rule(data=st.data())
    def mutate(self, data: st.DataObject) -> None:
        """A frame that the guest has sent comes again, damaged."""
        frame = data.draw(st.sampled_from(list(self.world.said)))
        spoiled = data.draw(damaged(st.just(frame)))
        if not passes_for_tcp(spoiled):
            self.disturb()
            self._throw(spoiled)
        self.after()

    @precondition(lambda self: any(stream.standing for stream in self.streams))
    @rule(
        pick=PICKS,
        blows=st.lists(
            st.tuples(st.sampled_from(sorted(BLOWS)), st.integers(0, 999)), min_size=2, max_size=10
        ),
        size=SIZES,
    )
    def strike(self, pick: int, blows: list[tuple[str, int]], size: int) -> None:
        """Segments for a stream that stands, with numbers that TCP must not believe, while bytes are on their way."""
        stream = self.one(pick, lambda stream: stream.standing)
        assert stream is not None
        stream.send(self._fair(size))
        self.world.run(ON_ITS_WAY_US)
        for kind, k in blows:
            frame = blow(stream, kind, k, self.world.scene)
            if frame is not None:
                self._throw(frame)
        self.after()

    def _throw_all(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._throw(frame)
        self.after()

    def _throw(self, frame: bytes) -> None:
        """Into the gateway. Who lies about the guest's own MAC address cuts it off for a while, and that is as it should be."""
        if is_poison(frame, self.world.scene.guest, self.world.scene.guest_mac):
            self.disturb(2 * POISON_US)
            self.prevent(2 * POISON_US)
            self.block_streams(POISON_US)
        self.world.inject(frame)


def passes_for_tcp(frame: bytes) -> bool:
    """Whether a receiver must take a damaged frame's TCP segment for a true one: some damage no checksum shows."""
    header = 14 + 4 * (frame[14] & 15) if len(frame) > 33 else 0
    if not header or frame[23] != TCP_PROTO or len(frame) < header + 20:
        return False
    src, dst = struct.unpack_from(">II", frame, 26)
    (total,) = struct.unpack_from(">H", frame, 16)
    try:
        check_tcp(src, dst, frame[header : 14 + total])
    except (FrameError, struct.error) as wrong:
        return "checksum" not in str(wrong)
    return True


def is_poison(frame: bytes, guest: int, mac: bytes) -> bool:
    """Whether it is ARP that puts the guest's address at somebody else's MAC address."""
    if len(frame) < 42 or frame[12:14] != ETHERTYPE_ARP.to_bytes(2, "big"):
        return False
    return frame[28:32] == guest.to_bytes(4, "big") and frame[22:28] != mac
