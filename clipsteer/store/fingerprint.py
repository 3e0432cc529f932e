"""Code fingerprints: one digest for everything in the project that a script's result can depend on.

What the script's `plan`, `compute` and `effect` can reach (`closure.py`): functions, classes, constants and
statements with effects, as normalised syntax trees, plus the versions of the third-party distributions which
the modules on the way import (and of a few that come with them, `packages.COMES_WITH`), plus Python's minor
version. The store itself is outside: one integer, `STORE_SEMANTICS`, stands for it in the action key. What
counts and what does not: docs/store-protocol.md, section 5.

Names that are put together at run time cannot be seen here: a step that imports an architecture, layout or
painter by name passes that module in `extra_modules`. Files that code reads are inputs, not code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from clipsteer.errors import ClipsteerError
from clipsteer.store.closure import IMPORTING, Walk
from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.durable import write_atomic
from clipsteer.store.packages import with_companions
from clipsteer.store.source import PYTHON, Source, parse_source

FORMAT = "clipsteer-code/2"
Part = Literal["module", "package", "python"]
_MEMO_LIMIT = 4000


@dataclass(frozen=True)
class Code:
    """The material of a fingerprint, for `plan` and `why`.

    modules: module -> what of it counts -> digest of its normalised syntax tree, 32 hexadecimal digits; the
    script is `__main__`; `import` stands for what importing the module does (a module that is imported but
    not there: "absent"); a name that the module imports stands for where it comes from. order: digest of
    the order in which importing them has effects. packages: top-level name -> "distribution version".
    imported: all modules of the project on the way, also those of which nothing counts.
    """

    modules: dict[str, dict[str, str]]
    order: str
    packages: dict[str, str]
    imported: tuple[str, ...]
    python: str = PYTHON

    def material(self) -> dict[str, Any]:
        """The fingerprint's material as JSON-ready values."""
        return {
            "format": FORMAT,
            "modules": self.modules,
            "order": self.order,
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


def changes(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> list[tuple[Part, str, str | None, str | None]]:
    """(part, name, old, new) of all that differs between two materials.

    Sorted; `None` stands for what does not count. A module's name is followed by that of what changed
    in it; alone it stands for what importing it does.
    """
    found: list[tuple[Part, str, str | None, str | None]] = []
    if old.get("format") == new.get("format"):
        found += _differences("module", _flat(old), _flat(new))
    else:
        before, after = (f"{code.get('format')}".rpartition("/")[2] for code in (old, new))
        found.append(("module", "(counted in another way)", before, after))
    found += _differences("package", old.get("packages", {}), new.get("packages", {}))
    if old.get("python") != new.get("python"):
        found.append(("python", "", old.get("python"), new.get("python")))
    return found


def _differences(
    part: Part, old: Mapping[str, str], new: Mapping[str, str]
) -> list[tuple[Part, str, str | None, str | None]]:
    names = sorted(old.keys() | new.keys())
    return [(part, n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]


def _flat(material: Mapping[str, Any]) -> dict[str, str]:
    """Dotted name -> digest; the order of effects with them, where it is known."""
    found = {
        module if name == IMPORTING else f"{module}.{name}": digest
        for module, names in material.get("modules", {}).items()
        for name, digest in names.items()
    }
    return {**found, "(order of imports)": material.get("order", "")}


def explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two materials, one line each, sorted; empty when nothing did.

    A `None` value stands for what does not count.
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
    """Follow the names of `script` through the project.

    `extra_modules` are dotted names of modules that count as a whole. `memo` is a JSON file of what was parsed
    before, by the raw digest of each file's bytes; it is only a cache, several processes may write
    it.

    Raises ClipsteerError for a script or extra module that is not there, for a file that does not
    parse, and for an import by a text of which nothing is known.
    """
    walk = _walked(script, project_root, extra_modules, memo)
    return Code(
        modules=walk.material(),
        order=digest_bytes(canonical_json(walk.order)),
        packages=with_companions(walk.outside),
        imported=tuple(sorted(walk.modules)),
    )


def _walked(
    script: Path, project_root: Path, extra_modules: Sequence[str], memo: Path | None
) -> Walk:
    files = _Files(memo)
    folder = os.path.dirname(os.path.abspath(script))
    walk = Walk(os.path.abspath(project_root), folder, files.read, extra_modules)
    walk.run(os.path.abspath(script))
    files.keep()
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


# --- the memo -----------------------------------------------------------------------------------
# One line with the digest of the rest; then, a line each, the digests of files' bytes and their units. A job
# parses only the lines of its own files.

_SOURCES: dict[str, Source] = {}  # what this process has read, by the same digest


class _Files:
    """Reads files; those read before, by this process or another, are not parsed again."""

    def __init__(self, memo: Path | None) -> None:
        self.memo = memo
        self.known: dict[str, bytes] | None = None  # of the memo, once it is needed
        self.used: set[str] = set()
        self.parsed = False

    def read(self, path: str) -> Source:
        """The units of a file."""
        with open(path, "rb") as file:
            data = file.read()
        key = digest_bytes(data)
        self.used.add(key)
        if key not in _SOURCES:
            if self.known is None:
                self.known = _memo(self.memo)
            if key in self.known:
                _SOURCES[key] = Source.of_json(json.loads(self.known[key]))
            else:
                _SOURCES[key] = parse_source(data, path)
                self.known[key] = canonical_json(_SOURCES[key].as_json())
                self.parsed = True
        return _SOURCES[key]

    def keep(self) -> None:
        """Replace the memo in one rename; of several writers the last wins, the others parse again."""
        if self.memo is None or self.known is None or not self.parsed:
            return
        if len(self.known) > _MEMO_LIMIT:
            self.known = {key: line for key, line in self.known.items() if key in self.used}
        body = b"\n".join(b"%s %s" % (key.encode(), line) for key, line in self.known.items())
        with suppress(OSError, ClipsteerError):  # a cache that cannot be written only costs time
            write_atomic(self.memo, _memo_head(body) + b"\n" + body)


def _memo(path: Path | None) -> dict[str, bytes]:
    """What was parsed before."""
    if path is None:
        return {}
    with suppress(OSError):
        found = os.stat(path)
        return _read_memo(path, (found.st_ino, found.st_size, found.st_mtime_ns))
    return {}


@lru_cache(maxsize=1)
def _read_memo(path: Path, stamp: tuple[int, ...]) -> dict[str, bytes]:
    """The memo of that stamp; what is damaged or from another Python is as good as nothing."""
    head, _, body = path.read_bytes().partition(b"\n")
    lines = body.splitlines() if head == _memo_head(body) else []
    return {key.decode(): line for key, _, line in (line.partition(b" ") for line in lines)}


def _memo_head(body: bytes) -> bytes:
    return f"{FORMAT} {PYTHON} {digest_bytes(body)}".encode()
