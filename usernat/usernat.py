"""One gateway for one guest: the link, the stack, the NAT and the host's sockets, moved on by one selector.

`UserNat.process` is the whole loop body. What it does in one step is bounded, whatever the guest or the host sends:

    wait for the link, a host socket, or the next deadline
    take at most a batch of frames from the link into the stack
    tell the owners of host sockets, each at most once
    run the timers that are due
    serve the stack's sockets and let frames out, a few batches at most and while the link has room

So a flood on one side delays the other by one batch, and ACKs answer whole batches. The three ways to run it share this one step:

* its own thread: `with UserNat(config, link) as nat: …`, or `start()` and `stop()`;
* a foreign event loop: watch `fileno()` for reading, call `process()` when it is readable or `poll_at()` has come;
* asyncio: `async with UserNat(config, link) as nat: …`, or `await nat.serve_async()`.
"""

from __future__ import annotations

import random
import selectors
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from usernat.config import ConfigError, parse_forward
from usernat.links.capture import CaptureLink, PcapFile
from usernat.links.link import Link, LinkClosed
from usernat.nat.config import ASK_TIMEOUT_S, GatewayConfig, Timeouts
from usernat.nat.gateway import Gateway, Hooks
from usernat.nat.host import HostSockets
from usernat.nat.readiness import make_selector
from usernat.policy.network_policy import NetworkPolicy
from usernat.publish import Publication, publish
from usernat.stack.deadlines import earliest
from usernat.stack.interface import Interface
from usernat.turn import Turn
from usernat.waker import Waker

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.asynchronous import AsyncRunner
    from usernat.config import Config
    from usernat.nat.asking import Question
    from usernat.nat.audit import Record
    from usernat.nat.forward import Forward
    from usernat.policy.decision import Policy

BATCH = 64  # frames a call, in and out
_ROUNDS = 4  # batches out in one step
_LOOK_US = 1000  # between two looks at all timers, while anything happens
_SHORTAGE_US = 1000  # until a link short of memory is tried again: no descriptor tells of the end


