"""Which tests exercise a requirement, by their marker: `@pytest.mark.rfc("9293", "MUST-58", "MUST-59")`.

Read from the source, so that nothing has to be imported or run. A marker may stand on a test, on a class of tests, around a hypothesis state machine, or in `pytestmark` of a class
or a file; it then speaks for every test in there. It counts only where pytest would collect and run the test: a test that is marked `skip`, `skipif` or
`xfail`, itself or by what is around it, or that calls `pytest.skip` or `pytest.xfail`, exercises nothing for certain. A marker that stands on anything
else, or whose arguments are not strings to be read where they stand, is a `Mistake`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tests.conformance.citations import ROOT, Citation, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.registry import Key, Requirement

DOUBTFUL = {"skip", "skipif", "xfail", "importorskip"}
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Marker: TypeAlias = tuple[int, list[object]]  # its line and its arguments; none where they cannot be told


def pytest_mark(node: ast.AST) -> str | None:
    """`name` for `pytest.mark.name`, and for `pytest.name`; else None."""
    if isinstance(node, ast.Attribute):
        inner = node.value
        if isinstance(inner, ast.Attribute) and inner.attr == "mark":
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id == "pytest":
            return node.attr
    return None


def markers(nodes: list[ast.expr]) -> list[Marker]:
    """The `rfc` markers among these decorators or values of `pytestmark`, parameters' marks included."""
    return [
        (node.lineno, arguments(node))
        for outer in nodes
        for node in ast.walk(outer)
        if isinstance(node, ast.Call) and pytest_mark(node.func) == "rfc"
    ]


def arguments(call: ast.Call) -> list[object]:
    """What the marker is called with: strings, or what follows from strings alone, such as `*(f"3.2-{row}" for row in "abc")`."""
    try:
        return list(eval(f"[{', '.join(map(ast.unparse, call.args))}]", {"__builtins__": {}}))
    except (NameError, TypeError, ValueError, AttributeError):
        return []


def doubtful(nodes: list[ast.expr] | list[ast.stmt]) -> bool:
    """Whether these decorators, or the statements of a test, may keep pytest from running it to its end."""
    return any(pytest_mark(node) in DOUBTFUL for outer in nodes for node in ast.walk(outer))


def own_marks(body: list[ast.stmt]) -> list[ast.expr]:
    """What `pytestmark` of a file or a class is set to."""
    found: list[ast.expr] = []
    for node in body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in targets):
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            found += [value] if value else []
    return found


def machine(node: ast.Assign) -> str | None:
    """`TestWalk` of `TestWalk = pytest.mark.rfc(…)(Walk.TestCase)`: a state machine of hypothesis, which is one test."""
    target, value = node.targets[0], node.value
    while isinstance(value, ast.Call) and isinstance(value.func, ast.Call) and value.args:
        value = value.args[0]
    is_machine = isinstance(value, ast.Attribute) and value.attr == "TestCase"
    return target.id if is_machine and isinstance(target, ast.Name) and target.id.startswith("Test") else None


@dataclass(slots=True)
class Surroundings:
    """What holds for everything in a file, or in a class of it."""

    markers: list[Marker]
    doubtful: bool
    prefix: str = ""


class Reader:
    """Reads the markers of one file."""

    def __init__(self, registry: dict[Key, Requirement], path: str) -> None:
        self._registry = registry
        self._path = path
        self.found: list[Citation] = []
        self.mistakes: list[Mistake] = []
        self._placed: set[int] = set()  # lines of markers that stand on a test or around one

    def read(self, tree: ast.Module) -> None:
        marks = own_marks(tree.body)
        self._body(tree.body, Surroundings(markers(marks), doubtful(marks)))
        for line, _ in markers([node for node in ast.walk(tree) if isinstance(node, ast.expr)]):
            if line not in self._placed:
                self._placed.add(line)
                self.mistakes.append(Mistake(f"{self._path}:{line}", "an rfc marker that is on no test"))

    def _body(self, body: list[ast.stmt], around: Surroundings) -> None:
        for node in body:
            if isinstance(node, Function) and node.name.startswith("test"):
                self._test(node.name, node.decorator_list, node.body, around)
            elif isinstance(node, ast.Assign) and (name := machine(node)):
                self._test(name, [node.value], [], around)
            elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                marks = [*node.decorator_list, *own_marks(node.body)]
                self._body(
                    node.body,
                    Surroundings(
                        around.markers + markers(marks),
                        around.doubtful or doubtful(marks),
                        f"{node.name}.",
                    ),
                )

    def _test(
        self, name: str, decorators: list[ast.expr], body: list[ast.stmt], around: Surroundings
    ) -> None:
        all_markers = around.markers + markers(decorators)
        self._placed |= {line for line, _ in all_markers}
        counts = not (around.doubtful or doubtful(decorators) or doubtful(body))
        for line, named in all_markers:
            for key in self._keys(line, named):
                if counts:
                    self.found.append(Citation(key, f"{self._path}:{around.prefix}{name}"))

    def _keys(self, line: int, named: list[object]) -> Iterator[Key]:
        place = f"{self._path}:{line}"
        rfc, *names = named or [None]
        if not isinstance(rfc, str) or not rfc.isdigit() or not names:
            self.mistakes.append(Mistake(place, 'write @pytest.mark.rfc("9293", "MUST-58")'))
            return
        for name in names:
            key = int(rfc), str(name)
            if key in self._registry:
                yield key
            else:
                self.mistakes.append(Mistake(place, f"RFC {rfc} {name} is not in the registry"))


def read_source(
    registry: dict[Key, Requirement], path: str, source: str
) -> tuple[list[Citation], list[Mistake]]:
    """The markers of one file of tests."""
    reader = Reader(registry, path)
    reader.read(ast.parse(source))
    return reader.found, sorted(set(reader.mistakes), key=str)


def read_tests(registry: dict[Key, Requirement]) -> tuple[list[Citation], list[Mistake]]:
    """The markers of all tests; those of other Python files there are mistakes."""
    found: list[Citation] = []
    mistakes: list[Mistake] = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        where = str(path.relative_to(ROOT))
        exercised, wrong = read_source(registry, where, path.read_text(encoding="utf-8"))
        mistakes += wrong
        if path.name.startswith("test_"):
            found += exercised
        else:
            mistakes += [Mistake(one.place, "no file of tests, so nothing runs it") for one in exercised]
    return found, mistakes
