"""Compares what ran with what a fingerprint holds; reads the files by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from inspect import CO_OPTIMIZED
from pathlib import Path
from typing import NamedTuple

from clipsteer.runner.fingerprint import Code

_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


class Ran(NamedTuple):
    """A piece of code that ran: its file, its name, its first line, whether it is a function's."""

    file: str
    name: str
    line: int
    function: bool

    @classmethod
    def of(cls, file: str, name: str, line: int, flags: int) -> Ran:
        """Of what a code object says of itself (`co_filename` and so on)."""
        return cls(file, name, line, bool(flags & CO_OPTIMIZED) and name not in _COMPREHENSIONS)


def left_out(code: Code, ran: Iterable[Ran], root: Path, script: Path) -> list[str]:
    """`module: statement (line)` of all functions under `root` that ran and do not count.

    Neither the body of a class nor a comprehension is one: what these call is seen by itself.
    """
    files: dict[str, list[ast.stmt]] = {}
    found = set()
    for item in ran:
        file = item.file
        if file not in files:
            files[file] = ast.parse(Path(file).read_bytes()).body
        module = "__main__" if Path(file) == script else _module(Path(file).relative_to(root))
        if item.name == "<module>":
            if module not in code.imported:
                found.add(f"{module}: it is imported")
            continue
        if not item.function:
            continue
        statement = next(s for s in files[file] if _first(s) <= item.line <= _last(s))
        names = _names(statement)
        if not names & code.modules.get(module, {}).keys():
            words = ", ".join(sorted(names))
            found.add(f"{module}: {words} (line {item.line})")
    return sorted(found)


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _first(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])


def _last(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _names(node: ast.stmt) -> set[str]:
    """What stands for a statement in the material: the names it binds, else what importing does."""
    found = set()
    inside = [node]
    while inside:
        item = inside.pop()
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(item.name)
        elif not isinstance(item, ast.Lambda | ast.comprehension):
            if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store):
                found.add(item.id)
            inside += list(ast.iter_child_nodes(item))
    return found or {"import"}
