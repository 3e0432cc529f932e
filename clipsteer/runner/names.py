"""Where the names in a file lead: reads its syntax tree into units (`source.py`).

Nothing is imported or run. Scopes are Python's: what a function binds hides the module's name. Where the
tree does not tell, more is taken: a module's name that is looked up by a text counts as the whole module,
a way to every loaded object (`__subclasses__`, `sys.modules`) as all of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from clipsteer.runner.scopes import Module, Scope, defaults, imported, parameters
from clipsteer.runner.source import Import, Source, Unit, is_given
from clipsteer.runner.waiting import Waiting
from clipsteer.store.digest import short_digest

# Take names of their own module where they cannot be seen; the last two only without arguments.
_OWN = {"globals", "locals", "vars", "dir"}
_OF_WHAT = {"vars", "dir"}
# Lead to whatever is loaded.
_ALL = {"sys.modules", "sys._getframe", "gc.get_objects", "gc.get_referrers", "gc.get_referents"}
_ALL |= {
    "inspect.getmodule",
    "inspect.stack",
    "inspect.currentframe",
    "typing.get_type_hints",
    "pickle",
}
_NOT_ALL = {
    "pickle.PickleError",
    "pickle.PicklingError",
    "pickle.UnpicklingError",
}  # say what failed
_RUN_TEXT = {"eval", "exec"}
_ALL_ATTRIBUTES = {"__subclasses__", "__globals__", "f_globals", "f_back", "tb_frame"}
# Import by a text.
_LOADERS = ("importlib", "runpy", "pkgutil", "imp")
_NO_LOADERS = ("importlib.resources", "importlib.metadata", "importlib.abc")

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def read_module(data: bytes, path: str) -> Source:
    """The units of a file. Raises SyntaxError or ValueError where it is not Python."""
    tree = ast.parse(data, filename=path)
    absent = [name for body in _checked_only(tree) for name in sorted(Scope("module", body).bound)]
    tree = _Normalised().visit(tree)
    module = Module(tree.body)
    units: list[Unit] = []
    imports: list[Import] = []
    bound: list[tuple[str, Import]] = []
    for statement in tree.body:
        reader = _Reader(module)
        reader.visit(statement)
        bound += reader.bound
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports += reader.imports
        elif not _says_nothing(statement):
            units.append(reader.unit(statement))
    return Source(units, imports, bound, [name for name in absent if name not in module.bound])


def _says_nothing(node: ast.stmt) -> bool:
    """A `pass`, or words about the name above."""
    bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return bare or isinstance(node, ast.Pass)


def _is_checked_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in (
        getattr(node.test, "id", None),
        getattr(node.test, "attr", None),
    )


def _checked_only(tree: ast.Module) -> Iterable[list[ast.stmt]]:
    """The bodies for type checkers, which never run."""
    return (
        node.body for node in ast.walk(tree) if isinstance(node, ast.If) and _is_checked_only(node)
    )


class _Normalised(ast.NodeTransformer):
    """Without docstrings, without what never runs, u"x" as "x"."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return (node.orelse or [ast.Pass()]) if _is_checked_only(node) else node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        node.kind = None
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
        return node


