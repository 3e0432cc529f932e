"""One Python file as a fingerprint sees it: its statements, what each binds, and where its names lead.

A *unit* is one statement at the top of a file (a function, a class, an assignment, whatever has an effect).
What a unit says is a digest of its normalised syntax tree; comments, docstrings, formatting and what stands
under `if TYPE_CHECKING:` leave no trace. Imports at the top are no units: they are followed by name.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from clipsteer.errors import ClipsteerError
from clipsteer.runner.packages import PYTHON

# What Python itself sets in every module, or knows in a method.
_GIVEN = {
    *dir(builtins),
    "__annotations__",
    "__builtins__",
    "__cached__",
    "__class__",
    "__file__",
    "__path__",
}


def is_given(name: str) -> bool:
    """Whether a name that a module does not bind is Python's own."""
    return name in _GIVEN


class Import(NamedTuple):
    """`import module` (name is ""), or `from module import name` (`*` for all of its names)."""

    level: int
    module: str
    name: str = ""


class Unit(NamedTuple):
    """One statement at the top of a file.

    names: what it binds in the module. digest: 32 hexadecimal digits of its normalised syntax tree. waits:
    the top-level packages that must be installed ones, not the project's own, for it to count only where
    one of its names is reached; None for a statement that always counts (`waiting.py`). bases: dotted names
    of the classes that a class inherits from, as far as they may be the project's (None: no class). heirs:
    whether it is told of classes that inherit from it. loads: dotted names of the module that it can reach;
    those whose last part it sets or deletes end in "=". far: the same of names that it imports itself, with
    the import. imports: what it imports when it runs. strings: how the names begin of modules that it
    imports by a text put together at run time ("": not known). looks: the "own" module, or "all", if it takes
    names where they cannot be seen.
    """

    names: Sequence[str]
    digest: str
    waits: Sequence[str] | None
    bases: Sequence[str] | None
    heirs: bool
    loads: Sequence[str]
    far: Sequence[tuple[Import, str]]
    imports: Sequence[Import]
    strings: Sequence[str]
    looks: str


class Source:
    """A file's units, its imports at the top in order, and what names these bind.

    absent: names that are bound for type checkers only.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        imports: Sequence[Import],
        bound: Sequence[tuple[str, Import]],
        absent: Sequence[str],
    ) -> None:
        self.units, self.imports, self.bound, self.absent = units, imports, bound, absent

    @cached_property
    def stars(self) -> list[Import]:
        """The imports of all names of another module."""
        return [item for item in self.imports if item.name == "*"]

    @cached_property
    def names(self) -> dict[str, tuple[list[int], list[Import]]]:
        """Every name of the module -> the units and the imports that bind it."""
        found: dict[str, tuple[list[int], list[Import]]] = {}
        for number, unit in enumerate(self.units):
            for name in unit.names:
                found.setdefault(name, ([], []))[0].append(number)
        for name, item in self.bound:
            found.setdefault(name, ([], []))[1].append(item)
        return found


def parse_source(data: bytes, path: str) -> Source:
    """Read one file. Raises ClipsteerError where it is not Python."""
    # `ast` is needed only for what was not read before.
    from clipsteer.runner.names import read_module

    try:
        return read_module(data, path)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ClipsteerError(
            f"{path}{'' if line is None else f', line {line}'}: not valid Python {PYTHON}"
            f" ({error.args[0]}); mend the file and run again."
        ) from error
