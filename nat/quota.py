"""What one guest may use in all (`policy.limits.GuestLimits`): flows, new flows a second, bytes a second each way, bytes for good.

A gateway serves one guest, so everything is counted for the gateway as a whole: more addresses or more MAC addresses get a guest no more of anything. (The
caps of `config.Limits` are others: they keep the guests' addresses from each other's share, and the process from running out.)

Over-use meets what the field expects: a stream is slowed down, because what may not pass stays unread (from the guest in its receive queue,
from the host in the socket), while a datagram is dropped. Streams that wait are resumed in turn, a twentieth of a second's worth at
a time. Queries to the resolver are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from usernat.policy.limits import UNLIMITED, GuestLimits
from usernat.stack.counters import Counters
from usernat.stack.l3.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

NO_END = 1 << 62
LARGEST = 65535  # bytes that may pass at once at the least: a datagram of any size
HEADERS = 28  # bytes of IP and UDP or ICMP: an empty datagram can say something too
PORTION = 20  # the part of a second's worth for which a stream is woken, as its denominator


@dataclass(slots=True)
class QuotaCounters(Counters):
    """Of what limits have held back."""

    flows_refused: int = 0  # as many as may be are open
    rate_refused: int = 0  # too many new ones a second
    used_up_refused: int = 0  # the bytes for good are gone
    used_up: int = 0  # how often that ended all flows
    slowed: int = 0  # times that a stream had to wait
    up_dropped: int = 0  # datagrams
    down_dropped: int = 0


class Stream(Protocol):
    """A flow that can wait."""

    def resume(self, now: int) -> None:
        """Go on: there is room again."""
        ...


class Allowance:
    """Bytes that may pass one way. Times in µs.

    While streams wait, what comes is theirs in turn: nobody overtakes them. A datagram cannot wait, and takes what it finds.
    """

    __slots__ = ("_bucket", "_counters", "_granted", "_portion", "_total", "_waiting", "wake_at")

    def __init__(self, total: Total, counters: QuotaCounters) -> None:
        self._total = total
        self._counters = counters
        self._bucket: TokenBucket | None = None
        self._portion = 0
        self._granted: int | None = None  # to the stream whose turn it is
        self._waiting: dict[Stream, None] = {}  # in the order of their turns
        self.wake_at: int | None = None  # when `on_time` is due

    def set(self, rate: int | None, now: int) -> None:
        """Another rate from now on, in bytes a second; None for none."""
        self._bucket = None if rate is None else TokenBucket(rate, max(rate, LARGEST), now)
        self._portion = 0 if rate is None else max(1, rate // PORTION)
        if self._waiting:
            self.wake_at = now

    def room(self, now: int) -> int:
        """Bytes that a stream may pass now. If none, let it `wait`."""
        if self._granted is not None:
            return self._granted
        return 0 if self._waiting else self._left(now)

    def went(self, count: int, now: int) -> None:
        """So many have passed, within the room."""
        self._total.used += count
        if self._bucket is not None:
            self._bucket.take(now, count)
        if self._granted is not None:
            self._granted -= count

    def wait(self, stream: Stream, now: int) -> None:
        """There was no room for the stream: it is resumed when there is some."""
        if stream in self._waiting:
            return
        self._counters.slowed += 1
        self._waiting[stream] = None
        self._plan(now)

    def forget(self, stream: Stream) -> None:
        """The stream is over."""
        if self._waiting:
            self._waiting.pop(stream, None)

    def datagram(self, count: int, now: int) -> bool:
        """Whether a datagram with so many bytes may pass; if so, it has."""
        if self._left(now) < count:
            return False
        self.went(count, now)
        return True

    def on_time(self, now: int) -> None:
        """Resumes the streams that wait, each with an equal share of what there is."""
        if self.wake_at is None or now < self.wake_at:
            return
        self.wake_at = None
        for left in range(len(self._waiting), 0, -1):
            share = self._left(now) // left
            if not share or not self._waiting:
                break
            stream = next(iter(self._waiting))
            del self._waiting[stream]
            self._granted = share
            stream.resume(now)  # and may come to wait again, behind the others
            self._granted = None
        if self._waiting:
            self._plan(now)

    def _left(self, now: int) -> int:
        left = self._total.left()
        return left if self._bucket is None else min(left, self._bucket.room(now))

    def _plan(self, now: int) -> None:
        """Wakes the streams at the next portion. Those for which nothing will ever come are ended by the gateway (`Quota.end_if_exhausted`)."""
        if self._bucket is None:
            self.wake_at = now if self._total.left() else None
        else:
            self.wake_at = self._bucket.when(max(self._portion, len(self._waiting)), now)


class Total:
    """The bytes for good, both ways together."""

    __slots__ = ("most", "used")

    def __init__(self) -> None:
        self.most: int | None = None
        self.used = 0

    def left(self) -> int:
        """How many may still pass."""
        return NO_END if self.most is None else max(0, self.most - self.used)


class Quota:
    """Of one gateway. active: whether there is any limit; where there is none, nobody need ask. up, down: bytes each way."""

    def __init__(self, limits: GuestLimits, now: int) -> None:
        self.counters = QuotaCounters()
        self._total = Total()
        self.up = Allowance(self._total, self.counters)
        self.down = Allowance(self._total, self.counters)
        self.set(limits, now)

    def set(self, limits: GuestLimits, now: int) -> None:
        """Other limits from now on. What has been used stays used."""
        self.limits = limits
        self.active = limits != UNLIMITED
        self._ended = False
        self._total.most = limits.total_bytes
        self.up.set(limits.upload_bytes_per_second, now)
        self.down.set(limits.download_bytes_per_second, now)
        rate = limits.new_flows_per_second
        self._new = None if rate is None else TokenBucket(rate, 2 * rate, now)

    def admit(self, flows: int, now: int) -> bool:
        """Whether another flow may be opened where there are so many; counts why not."""
        if not self.active:
            return True
        if self.exhausted:
            self.counters.used_up_refused += 1
        elif self.limits.flows is not None and flows >= self.limits.flows:
            self.counters.flows_refused += 1
        elif self._new is not None and not self._new.take(now):
            self.counters.rate_refused += 1
        else:
            return True
        return False

    @property
    def exhausted(self) -> bool:
        """Whether nothing more may pass, for good."""
        return not self._total.left()

    def end_if_exhausted(self, end_all: Callable[[], None]) -> None:
        """Ends all flows when nothing more may pass."""
        if self.active and not self._ended and self.exhausted:
            self._ended = True
            self.counters.used_up += 1
            end_all()

    def datagram_up(self, count: int, now: int) -> bool:
        """Whether a datagram of the guest's with so many bytes of payload may pass; counts it if not."""
        passes = self.up.datagram(count + HEADERS, now)
        self.counters.up_dropped += not passes
        return passes

    def datagram_down(self, count: int, now: int) -> bool:
        """The same to the guest."""
        passes = self.down.datagram(count + HEADERS, now)
        self.counters.down_dropped += not passes
        return passes

    def forget(self, stream: Stream) -> None:
        """The stream is over."""
        self.up.forget(stream)
        self.down.forget(stream)

    def poll_at(self) -> int | None:
        """When `on_time` is due."""
        up, down = self.up.wake_at, self.down.wake_at
        return down if up is None or (down is not None and down < up) else up

    def on_time(self, now: int) -> None:
        """Resumes what waits and may go on."""
        self.up.on_time(now)
        self.down.on_time(now)
