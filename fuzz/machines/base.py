"""What the rules of the gateway machine share: the world, what is expected of it, and what must hold after every step."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine

from usernat.fuzz.fakehost import Listening
from usernat.fuzz.faultylink import Faults
from usernat.fuzz.machines.bounds import OnlyGrowing, check_bounds, check_empty, check_memory
from usernat.fuzz.machines.services import GOOD, SERVING_MODES, Expectation, Resolver
from usernat.fuzz.machines.world import HOUR, MINUTE, MS, RESOLVER, SECOND, TIGHT, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.fuzz.machines.streams import Stream

PACES = (0, 300, 2 * MS, 60 * MS, SECOND)  # µs that pass after a step
SETTLING_US = 70 * SECOND  # after which a disturbance is over: stale ARP entries, back-off, pending names
BLOCKED_US = 70 * SECOND  # of a link that lets nothing through, after which a stream may time out
IDLE_US = 2 * HOUR  # RFC 5382 REQ-5
QUIET_US = 20 * MINUTE  # in which every stream that may end does
BACKED_OFF_US = 4 * MINUTE  # in which retransmissions and probes, at most a minute apart, get through
DHCP_MESSAGE = 328  # bytes with IP and UDP headers: BOOTP's 300, as most are padded to
LAST_WORDS = 3_000  # bytes: what still stands must still work
EXPIRY_US = 3 * HOUR  # in which everything else times out


class GatewayMachineBase(RuleBasedStateMachine):
    """To be combined with mixins of rules (see `gateway.py`). A subclass may override `make_world` and `check`.

    world: set by the first step. streams: all honest ones. calm: whether nothing disturbs at present.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world: World
        self.resolver = Resolver()
        self.streams: list[Stream] = []
        self.expectations: list[Expectation] = []
        self.tight = False
        self.abrupt = False
        self.rough_until = 0
        self.impossible_until = 0
        self._growing = OnlyGrowing()

    # -- to be overridden -----------------------------------------------------------------------------------------------

    def make_world(self, **options: Any) -> World:
        """The world of one example; options are those of `World`."""
        return World(**options)

    def check(self) -> None:
        """All that must hold after every step. Raises AssertionError."""
        world = self.world
        self._growing.check(world.counters())
        check_bounds(world)
        check_memory(world.interface)
        check_memory(world.guest, (stream.connection for stream in self.streams))
        if not self.calm:
            self.disturb()
        if self.tight or not world.budget or world.host.faults.descriptors:
            self.prevent()
        if not world.leased:
            self._without_lease()
        if world.host.faults.reset:
            self.excuse_all("the host resets by chance")
        for stream in self.streams:
            self._excuse_the_idle(stream)
            stream.check()
        self._meet_expectations()

    # -- the frame ------------------------------------------------------------------------------------------------------

    def start(self, *, tight: bool, abrupt: bool, **options: Any) -> None:
        """The guest takes its lease. tight: the gateway's tables are tiny. abrupt: the guest vanishes in the end."""
        self.tight, self.abrupt = tight, abrupt
        self.world = self.make_world(bounds=TIGHT if tight else None, **options)
        self.world.host.udp[RESOLVER] = self.resolver.udp
        self.world.host.tcp[RESOLVER] = Listening(self.resolver.peer)

    def teardown(self) -> None:
        """Everything ends well: streams complete, tables empty, nothing is left of the guest."""
        if not hasattr(self, "world") or sys.exc_info()[0] is not None:
            return  # an error of its own would hide the one that there is
        note(f"teardown at {self.world.now} µs")
        if not self.abrupt:
            self.come_to_rest()
            check_empty(self.world)
        self.world.close()
        self.world.run(MINUTE)  # the guest goes on talking to nobody
        assert not self.world.host.sockets
        assert not self.world.gateway.flows()

    def come_to_rest(self) -> None:
        """Let every stream finish in calm weather, then all time-outs pass."""
        world = self.world
        self.calm_down()
        for stream in self.streams:
            stream.pause(paused=False)
        self._read_until(lambda stream: stream.delivered(), BACKED_OFF_US)
        for stream in self.streams:
            assert stream.excuse or stream.delivered(), f"{stream} stalls: {stream.connection!r}"
            stream.send(LAST_WORDS)
            stream.connection.shutdown()
        self._finish_streams()
        world.run(EXPIRY_US)
        self.serve_a_newcomer()
        self._finish_streams()
        world.run(EXPIRY_US)
        self._meet_expectations()

    def serve_a_newcomer(self) -> None:
        """After all that has happened, whoever comes now is served as if nothing had."""

    def _finish_streams(self) -> None:
        """The streams that have been shut down come to their ends, and those are good."""
        self._read_until(lambda stream: stream.settled(), QUIET_US)
        self.world.run(SECOND)  # until the host has passed the last FIN on
        for stream in self.streams:
            if stream.excuse is not None and not stream.settled():
                stream.connection.abort()  # its other end may be gone, and the news of it lost
            stream.finished()

    def _read_until(self, done: Callable[[Stream], bool], limit: int) -> None:
        """The guest reads all that comes, until the streams are so, or µs have passed."""
        world = self.world
        end = world.now + limit
        while world.now < end and not all(map(done, self.streams)):
            world.run(10 * SECOND, stop=lambda: any(stream.connection.readable for stream in self.streams))
            for stream in self.streams:
                stream.recv()
            self.check()

    # -- what rules use -------------------------------------------------------------------------------------------------

    def after(self, duration: int | None = None) -> None:
        """The end of every rule: time passes (µs, or a pace drawn by the world's own dice), and then all must hold."""
        world = self.world
        duration = world.rng.choice(PACES) if duration is None else duration
        if not world.budget:
            self.block_streams(duration)
        world.run(duration)
        self.check()

    def expect(self, what: str, met: Callable[[], bool], within: int, *, anyway: bool = False) -> None:
        """`met()` is to become true within so many µs, if nothing disturbs. anyway: if nothing makes it impossible, disturbed or not."""
        now = self.world.now
        self.expectations.append(Expectation(what, met, now, now + within, anyway))

    def prevent(self, duration: int = SETTLING_US) -> None:
        """Until so many µs from now, even what is expected anyway may fail."""
        self.impossible_until = max(self.impossible_until, self.world.now + duration)

    def disturb(self, duration: int = SETTLING_US) -> None:
        """Until so many µs from now, what is expected may fail."""
        self.rough_until = max(self.rough_until, self.world.now + duration)

    @property
    def calm(self) -> bool:
        """Whether the cable, the link, the host and the resolver all behave, and no table is tiny."""
        world = self.world
        faults = world.host.faults
        faulty = faults.short or faults.again or faults.reset or faults.descriptors
        lanes = world.to_guest.faulty or world.to_gateway.faulty
        return not (
            faulty or lanes or not world.budget or self.tight or self.resolver.mode not in SERVING_MODES
        )

    def calm_down(self) -> None:
        """From now on all of them behave."""
        world = self.world
        for lane in (world.to_guest, world.to_gateway):
            lane.set_weather(Faults(), 0.0, world.now)
        world.budget = 64
        faults = world.host.faults
        faults.short = faults.again = faults.reset = faults.descriptors = 0.0
        self.resolver.mode = GOOD
        self.disturb()

    def one(self, pick: int, wanted: Callable[[Stream], bool] = lambda _: True) -> Stream | None:
        """One of the streams that are as wanted, None where none is."""
        fit = [stream for stream in self.streams if wanted(stream)]
        return fit[pick % len(fit)] if fit else None

    def excuse_all(self, reason: str) -> None:
        """Streams may break from here on."""
        for stream in self.streams:
            stream.excuse = stream.excuse or reason

    def block_streams(self, duration: int) -> None:
        """For so many µs nothing reaches the guest."""
        for stream in self.streams:
            stream.blocked_us += duration
            if stream.blocked_us > BLOCKED_US:
                stream.excuse = stream.excuse or "blocked for too long"

    def _without_lease(self) -> None:
        """It may only run out where nothing reaches the guest for long; for DHCP that is also where each message takes many frames, and some of them are
        lost. Without an address nothing works.
        """
        world = self.world
        in_pieces = world.mtu < DHCP_MESSAGE and self.rough_until > world.now
        assert in_pieces or self.impossible_until > world.now, "the guest has lost its lease"
        self.disturb()
        self.prevent()
        self.excuse_all("the guest has lost its lease")

    def _excuse_the_idle(self, stream: Stream) -> None:
        if self.world.now - stream.touched >= IDLE_US:
            stream.excuse = stream.excuse or "idle"

    def _meet_expectations(self) -> None:
        waiting = []
        for expected in self.expectations:
            if expected.met():
                continue
            if self.world.now <= expected.deadline:
                waiting.append(expected)
            else:
                excused_until = self.impossible_until if expected.anyway else self.rough_until
                assert excused_until > expected.since, f"{expected.what} in vain since {expected.since} µs"
        self.expectations = waiting
