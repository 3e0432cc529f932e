"""Which statements at the top of a module need not count before one of their names is reached.

A statement *waits* if importing the module gives the same without regard to it: carrying it out runs no code
of the project, changes nothing that others see, and depends on nothing that another statement could change.
Definitions do, with harmless decorators and defaults; so do assignments of what is written out or made by
harmless calls. Everything else always counts: whatever is not known to be harmless here is not.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable

from clipsteer.runner.scopes import Module, defaults, parameters

# Calls that have no effect and call nothing that they are given.
_CALLS = """
    bool bytes complex dict enumerate float frozenset int len list max min object range reversed round set slice
    sorted str sum tuple zip
    collections.Counter collections.OrderedDict collections.namedtuple math.log math.sqrt pathlib.Path
    pathlib.PurePath re.compile string.Template struct.Struct struct.calcsize typing.get_args
    numpy.arange numpy.array numpy.asarray numpy.dtype numpy.linspace numpy.ones numpy.zeros
    polars.Boolean polars.Enum polars.Float32 polars.Float64 polars.Int16 polars.Int32 polars.Int64 polars.Int8
    polars.List polars.Schema polars.String polars.UInt32
"""
# The same; they keep what they are given, functions and classes of the project too, and look at none of it.
_KEEPERS = """
    dataclasses.field functools.partial types.MappingProxyType typing.NewType typing.ParamSpec typing.TypeVar
    typing.cast
"""
_METHODS = (
    "casefold encode format items join keys lower lstrip replace rstrip split strip upper values"
)
_DECORATORS = """
    classmethod property staticmethod abc.abstractmethod contextlib.asynccontextmanager
    contextlib.contextmanager dataclasses.dataclass functools.cache functools.cached_property
    functools.lru_cache functools.singledispatch functools.total_ordering torch.inference_mode torch.no_grad
    typing.final typing.no_type_check typing.overload typing.runtime_checkable
