"""The checksum of a run of bytes, and a decision of the policy."""

from __future__ import annotations

from statistics import median

from bench.micro.headers import nanoseconds
from bench.micro.row import MicroRow
from bench.policy import KINDS, cost, policy, requests
from bench.results import OURS, Line
from usernat.policy.book import Book
from usernat.policy.groups import AddressGroups
from usernat.policy.index import Index
from usernat.stack.checksum import checksum

SAMPLES = 50


class Checksum(MicroRow):
    """size: bytes."""

    def __init__(self, size: int) -> None:
        name = f"checksum-{size}"
        super().__init__(name, {"time": Line(name, f"checksum of {size:,} bytes", "ns", less=True)}, (OURS,))
        self.size = size

    def measure(self, variant: str, seconds: float) -> dict[str, float]:  # noqa: ARG002  # of a length of its own
        data = memoryview(bytes(range(256)) * (self.size // 256 + 1))[: self.size]
        return {"time": nanoseconds(checksum, data)}


class Decision(MicroRow):
    """rules: in the policy. The figure is the median over kinds of questions."""

    def __init__(self, rules: int) -> None:
        name = f"policy-{rules}"
        super().__init__(
            name, {"time": Line(name, f"decision among {rules:,} rules", "µs", less=True)}, (OURS,)
        )
        self.rules = rules

    def measure(self, variant: str, seconds: float) -> dict[str, float]:  # noqa: ARG002  # of a length of its own
        book = Book.of(policy(self.rules).rules, "deny", AddressGroups(), silent=False)
        index = Index(book)
        return {"time": median(cost(book, index, requests(kind, self.rules, SAMPLES)) for kind in KINDS)}
