"""What TCP flows have in common with each other: whoever makes them is a `Splicer`, be it for a guest that calls out or for the world that calls in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from usernat.nat.context import Context, microseconds
from usernat.stack.counters import Counters

if TYPE_CHECKING:
    from usernat.nat.tcp_flow import TcpFlow

MIN_ROOM = 4096  # bytes of send room below which reading is not worth a system call; a queue has 8192 even when memory is short


@dataclass(slots=True)
class SpliceCounters(Counters):
    """How flows that stood have ended."""

    finished: int = 0  # ended by both sides
    reset_by_guest: int = 0
    reset_by_host: int = 0
    idle: int = 0  # silent for too long


class Splicer(ABC):
    """Times in µs. min_room: bytes of send room below which the host is not read."""

    counters: SpliceCounters

    def __init__(self, context: Context) -> None:
        timeouts = context.config.timeouts
        self.context = context
        self.established_us = microseconds(timeouts.tcp_established)
        self.transitory_us = microseconds(timeouts.tcp_transitory)
        self.min_room = min(MIN_ROOM, context.interface.tcp.config.send_buffer // 2)

    @abstractmethod
    def opened(self, flow: TcpFlow) -> None:
        """The flow is opening no more: its guest has answered, or it is over."""
