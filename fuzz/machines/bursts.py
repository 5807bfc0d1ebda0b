"""Rules of the honest guest that sends and is sent many datagrams at once, as video calls and QUIC do: whole runs, and what only looks like one.

Several of the guest's sockets speak to one far end, so that a datagram can go astray. Each begins with the number of the conversation and one of its own,
as far as it has room for them. That none is made up, changed or doubled on its way is the ledger's to say (`ledger.py`), whatever the weather; here is what
it does not see: in calm weather all of them arrive, both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import rule

from usernat.fuzz.machines.honest import PICKS, SOON, HonestGuest

if TYPE_CHECKING:
    from usernat.fuzz.machines.world import World

FAR_PORT = 7_000  # and those that follow
SHARING = 3  # conversations with one far end
MOST_CONVERSATIONS = 9
TAG = 4  # bytes: conversation and serial number
STRANGER, STRANGE_PORT = 0xC633640A, 6_999  # 198.51.100.10, which nobody speaks to
UDP_HEADERS = 28
FRAGMENTS = 4  # of the largest answer, about
# What is lost where all is well is lost to one of these.
LOSSES = (
    "ethernet.queue_full",
    "neighbours.waiting_overflow",
    "neighbours.waiting_failed",
    "neighbours.too_many_questions",
    "udp.queue_full",
    "udp.not_sent",
)
GATEWAY_LOSSES = (
    "flows.refused_udp",
    "nat.udp.guest_full",
    "nat.udp.held_full",
    "nat.udp.host_failed",
    "nat.udp.host_full",
    "nat.udp.no_resources",
)


class Part(NamedTuple):
    """Datagrams of one kind in a row. Those without DF are handed to the stack at once."""

    size: int
    number: int
    ttl: int = 64
    df: bool = False


SIZES = st.sampled_from([*[64] * 6, *[1200] * 3, 0, 3, 500, 1472, 3000])  # mostly of one size, as runs are
NUMBERS = st.integers(1, 20)
TTLS = st.sampled_from([64, 64, 64, 2, 1])
PARTS = st.lists(
    st.builds(Part, SIZES, NUMBERS, TTLS, st.sampled_from([False, False, False, True])),
    min_size=1,
    max_size=3,
)


class Conversation:
    """One of the guest's sockets and its far end, at (address, port). heard: by the far end. got: by the guest. echoes: what it hears."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.number = bytes([number])
        self._serial = 0
        self._answers: list[bytes] = []  # to the next datagram that comes
        self.echoes = False
        self.heard: set[bytes] = set()
        self.got: set[bytes] = set()
        self.far_end = world.scene.outside[1], FAR_PORT + number // SHARING
        self.socket = world.guest.udp.bind(None, 0)

    def make(self, size: int) -> bytes:
        """A datagram of the conversation that is like no other, as far as its size allows."""
        self._serial += 1
        tag = self.number + self._serial.to_bytes(TAG - 1, "big")
        return (tag + self._world.rng.randbytes(size))[:size]

    def send(self, parts: list[Part]) -> set[bytes]:
        """As the guest's application; what can be told apart, and should arrive."""
        wanted: set[bytes] = set()
        lease = self._world.dhcp.lease
        src_port = self.socket.port
        assert src_port is not None
        for size, number, ttl, df in parts:
            made = [self.make(size) for _ in range(number)]
            if df or lease is None:
                taken = [data for data in made if self.socket.send(data, *self.far_end, ttl=ttl, df=df)]
            else:
                to = {"src": lease.address, "src_port": src_port, "ttl": ttl}
                taken = made if self.socket.send_all(made, *self.far_end, **to) else []
            if ttl > 1 and size >= TAG:
                wanted.update(taken)
        return wanted

    def prepare(self, sizes: list[tuple[int, int]]) -> set[bytes]:
        """What the far end says at once when it hears the next datagram; what of that can be told apart."""
        made = [self.make(size) for size, number in sizes for _ in range(number)]
        self._answers += made
        return {data for data in made if len(data) >= TAG}

    def hears(self, data: bytes) -> list[bytes]:
        """The far end."""
        self.heard.add(data)
        replies = [*self._answers, *([data] if self.echoes else [])]
        self._answers = []
        return replies

    def read(self) -> None:
        """All that has come. What the weather has changed on the cable, in two of its fragments and without a trace in the sum, is nobody's fault."""
        while (datagram := self.socket.recv()) is not None:
            origin = datagram.src, datagram.src_port
            assert origin in (self.far_end, (self.far_end[0], STRANGE_PORT)), "a datagram from somebody else"
            self.got.add(bytes(datagram.data))
        self.socket.errors.clear()


class Bursts(HonestGuest):
    """See above."""

    def __init__(self) -> None:
        super().__init__()
        self._conversations: list[Conversation] = []

    @rule(
        pick=PICKS,
        new=st.booleans(),
        parts=PARTS,
        answers=st.lists(st.tuples(SIZES, NUMBERS), max_size=2),
        echoes=st.booleans(),
        others=st.booleans(),
        strangers=st.lists(st.booleans(), max_size=3),
    )
    def burst(
        self,
        pick: int,
        new: bool,
        parts: list[Part],
        answers: list[tuple[int, int]],
        echoes: bool,
        others: bool,
        strangers: list[bool],
    ) -> None:
        """Many at once to a far end, which says as much in return. others: whoever else speaks to that far end does so at the same time.

        strangers: others who speak to the same port of the host: whether from the far end's address.
        """
        world = self.world
        talk = self._one_to_talk(pick, new=new)
        most = world.mtu - UDP_HEADERS
        talk.echoes = echoes
        due = talk.prepare([(min(size, FRAGMENTS * most), number) for size, number in answers])
        sent = talk.send([part._replace(size=min(part.size, most)) for part in parts])
        lost = self._lost()
        self.expect(f"{len(sent)} datagrams", lambda: sent <= talk.heard or self._lost() > lost, SOON)
        if sent:
            self.expect(f"{len(due)} answers", lambda: due <= talk.got or self._lost() > lost, SOON)
        for other in self._conversations:
            if others and other is not talk and other.far_end == talk.far_end:
                other.send([part._replace(size=min(part.size, most)) for part in parts])
        for akin in strangers:
            address = talk.far_end[0] if akin else STRANGER
            world.host.speak_to(talk.socket.port, b"from a stranger", address, STRANGE_PORT)
        self.after()

    def check(self) -> None:
        """See `GatewayMachineBase`."""
        for talk in self._conversations:
            talk.read()
        super().check()
        self.world.ledger.check(self.world.counters())

    def _one_to_talk(self, pick: int, *, new: bool) -> Conversation:
        talks = self._conversations
        if talks and (not new or len(talks) >= MOST_CONVERSATIONS):
            return talks[pick % len(talks)]
        talk = Conversation(self.world, len(talks))
        talks.append(talk)
        sharing = [other for other in talks if other.far_end == talk.far_end]
        self.world.ledger.watched.add(talk.far_end)
        self.world.host.udp[talk.far_end] = lambda data: _hear(sharing, data)
        return talk

    def _lost(self) -> int:
        counters = self.world.counters()
        lost = sum(counters[side + name] for name in LOSSES for side in ("", "guest."))
        return lost + sum(counters[name] for name in GATEWAY_LOSSES) + self.world.ledger.overrun


def _hear(talks: list[Conversation], data: bytes) -> list[bytes]:
    """The replies of a far end that these have in common."""
    for talk in talks:
        if talk.number == data[0:1]:
            return talk.hears(data)
    return []  # it does not say whose it is
