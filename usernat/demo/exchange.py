"""A link that shows what crosses it, a line a frame, and says of bulk only how much it was.

A conversation shows its first frames and its end; what is between is counted. So the handshakes and the goodbyes can be
read, and ten megabytes are one line.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from usernat.demo.describe import Describer, FlowKey
from usernat.links.wrapper import LinkWrapper

if TYPE_CHECKING:
    from rich.console import Console

    from usernat.links.link import Link, Received
    from usernat.stack.device import Frame

_SHOWN = 7  # frames at the beginning of a conversation: a handshake, a request, the first data
_SHOWN_END = 6  # frames from the first FIN on
_STYLES = (("ARP", "yellow"), ("DHCP", "magenta"), ("ICMP", "cyan"), ("DNS", "green"), ("TCP", "blue"))


class ExchangeLink(LinkWrapper):
    """Prints to `console` what crosses `inner`, seen from the guest."""

    def __init__(self, inner: Link, console: Console) -> None:
        super().__init__(inner)
        self._console = console
        self._describer = Describer()
        self._started = time.monotonic()
        self._shown: Counter[FlowKey] = Counter()
        self._hidden: dict[FlowKey, tuple[int, int]] = {}
        self._ending: Counter[FlowKey] = Counter()

    def receive(self, limit: int) -> list[Received]:
        """Frames from the guest."""
        received = self.inner.receive(limit)
        for frame, _ in received:
            self._show("▶", bytes(frame))
        return received

    def send(self, frames: list[Frame]) -> None:
        """Frames to the guest."""
        for frame in frames:
            self._show("◀", bytes(frame))
        self.inner.send(frames)

    def finish(self) -> None:
        """Say what was not shown of conversations that have not ended."""
        for flow in list(self._hidden):
            self._summarise(flow)

    def _show(self, arrow: str, frame: bytes) -> None:
        described = self._describer.describe(frame)
        flow = described.flow
        if described.ends and not self._ending[flow]:
            self._summarise(flow)
        phase, limit = (
            (self._ending, _SHOWN_END) if described.ends or self._ending[flow] else (self._shown, _SHOWN)
        )
        phase[flow] += 1
        if flow and phase[flow] > limit:
            count, size = self._hidden.get(flow, (0, 0))
            self._hidden[flow] = (count + 1, size + described.size)
            return
        self._print(
            f"{1e3 * (time.monotonic() - self._started):8.1f} {arrow} ", described.text, described.peers
        )

    def _summarise(self, flow: FlowKey) -> None:
        count, size = self._hidden.pop(flow, (0, 0))
        if count:
            carried = f", with {size:,} bytes of data" if size else ""
            self._print(" " * 9 + "⋮ ", f"{count:,} more like these{carried}")

    def _print(self, start: str, text: str, peers: str = "") -> None:
        style = next((style for name, style in _STYLES if text.startswith(name)), "dim")
        line = Text(start, style="dim")
        if peers and not text.startswith("TCP"):
            text = f"{text}  "
            line.append(text, style=style).append(peers, style="dim")
        else:
            line.append(text, style=style)
        self._console.print(line, no_wrap=True, overflow="ellipsis")
