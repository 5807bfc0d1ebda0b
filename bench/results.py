"""Lines of figures: of one thing measured, the samples of each peer, and why a peer has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

OURS = "usernat"


@dataclass
class Line:
    """key: names it on the command line and in marks. unit: of the samples. less: whether less is better. samples, failures: by the peer's name.

    failures holds the last reason why a sample of that peer is missing.
    """

    key: str
    title: str
    unit: str
    less: bool = False
    samples: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.samples.setdefault(name, []).append(value)

    def fail(self, name: str, reason: str) -> None:
        self.failures[name] = reason

    def result(self, name: str) -> float | None:
        """The median of a peer's samples, None where it has none."""
        samples = self.samples.get(name)
        return median(samples) if samples else None

    def best(self, names: tuple[str, ...]) -> float | None:
        """The best result among these peers, None where none has one."""
        results = [result for name in names if (result := self.result(name)) is not None]
        if not results:
            return None
        return min(results) if self.less else max(results)

    def ratio(self, name: str) -> float | None:
        """How many times as good as that peer we are: above 1 is better than it, whichever way is better."""
        ours, theirs = self.result(OURS), self.result(name)
        if not ours or not theirs:
            return None
        return theirs / ours if self.less else ours / theirs
