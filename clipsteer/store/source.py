"""One Python file as a fingerprint sees it: a digest of what it says, and what it imports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes

if TYPE_CHECKING:
    import ast

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Import:
    """`import module`, or, where names is not None, `from module import names`."""

    level: int
    module: str
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class Source:
    """What a file contributes: the digest of its normalised AST and the imports it can run."""

    digest: str
    imports: tuple[Import, ...]


def parse_source(data: bytes, path: str) -> Source:
    """Normalise one file: docstrings, comments and formatting leave no trace in the digest.

    Raises ClipsteerError where the file is not Python.
    """
    import ast

    try:
        tree = ast.parse(data, filename=path)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ClipsteerError(
            f"{path}{'' if line is None else f', line {line}'}: not valid Python {PYTHON}"
            f" ({error.args[0]}); mend the file and run again."
        ) from error
    imports = tuple(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
        elif isinstance(node, ast.Constant):
            node.kind = None  # u"x" and "x" are the same string
    text = ast.dump(tree, annotate_fields=False, include_attributes=False)
    return Source(digest_bytes(text.encode("utf-8", "surrogatepass")), imports)


def _imports(node: ast.AST) -> Iterator[Import]:
    """Every import below `node` that can run, and `import_module` of a name written out."""
    import ast

    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(0, alias.name, None)
    elif isinstance(node, ast.ImportFrom):
        yield Import(node.level, node.module or "", tuple(alias.name for alias in node.names))
    elif (
        isinstance(node, ast.Call)
        and node.args
        and _called(node) in ("import_module", "__import__")
    ):
        name = node.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value[:1] != ".":
            yield Import(0, name.value, None)
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        children = iter(node.orelse)
    for child in children:
        yield from _imports(child)


def _called(node: ast.Call) -> str:
    return str(getattr(node.func, "id", None) or getattr(node.func, "attr", ""))


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))
