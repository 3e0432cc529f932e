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
from clipsteer.runner.lookup import Lookup
from clipsteer.runner.packages import PYTHON, with_companions
from clipsteer.store.digest import canonical_json, digest_bytes, short_digest
from clipsteer.store.durable import write_atomic

FORMAT = "clipsteer-code/2"
Part = Literal["module", "package", "python"]
# Stand for what importing a module does, and for where the names come from that it imports and that count.
# No name in Python can be these.
IMPORTING, IMPORTED = "import", "from"
_WALKER = ("closure", "lookup", "names", "scopes", "source", "waiting")


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

    `extra_modules` are dotted names of modules that count as a whole. `memo` is a folder of earlier walks; it
    is only a cache, and several processes may write it.

    Raises ClipsteerError for a script or extra module that is not there, for a file that does not
    parse, and for an import by a text of which nothing is known.
    """
    walked = _walked(script, project_root, extra_modules, memo)
    return Code(
        modules=walked["modules"],
        order=walked["order"],
        packages=with_companions(walked["outside"]),
        imported=tuple(walked["imported"]),
    )


def packages_imported(
    script: Path,
    project_root: Path,
    extra_modules: Sequence[str] = (),
    memo: Path | None = None,
) -> list[tuple[str, tuple[str, ...]]]:
    """(module, names) of each import of an installed package that the script's code can run.

    In the order of the walk, each once. Arguments and errors as of `inspect_code`.
    """
    imports = _walked(script, project_root, extra_modules, memo)["imports"]
    return [(module, tuple(names)) for module, names in imports]


def _walked(
    script: Path, project_root: Path, extra_modules: Sequence[str], memo: Path | None
) -> dict[str, Any]:
    """What a walk from the script has found: as an earlier one did, if all that it looked at is as it was."""
    root, start = os.path.abspath(project_root), os.path.abspath(script)
    folder, place = os.path.dirname(start), None
    if memo is not None:
        place = memo / f"{short_digest(canonical_json([root, start, list(extra_modules)]))}.json"
        found = _recalled(place)
        if found is not None and Lookup(root, folder).confirms(found["answers"]):
            return found
    from clipsteer.runner.closure import Walk  # needed only for what was not walked before

    lookup = Lookup(root, folder)
    walk = Walk(lookup, extra_modules)
    walk.run(start)
    found = {
        "modules": walk.material(),
        "order": digest_bytes(canonical_json(walk.order)),
        "outside": sorted(walk.outside),
        "imports": list(dict.fromkeys(walk.imports)),
        "imported": sorted(walk.modules),
        "answers": lookup.answers(),
    }
    if place is not None:
        body = json.dumps(found).encode()
        with suppress(OSError, ClipsteerError):  # a cache that cannot be written only costs time
            write_atomic(place, _head(body) + b"\n" + body)
    return found


def _recalled(place: Path) -> dict[str, Any] | None:
    """An earlier walk; what is damaged, or from another Python or way of walking, is as good as nothing."""
    with suppress(OSError):
        head, _, body = place.read_bytes().partition(b"\n")
        if head == _head(body):
            found: dict[str, Any] = json.loads(body)
            return found
    return None


def _head(body: bytes) -> bytes:
    return f"{FORMAT} {PYTHON} {_walker()} {digest_bytes(body)}".encode()


@lru_cache(maxsize=1)
def _walker() -> str:
    """Stands for the code that walks, which somebody may be at work on."""
    found = [os.stat(Path(__file__).with_name(f"{name}.py")) for name in _WALKER]
    return digest_bytes(canonical_json([[info.st_size, info.st_mtime_ns] for info in found]))
