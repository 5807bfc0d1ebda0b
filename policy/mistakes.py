"""What is wrong with a policy file, all of it: cattrs' groups of errors, told as lines for people.

    tools.toml: rules[2].prot: unknown key (did you mean port or protocol?)

A line never breaks: what a file brings is shown as Python would write it, and not at any length.
"""

from __future__ import annotations

import difflib
import json
import re
import reprlib
from inspect import signature
from typing import TYPE_CHECKING

from cattrs.errors import AttributeValidationNote, ForbiddenExtraKeysError, IterableValidationNote

from usernat.policy.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CLOSE = 0.6  # of difflib's ratio: prot is close to protocol
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


class FileError(PolicyError):
    """A file with at least one mistake. `str()` is the first of them, `mistakes` has each as a line of its own."""

    def __init__(self, mistakes: Sequence[PolicyError]) -> None:
        first = mistakes[0]
        super().__init__(first.reason, key=first.key, where=first.where)
        self.mistakes = tuple(str(mistake) for mistake in mistakes)


def shown(value: object) -> str:
    """The value, as a line speaks of it."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return _REPR.repr(value)
    except ValueError:  # a number of some thousand digits
        return "that"


def suggestion(word: str, possible: Iterable[str]) -> str:
    """What was probably meant, else all that is possible."""
    possible = list(possible)
    close = difflib.get_close_matches(word, possible, n=2, cutoff=_CLOSE)
    return f"did you mean {' or '.join(sorted(close))}?" if close else f"possible: {', '.join(possible)}"


def find_mistakes(error: BaseException, path: str = "") -> Iterator[PolicyError]:
    """Each mistake that `error`, met at `path`, stands for: of a table first the keys that the schema does not have, then those that it has."""
    if isinstance(error, BaseExceptionGroup):
        for inner in sorted(error.exceptions, key=lambda each: not isinstance(each, ForbiddenExtraKeysError)):
            yield from find_mistakes(inner, path + _step(inner, path))
    elif isinstance(error, ForbiddenExtraKeysError):
        possible = tuple(signature(error.cl).parameters)
        for key in sorted(error.extra_fields):
            yield PolicyError(f"unknown key ({suggestion(key, possible)})", key=path + _dotted(key, path))
    elif isinstance(error, KeyError):
        yield PolicyError("is missing", key=path)
    elif isinstance(error, PolicyError):
        yield error.at(key=path + _dotted(error.key, path) if error.key else path)
    else:
        yield PolicyError(str(error), key=path)


def _step(error: BaseException, path: str) -> str:
    """From the path of a table or list to that of the part in which the error is."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return _dotted(note.name, path)
        if isinstance(note, IterableValidationNote):
            return f"[{note.index}]" if isinstance(note.index, int) else _dotted(note.index, path)
    return ""


def _dotted(key: str, path: str) -> str:
    """The key as TOML would write it, after a dot where it is not the first."""
    return f"{'.' if path else ''}{key if _BARE_KEY.fullmatch(key) else json.dumps(key)}"
