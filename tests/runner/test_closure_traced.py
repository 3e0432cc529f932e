"""Random small packages: what ran was in the fingerprint, and what gives another result has another one."""

from __future__ import annotations

import ast
import importlib
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsteer.runner.fingerprint import Code, inspect_code
from tests.data.small_trees import write_all
from tests.runner.traces import Ran, left_out

MODULES = ("a", "b", "c", "d")
MOST_CALLS, DEEPEST = 6000, 100
# In every module: calls what can be called, so that few of the random programs end early.
GO = """
def go(x, *rest):
    try:
        return x(*rest)
    except Exception:
        return x
"""
# In the script: what a result leads to, so that it shows.
DEEP = """
def deep(x, n=4):
    if isinstance(x, (list, tuple)):
        return [deep(y, n) for y in x]
    if isinstance(x, dict):
        return {k: deep(y, n) for k, y in x.items()}
    if isinstance(x, type):
        return [x.__name__, deep(getattr(x, 'k', None), n - 1), deep(go(x().m), n - 1)] if n else 0
    return deep(go(x), n - 1) if callable(x) and n else x
"""


@dataclass
class Writing:
    """One module as it is written; `names`: what it has so far, by kind."""

    draw: Any
    number: int
    numbers: Iterator[int]
    lines: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    count: int = 0

    def pick(self, *choices: str) -> str:
        return str(self.draw(st.sampled_from(choices)))

    def new(self, kind: str) -> str:
        self.count += 1
        name = f"{kind}{self.count}" if self.draw(st.integers(0, 9)) else f"{kind}1"
        self.names.setdefault(kind, []).append(name)
        return name

    def of(self, *kinds: str) -> str | None:
        found = [name for kind in kinds for name in self.names.get(kind, [])]
        return self.pick(*found) if found else None

    def other(self) -> str:
        """Another module, one that is imported before this one; of the first, itself."""
        return self.pick(*MODULES[: max(self.number, 1)])

    def value(self) -> str:
        """An expression, with a number of its own in it."""
        name = self.of("f", "C", "K", "i", "m") or "go"
        far = f"{self.of('m') or 'go'}.{self.pick('f1', 'f2', 'C2', 'K1', 'K3', 'f4')}"
        number = next(self.numbers)
        return self.pick(
            f"{number}",
            f"[{number}, {name}]",
            f"({number}, go({name}))",
            f"({number}, go({name}))",
            f"{{'x': {name}, 'n': {number}}}",
            f"[go({name}, x) for x in [{number}]]",
            f"[{name} for {name} in [{number}]]",
            f"(lambda x={name}: (go(x), {number}))",
            f"({number}, go(lambda: {far}), go(lambda: {far}()))",
            f"({number}, go(lambda: {name}.m()))",
            f"go(lambda: getattr({self.of('m') or name}, {self.pick('f1', 'f2', 'C2')!r})({number}))",
            f"go(lambda: globals()[{self.pick('f1', 'f2', 'K1')!r}]({number}))",
            f"go(lambda: [go(c) for c in {name}.__subclasses__()] + [{number}])",
        )

    def fixed(self) -> str:
        """An expression of which nothing is carried out where it stands."""
        name, number = self.of("f", "C", "K", "i") or "go", next(self.numbers)
        return self.pick(
            f"{number}",
            f"({number}, {name})",
            f"{{'x': {name}}}",
            f"[{number}, {name}]",
            name,
            f"lambda: ({number}, go({name}))",
        )

    def statement(self) -> None:
        module, name, value = self.other(), self.of("f", "K", "i") or "go", self.value()
        base = self.of("C")
        far = self.pick("f1", "f2", "C1", "C2", "K1", "K3")
        kind = self.pick(*"ffffCCKKdgupsritx")
        if kind == "f":
            default = self.pick("None", name, self.fixed(), value)
            self.lines.append(f"def {self.new('f')}(x={default}, *rest): return {value}, x")
        elif kind == "C":
            new = self.new("C")
            self.lines.append(f"class {new}{f'({base})' if base and base != new else ''}:")
            self.lines.append(
                f"    k = {self.pick(self.fixed(), value)}\n    def m(self): return self.k, {self.value()}"
            )
            if self.pick("yes", "no", "no") == "yes":
                self.lines.append(f"    def __init_subclass__(cls): go({name}, cls)")
        elif kind == "K":
            made = self.pick(self.fixed(), self.fixed(), value)
            self.lines.append(f"{self.new('K')} = {made}")
        elif kind == "d":
            self.lines.append(f"@{name}\ndef {self.new('f')}(*rest): return {value}")
        elif kind == "g":
            self.lines.append(f"def {self.new('f')}(*rest):\n    global {self.of('K') or 'K1'}")
            self.lines.append(f"    {self.of('K') or 'K1'} = {value}\n    return {self.value()}")
        elif kind == "u":
            self.lines.append(f"go(lambda: {self.of('K') or 'go'}.append({value}))")
        elif kind == "p" and self.names.get("m"):
            self.lines.append(f"{self.of('m')}.{far} = {self.pick(name, value)}")
        elif kind == "s":
            self.lines.append(f"from p.{module} import *")
        elif kind == "r":
            self.lines.append(f"if go({name}):\n    def {self.new('f')}(*rest): return {value}")
        elif kind == "i":
            self.names.setdefault("i", []).append(far)
            self.lines.append(f"try:\n    from p.{module} import {far}\nexcept ImportError: pass")
        elif kind == "t":
            self.lines.append(f"def {self.new('f')}(*rest):")
            text = self.pick(
                f"import p.{module}\n    return p.{module}.{far}",
                f"from p import {module}\n    return go({module}.{far}), {value}",
                f"from p.{module} import {far} as y\n    return go(y), {value}",
                f"import p.{module} as y\n    return [{value} for x in [go(y.{far})]]",
            )
            self.lines.append(f"    {text}")
        else:
            self.names.setdefault("m", []).append("m_" + module)
            how = (f"import p.{module} as m_{module}", f"from . import {module} as m_{module}")
            self.lines.append(self.pick(*how))


