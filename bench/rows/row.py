"""What a row is: something measured of each of its peers, in one or more lines of figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from bench.peers.peer import Peer, Seat
    from bench.results import Line
    from tests.lab.netns import Place


class Row:
    """name: on the command line. lines: by the names that `measure` has for its figures. names: under which figures can stand. most_rounds: that it takes, however many
    there are.
    """

    def __init__(
        self, name: str, lines: dict[str, Line], peers: tuple[Peer, ...], *, most_rounds: int = 1000
    ) -> None:
        self.name = name
        self.lines = lines
        self.most_rounds = most_rounds
        self.peers = peers
        self.names = tuple(peer.name for peer in peers)

    def keep(self, names: Container[str]) -> None:
        """Measure no other peers than these."""
        self.peers = tuple(peer for peer in self.peers if peer.name in names)
        self.names = tuple(peer.name for peer in self.peers)

    def add(self, peer: str, figures: dict[str, float]) -> None:
        for figure, value in figures.items():
            self.lines[figure].add(peer, value)


class GuestRow(Row, ABC):
    """Measured in a guest that other rows of the same stage and MTU use too."""

    kind = "namespace"

    def __init__(self, name: str, lines: dict[str, Line], peers: tuple[Peer, ...], mtu: int = 1500) -> None:
        super().__init__(name, lines, peers)
        self.mtu = mtu

    @property
    def stage(self) -> tuple[str, int]:
        return (self.kind, self.mtu)

    @abstractmethod
    def measure(self, seat: Seat, seconds: float) -> dict[str, float]:
        """One sample of each line; a line may be left out. Raises AssertionError, OSError or ValueError with the reason why there is none."""


class OwnRow(Row, ABC):
    """Makes the guest itself, or what takes its place."""

    @abstractmethod
    def measure(self, host: Place, peer: Peer, seconds: float) -> dict[str, float]:
        """As that of GuestRow."""
