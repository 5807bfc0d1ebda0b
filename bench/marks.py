"""What the figures have to reach, each against figures of the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bench.peers import RAW
from bench.results import OURS

if TYPE_CHECKING:
    from bench.results import Line

SLIRP = ("slirp4netns",)
PEERS = ("slirp4netns", "pasta")
USER = ("QEMU user",)
BY_HAND = ("struct by hand",)


@dataclass(frozen=True)
class Mark:
    """Our figure is to be at least (where less is better: at most) `factor` times the best of `others`, or our own figure in another line.

    With neither, `factor` is the figure itself.
    """

    factor: float
    others: tuple[str, ...] = ()
    line: str = ""

    def __str__(self) -> str:
        if self.line:
            return f"{self.factor:g}x {self.line}"
        if not self.others:
            return f"{self.factor:g}"
        best = self.others[0] if len(self.others) == 1 else f"the best of {' and '.join(self.others)}"
        return f"{self.factor:g}x {best}"


class Verdict(NamedTuple):
    """reached: how many times the reference it is. passed: None where a figure is missing."""

    mark: str
    reached: float | None
    passed: bool | None

    def __str__(self) -> str:
        if self.passed is None or self.reached is None:
            return f"? {self.mark} (no figure)"
        return f"✓ {self.mark}" if self.passed else f"✗ {self.mark}: {self.reached:.2f}"


MARKS: dict[str, tuple[Mark, ...]] = {
    "tcp-up-1500": (Mark(8, PEERS), Mark(0.5, (RAW.name,))),
    "tcp-down-1500": (Mark(6, PEERS), Mark(0.5, (RAW.name,))),
    "tcp-up-65520": (Mark(3, PEERS),),
    "tcp-down-65520": (Mark(1, PEERS),),
    **{
        f"tcp-{way}-16-{mtu}": (Mark(0.8, line=f"tcp-{way}-{mtu}"),)
        for way in ("up", "down")
        for mtu in (1500, 65520)
    },
    "tcp-up-1500.cpu": (Mark(1, PEERS),),
    "tcp-down-1500.cpu": (Mark(1, PEERS),),
    "requests-1": (Mark(0.6, SLIRP),),
    "requests-64": (Mark(0.6, SLIRP),),
    "connections": (Mark(0.5, SLIRP),),
    "udp-up-64": (Mark(0.6, SLIRP),),
    "udp-down-64": (Mark(0.6, SLIRP),),
    "qemu-up-1500": (Mark(1.2, USER),),
    "qemu-down-1500": (Mark(1.2, USER),),
    "qemu-up-65520": (Mark(4, USER),),
    "qemu-down-65520": (Mark(4, USER),),
    "idle.many": (Mark(60),),
    "idle.busy": (Mark(0.95),),
    "growth-up.ratio": (Mark(1.1),),
    "growth-down.ratio": (Mark(1.1),),
    # What packets take; records (`record-…`) are made beside the hot paths only, and have none
    **{f"read-{header}": (Mark(2, BY_HAND),) for header in ("ethernet", "ipv4", "tcp", "udp")},
}


def verdicts(line: Line, lines: dict[str, Line]) -> list[Verdict]:
    """How a line stands to its marks. lines: all, by their keys."""
    return [_verdict(line, mark, lines) for mark in MARKS.get(line.key, ())]


def _verdict(line: Line, mark: Mark, lines: dict[str, Line]) -> Verdict:
    sign = "≤" if line.less else "≥"
    text = f"{sign} {mark}"
    ours = line.result(OURS)
    if mark.line:
        reference = lines[mark.line].result(OURS) if mark.line in lines else None
    elif mark.others:
        reference = line.best(mark.others)
    else:
        reference = 1.0
    if ours is None or not reference:
        return Verdict(text, None, None)
    reached = ours / reference
    return Verdict(text, reached, reached <= mark.factor if line.less else reached >= mark.factor)
