"""A lab whose host takes and brings many datagrams at once, as Linux does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.nat.kit import Lab
from usernat.fuzz.fakehost import UDP, Failing, find
from usernat.fuzz.fakesockets import FakeDatagrams
from usernat.nat.gateway import Hooks
from usernat.nat.host_segmentation import MOST_AT_ONCE
from usernat.stack.device import Capabilities
from usernat.stack.l4.udp_run import MAX_RUN, MAX_RUN_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from usernat.nat.audit import Record
    from usernat.nat.host import Owner
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer


class FakeRuns(FakeDatagrams):
    """A UDP socket of the host that can do what Linux can. cuts: it takes runs, as for a path on which the kernel cuts.

    sent, brought: how many datagrams went and came with each call that may have many.
    """

    cuts = True

    def __init__(self, host: Any, owner: Owner, port: int, address: int) -> None:
        super().__init__(host, owner, UDP, port, address)
        self.sent: list[int] = []
        self.brought: list[int] = []

    def receive(self) -> tuple[list[Buffer], Origin] | None:
        received = super().receive()
        if received is None:
            return None
        run, origin = received
        size = len(run[0])  # a kernel puts together what has one size, but for the last
        while self._in and len(run) < MOST_AT_ONCE and len(run[-1]) == size:
            data, came_from = self._in[0]
            if came_from != origin or not 0 < len(data) <= size or (len(run) + 1) * size > MAX_RUN_BYTES:
                break
            run.append(self._in.popleft()[0])
        self.brought.append(len(run))
        return run, origin

    def send_run(
        self, run: Sequence[Buffer], address: int, port: int, ttl: int, df: bool, source: int = 0
    ) -> bool:
        sizes = [len(data) for data in run]
        assert 1 < len(run) <= MAX_RUN
        assert {*sizes[:-1]} == {sizes[0]}
        assert 0 < sizes[-1] <= sizes[0]
        assert sum(sizes) <= MAX_RUN_BYTES
        script = find(self.host.udp, address, port)
        failing = isinstance(script, Failing) and script.delay_us is None
        if not self.cuts or failing or (df and sizes[0] + 28 > self.host.mtu) or self.getsockopt(0, 0):
            return False
        self.sent.append(len(run))
        for data in run:
            self.left_from.append(source)
            self.host.carry(self, bytes(data), address, port, ttl, df)
        return True


class RunLab(Lab):
    """runs: whether UDP sockets of its host are those. records: what was audited, also by a hook of the test's."""

    def __init__(
        self,
        *,
        runs: bool = True,
        cuts: bool = True,
        mtu: int = 9000,
        hooks: Hooks | None = None,
        **options: Any,
    ) -> None:
        self.records: list[Record] = []
        hooks = hooks or Hooks(audit=self.records.append)
        super().__init__(hooks=hooks, capabilities=Capabilities(mtu=mtu), **options)
        host = self.host

        def publish_udp(address: int, port: int, owner: Owner) -> FakeRuns:
            sock = FakeRuns(host, owner, host._take_name(address, port, UDP), address)
            sock.cuts = cuts
            host._add(sock)
            return sock

        if runs:
            host.publish_udp = publish_udp  # type: ignore[method-assign] # and `open_udp` by it
