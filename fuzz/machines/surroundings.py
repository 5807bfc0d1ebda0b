"""Rules of all that is not the guest: the host and its peers, the resolver, the cable, the link, and time."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from usernat.fuzz.faultylink import Faults
from usernat.fuzz.machines.honest import PICKS, SIZES
from usernat.fuzz.machines.offload import OFFLOADS
from usernat.fuzz.machines.outside import Outside
from usernat.fuzz.machines.streams import SERVING
from usernat.fuzz.machines.world import HOUR, MINUTE, MS, SECOND

MOST_HOURS = 3  # of one example: half-closed flows look every two seconds, and more is idleness
RARELY, OFTEN = 0.05, 0.3


class HostFaults(NamedTuple):
    """Of the host's system calls: short writes, EAGAIN out of turn, resets, no descriptors. Probabilities."""

    short: float
    again: float
    reset: float
    descriptors: float


class Sky(NamedTuple):
    """Of the lane to the guest, or of both. lost: of the next frames, these; the rest are probabilities."""

    loss: float
    duplication: float
    reordering: float
    corruption: float
    lost: frozenset[int]
    both: bool


Change = HostFaults | Sky | int | None  # int: frames that the link takes per call; None: all is well
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.none(),
    st.sampled_from([0, 1, 3, 64]),
    st.builds(
        HostFaults,
        st.sampled_from([0.0, OFTEN, 1.0]),
        st.sampled_from([0.0, OFTEN]),
        st.sampled_from([0.0] * 7 + [RARELY]),
        st.sampled_from([0.0, 0.0, OFTEN, 1.0]),
    ),
    st.builds(
        Sky,
        st.sampled_from([0.0, 0.01, RARELY]),
        st.sampled_from([0.0, RARELY, 0.5]),
        st.sampled_from([0.0, RARELY, 0.5]),
        st.sampled_from([0.0, RARELY]),
        st.frozensets(st.integers(0, 15), max_size=8),
        st.booleans(),
    ),
)


class Surroundings(Outside):
    """See above."""

    hours = 0

    @initialize(
        seed=st.integers(0, 1 << 32),
        mtu=st.sampled_from([1500, 68, 576, 9000, 65520]),
        offload=st.sampled_from(OFFLOADS),
        host_runs=st.booleans(),
        tight=st.sampled_from([False, False, True]),
        lease_s=st.sampled_from([86_400, 120, 3600]),
        abrupt=st.sampled_from([False] * 7 + [True]),
        kinds=st.lists(st.tuples(st.sampled_from(SERVING), SIZES), min_size=2, max_size=4),
        change=CHANGES,
    )
    def begin(self, kinds: list[tuple[str, int]], change: Change, **options: Any) -> None:
        """A world, streams in it that stand already, and one more when its ways have changed."""
        self.start(**options)
        *before, (kind, size) = kinds
        for known, answer in before:
            self.connect(known, answer, wait=True)
        self.environment(change)
        self.connect(kind, size, wait=False)
        self.converse(0, size, size, 2, 300)

    @precondition(lambda self: self.streams)
    @rule(pick=PICKS, act=st.sampled_from(["sends", "finishes", "pauses", "goes on", "resets"]), size=SIZES)
    def far_end(self, pick: int, act: str, size: int) -> None:
        """It sends what nobody asked for, half-closes, stops reading or resets in the middle of whatever goes on."""
        stream = self.one(pick, lambda stream: stream.kind in SERVING)
        if stream is None:
            pass
        elif act == "sends":
            stream.far_send(self._fair(size))
        elif act == "finishes":
            stream.for_each_peer(lambda peer: peer.finish())
        elif act != "resets":
            stream.pause(paused=act == "pauses")
        elif stream.far_reset():
            stream.excuse = stream.excuse or "reset by its peer"
        self.after()

    # -- everybody's ways ---------------------------------------------------------------------------------------------

    @rule(change=CHANGES)
    def environment(self, change: Change) -> None:
        """The host, the cable or the link changes its ways, or all is well from now on."""
        if isinstance(change, HostFaults):
            self.disturb()
            faults = self.world.host.faults
            faults.short, faults.again, faults.reset, faults.descriptors = change
        elif isinstance(change, Sky):
            self.disturb()
            self._weather(change)
        elif change is not None:
            if not change:
                self.disturb()
            self.world.budget = change
        else:
            self.calm_down()
        self.after()

    def _weather(self, sky: Sky) -> None:
        world = self.world
        faults = Faults(
            loss=sky.loss, duplication=sky.duplication, reordering=sky.reordering, lose_at=sky.lost
        )
        for lane in (world.to_guest, world.to_gateway) if sky.both else (world.to_guest,):
            lane.set_weather(faults, sky.corruption, world.now)

    # -- time -----------------------------------------------------------------------------------------------------------

    @rule(
        duration=st.sampled_from(
            [1, 700, 20 * MS, 300 * MS, 2 * SECOND, 10 * SECOND, 75 * SECOND, 5 * MINUTE]
        )
    )
    def time_passes(self, duration: int) -> None:
        """Round trips, retransmissions; mappings expire, connects time out, neighbours go stale."""
        if not self.world.budget:
            duration = min(duration, 10 * SECOND)
        self.after(duration)

    @precondition(lambda self: self.hours < MOST_HOURS)
    @rule(hours=st.sampled_from([1, 1, 1, 1, MOST_HOURS]))
    def hours_pass(self, hours: int) -> None:
        """Leases are renewed, idle flows end."""
        self.hours += hours
        if not self.world.budget:
            self.calm_down()
        self.after(hours * HOUR)