class _Reader(ast.NodeVisitor):
    """Collects what one statement at the top of a module binds, imports and leads to."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.scopes: list[Scope] = []
        self.names: set[str] = set()
        self.loads: set[str] = set()
        self.far: set[tuple[Import, str]] = set()
        self.imports: list[Import] = []
        self.bound: list[tuple[str, Import]] = []
        self.strings: set[str] = set()
        self.looks = ""
        self.in_annotation = False

    def unit(self, statement: ast.stmt) -> Unit:
        """The statement, once it was visited."""
        waiting = Waiting(self.module)
        waits = waiting.statement(statement)
        text = ast.dump(statement, annotate_fields=False, include_attributes=False)
        digest = short_digest(text.encode("utf-8", "surrogatepass"))
        return Unit(
            sorted(self.names),
            digest,
            None if waits is None else sorted(waits),
            waiting.bases,
            waiting.heirs,
            sorted(self.loads),
            sorted(self.far),
            list(dict.fromkeys(self.imports)),
            sorted(self.strings),
            self.looks,
        )

    # ---- names

    def _binds(self, name: str) -> None:
        """A name is bound: by the module, unless a scope within keeps it."""
        for scope in reversed(self.scopes):
            if scope.kind != "comprehension":
                if name in scope.globals:
                    break
                return
        self.names.add(name)

    def _named(self, name: str, chain: Sequence[str] = (), patched: bool = False) -> None:
        """A name is used, and of it the attributes `chain`."""
        for depth, scope in enumerate(reversed(self.scopes)):
            if scope.kind == "class":
                # Seen from its own level only; before it is bound, the module's name is.
                if depth or name not in scope.bound:
                    continue
                self._far(scope, name, chain, patched)
                if name not in self.module.bound:
                    return
                break
            if name in scope.globals:
                break
            if name in scope.bound:
                self._far(scope, name, chain, patched)
                return
        if name in self.module.bound:
            for item in self.module.imports.get(name, ()):
                self._taken(item, chain)
        elif self.in_annotation:
            return  # for type checkers only, or no name at all
        elif is_given(name):
            if name in _OWN:
                self._look("own")
            if name in _RUN_TEXT:
                self._look("all")
            if name == "__import__":
                self.strings.add("")
            if not self.module.stars:
                return
        self.loads.add(".".join([name, *chain]) + "=" * patched)

    def _far(self, scope: Scope, name: str, chain: Sequence[str], patched: bool) -> None:
        for item in scope.imports.get(name, ()):
            self._taken(item, chain)
            self.far.add((item, ".".join(chain) + "=" * patched))

    def _taken(self, item: Import, chain: Sequence[str]) -> None:
        """A name that was imported is used: what it leads to may lie in the dark."""
        full = ".".join(part for part in (item.module, item.name, *chain) if part)
        if item.level:
            return
        leads = any(full == way or full.startswith(way + ".") for way in _ALL)
        if (leads and full not in _NOT_ALL) or full in ("sys", "gc"):
            self._look("all")
        if item.module.partition(".")[0] in _LOADERS and not full.startswith(_NO_LOADERS):
            self.strings.add("")

    def _look(self, where: str) -> None:
        self.looks = where if self.looks != "all" else "all"

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load) and not self._in_comprehension():
            self._binds(node.id)
        if not isinstance(node.ctx, ast.Store):
            self._named(node.id)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._binds(node.target.id)
        self.visit(node.value)

    def _in_comprehension(self) -> bool:
        return bool(self.scopes) and self.scopes[-1].kind == "comprehension"

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain, root = [node.attr], node.value
        while isinstance(root, ast.Attribute):
            chain.insert(0, root.attr)
            root = root.value
        if _ALL_ATTRIBUTES & set(chain):
            self._look("all")
        if isinstance(root, ast.Name):
            self._named(root.id, chain, not isinstance(node.ctx, ast.Load))
        else:
            if "import_module" in chain:
                self.strings.add("")
            self.visit(root)

    def visit_Call(self, node: ast.Call) -> None:
        if self._imports_by_text(node.func):
            self._text(node)
        elif not (
            isinstance(node.func, ast.Name)
            and node.func.id in _OF_WHAT - self.module.bound
            and node.args
        ):
            self.visit(node.func)
        for child in (*node.args, *node.keywords):
            self.visit(child)

    def _imports_by_text(self, function: ast.expr) -> bool:
        chain: list[str] = []
        while isinstance(function, ast.Attribute):
            chain.insert(0, function.attr)
            function = function.value
        if not isinstance(function, ast.Name):
            return False
        name = function.id
        for scope in reversed(self.scopes):
            if scope.kind != "class" and name in scope.bound:
                items = scope.imports.get(name, [])
                break
        else:
            items = self.module.imports.get(name, [])
            if name == "__import__" and name not in self.module.bound:
                return True
        ways = [".".join(p for p in (item.module, item.name, *chain) if p) for item in items]
        return ways == ["importlib.import_module"]

    def _text(self, node: ast.Call) -> None:
        """`import_module(...)`: of a name that is written out, or begins with what is written out."""
        first = node.args[0] if node.args else None
        if isinstance(first, ast.BinOp):
            first = first.left
        whole = first is not None and first is node.args[0]
        if isinstance(first, ast.JoinedStr) and first.values:
            first, whole = first.values[0], False
        text = first.value if isinstance(first, ast.Constant) else ""
        if not isinstance(text, str) or text.startswith("."):
            text = ""
        if text and whole:
            self.imports.append(Import(0, text))
            self.far.add((Import(0, text), ""))
        else:
            self.strings.add(text)

    # ---- scopes

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._binds(node.name)
        for expression in node.decorator_list:
            self.visit(expression)
        in_class = any(scope.kind == "class" for scope in self.scopes)
        if in_class or node.decorator_list or not self.module.future:
            for annotation in [a.annotation for a in parameters(node.args)] + [node.returns]:
                self._annotation(annotation)
        self._function(node, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node, [node.body])

    def _function(self, node: _Function, body: Sequence[ast.AST]) -> None:
        for expression in defaults(node):
            self.visit(expression)
        self._within(Scope("function", body, [a.arg for a in parameters(node.args)]), body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._binds(node.name)
        for child in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(child)
        self._within(Scope("class", node.body), node.body)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> None:
        self.visit(node.generators[0].iter)  # in the scope around
        names = {
            name.id
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        inside: list[ast.AST] = [] if isinstance(node, ast.DictComp) else [node.elt]
        if isinstance(node, ast.DictComp):
            inside = [node.key, node.value]
        for number, generator in enumerate(node.generators):
            inside += [generator.target, *generator.ifs, *([generator.iter] if number else [])]
        self._within(Scope("comprehension", (), names), inside)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _within(self, scope: Scope, nodes: Iterable[ast.AST]) -> None:
        self.scopes.append(scope)
        for node in nodes:
            self.visit(node)
        self.scopes.pop()

    # ---- statements and parts that bind, import or annotate

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        inner = self.scopes[-1] if self.scopes else None
        for name, item, loaded in imported(node):
            self.imports.append(loaded)
            if name != "*" and (inner is None or name in inner.globals):
                self.bound.append((name, item))

    visit_ImportFrom = visit_Import

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if not self.module.future or (self.scopes and self.scopes[-1].kind == "class"):
            self._annotation(node.annotation)
        if node.value is not None:
            self.visit(node.value)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            self._named(node.target.id)

    def visit_ExceptHandler(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self._binds(node.name)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_ExceptHandler

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self._binds(node.rest)
        self.generic_visit(node)

    def _annotation(self, node: ast.expr | None) -> None:
        before, self.in_annotation = self.in_annotation, True
        if node is not None:
            self.visit(node)
        self.in_annotation = before

    def visit_Constant(self, node: ast.Constant) -> None:
        if self.in_annotation and isinstance(node.value, str):
            try:
                self.visit(ast.parse(node.value, mode="eval"))
            except (SyntaxError, ValueError):
                return  # a literal
