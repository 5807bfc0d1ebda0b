"""`python -m bench.policy`: what a decision costs, by the index and by a scan of all rules, in µs, median.

The policies are mixed: addresses, networks, ports, names and patterns, with and without ports. Ports are denied, and one in ten of the others:
to allow a port is to allow every query. A row asks about rules of one kind, each time about another one; the last row is about
what no rule speaks of.
"""

from __future__ import annotations

import time
from ipaddress import IPv4Network
from statistics import median
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from usernat.policy import FlowRequest, NetworkPolicy
from usernat.policy.book import Book
from usernat.policy.decision import DNS, TCP
from usernat.policy.evaluation import Scan, judge
from usernat.policy.groups import AddressGroups
from usernat.policy.index import Index
from usernat.policy.matchers import Address, Domain, Matcher, Network, Port, Protocol, all_of
from usernat.policy.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.policy.evaluation import Source

SIZES = (10, 100, 1000, 10_000)
SAMPLES = 300
REPEAT = 5  # of each sample, of which the fastest counts: the machine has other work
BASE = 45 << 24  # addresses of the rules: a /24 each
ELSEWHERE = 46 << 24

PORT = 2  # in the next
MATCHERS: tuple[Callable[[int], Matcher], ...] = (
    lambda n: Address(BASE + n * 256 + 7),
    lambda n: Network(IPv4Network((BASE + n * 256, 24))),
    lambda n: all_of(Port(1024 + n), Protocol("tcp")),
    lambda n: Domain(f"n{n}.example.com"),
    lambda n: all_of(Domain(f"*.n{n}.example.com"), Port(443)),
    lambda n: all_of(Domain(f"n{n}.example.com"), Port(22)),
)
# what is asked about a rule, and which of MATCHERS the rule has
KINDS: dict[str, tuple[int, Callable[[int], FlowRequest]]] = {
    "address": (0, lambda n: flow(BASE + n * 256 + 7, 9)),
    "network": (1, lambda n: flow(BASE + n * 256 + 8, 9)),
    "port": (PORT, lambda n: flow(ELSEWHERE, 1024 + n)),
    "name, port 22": (5, lambda n: flow(ELSEWHERE, 22, f"n{n}.example.com")),
    "name, port 443, unread": (3, lambda n: flow(ELSEWHERE, 443, f"n{n}.example.com")),
    "name, port 443, read": (3, lambda n: claiming(f"n{n}.example.com")),
    "pattern, port 443, read": (4, lambda n: claiming(f"www.n{n}.example.com")),
    "query": (3, lambda n: FlowRequest(1, b"", DNS, 0, 53, 40000, (f"n{n}.example.com",))),
    "nothing": (0, lambda n: flow(ELSEWHERE, 9, f"n{n}.example.org")),
}


def flow(address: int, port: int, *names: str) -> FlowRequest:
    return FlowRequest(1, b"", TCP, address, port, 40000, names)


def claiming(name: str) -> FlowRequest:
    return flow(ELSEWHERE, 443, "other.example.net", name)._replace(claimed=name)


def policy(size: int) -> NetworkPolicy:
    def rule(n: int) -> Rule:
        kind = n % len(MATCHERS)
        return Rule("deny" if kind == PORT or n % 10 == 9 else "allow", MATCHERS[kind](n))

    return NetworkPolicy(map(rule, range(size)))


def cost(book: Book, source: Source, requests: list[FlowRequest]) -> float:
    """Median µs of a decision."""
    judge(requests[0], book, source)  # tables are made at the first question of a kind
    return median(min(once(book, source, request) for _ in range(REPEAT)) for request in requests)


def once(book: Book, source: Source, request: FlowRequest) -> float:
    begin = time.perf_counter_ns()
    judge(request, book, source)
    return (time.perf_counter_ns() - begin) / 1000


def requests(kind: str, size: int, samples: int) -> list[FlowRequest]:
    form, make = KINDS[kind]
    numbers = range(form, size, len(MATCHERS))
    step = max(1, len(numbers) // samples)
    return [make(number) for number in numbers[::step]]


@click.command()
@click.option("--size", "sizes", multiple=True, type=int, default=SIZES, help="Rules; may be repeated.")
def main(sizes: tuple[int, ...]) -> None:
    """What a decision costs for policies of several sizes."""
    heads = [f"{size} rules: {how}" for size in sizes for how in ("index", "scan")]
    table = Table("", *heads, title="µs a decision, median")
    books = [Book.of(policy(size).rules, "deny", AddressGroups(), silent=False) for size in sizes]
    sources = [(book, Index(book), Scan(book)) for book in books]
    for kind in KINDS:
        cells = []
        for size, (book, index, scan) in zip(sizes, sources, strict=True):
            cells.append(f"{cost(book, index, requests(kind, size, SAMPLES)):.1f}")
            few = requests(kind, size, max(5, 20_000 // size))  # a scan of ten thousand rules takes its time
            cells.append(f"{cost(book, scan, few):.1f}")
        table.add_row(kind, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
