"""What a step can reach: in each project one number is another afterwards, which counts or does not."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.runner.fingerprint import Code, explain, inspect_code

SCRIPT = "workflow_scripts/step.py"
COMPUTE = "def compute(run):\n    from pkg.m import entry\n    return entry()\n"
ENTRY = "def entry(): return 0\n"


def write(root: Path, files: dict[str, str], number: int = 1) -> Path:
    for name, text in {SCRIPT: COMPUTE, "pkg/__init__.py": "", **files}.items():
        path = root / (name if "/" in name else f"pkg/{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).replace("@@", str(number)))
    return root


def inspect(root: Path, *extra: str) -> Code:
    """Of the files as they are now; what an earlier walk is remembered for must not show."""
    found = inspect_code(root / SCRIPT, root, extra)
    for _ in range(2):  # walked or recalled, then recalled
        assert inspect_code(root / SCRIPT, root, extra, root.parent / f"{root.name}-memo") == found
    return found


# What a case is about -> its files; `@@` is the number.
COUNTS: dict[str, dict[str, str]] = {
    "a function that it calls": {"m": "def entry(): return f()\ndef f(): return @@"},
    "a function that is handed on": {"m": "def entry(): return map(f, [1])\ndef f(x): return @@"},
    "a function in another module": {
        "m": "from pkg.a import f\ndef entry(): return f()",
        "a": "def f(): return g()\ndef g(): return @@",
    },
    "a constant": {"m": "X = @@\ndef entry(): return X"},
    "a constant behind a constant": {"m": "X = @@\nY = (X, 3)\ndef entry(): return Y[0]"},
    "a method, through its class": {
        "m": "class A:\n    def f(self): return @@\ndef entry(): return A()",
    },
    "an inherited method": {
        "m": "from pkg.a import Base\nclass A(Base): pass\ndef entry(): return A().f()",
        "a": "class Base:\n    def f(self): return help()\ndef help(): return @@",
    },
    "a metaclass": {
        "m": """
            class Meta(type):
                def __call__(cls): return @@
            class A(metaclass=Meta): pass
            def entry(): return A()
        """,
    },
    "a decorator": {
        "m": "from pkg.a import twice\n@twice\ndef entry(): return 1",
        "a": "def twice(f):\n    return lambda: f() * @@",
    },
    "a decorator of a class": {
        "m": "from pkg.a import mark\n@mark\nclass A: pass\ndef entry(): return A.x",
        "a": "def mark(c):\n    c.x = @@\n    return c",
    },
    "a default": {"m": "X = @@\ndef entry(x=X): return x"},
    "a default that is a function": {
        "m": "def entry(*, f=None or (lambda: g())): return f()\ndef g(): return @@"
    },
    "a function in a table": {
        "m": "def f(): return @@\nTABLE = {'f': f}\ndef entry(): return TABLE['f']()"
    },
    "a lambda": {"m": "F = lambda: g()\ndef g(): return @@\ndef entry(): return F()"},
    "a function within": {
        "m": "def entry():\n    def inner():\n        return g()\n    return inner()\ndef g(): return @@",
    },
    "a registration in the same module": {
        "m": """
            TABLE = {}
            def register(f):
                TABLE[f.__name__] = f
                return f
            def entry(): return TABLE['one']()
            @register
            def one(): return @@
        """,
    },
    "a registration in another module that is imported": {
        "m": "import pkg.b\nfrom pkg.a import TABLE\ndef entry(): return TABLE['one']()",
        "a": "TABLE = {}\ndef register(f):\n    TABLE[f.__name__] = f\n    return f",
        "b": "from pkg.a import register\n@register\ndef one(): return @@",
    },
    "singledispatch": {
        "m": "import pkg.b\nfrom pkg.a import f\ndef entry(): return f(1)",
        "a": "import functools\n@functools.singledispatch\ndef f(x): return 0",
        "b": "from pkg.a import f\n@f.register\ndef _(x: int): return @@",
    },
    "a class that is told of those who inherit": {
        "m": """
            SEEN = []
            class Base:
                def __init_subclass__(cls): SEEN.append(cls)
            class A(Base): x = @@
            def entry(): return SEEN[0].x
        """,
    },
    "a class that is told, two classes above and elsewhere": {
        "m": "import pkg.b\nfrom pkg.a import SEEN\ndef entry(): return SEEN[-1].x",
        "a": "SEEN = []\nclass Base:\n    def __init_subclass__(cls): SEEN.append(cls)\nclass Next(Base): pass",
        "b": "from pkg import a as al\nclass A(al.Next): x = @@",
    },
    "classes that are asked for": {
        "m": """
            import pkg.b
            from pkg.a import Base
            def entry(): return [c.x for c in Base.__subclasses__()]
        """,
        "a": "class Base: pass",
        "b": "from pkg.a import Base\nclass A(Base): x = @@",
    },
    "a constant that is changed afterwards": {
        "m": "X = {}\nX.update(a=@@)\ndef entry(): return X",
    },
    "an entry that is set afterwards": {"m": "X = {}\nX['a'] = @@\ndef entry(): return X"},
    "an attribute that is set afterwards": {
        "m": "def f(): return f.x\nf.x = @@\ndef entry(): return f()",
    },
    "a constant that is changed in place": {"m": "X = [0]\nX += [@@]\ndef entry(): return X"},
    "a list that is changed by its other name": {
        "m": "X = []\nY = X\nY.append(@@)\ndef entry(): return X",
    },
    "a name that is bound twice": {"m": "X = @@\nX = (X, 1)\ndef entry(): return X"},
    "a name that a loop binds": {"m": "for X in range(@@): pass\ndef entry(): return X"},
    "a name that a comprehension binds": {"m": "Y = [X := @@]\ndef entry(): return X"},
    "a condition": {
        "m": "import sys\nif sys.maxsize > @@:\n    X = 1\nelse:\n    X = 2\ndef entry(): return X"
    },
    "an import that may fail": {
        "m": "try:\n    from pkg.a import f\nexcept ImportError:\n    f = None\ndef entry(): return f()",
        "a": "def f(): return @@",
    },
    "what stands in for an import": {
        "m": "try:\n    from pkg.none import f\nexcept ImportError:\n    def f(): return @@\ndef entry(): return f()",
    },
    "an effect of a module that is only imported": {
        "m": "import pkg.a\ndef entry(): return 0",
        "a": "import os\nos.environ['PKG'] = '@@'",
    },
    "an effect of a package on the way": {
        "m": "import pkg.deep.a\ndef entry(): return 0",
        "pkg/deep/__init__.py": "print(@@)",
        "pkg/deep/a.py": "",
    },
    "what an effect calls": {"m": "def setup(): return @@\nsetup()\ndef entry(): return 0"},
    "an assignment that calls what may have effects": {
        "m": "def setup(): return @@\n_ = setup()\ndef entry(): return 0",
    },
    "a name set in another module": {
        "m": "import pkg.a\nimport pkg.b\ndef entry(): return pkg.a.f()",
        "a": "def f(): return 0",
        "b": "import pkg.a\ndef g(): return @@\npkg.a.f = g",
    },
    "what else stands in a module in which names are set": {
        "m": "from pkg import a\ndef entry():\n    a.f = 1\n    return 2",
        "a": "f = 0\ndef g(): return @@",
    },
    "what else stands in a module that sets names elsewhere": {
        "m": "from pkg import a\ndef entry():\n    a.f = 1\n    return 2\ndef other(): return @@",
        "a": "f = 0",
    },
    "a name that is taken by a text": {
        "m": "import pkg.a\ndef entry(name='f'): return getattr(pkg.a, name)()",
        "a": "def f(): return @@",
    },
    "a module that is handed on": {
        "m": "from pkg import a\ndef entry(): return look(a)\ndef look(x): return x.f()",
        "a": "def f(): return @@",
    },
    "a module under another name": {
        "m": "from pkg import a\nb = a\ndef entry(): return b.f()",
        "a": "def f(): return @@",
    },
    "a module's dictionary": {
        "m": "import pkg.a as a\ndef entry(): return a.__dict__['f']()",
        "a": "def f(): return @@",
    },
    "globals": {"m": "def entry(): return globals()['f']()\ndef f(): return @@"},
    "vars without an argument": {"m": "def f(): return @@\ndef entry(): return V()['f']\nV = vars"},
    "code in a text": {"m": "def entry(): return eval('f()')\ndef f(): return @@"},
    "a pickle": {
        "m": "import pickle\nimport pkg.a\ndef entry(): return pickle.loads(b'cpkg.a\\nf\\n.')()",
        "a": "def f(): return @@",
    },
    "sys.modules": {
        "m": "import pkg.a\nimport sys\ndef entry(): return sys.modules['pkg.a'].f()",
        "a": "def f(): return @@",
    },
    "a module that answers for its names": {
        "m": "import pkg.a\ndef entry(): return pkg.a.f",
        "a": "def __getattr__(name): return SECRET\nSECRET = @@",
    },
    "all names of another module": {
        "m": "from pkg.a import *\ndef entry(): return f()",
        "a": "def f(): return @@",
    },
    "all names of a module that has them from another": {
        "m": "from pkg.a import *\ndef entry(): return b.f()",
        "a": "from pkg import b",
        "b": "def f(): return @@",
    },
    "a module among all names of a package": {
        "m": "from pkg.deep import *\ndef entry(): return a.f()",
        "pkg/deep/__init__.py": "__all__ = ['a']",
        "pkg/deep/a.py": "def f(): return @@",
    },
    "a module among all names of all names": {
        "m": "from pkg.a import *\ndef entry(): return c.f()",
        "a": "from pkg.b import *",
        "b": "from pkg import c",
        "c": "def f(): return @@",
    },
    "a name that a module hands on": {
        "m": "from pkg import f\ndef entry(): return f()",
        "pkg/__init__.py": "from .a import f",
        "a": "def f(): return @@",
    },
    "a name that a module hands on under another": {
        "m": "import pkg\ndef entry(): return pkg.g()",
        "pkg/__init__.py": "from .a import f as g",
        "a": "def f(): return @@",
    },
    "a chain of packages": {
        "m": "import pkg.deep.a as c\ndef entry(): return c.inner.f()",
        "pkg/deep/__init__.py": "",
        "pkg/deep/a.py": "from pkg import b as inner",
        "b": "def f(): return @@",
    },
    "an import within a function": {
        "m": "def entry():\n    import pkg.a as c\n    return c.f()",
        "a": "def f(): return @@",
    },
    "an import within, two levels up": {
        "pkg/deep/__init__.py": "",
        "pkg/deep/a.py": "def f():\n    from ..b import g\n    return g()",
        "m": "from pkg.deep.a import f\ndef entry(): return f()",
        "b": "def g(): return @@",
    },
    "an import that is global": {
        "m": "def load():\n    global a\n    from pkg import a\ndef entry():\n    load()\n    return a.f()",
        "a": "def f(): return @@",
    },
    "a constant that is global": {
        "m": "def load():\n    global X\n    X = @@\ndef entry(): return X",
    },
    "a module that is named by a text": {
        "m": "from importlib import import_module\ndef entry(): return import_module('pkg.a').f()",
        "a": "def f(): return @@",
    },
    "a module whose name begins with a text": {
        "m": "import importlib as i\ndef entry(n='a'): return i.import_module(f'pkg.{n}').f()",
        "a": "def f(): return @@",
    },
    "a cycle": {
        "m": "import pkg.a\ndef entry(): return pkg.a.f()\nX = @@",
        "a": "import pkg.m\ndef f(): return pkg.m.X",
    },
    "a name that nobody binds": {"m": "def entry(): return strange\nX = @@"},
    "an attribute that a module does not bind": {
        "m": "from pkg import a\ndef entry(): return a.strange",
        "a": "X = @@",
    },
    "an annotation in a class": {
        "m": """
            from __future__ import annotations
            import dataclasses
            from pkg.a import B
            @dataclasses.dataclass
            class A:
                b: list[B]
            def entry(): return A
        """,
        "a": "class B: x = @@",
    },
    "an annotation that is a text": {
        "m": "from pkg.a import B\nclass A:\n    b: 'list[B]' = 0\ndef entry(): return A",
        "a": "class B: x = @@",
    },
    "an annotation that is carried out": {
        "m": "def f(): return @@\ndef entry(x: f() = 0): return x"
    },
    "a name that a class has too, before it has it": {
        "m": "X = @@\nclass A:\n    X = X\ndef entry(): return A.X",
    },
    "a name around a comprehension that binds it": {
        "m": "x = [@@]\ndef entry(): return [x for x in x]",
    },
    "a name that an inner function hides": {
        "m": "def f(): return @@\ndef entry():\n    def inner(f): return f\n    return inner(f())",
    },
    "a name that a match takes": {
        "m": "class A: x = @@\ndef entry(v=0):\n    match v:\n        case A(): return 1",
    },
    "an exception that is caught": {
        "m": "class Oops(Exception): x = @@\ndef entry():\n    try: return 1\n    except Oops: return 2",
    },
    "where an imported name comes from": {
        "m": "from pkg.a import f@@ as f\ndef entry(): return f()",
        "a": "def f1(): return 0\ndef f2(): return 0\nBOTH = (f1, f2)\nprint(BOTH)",
    },
    "which installed function a name stands for": {
        "m": "from math import log@@0 as f\ndef entry(): return f(3)",
    },
    "the order of effects": {
        "m": "import pkg.a\ndef entry(): return 0",
        "a": "T = []\nif @@ == 1: T.append(1)\nT.append(2)",
    },
    "a plan": {SCRIPT: "def plan(job): return f()\ndef compute(run): return 0\ndef f(): return @@"},
    "an effect of a step": {
        SCRIPT: "def effect(job): return f()\ndef compute(run): ...\ndef f(): return @@"
    },
    "a script without entries": {SCRIPT: "def anything(): return @@"},
}
DOES_NOT: dict[str, dict[str, str]] = {
    "an error of pickles": {
        "m": "from pickle import UnpicklingError\ndef entry(): return UnpicklingError\ndef f(): return @@",
    },
    "a function that nothing calls": {"m": ENTRY + "def f(): return @@"},
    "a class that nothing names": {
        "m": ENTRY + "class A:\n    x: int = @@\n    def f(self): return @@"
    },
    "a constant that nothing names": {"m": ENTRY + "X = @@"},
    "a dataclass that nothing names": {
        "m": """
            import dataclasses
            from dataclasses import dataclass
            @dataclass(frozen=True)
            class A:
                x: list = dataclasses.field(default_factory=list)
                @property
                def f(self): return @@
                @f.setter
                def f(self, value): ...
            def entry(): return 0
        """,
    },
    "a class of a class of the project": {
        "m": "from pkg.a import Base\nclass A(Base):\n    x = @@\ndef entry(): return Base()",
        "a": "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass Base(Generic[T]): pass",
    },
    "a cached function that nothing calls": {
        "m": "import functools\n"
        + ENTRY
        + "@functools.lru_cache(maxsize=2**3)\ndef f(): return @@",
    },
    "a pattern that nothing names": {"m": "import re\n_X = re.compile('@@')\n" + ENTRY},
    "a type that nothing names": {
        "m": "from collections.abc import Callable\nX = Callable[[int], int] | None\n_Y = (X, @@)\n"
        + ENTRY,
    },
    "what a function of another module does not call": {
        "m": "from pkg import a\ndef entry(): return a.f()",
        "a": "def f(): return 0\ndef g(): return @@",
    },
    "what a function that is not called imports": {
        "m": ENTRY + "def f():\n    import pkg.a",
        "a": "print(@@)",
    },
    "a namesake of a local name": {
        "m": "def f(): return @@\ndef entry():\n    f = 1\n    return f",
    },
    "a namesake of a parameter": {"m": "X = @@\ndef entry(X=0, *Y, **Z): return X"},
    "a namesake of a comprehension's": {"m": "x = @@\ndef entry(): return [x for x in [1]]"},
    "a namesake of what an exception is called": {
        "m": "e = @@\ndef entry():\n    try:\n        return 1\n    except ValueError as e:\n        return e",
    },
    "a namesake of what a match takes": {
        "m": "x = @@\ndef entry(v=0):\n    match v:\n        case [1, *x]: return x\n        case {'a': x}: return x",
    },
    "a namesake of an outer function's name": {
        "m": "x = @@\ndef entry():\n    x = 1\n    def inner():\n        nonlocal x\n        x = 2\n    return inner",
    },
    "an attribute of the same name": {
        "m": "def f(): return @@\ndef entry(run=None): return run.f()"
    },
    "what is only imported for type checkers": {
        "m": """
            from __future__ import annotations
            import typing
            if typing.TYPE_CHECKING:
                from pkg.a import A
                X = @@
            class B:
                a: A
            def entry(x: A): return B
        """,
        "a": "print(@@)\nclass A: x = @@",
    },
    "an annotation of a function that is not carried out": {
        "m": "from __future__ import annotations\nfrom pkg.a import A\ndef entry(x: A = 0): y: A = 1",
        "a": "class A: x = @@",
    },
    "words below a constant": {"m": "X = 1\n'''Said @@ times.'''\ndef entry(): return X"},
    "the rest of a module of which a class is taken": {
        "m": "from pkg.a import A\ndef entry(): return A().f()",
        "a": "class A:\n    def f(self): return 0\ndef g(): return @@",
    },
    "a writer beside a reader": {
        "m": """
            from pathlib import Path
            FORMAT = ('a', 2)
            def entry(): return read(Path('x'))
            def read(path): return path.read_text(), FORMAT
            def write(path): path.write_text(str(FORMAT) * @@)
        """,
    },
    "vars of an object": {"m": "def entry(run=0): return vars(run)\ndef f(): return @@"},
    "the code that is left out, and what it calls": {
        "m": "from clipsteer.store.a import f\ndef entry(): return f()",
        "clipsteer/store/a.py": "from pkg.a import g\ndef f(): return g() + @@",
        "a": "def g(): return @@",
    },
    "a module beside one that is imported by name": {
        SCRIPT: "from importlib import import_module\ndef compute(run): import_module(f'pkg.{run}')",
        "extra": "X = 1",
        "a": "print(@@)",
    },
}


@pytest.mark.parametrize("case", COUNTS)
def test_what_counts(tmp_path: Path, case: str) -> None:
    before = inspect(write(tmp_path, COUNTS[case], 1))
    after = inspect(write(tmp_path, COUNTS[case], 2))
    assert before.fingerprint != after.fingerprint
    assert explain(before.material(), after.material())  # and it can be said


@pytest.mark.parametrize("case", DOES_NOT)
def test_what_does_not_count(tmp_path: Path, case: str) -> None:
    extra = ["pkg.extra"] if "extra" in DOES_NOT[case] else []
    before = inspect(write(tmp_path, DOES_NOT[case], 1), *extra)
    after = inspect(write(tmp_path, DOES_NOT[case], 2), *extra)
    assert explain(before.material(), after.material()) == []
    assert before.fingerprint == after.fingerprint


def test_a_change_is_told_by_module_and_name(tmp_path: Path) -> None:
    files = {
        "m": "from pkg.a import f\ndef entry(): return f()\nX = @@\nprint(X)",
        "a": "def f(): return g() + A().x\ndef g(): return @@\nclass A: x = @@",
    }
    before = inspect(write(tmp_path, files, 1)).material()
    lines = explain(before, inspect(write(tmp_path, files, 2)).material())
    assert [line.partition(":")[0] for line in lines] == [
        "module pkg.a.A",
        "module pkg.a.g",
        "module pkg.m.X",
    ]
    files["m"] = files["m"].replace("print(X)", "print(X, 1)")
    lines = explain(before, inspect(write(tmp_path, files, 1)).material())
    assert [line.partition(":")[0] for line in lines] == ["module pkg.m"]
    assert inspect(tmp_path).modules["pkg.a"].keys() == {"f", "g", "A"}


def test_order_of_definitions_does_not_count_but_that_of_effects_does(tmp_path: Path) -> None:
    def of(*statements: str) -> str:
        return inspect(write(tmp_path, {"m": "\n".join(statements)})).fingerprint

    entry, helper = "def entry(): return f() + X", "def f(): return 0"
    assert of(entry, helper, "X = 1") == of("X = 1", helper, entry)
    assert of(entry, helper, "X = 1", "print(1)", "print(2)") != of(
        entry, helper, "X = 1", "print(2)", "print(1)"
    )
    # A default is taken where the function is defined: before or after the list has another entry.
    one, two = "def f(x=len(T)): return x", "T.append(1)"
    assert of("T = []", entry, "X = 1", one, two) != of("T = []", entry, "X = 1", two, one)


def test_the_order_in_which_modules_have_effects_counts(tmp_path: Path) -> None:
    def of(imports: str, b: str) -> Code:
        files = {"m": imports + ENTRY, "a": "print('a')", "b": b}
        return inspect(write(tmp_path, files))

    first, second = "import pkg.a\nimport pkg.b\n", "import pkg.b\nimport pkg.a\n"
    one, other = of(first, "print('b')"), of(second, "print('b')")
    lines = explain(one.material(), other.material())
    assert [line.partition(":")[0] for line in lines] == ["module (order of imports)"]
    assert of(first, "B = 1").fingerprint == of(second, "B = 1").fingerprint


def test_a_module_that_is_only_imported_counts_once_it_has_an_effect(tmp_path: Path) -> None:
    files = {"m": "import pkg.a\n" + ENTRY, "a": "def f(): return 1"}
    before = inspect(write(tmp_path, files))
    assert "pkg.a" not in before.modules
    assert "pkg.a" in before.imported
    after = inspect(write(tmp_path, {**files, "a": "def f(): return 1\nprint(f)"}))
    assert set(after.modules["pkg.a"]) == {"import", "f"}


@pytest.mark.parametrize(
    "text",
    [
        "import_module(name)",
        "import_module('.a', name)",
        "import_module(name + '.a')",
        "(lambda load: load(name))(import_module)",
        "__import__(name)",
        "importlib.util.find_spec(name)",
        "getattr(importlib, 'import_module')(name)",
    ],
)
def test_an_import_of_which_nothing_is_known_is_refused(tmp_path: Path, text: str) -> None:
    files = {
        "m": f"import importlib.util\nfrom importlib import import_module\ndef f(name): return {text}\n"
        "def entry(): return 0\n",
        "a": "",
    }
    inspect(write(tmp_path, files))  # as long as nothing reaches it
    files["m"] = files["m"].replace("return 0", "return f('pkg.a')")
    with pytest.raises(ClipsteerError, match=r"pkg/m\.py: f imports a module by a name"):
        inspect(write(tmp_path, files))


def test_a_module_of_the_projects_with_an_installed_ones_name_is_read(tmp_path: Path) -> None:
    """What is harmless from a library may have any effect where a script has a module of that name."""
    files = {"m": ENTRY, SCRIPT: COMPUTE + "import re\nX = re.compile('a')\n"}
    assert "X" not in inspect(write(tmp_path, files)).modules["__main__"]
    files["workflow_scripts/re.py"] = "def compile(text): print(@@)"
    code = inspect(write(tmp_path, files))
    assert "X" in code.modules["__main__"]
    assert "compile" in code.modules["re"]


def test_classes_that_inherit_from_each_other_end(tmp_path: Path) -> None:
    files = {
        "m": "from pkg.a import A\nclass B(A): x = 1\n" + ENTRY,
        "a": "from pkg.m import B\nclass A(B): x = 1",
    }
    assert {"B", "entry"} <= set(inspect(write(tmp_path, files)).modules["pkg.m"])
