"""Between the forwarder, which moves messages, and whoever says what a guest may ask and be told (`screening.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from usernat.nat.dns.exchange import Client

# What becomes of a query: one of these, or the rcode to answer it with
FORWARD = -1
SILENCE = -2  # no answer is due
FORWARD_CLEAN = -3  # go ahead, with nothing in it but what was judged (`clean.py`)


class Screen(Protocol):
    """Both are asked in the gateway's loop and never raise. A client that has left does no harm."""

    def query(self, client: Client, decided: Callable[[int, int], None], now: int) -> None:
        """Whether a well-formed query may go upstream. decided(outcome, now): called once, now or later, or never once all is over."""

    def answer(self, client: Client, data: bytes, now: int) -> bytes | None:
        """What the client gets in the place of the answer `data`: as a rule just that; None for nothing. Whose id it has does not matter."""


class Unscreened:
    """Everything passes."""

    def query(self, client: Client, decided: Callable[[int, int], None], now: int) -> None:  # noqa: ARG002 -- whoever asks
        """Go ahead."""
        decided(FORWARD, now)

    def answer(self, client: Client, data: bytes, now: int) -> bytes | None:  # noqa: ARG002 -- whoever asks
        """As it came."""
        return data
