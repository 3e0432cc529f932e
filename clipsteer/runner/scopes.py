"""What the scopes of a file bind, as Python's rules have it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from clipsteer.runner.source import Import

_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def imported(node: ast.Import | ast.ImportFrom) -> Iterable[tuple[str, Import, Import]]:
    """(name bound, what it stands for, what is imported) of each part of an import."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            item = Import(node.level, node.module or "", alias.name)
            yield alias.asname or alias.name, item, item
        else:
            whole, top = Import(0, alias.name), Import(0, alias.name.partition(".")[0])
            yield alias.asname or top.module, whole if alias.asname else top, whole


class Scope:
    """What a module, a class, a function or a comprehension binds by itself."""

    def __init__(self, kind: str, nodes: Iterable[ast.AST], names: Iterable[str] = ()) -> None:
        self.kind, self.bound = kind, set(names)
        self.globals: set[str] = set()
        self.imports: dict[str, list[Import]] = {}
        away: set[str] = set()  # declared to be another scope's
        stack = [(node, False) for node in nodes]
        while stack:
            node, inner = stack.pop()  # inner: in a comprehension, whose own targets do not count
            if isinstance(node, ast.Lambda):
                stack += [(child, inner) for child in defaults(node)]
                continue
            if isinstance(node, ast.NamedExpr):
                self.bound.add(node.target.id)
            if isinstance(node, _COMPREHENSIONS):
                inner = True
            elif not inner:
                if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                    self.bound.add(node.id)
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    self.bound.add(node.name)
                    outer: list[ast.AST] = [*node.decorator_list, *defaults(node)]
                    if isinstance(node, ast.ClassDef):
                        outer += [*node.bases, *node.keywords]
                    stack += [(child, False) for child in outer]
                    continue
                elif isinstance(node, ast.Import | ast.ImportFrom):
                    for name, item, _ in imported(node):
                        self.bound.add(name)
                        self.imports.setdefault(name, []).append(item)
                elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
                    self.bound |= {node.name} if node.name else set()
                elif isinstance(node, ast.MatchMapping):
                    self.bound |= {node.rest} if node.rest else set()
                elif isinstance(node, ast.Global):
                    self.globals |= set(node.names)
                elif isinstance(node, ast.Nonlocal):
                    away |= set(node.names)
            stack += [(child, inner) for child in ast.iter_child_nodes(node)]
        if kind != "module":
            self.bound -= self.globals | away


def defaults(node: ast.AST) -> list[ast.expr]:
    """The defaults of a function's parameters; none for any other node."""
    arguments = getattr(node, "args", None)
    if not isinstance(arguments, ast.arguments):
        return []
    return [*arguments.defaults, *(value for value in arguments.kw_defaults if value)]


def parameters(arguments: ast.arguments) -> list[ast.arg]:
    """All parameters, in no particular order."""
    extra = [item for item in (arguments.vararg, arguments.kwarg) if item]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


class Module:
    """What is known of a module before its statements are read one by one.

    body: its statements, normalised. bound: every name that it binds, from within functions too. imports:
    what those stand for that an import at the top binds. makers: names that one statement binds, and only
    it. future: whether annotations are left alone. stars: whether it has names that are not to be seen.
    """

    def __init__(self, body: Sequence[ast.stmt]) -> None:
        self.imports = Scope("module", body).imports
        makers: dict[str, list[ast.stmt]] = {}
        for statement in body:
            declared = {
                n for d in ast.walk(statement) if isinstance(d, ast.Global) for n in d.names
            }
            for name in Scope("module", [statement]).bound | declared:
                makers.setdefault(name, []).append(statement)
        self.bound = set(makers)
        self.stars = "*" in self.bound
        self.makers = {n: m[0] for n, m in makers.items() if len(m) == 1 and not self.stars}
        self.future = any(
            isinstance(node, ast.ImportFrom)
            and node.module == "__future__"
            and any(alias.name == "annotations" for alias in node.names)
            for node in body
        )