class UserNat:
    """The gateway of `config` for the guest on `link`, which it owns from now on.

    policy: what the guest may reach (all but the host's loopback and link-local addresses where not given); its `limits` count from the start.
    audit: called with a `usernat.nat.audit.Record` of every decision and of the end of every allowed flow (`usernat.audit` has a file and a summary).
    ask: called with a `usernat.nat.asking.Question` where a rule says `ask`; it is answered by `question.allow()` or `.deny()`, at once or later and
    from any thread, and denied after `ask_timeout` seconds. Both are called in the gateway's own thread, and must not wait.

    ended: None while the guest is there, then why it is not.
    Raises ConfigError where `config.capture` cannot be written or one of `config.publish` cannot be had; the link is not touched then.
    """

    def __init__(
        self,
        config: Config,
        link: Link,
        *,
        policy: Policy | None = None,
        audit: Callable[[Record], None] | None = None,
        ask: Callable[[Question], None] | None = None,
        ask_timeout: float = ASK_TIMEOUT_S,
    ) -> None:
        rng = random.SystemRandom()
        now = _now()
        self.config = config
        capture = None if config.capture is None else PcapFile(config.capture)
        self.link = link if capture is None else CaptureLink(link, capture)
        self.ended: str | None = None
        mtu = min(config.mtu, link.capabilities.mtu)
        policy = policy or NetworkPolicy.allow_all()
        settings = replace(gateway_config(config, mtu), timeouts=Timeouts(ask=ask_timeout))
        self._selector = make_selector()
        self.interface = Interface(
            mac=gateway_mac(config),
            capabilities=replace(link.capabilities, mtu=mtu),
            rng=rng,
            now=now,
            addresses=settings.addresses,
            any_ip=True,
        )
        self.host = HostSockets(self._selector)
        self._waker = Waker()
        self._turn = Turn(self._waker.wake)  # `stop` and others may come from any thread
        hooks = Hooks(audit=audit, ask=ask, wake=self._waker.wake)
        self.gateway = Gateway(self.interface, self.host, settings, policy, rng, now, hooks=hooks)
        self._polls = (self.interface.poll_at, self.gateway.poll_at)
        self._timers: int | None = None  # when the next of them was due at the last look
        self._look_at = now
        self._watched = selectors.EVENT_READ
        self._selector.register(self._waker, selectors.EVENT_READ, self._waker)
        self._selector.register(self.link, self._watched, self.link)
        self._more = True  # the announcements of our addresses wait already
        self._stopping = False
        self._closed = False  # what belongs to the guest
        self._released = False  # and the rest
        self._inside = False  # a step is under way, so whoever holds the turn is called from inside it
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None  # what ended the thread
        self._runner: AsyncRunner | None = None
        try:
            for forward in config.forwards:
                publish(self.gateway, forward, self._turn)
        except ConfigError:
            self.gateway.close()
            self._selector.close()
            self._waker.close()
            if capture is not None:
                capture.close()
            raise

    @property
    def policy(self) -> Policy:
        """Decides what is new. May be set at any time and from any thread; what was decided before stays as it is."""
        return self.gateway.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        with self._turn.visit():
            self.gateway.policy = policy

    def end_flows(self) -> None:
        """End every flow at once, those that a former policy has let among them. From any thread."""
        with self._turn.visit():
            self.gateway.end_flows()

    def publish(self, forward: str | Forward) -> Publication:
        """Have a port of the host lead to the guest: `[ADDR:]HOST:GUEST[/udp]`, on 127.0.0.1 if no ADDR is given, on any free port if HOST is 0.

        It leads to the guest that has used its address for longest, or to `config.guest` while there is none, and whether the policy lets the guest
        out makes no difference. From any thread. Raises ConfigError where it makes no sense or cannot be had, RuntimeError once the guest is gone.
        """
        parsed = parse_forward(forward)
        with self._turn.visit():
            if self._closed:
                raise RuntimeError("there is no guest any more")
            return publish(self.gateway, parsed, self._turn)

    # In a foreign loop

    def fileno(self) -> int:
        """A descriptor that is readable whenever `process` has something to do, deadlines apart.

        It is the selector's own (epoll, kqueue). Raises OSError where the platform's selector has none: use a thread there.
        """
        selector_fileno = getattr(self._selector, "fileno", None)
        if selector_fileno is None:
            raise OSError(f"{type(self._selector).__name__} has no descriptor of its own: use start() here")
        number: int = selector_fileno()
        return number

    def poll_at(self) -> float | None:
        """When `process` is next due, in seconds of `time.monotonic()`; a time already past means at once; None: at no time."""
        if self._closed:
            return None
        deadline = self._deadline(earliest(self._polls), _now())
        return None if deadline is None else deadline / 1e6

    def process(self, timeout: float | None = 0.0) -> bool:
        """One step, after waiting for at most `timeout` seconds (None: as long as nothing is due).

        False once the guest is gone: its flows and host sockets are closed, and `stop` closes the rest.
        """
        with self._turn:
            if not self._closed and not self._stopping:
                self._inside = True
                try:
                    self._step(timeout)
                except LinkClosed as end:
                    self._end(str(end))
                except BaseException as error:
                    self._end(f"the gateway failed: {error!r}")
                    raise
                finally:
                    self._inside = False
            if self._stopping:
                self._release()
            return not self._closed

    # With a thread of its own

    def serve_forever(self) -> None:
        """Process in this thread until the guest is gone or `stop` is called."""
        while not self._stopping and self.process(None):
            pass

    def start(self) -> None:
        """Run in a thread of its own. Raises RuntimeError when it runs already."""
        if self._thread is not None or self._released:
            raise RuntimeError("this UserNat has been started already")
        self._thread = threading.Thread(target=self._run, name="usernat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """The thread: what goes wrong in it is told at once (`threading.excepthook`), and again by `stop`."""
        try:
            self.serve_forever()
        except BaseException as error:
            self._failure = error
            raise

    def stop(self) -> None:
        """End it, however it runs, and close every descriptor, the link's included. Harmless when called again.

        From any thread, under asyncio from the loop's. From inside a step (a policy, a signal handler), that step is the last: it closes.
        """
        self._stopping = True
        self._waker.wake()
        with self._turn:
            if not self._inside:
                self._release()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure

    def _release(self) -> None:
        """Close everything, once. To be called in turn."""
        if self._runner is not None:
            self._runner.detach()
        self._end("stopped")
        if not self._released:
            self._released = True
            self._selector.close()
            self._waker.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    # Under asyncio

    async def serve_async(self) -> None:
        """Run on the running event loop until the guest is gone; cancel the task to stop before."""
        async with self:
            assert self._runner is not None
            await self._runner.gone()

    async def __aenter__(self) -> Self:
        from usernat.asynchronous import AsyncRunner  # noqa: PLC0415 - asyncio is large, and most gateways run without

        self._runner = AsyncRunner(self)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.stop()
        if self._runner is not None:
            self._runner.finished.result()  # raises what went wrong inside the loop, if anything did

    def counters(self) -> dict[str, int]:
        """All counters of link, stack, gateway and host sockets by name; every discard is among them."""
        return {
            **self.link.counters.as_dict("link."),
            **self.interface.counters(),
            **self.gateway.counters(),
            **self.host.counters.as_dict("host."),
        }

    # The step

    def _step(self, timeout: float | None) -> None:
        events = self._selector.select(self._wait(timeout))
        now = _now()
        link = self.link
        incoming = link.pending
        for key, mask in events:
            if key.data is link:
                incoming = incoming or mask & selectors.EVENT_READ != 0
            elif key.data is self._waker:
                self._waker.clear()
        if link.held:
            link.flush()
        if incoming:
            receive = self.interface.receive
            for frame, checksum_ok in link.receive(BATCH):
                receive(frame, now, checksum_ok)
        self.host.dispatch(events, now)
        if self._timers is not None and self._timers <= now:
            self.interface.on_time(now)
            self.gateway.on_time(now)
            self._look_at = now  # again at once: what was armed in this step may be due in the next
        self._more = self._transmit(now)
        self._watch_link()

    def _transmit(self, now: int) -> bool:
        """Serve the stack's sockets and let frames out, until neither brings anything new; whether there may be more.

        What has left makes room in queues, and that is news to sockets.
        """
        for _ in range(_ROUNDS):
            self.gateway.serve(now)
            budget = min(self.link.room(), BATCH)
            frames = self.interface.transmit(now, budget) if budget else []
            if frames:
                self.link.send(frames)
            if len(frames) < max(budget, 1) and not self.interface.has_ready:
                return False
        return True

    def _watch_link(self) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.link.wants_write else 0)
        if wanted != self._watched:
            self._watched = wanted
            self._selector.modify(self.link, wanted, self.link)

    def _wait(self, timeout: float | None) -> float | None:
        """Seconds to wait in select: until the next deadline, `timeout` at most.

        All timers are looked at once a millisecond, for that is how exact a wait is, and whenever nothing has happened since the last look: not in
        each step, of which there are some ten thousand a second.
        """
        now = _now()
        if now >= self._look_at or timeout == 0.0:
            due = self._timers = earliest(self._polls)
            self._look_at = now + _LOOK_US
        else:
            due = self._look_at if self._timers is None else min(self._timers, self._look_at)
        if timeout == 0.0:
            return 0.0
        deadline = self._deadline(due, now)
        if deadline is None:
            return timeout
        until = max(0, deadline - now) / 1e6
        return until if timeout is None else min(until, timeout)

    def _deadline(self, timers: int | None, now: int) -> int | None:
        """When something is due, µs. A link without room is not waited for here: its descriptor tells when there is some."""
        link = self.link
        if link.pending or (self._more and link.room()):
            return now
        if link.held and not link.wants_write:
            timers = now + _SHORTAGE_US if timers is None else min(timers, now + _SHORTAGE_US)
        at = link.poll_at()
        return timers if at is None or (timers is not None and timers < at) else at

    def _end(self, reason: str) -> None:
        """Close everything that belongs to the guest, once. `ended` is set last: another thread that reads it finds all of it closed."""
        if self._closed:
            return
        self._closed = True
        try:
            self.gateway.close()
            self._selector.unregister(self.link)
            self.link.close()
        finally:
            self.ended = reason


def _now() -> int:
    """µs on the clock of `time.monotonic()`."""
    return time.monotonic_ns() // 1000


def gateway_mac(config: Config) -> bytes:
    """52:55 and the gateway's address, as slirp has it: locally administered, and the same at every start."""
    return b"\x52\x55" + config.gateway.packed


def gateway_config(config: Config, mtu: int) -> GatewayConfig:
    """The gateway's own form of `config`, with the MTU that config and link agreed on."""
    network = config.network
    return GatewayConfig(
        network=int(network.network_address),
        prefix=network.prefixlen,
        gateway=int(config.gateway),
        dns=int(config.nameserver),
        lease_first=int(config.guest),
        lease_last=int(network.broadcast_address) - 1,
        mtu=mtu,
        boot_file=config.boot_file,
        host_loopback=config.host_loopback,
        anti_spoof=config.anti_spoof,
        static=tuple(map(int, config.static_addresses)),
        resolvers=tuple((int(address), port) for address, port in config.resolvers),
    )