@st.composite
def packages(draw: Any) -> dict[str, str]:
    """The files of a package `p` and of a script that calls into it."""
    files = {"p/__init__.py": draw(st.sampled_from(["", "from .a import *", "from . import a"]))}
    numbers = itertools.count(1000)
    for number, module in enumerate(MODULES):
        writing = Writing(draw, number, numbers)
        for _ in range(draw(st.integers(2, 6))):
            writing.statement()
        files[f"p/{module}.py"] = "\n".join([GO, *writing.lines, ""])
    step = Writing(draw, len(MODULES), numbers)
    for _ in range(draw(st.integers(1, 4))):
        step.statement()
    result = f"{step.value()}, {step.fixed()}, {step.value()}"
    step.lines.append(f"def compute(run): return deep(({result}))")
    files["steps/step.py"] = "\n".join([GO, DEEP, *step.lines, ""]).replace("from . ", "from p ")
    return files


class EnoughError(BaseException):
    """The program has run for long enough."""


def run(root: Path) -> tuple[set[Ran], str]:
    """All code of the project that ran, and the result in words."""
    ran: set[Ran] = set()
    calls = depth = 0

    def see(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls, depth
        if event in ("call", "return") and frame.f_code.co_filename.startswith(str(root)):
            code = frame.f_code
            told = (code.co_filename, code.co_name, code.co_firstlineno, code.co_flags)
            ran.add(Ran.of(*told))
            calls += 1
            depth += 1 if event == "call" else -1
            if calls > MOST_CALLS or depth > DEEPEST:
                raise EnoughError

    sys.path[:0] = [str(root / "steps"), str(root)]
    importlib.invalidate_caches()
    found: Any = None
    ended = ""
    try:
        sys.setprofile(see)
        found = importlib.import_module("step").compute(None)
    except (Exception, EnoughError) as error:
        ended = type(error).__name__
    finally:
        sys.setprofile(None)
        del sys.path[:2]
        for name in [n for n in sys.modules if n in ("step", "p") or n.startswith("p.")]:
            del sys.modules[name]
    return ran, ended or shown(found)


def shown(value: Any, depth: int = 0) -> str:
    """A value in words that are the same in two runs of one program."""
    if depth > 8:
        return "..."
    if isinstance(value, tuple | list):
        return f"[{', '.join(shown(v, depth + 1) for v in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(k + shown(v, depth + 1) for k, v in value.items())}}}"
    if isinstance(value, int | str | type(None)):
        return repr(value)
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def inspect(root: Path) -> Code:
    found = inspect_code(root / "steps/step.py", root)
    assert (
        inspect_code(root / "steps/step.py", root, memo=root.parent / f"{root.name}-memo") == found
    )
    return found


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("packages")
    return (home / str(number) for number in itertools.count())


@settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.data_too_large],
)
@given(files=packages(), choice=st.integers(0, 10**6))
def test_random_packages(places: Iterator[Path], files: dict[str, str], choice: int) -> None:
    root = write_all(next(places), files)
    code = inspect(root)
    ran, result = run(root)
    assert left_out(code, ran, root, root / "steps/step.py") == []

    # One number is another: where that shows in the result, the fingerprint is another too.
    numbers = [
        (name, node.value)
        for name, text in files.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value >= 1000
    ]
    name, number = numbers[choice % len(numbers)]
    edited = {**files, name: files[name].replace(str(number), str(number + 10**7))}
    other = write_all(next(places), edited)
    if run(other)[1] != result:
        assert inspect(other).fingerprint != code.fingerprint


def test_what_is_left_out_is_found(tmp_path: Path) -> None:
    """The comparison itself can fail."""
    files = {
        "p/__init__.py": "",
        "p/a.py": "@(\n    lambda f: f\n)\ndef f1():\n    return (lambda: [1])()\ndef f2(): return 2\n",
        "steps/step.py": "from p.a import f1\ndef compute(run): return f1()\n",
    }
    root = write_all(tmp_path, files)
    code, (ran, result) = inspect(root), run(root)
    assert result == "[1]"
    assert left_out(code, ran, root, root / "steps/step.py") == []
    del code.modules["p.a"]["f1"]
    assert left_out(code, ran, root, root / "steps/step.py") == [
        f"p.a: f1 (line {line})" for line in (2, 5)
    ]
