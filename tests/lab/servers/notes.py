"""What the servers saw, for a test to ask about afterwards by HTTP: a bounded list of notes under a name."""

from __future__ import annotations

from collections import defaultdict, deque

_notes: dict[str, deque[dict[str, object]]] = defaultdict(lambda: deque(maxlen=100))


def note(name: str, /, **facts: object) -> None:
    """Keep facts (JSON values) under a name."""
    _notes[name].append(facts)


def take(name: str) -> list[dict[str, object]]:
    """The notes under a name, oldest first; they are forgotten with it."""
    return list(_notes.pop(name, ()))