"""
# Classes that take no notice of who inherits from them, and modules of nothing but such.
_BASES = "abc.ABC typing.Generic typing.NamedTuple typing.Protocol typing.TypedDict torch.autograd.Function"
_BASE_MODULES = ("collections.abc.", "torch.nn.")
# What may change after it was made, and calls that make nothing of the kind.
_FRESH = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)
_FIXED_CALLS = ("frozenset", "tuple", "int", "float", "str", "len", "range", "round", "min", "max")


class Waiting:
    """Decides about one statement; `bases` and `heirs` as of `Unit`, once it has."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.tops: set[str] = set()  # packages that are taken to be installed ones
        self.bases: list[str] | None = None
        self.heirs = False
        self.local: dict[str, bool] = {}  # names of the statement's own -> are their values plain

    def statement(self, node: ast.stmt) -> set[str] | None:
        """The packages that must be installed ones for the statement to wait; None if it does not."""
        waits = False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waits = node.name in self.module.makers and self._header(node)
        elif isinstance(node, ast.ClassDef):
            waits = self._class(node) and node.name in self.module.makers
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            made = self._value if all(isinstance(t, ast.Name) for t in targets) else self._plain
            waits = (
                all(self._target(target) for target in targets)
                and (node.value is None or made(node.value))
                and (isinstance(node, ast.Assign) or self._annotated(node.annotation))
            )
        return self.tops if waits else None

    def _target(self, node: ast.expr) -> bool:
        """Names that are bound once."""
        if isinstance(node, ast.Tuple):
            return all(isinstance(e, ast.Name) and self._target(e) for e in node.elts)
        return isinstance(node, ast.Name) and node.id in self.module.makers

    # ---- definitions

    def _header(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        """Whether what is evaluated where a function is defined is harmless."""
        annotations = [item.annotation for item in parameters(node.args)]
        return (
            all(self._decorator(expression) for expression in node.decorator_list)
            and self._values(defaults(node))
            and all(self._annotated(a) for a in [*annotations, node.returns] if a)
        )

    def _annotated(self, annotation: ast.expr) -> bool:
        return self.module.future or self._value(annotation)

    def _decorator(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Call):
            plain = all(self._plain(a) for a in [*node.args, *(k.value for k in node.keywords)])
            return plain and self._known(node.func, _DECORATORS)
        if isinstance(node, ast.Attribute) and node.attr in ("setter", "getter", "deleter"):
            return isinstance(node.value, ast.Name) and node.value.id in self.local
        return self._known(node, _DECORATORS)

    def _class(self, node: ast.ClassDef) -> bool:
        bases = self.bases = list[str]()
        self.heirs = any(
            isinstance(item, ast.FunctionDef) and item.name == "__init_subclass__"
            for item in node.body
        )
        # NamedTuple's and TypedDict's own keyword apart, they go to whoever inherits or makes classes.
        if any(keyword.arg != "total" for keyword in node.keywords):
            return False
        for base in node.bases:
            if isinstance(base, ast.Subscript):
                if not self._value(base.slice):
                    return False
                base = base.value
            dotted = _dotted(base)
            if dotted is None:
                return False
            if not self._is_harmless_base(base, dotted):
                bases.append(dotted)
        harmless = all(map(self._decorator, node.decorator_list))
        return harmless and all(map(self._in_class, node.body))

    def _is_harmless_base(self, node: ast.expr, dotted: str) -> bool:
        full = self._full(node)
        if full is None:
            return self._is_builtin(dotted)
        if full in _BASES.split() or full.startswith(_BASE_MODULES):
            self.tops.add(full.partition(".")[0])
            return True
        return False

    def _in_class(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            harmless = self._header(node)
            self.local[node.name] = False
            return harmless
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            harmless = (
                all(isinstance(target, ast.Name) for target in targets)
                and (node.value is None or self._value(node.value))
                and (isinstance(node, ast.Assign) or self._annotated(node.annotation))
            )
            self.local.update((t.id, False) for t in targets if isinstance(t, ast.Name))
            return harmless
        if isinstance(node, ast.Expr):
            return isinstance(node.value, ast.Constant)
        return isinstance(node, ast.Pass)

    # ---- values

    def _values(self, nodes: Iterable[ast.expr]) -> bool:
        return all(self._value(node) for node in nodes)

    def _value(self, node: ast.expr) -> bool:
        """Whether it can be had without running code of the project; what it is does not matter."""
        if isinstance(node, ast.Name):
            name = node.id
            return name in self.local or name in self.module.makers or self._plain(node)
        if isinstance(node, ast.Lambda):
            return self._values(defaults(node))
        if isinstance(node, ast.Tuple | ast.List):
            return self._values(node.elts)
        if isinstance(node, ast.Starred):
            return self._plain(node.value)
        if isinstance(node, ast.Dict):
            return all(
                self._plain(value) if key is None else self._plain(key) and self._value(value)
                for key, value in zip(node.keys, node.values, strict=True)
            )
        if isinstance(node, ast.Call) and self._known(node.func, _KEEPERS):
            return self._values([*node.args, *(keyword.value for keyword in node.keywords)])
        return self._plain(node)

    def _plain(self, node: ast.AST) -> bool:
        """Whether it is made of what Python or an installed package has, so that operators are theirs."""
        if isinstance(node, ast.Name):
            return self._is_plain_name(node)
        if isinstance(node, ast.Attribute):
            full = self._full(node)
            if full is not None:
                self.tops.add(full.partition(".")[0])
            return full is not None
        if isinstance(node, ast.Call):
            method = node.func
            known = self._known(method, _CALLS + _KEEPERS) or (
                isinstance(method, ast.Attribute)
                and method.attr in _METHODS.split()
                and self._plain(method.value)
            )
            return known and all(map(self._plain, [*node.args, *node.keywords]))
        if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            return self._is_plain_comprehension(node)
        if isinstance(
            node,
            ast.Constant
            | (ast.Tuple | ast.List | ast.Set | ast.Dict | ast.Starred | ast.keyword)
            | (ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.IfExp)
            | (ast.Subscript | ast.Slice | ast.JoinedStr | ast.FormattedValue),
        ):
            children = ast.iter_child_nodes(node)
            return all(self._plain(child) for child in children if isinstance(child, ast.expr))
        return False

    def _is_plain_comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> bool:
        before = dict(self.local)
        plain = True
        for generator in node.generators:
            plain = plain and self._plain(generator.iter)
            targets = ast.walk(generator.target)
            self.local.update((name.id, True) for name in targets if isinstance(name, ast.Name))
            plain = plain and all(map(self._plain, generator.ifs))
        made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        plain = plain and all(map(self._plain, made))
        self.local = before
        return plain

    def _is_plain_name(self, node: ast.Name) -> bool:
        if node.id in self.local:
            return self.local[node.id]
        if node.id not in self.module.bound:
            return self._is_builtin(node.id)
        full = self._full(node)
        if full is not None:
            self.tops.add(full.partition(".")[0])
            return True
        maker = self.module.makers.get(node.id)
        if not isinstance(maker, ast.Assign | ast.AnnAssign) or maker.value is None:
            return False
        # A list or an array may have been changed since; what stands below it was not there to be used.
        return (
            maker.lineno < node.lineno
            and all(
                not isinstance(part, _FRESH)
                and not (isinstance(part, ast.Call) and _dotted(part.func) not in _FIXED_CALLS)
                for part in ast.walk(maker.value)
            )
            and self._plain(maker.value)
        )

    def _known(self, node: ast.expr, known: str) -> bool:
        """Whether it is one of the words `known`: builtins, or dotted names of installed packages."""
        full = self._full(node)
        if full is None:
            name = _dotted(node) or ""
            return name in known.split() and self._is_builtin(name)
        self.tops.add(full.partition(".")[0])
        return full in known.split()

    def _is_builtin(self, name: str) -> bool:
        hidden = name in self.local or name in self.module.bound or self.module.stars
        return hasattr(builtins, name) and not hidden

    def _full(self, node: ast.expr) -> str | None:
        """The dotted name that a name (and attributes of it) stands for, where one import says so."""
        dotted = _dotted(node)
        name, _, rest = (dotted or "").partition(".")
        items = self.module.imports.get(name, ())
        maker = self.module.makers.get(name)
        if name in self.local or not isinstance(maker, ast.Import | ast.ImportFrom):
            return None
        if len(items) != 1 or items[0].level:
            return None
        return ".".join(part for part in (items[0].module, items[0].name, rest) if part)


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return ".".join([node.id, *parts]) if isinstance(node, ast.Name) else None
