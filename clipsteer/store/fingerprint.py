"""Code fingerprints: one digest for everything in the project that a script's result can depend on.

The import closure of a script inside the project (function-level imports too), each module as a
normalised AST, plus the versions of the third-party distributions which that closure imports (and
of a few that come with them, `packages.COMES_WITH`), plus Python's minor version. Comments,
docstrings and formatting do not count. The store itself is outside every closure: one integer,
`STORE_SEMANTICS`, stands for it in the action key. An import that stands under `if TYPE_CHECKING:`
never runs and is not followed. docs/staleness.md has what follows from this, edit by edit.

Names that are put together at run time cannot be seen here: a step that imports an architecture,
layout or painter by name passes that module in `extra_modules`. Files that code reads are inputs,
not code.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.durable import write_atomic
from clipsteer.store.packages import ABSENT, is_installed, version_of, with_companions
from clipsteer.store.source import PYTHON, Import, Source, parse_source

FORMAT = "clipsteer-code/1"
Part = Literal["module", "package", "python"]
_SCRIPT = "__main__"
_OUTSIDE = ("clipsteer.store", "clipsteer.errors")
_MEMO_LIMIT = 4000


@dataclass(frozen=True)
class Code:
    """The material of a fingerprint, for `plan` and `why`.

    modules: module name -> digest of its normalised AST (the script itself is `__main__`; a module
    of the project that is imported but not there is "absent"). packages: top-level name ->
    "distribution version".
    """

    modules: dict[str, str]
    packages: dict[str, str]
    python: str = PYTHON

    def material(self) -> dict[str, Any]:
        """The fingerprint's material as JSON-ready values."""
        return {
            "format": FORMAT,
            "modules": self.modules,
            "packages": self.packages,
            "python": self.python,
        }

    @property
    def fingerprint(self) -> str:
        """Digest of the material."""
        return digest_bytes(canonical_json(self.material()))


def code_fingerprint(
    script: Path,
    project_root: Path,
    extra_modules: Sequence[str] = (),
    memo: Path | None = None,
) -> str:
    """Digest of all code that the script can run; see `inspect_code`."""
    return inspect_code(script, project_root, extra_modules, memo).fingerprint


def closure(
    script: Path,
    project_root: Path,
    extra_modules: Sequence[str] = (),
    memo: Path | None = None,
) -> dict[str, str]:
    """Project modules in the script's import closure -> digest of their normalised AST."""
    return inspect_code(script, project_root, extra_modules, memo).modules


