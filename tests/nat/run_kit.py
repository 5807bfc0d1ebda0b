"""A lab whose host takes and brings many datagrams at once, as Linux does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.nat.kit import Lab
from usernat.fuzz import fakeruns
from usernat.fuzz.fakehost import UDP
from usernat.nat.gateway import Hooks
from usernat.stack.device import Capabilities

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from usernat.nat.audit import Record
    from usernat.nat.host import Owner
    from usernat.nat.host_sockets import Origin
    from usernat.stack.device import Buffer


def filled(sizes: list[int]) -> Iterator[bytes]:
    """Datagrams of these sizes, each with bytes of its own."""
    return (bytes([number + 1]) * size for number, size in enumerate(sizes))


class FakeRuns(fakeruns.FakeRuns):
    """cuts: it takes runs, as for a path on which the kernel cuts.

    sent, brought: how many datagrams went and came with each call that may have many.
    """

    cuts = True

    def __init__(self, host: Any, owner: Owner, port: int, address: int) -> None:
        super().__init__(host, owner, port, address)
        self.sent: list[int] = []
        self.brought: list[int] = []

    def refuses(self) -> bool:
        return not self.cuts

    def receive(self) -> tuple[list[Buffer], Origin] | None:
        received = super().receive()
        if received is not None:
            self.brought.append(len(received[0]))
        return received

    def send_run(
        self, run: Sequence[Buffer], address: int, port: int, ttl: int, df: bool, source: int = 0
    ) -> bool:
        gone = super().send_run(run, address, port, ttl, df, source)
        if gone:
            self.sent.append(len(run))
        return gone


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

    def counters(self, *prefixes: str) -> dict[str, int]:
        """Of the gateway, those that begin so."""
        return {name: value for name, value in self.gateway.counters().items() if name.startswith(prefixes)}
