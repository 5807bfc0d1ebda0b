"""Where the code cites a requirement: in comments and docstrings, by a small grammar.

    RFC 9293 §3.8.6.3 MUST-58, MUST-59      an RFC's own labels: MUST-, SHLD-, MAY-, REC-, REQ-, a number, perhaps a letter
    RFC 1122 §3.2.1.3-d, §3.2.2-a           a section and a letter, always behind §
    RFC 5961 §7-a, -b                       more letters of the same section
    RFC 791 §3.2-reas-f, RFC 826 rx-b       the few RFCs whose sections are too long, or have no numbers: a word and a letter

An RFC, once named, holds on: `§3.2-d` and `MUST-58` belong to the RFC named last before them in the same comment (comment lines right below each other
are one) or docstring. Where none was, to the one named first in the docstring of the function, the class or the file around them.

A section without a letter (`RFC 9293 §3.4`) and an RFC without an id (`RFC 1071`) point a reader somewhere and claim nothing.
What cannot be read, belongs to no RFC, or is not in the registry is reported as a `Mistake`; so is a label behind the wrong section.
"""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.registry import Key, Requirement

ROOT = Path(__file__).parents[2]
CODE = ("stack", "nat", "policy", "usernat")

TOKEN = re.compile(
    r"""
    \bRFC\s+(?P<rfc>\d+)
    | §(?P<section>\d+(?:\.\d+)*|[A-Z](?:\.\d+)*)(?P<letter>-(?:[a-z]+-[a-z]|\d*[a-z])(?![\w-]))?
    | \b(?P<label>(?:MUST|SHLD|MAY|REC|REQ)-\d+[a-z]?)\b
    | (?<![\w§.-])(?P<word>[a-z]+-[a-z])(?![\w-])
    | (?<=\s)-(?P<more>\d*[a-z])(?![\w-])
    | (?<![\w§.-])(?P<bare>\d+(?:\.\d+)*-(?:[a-z]+-)?[a-z])(?![\w-])
    """,
    re.VERBOSE,
)
BETWEEN = re.compile(r"(?:\s|,|;|and|to)*")  # what may stand between two ids of one list


@dataclass(slots=True, frozen=True)
class Citation:
    key: Key
    place: str  # path:line


@dataclass(slots=True, frozen=True)
class Mistake:
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(slots=True)
class Passage:
    """A comment or a docstring, and the number of its first line."""

    line: int
    text: str


def first_rfc(text: str | None) -> int | None:
    found = re.search(r"\bRFC\s+(\d+)", text or "")
    return int(found[1]) if found else None


def comments(source: str) -> Iterator[Passage]:
    """The comments; whole lines of comment right below each other, in one column, are one."""
    block: Passage | None = None
    where = (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        whole_line = not token.line[:column].strip()
        if block and whole_line and where == (line - 1, column):
            block.text += "\n" + token.string.lstrip("#")
        else:
            if block:
                yield block
            block = Passage(line, token.string.lstrip("#"))
        where = (line, column) if whole_line else (0, 0)
    if block:
        yield block


Scope: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def scopes(tree: ast.Module) -> list[Scope]:
    """The file, and all classes and functions, the outer before the inner."""
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [tree, *(node for node in ast.walk(tree) if isinstance(node, kinds))]


def passages(source: str) -> Iterator[tuple[Passage, int | None]]:
    """Each comment and docstring, with the RFC that what surrounds it speaks of."""
    around: list[tuple[int, int, int]] = []  # from line, to line, RFC: the outer before the inner
    tree = ast.parse(source)

    def speaks_of(line: int) -> int | None:
        return next((rfc for first, last, rfc in reversed(around) if first <= line <= last), None)

    for scope in scopes(tree):
        text = ast.get_docstring(scope, clean=False)
        if text is not None:
            line = scope.body[0].lineno
            yield Passage(line, text), speaks_of(line)
            rfc = first_rfc(text)
            if rfc is not None:
                span = (
                    (1, source.count("\n") + 1)
                    if isinstance(scope, ast.Module)
                    else (scope.lineno, scope.end_lineno or line)
                )
                around.append((*span, rfc))
    for passage in comments(source):
        yield passage, speaks_of(passage.line)


class Reader:
    """Reads the citations of one passage, left to right."""

    def __init__(
        self, registry: dict[Key, Requirement], path: str, passage: Passage, rfc: int | None
    ) -> None:
        self._registry = registry
        self._known = {number for number, _ in registry}
        self._path = path
        self._passage = passage
        self._rfc = rfc
        self._section = ""
        self.found: list[Citation] = []
        self.mistakes: list[Mistake] = []

    def read(self) -> None:
        text = self._passage.text
        end = 0
        # Whether an id may go on right here; whether the last one was a section and a letter.
        listed = lettered = False
        for match in TOKEN.finditer(text):
            following = listed and BETWEEN.fullmatch(text, end, match.start()) is not None
            kind, value = match.lastgroup, match[match.lastgroup or 0]
            if not following:
                self._section = ""
            if kind == "rfc":
                self._rfc, self._section = int(value), ""
                listed, lettered = True, False
            elif match["section"]:
                self._section = match["section"]
                lettered = match["letter"] is not None
                if lettered:
                    self._cite(self._section + match["letter"], match.start())
                listed = True
            elif kind == "label":
                self._cite(value, match.start(), section=self._section)
                listed, lettered = True, False
            elif kind == "more" and following and lettered:
                self._cite(f"{self._section}-{value}", match.start())
            elif kind == "word" and following:
                self._cite(value, match.start())
                lettered = False
            elif kind == "bare" and (following or "." in value):
                self._wrong(match.start(), f"write §{value}")
            else:
                continue
            end = match.end()

    def _place(self, offset: int) -> str:
        line = self._passage.line + self._passage.text.count("\n", 0, offset)
        return f"{self._path}:{line}"

    def _wrong(self, offset: int, text: str) -> None:
        self.mistakes.append(Mistake(self._place(offset), text))

    def _cite(self, name: str, offset: int, section: str = "") -> None:
        if self._rfc is None:
            self._wrong(offset, f"{name}: of which RFC?")
            return
        row = self._registry.get((self._rfc, name))
        if row is None:
            why = "no such id" if self._rfc in self._known else "an RFC that has no rows"
            self._wrong(offset, f"RFC {self._rfc} {name}: {why} in the registry")
            return
        if section and section != row.section:
            self._wrong(offset, f"RFC {self._rfc} {name} stands in §{row.section}, not §{section}")
        self.found.append(Citation(row.key, self._place(offset)))


def files() -> Iterator[Path]:
    """The code of the project: its real folders, not the links to them."""
    for top in CODE:
        for folder, folders, names in os.walk(ROOT / top):
            folders.sort()
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def read_source(
    registry: dict[Key, Requirement], path: str, source: str
) -> tuple[list[Citation], list[Mistake]]:
    """The citations of one file."""
    found: list[Citation] = []
    mistakes: list[Mistake] = []
    for passage, rfc in passages(source):
        reader = Reader(registry, path, passage, rfc)
        reader.read()
        found += reader.found
        mistakes += reader.mistakes
    return found, mistakes


def read_code(registry: dict[Key, Requirement]) -> tuple[list[Citation], list[Mistake]]:
    """The citations of all the code."""
    found: list[Citation] = []
    mistakes: list[Mistake] = []
    for path in files():
        cited, wrong = read_source(registry, str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
        found += cited
        mistakes += wrong
    return found, mistakes