def changes(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[tuple[Part, str, str | None, str | None]]:
    """(part, name, old, new) of all that differs between two materials.

    Sorted; `None` stands for what is not in the closure.
    """
    found: list[tuple[Part, str, str | None, str | None]] = []
    kinds: tuple[tuple[str, Part], ...] = (("modules", "module"), ("packages", "package"))
    for kind, word in kinds:
        before, after = old.get(kind, {}), new.get(kind, {})
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                found.append((word, name, before.get(name), after.get(name)))
    if old.get("python") != new.get("python"):
        found.append(("python", "", old.get("python"), new.get("python")))
    return found


def explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two materials, one line each, sorted; empty when nothing did.

    A `None` value reads as "not in the closure".
    """
    return [
        f"{' '.join(filter(None, (kind, name)))}: {before} -> {after}"
        for kind, name, before, after in changes(old, new)
    ]


def inspect_code(
    script: Path,
    project_root: Path,
    extra_modules: Sequence[str] = (),
    memo: Path | None = None,
) -> Code:
    """Follow the imports of `script` through the project.

    `extra_modules` are dotted names that join the closure. `memo` is a JSON file of what was parsed
    before, by the raw digest of each file's bytes; it is only a cache, several processes may write
    it.

    Raises ClipsteerError for a script or extra module that is not there and for a file that does
    not parse.
    """
    walk = _walked(script, project_root, extra_modules, memo)
    return Code(modules=dict(sorted(walk.modules.items())), packages=with_companions(walk.outside))


def _walked(
    script: Path, project_root: Path, extra_modules: Sequence[str], memo: Path | None
) -> _Walk:
    known = _read_memo(memo)
    folder = os.path.dirname(os.path.abspath(script))
    walk = _Walk(os.path.abspath(project_root), folder, known)
    walk.script(os.path.abspath(script))
    for name in extra_modules:
        walk.extra(name)
    if memo is not None and walk.parsed:
        _write_memo(memo, known, walk.used)
    return walk


def packages_imported(
    script: Path,
    project_root: Path,
    extra_modules: Sequence[str] = (),
    memo: Path | None = None,
) -> list[tuple[str, tuple[str, ...]]]:
    """(module, names) of each import of an installed package that the script's code can run.

    In the order of the walk, each once. Arguments and errors as of `inspect_code`.
    """
    walk = _walked(script, project_root, extra_modules, memo)
    return list(dict.fromkeys(walk.imports))


class _Walk:
    """The state of one walk: modules seen, third-party names seen, memo entries used."""

    def __init__(self, root: str, folder: str, known: dict[str, Any]) -> None:
        self.root, self.folder, self.known = root, folder, known
        self.modules: dict[str, str] = {}
        self.outside: set[str] = set()
        self.imports: list[tuple[str, tuple[str, ...]]] = []  # of installed packages
        self.used: set[str] = set()
        self.parsed = False
        self.places: dict[str, tuple[str | None, bool] | None] = {}

    def script(self, path: str) -> None:
        if not os.path.isfile(path):
            raise ClipsteerError(f"{path}: no such script; expected a Python file of the project.")
        self._take(_SCRIPT, path, package="")

    def extra(self, name: str) -> None:
        found = self._find(name)
        if found is not None and found[0] is not None:
            self._module(name)
            return
        top = name.partition(".")[0]
        if self._find(top) is not None or version_of(top) == ABSENT:
            raise ClipsteerError(
                f"module '{name}' was not found in {self.root}; expected a module of the project or"
                " of an installed package. Check the spelling of the name it was derived from."
            )
        self.outside.add(top)
        self.imports.append((name, ()))

    def _find(self, name: str) -> tuple[str | None, bool] | None:
        """(file, or None for a folder without __init__; is it a package), None if not ours."""
        if name not in self.places:
            self.places[name] = self._search(name)
        return self.places[name]

    def _search(self, name: str) -> tuple[str | None, bool] | None:
        # The script's folder comes before the standard library, as on `sys.path`; the project's
        # root after.
        parts = name.split(".")
        bases = (self.folder,) if parts[0] in sys.stdlib_module_names else (self.folder, self.root)
        for base in bases:
            stem = os.path.join(base, *parts)
            init = os.path.join(stem, "__init__.py")
            if os.path.isfile(init):
                return init, True
            if os.path.isfile(stem + ".py"):
                return stem + ".py", False
        for base in bases:  # a folder without __init__ is the last thing Python would take
            stem = os.path.join(base, *parts)
            if os.path.isdir(stem) and (len(parts) > 1 or _has_python(stem)):
                return None, True
        return None

    def _module(self, name: str) -> None:
        """Add a module and, as Python runs them first, its parent packages."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            if part in self.modules or _is_outside(part):
                continue
            found = self._find(part)
            if found is None:
                self.modules[part] = ABSENT
                return
            path, is_package = found
            if path is not None:
                package = part if is_package else ".".join(parts[: end - 1])
                self._take(part, path, package)

    def _take(self, name: str, path: str, package: str) -> None:
        source = self._source(path)
        self.modules[name] = source.digest  # before its imports, so that a cycle ends
        for item in source.imports:
            self._follow(item, package)

    def _follow(self, item: Import, package: str) -> None:
        target = item.module
        if item.level:
            parents = package.split(".") if package else []
            if item.level > len(parents):
                return  # Python would refuse it at run time
            base = parents[: len(parents) - item.level + 1]
            target = ".".join([*base, item.module] if item.module else base)
        top = target.partition(".")[0]
        found = self._find(top)
        # An installed package of the same name as a folder of scripts (no __init__) wins, as it
        # does in Python.
        if found is None or (found[0] is None and is_installed(top)):
            if top not in sys.stdlib_module_names:
                self.outside.add(top)
                self.imports.append((target, item.names or ()))
            return
        self._module(target)
        found = self._find(target)
        if found is None or not found[1]:
            return  # only a package has modules among its names
        for name in item.names or ():
            if name == "*":
                for child in self._children(target):
                    self._module(child)
            elif self._find(f"{target}.{name}") is not None:
                self._module(f"{target}.{name}")

    def _children(self, name: str) -> Iterator[str]:
        """The modules that `from package import *` may load (those its __all__ could name)."""
        found = self._find(name)
        if found is None or not found[1] or found[0] is None:
            return
        for entry in sorted(os.listdir(os.path.dirname(found[0]))):
            stem, extension = os.path.splitext(entry)
            if extension == ".py" and stem != "__init__":
                yield f"{name}.{stem}"

    def _source(self, path: str) -> Source:
        with open(path, "rb") as file:
            data = file.read()
        key = digest_bytes(data)
        self.used.add(key)
        entry = self.known.get(key)
        if entry is None:
            source = parse_source(data, path)
            self.parsed = True
            self.known[key] = [
                source.digest,
                [[i.level, i.module, i.names] for i in source.imports],
            ]
            return source
        digest, imports = entry
        return Source(
            digest, tuple(Import(v, m, None if n is None else tuple(n)) for v, m, n in imports)
        )


def _is_outside(name: str) -> bool:
    return any(name == out or name.startswith(out + ".") for out in _OUTSIDE)


def _has_python(folder: str) -> bool:
    return any(entry.endswith(".py") for entry in os.listdir(folder))


# --- the memo -----------------------------------------------------------------------------------
# One line with the digest of the rest, then the digests and imports of files by their raw digest.


def _read_memo(path: Path | None) -> dict[str, Any]:
    """What was parsed before; what is damaged or from another Python is as good as nothing."""
    if path is None:
        return {}
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return {}
    known: dict[str, Any] = json.loads(body) if head == _memo_head(body) else {}
    return known


def _memo_head(body: bytes) -> bytes:
    return f"{FORMAT} {PYTHON} {digest_bytes(body)}".encode()


def _write_memo(path: Path, known: dict[str, Any], used: set[str]) -> None:
    """Replace the memo in one rename; of several writers the last wins, the others parse again."""
    if len(known) > _MEMO_LIMIT:
        known = {key: known[key] for key in used}
    body = canonical_json(known)
    with suppress(OSError, ClipsteerError):  # a cache that cannot be written only costs time
        write_atomic(path, _memo_head(body) + b"\n" + body)
