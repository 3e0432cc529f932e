"""What a script can reach: a walk over the units of the project's files (`source.py`).

Where a module is imported, all that has an effect there counts; its functions, classes and constants count
where a name leads to them from what counts. So the walk errs on the side of more: a module that is used
as a value (`getattr(module, ...)`), that another sets names in, or whose names cannot all be seen counts as a
whole, and so does one that is imported by a text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from clipsteer.errors import ClipsteerError
from clipsteer.runner.fingerprint import IMPORTED, IMPORTING
from clipsteer.runner.lookup import Lookup
from clipsteer.runner.packages import ABSENT, version_of
from clipsteer.runner.source import Import, Source, Unit, is_given, parse_source
from clipsteer.store.digest import canonical_json, short_digest

SCRIPT = "__main__"
_ENTRIES = ("plan", "compute", "effect")
_OUTSIDE = ("clipsteer.store", "clipsteer.runner", "clipsteer.errors")
_SOURCES: dict[str, Source] = {}  # what this process has parsed, by the digest of the file


class Reached:
    """A module of the project that is imported, and what of it is reached."""

    def __init__(self, name: str, path: str, package: str, source: Source) -> None:
        self.name, self.path, self.package, self.source = name, path, package, source
        self.units: set[int] = set()
        self.names: set[str] = set()  # of those that imports bind
        self.effects: list[int] = []
        self.whole = False


class Walk:
    """The state of one walk. `lookup` finds and reads files; `extra`: modules that count as a whole."""

    def __init__(self, lookup: Lookup, extra: Sequence[str]) -> None:
        self.lookup, self.extra = lookup, extra
        self.modules: dict[str, Reached | None] = {}  # None: not there
        self.order: list[str] = []  # of modules, as Python carries out what has effects there
        self.outside: set[str] = set()
        self.imports: list[tuple[str, tuple[str, ...]]] = []  # of installed packages
        self.known: set[tuple[str, str, tuple[str, ...], str]] = set()
        self.todo: list[tuple[Reached, Unit]] = []
        self.asked: list[tuple[str, str]] = []  # classes that `_hears` looks at just now
        self.all = False

    def run(self, script: str) -> None:
        """Walk from a script's entries, and from the extra modules.

        Raises ClipsteerError where one of these is not there.
        """
        if not os.path.isfile(script):
            raise ClipsteerError(
                f"{script}: no such script; expected a Python file of the project."
            )
        module = self._begin(SCRIPT, script, "")
        if "compute" not in module.source.names:
            self._take_whole(module)
        for name in _ENTRIES:
            if name in module.source.names:
                self._name(module, name, (), None)
        for name in self.extra:
            self._take_extra(name)
        self._drain()
        while self.all and any(module and not module.whole for module in self.modules.values()):
            for found in list(self.modules.values()):
                if found:
                    self._take_whole(found)
            self._drain()

    def material(self) -> dict[str, dict[str, str]]:
        """Module -> name -> digest of what counts, and `IMPORTING` and `IMPORTED` where there is any."""
        found = {
            name: _material(m) if m else {IMPORTING: ABSENT} for name, m in self.modules.items()
        }
        return {name: names for name, names in sorted(found.items()) if names}

    def _drain(self) -> None:
        while self.todo:
            module, unit = self.todo.pop()
            for item in unit.imports:
                self._import(Import(*item), module.package)
            for dotted in unit.loads:
                chain, owner = _chain(dotted, module)
                self._name(module, chain[0], chain[1:], owner)
            for item, dotted in unit.far:
                chain, owner = _chain(dotted, module)
                self._imported(module, Import(*item), chain, owner)
            for text in unit.strings:
                self._by_text(module, unit, text)
            if unit.looks == "own":
                self._take_whole(module)
            self.all |= unit.looks == "all"

    # ---- what counts

    def _reach(self, module: Reached, number: int) -> None:
        if number not in module.units:
            module.units.add(number)
            self.todo.append((module, module.source.units[number]))

    def _take_whole(self, module: Reached) -> None:
        if not module.whole:
            module.whole = True
            for number in range(len(module.source.units)):
                self._reach(module, number)
            for name in module.source.names:
                self._name(module, name, (), None)

    def _take_extra(self, name: str) -> None:
        top = name.partition(".")[0]
        place = self.lookup.place(name)
        if place and place.path:
            self._module(name, ())
        elif self.lookup.place(top) is not None or version_of(top) == ABSENT:
            raise ClipsteerError(
                f"module '{name}' was not found in {self.lookup.root}; expected a module of the project or"
                " of an installed package. Check the spelling of the name it was derived from."
            )
        else:
            self._leave(name)

    def _by_text(self, module: Reached, unit: Unit, text: str) -> None:
        """A module is imported whose name begins with `text`: one of the extra ones, or any that may be."""
        package = text.rpartition(".")[0]
        if not package:
            raise ClipsteerError(
                f"{module.path}: {' '.join(unit.names) or 'a statement'} imports a module by a name that"
                " is put together at run time, so it cannot be told which code counts; expected it to begin"
                ' with the package, such as import_module(f"package.{name}").'
            )
        if not any(name.startswith(text) for name in self.extra):
            if not self.lookup.is_ours(package):
                self._leave(package)
            for child in self.lookup.children(package):
                if child.startswith(text):
                    self._module(child, ())

    # ---- where names lead; `owner` is the module that sets the last attribute, None where it is only read

    def _name(
        self, module: Reached, name: str, chain: tuple[str, ...], owner: Reached | None
    ) -> None:
        """A name of a module, and the attributes `chain` of it."""
        key = (module.name, name, chain, owner.name if owner else "")
        if key in self.known:
            return
        self.known.add(key)
        units, items = module.source.names.get(name, ((), ()))
        for number in units:
            self._reach(module, number)
        if items:
            module.names.add(name)
        for item in items:
            self._imported(module, item, chain, owner)
        if not (units or items or is_given(name) or name in module.source.absent):
            self._take_whole(module)

    def _imported(
        self, module: Reached, item: Import, chain: tuple[str, ...], owner: Reached | None
    ) -> None:
        """What an import stands for, and attributes of it."""
        target = _absolute(item, module.package)
        if target and self.lookup.is_ours(target):
            if item.name:
                self._attribute(target, item.name, chain, owner)
            else:
                self._module(target, chain, owner)

    def _module(self, name: str, chain: tuple[str, ...], owner: Reached | None = None) -> None:
        """A module as a value, or an attribute of it."""
        module = self._load(name)
        if chain:
            self._attribute(name, chain[0], chain[1:], owner)
        else:
            for found in (module, owner):
                if found:
                    self._take_whole(found)

    def _attribute(
        self, target: str, name: str, chain: tuple[str, ...], owner: Reached | None
    ) -> None:
        module, child = self._load(target), f"{target}.{name}"
        known = module is not None and name in module.source.names
        if module and known:
            self._name(module, name, chain, owner)
        if self.lookup.place(child) is not None:
            self._module(child, chain, owner)
        elif module and not known and (name == "__dict__" or not is_given(name)):
            self._take_whole(module)

    # ---- imports

    def _import(self, item: Import, package: str) -> None:
        """An import is carried out."""
        target = _absolute(item, package)
        if target is None:
            return  # Python would refuse it at run time
        if not self.lookup.is_ours(target):
            self._leave(target, (item.name,) if item.name else ())
            return
        module = self._load(target)
        if item.name == "*":
            for child in self.lookup.children(target):  # of a package, as its __all__ may say
                self._module(child, ())
            if module:
                self._take_whole(module)
        elif item.name and self.lookup.place(f"{target}.{item.name}") is not None:
            self._load(f"{target}.{item.name}")

    def _leave(self, target: str, names: tuple[str, ...] = ()) -> None:
        top = target.partition(".")[0]
        if top not in sys.stdlib_module_names:
            self.outside.add(top)
            self.imports.append((target, names))

    def _load(self, name: str) -> Reached | None:
        """A module is imported and, as Python runs them first, its parent packages."""
        if name in self.modules:
            return self.modules[name]
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            if part in self.modules or _is_outside(part):
                continue
            found = self.lookup.place(part)
            if found is None:
                self.modules[part] = None
                break
            if found.path is not None:
                self._begin(part, found.path, part if found.folder else ".".join(parts[: end - 1]))
        return self.modules.get(name)

    def _begin(self, name: str, path: str, package: str) -> Reached:
        """Import one module: what it imports first, then what has effects."""
        source = self._read(path)
        module = self.modules[name] = Reached(name, path, package, source)
        for item in source.imports:
            self._import(item, package)
        module.effects = [n for n, unit in enumerate(source.units) if self._acts(module, unit)]
        for number in module.effects:
            self._reach(module, number)
        if module.effects:
            self.order.append(name)
        if "__getattr__" in source.names:
            self._take_whole(module)
        return module

    def _read(self, path: str) -> Source:
        digest, data = self.lookup.read(path)
        if digest not in _SOURCES:
            _SOURCES[digest] = parse_source(data, path)
        return _SOURCES[digest]

    def _acts(self, module: Reached, unit: Unit) -> bool:
        """Whether a statement counts wherever its module is imported."""
        return (
            unit.waits is None
            or any(self.lookup.is_ours(top) for top in unit.waits)
            or any(self._hears(module, *_chain(base, module)[0]) for base in unit.bases or ())
        )

    def _hears(self, module: Reached, name: str, *chain: str) -> bool:
        """Whether a class may be told of who inherits from it (or is not known at all)."""
        units, items = module.source.names.get(name, ([], []))
        if len(units) + len(items) != 1 or (module.name, name) in self.asked:
            return True
        self.asked.append((module.name, name))
        try:
            return self._heard(module, units, items, chain)
        finally:
            self.asked.pop()

    def _heard(
        self, module: Reached, units: list[int], items: list[Import], chain: tuple[str, ...]
    ) -> bool:
        if units:
            unit = module.source.units[units[0]]
            return bool(chain) or unit.bases is None or unit.heirs or self._acts(module, unit)
        target = _absolute(items[0], module.package)
        names = [part for part in (items[0].name, *chain) if part]
        while target and len(names) > 1 and self.lookup.place(f"{target}.{names[0]}") is not None:
            target = f"{target}.{names.pop(0)}"
        if target and _is_outside(target):
            return False
        above = self._load(target) if target and self.lookup.is_ours(target) else None
        return above is None or len(names) != 1 or self._hears(above, names[0])


def _material(module: Reached) -> dict[str, str]:
    source, found = module.source, dict[str, str]()
    if not (module.units or module.names or source.stars):
        return found
    for name, (units, _) in sorted(source.names.items()):
        parts = [source.units[number].digest for number in units if number in module.units]
        if parts:
            found[name] = parts[0] if len(parts) == 1 else _digest(parts)
    acts = [source.units[n].names or source.units[n].digest for n in module.effects]
    taken = [
        [name, _absolute(item, module.package), item.name]
        for name in sorted(module.names)
        for item in source.names[name][1]
    ]
    taken += [["*", _absolute(star, module.package), "*"] for star in source.stars]
    others = {IMPORTING: acts, IMPORTED: taken}
    return found | {name: _digest(values) for name, values in others.items() if values}


def _digest(value: object) -> str:
    return short_digest(canonical_json(value))


def _chain(dotted: str, module: Reached) -> tuple[tuple[str, ...], Reached | None]:
    """The parts of a dotted name, without the last and with the module if that is set, not read."""
    parts = tuple(filter(None, dotted.rstrip("=").split(".")))
    return (parts[:-1], module) if dotted.endswith("=") else (parts, None)


def _absolute(item: Import, package: str) -> str | None:
    """The full name of the module that is imported (from); None where there are too few packages."""
    if not item.level:
        return item.module
    parents = package.split(".") if package else []
    if item.level > len(parents):
        return None
    base = parents[: len(parents) - item.level + 1]
    return ".".join([*base, item.module] if item.module else base)


def _is_outside(name: str) -> bool:
    return any(name == out or name.startswith(out + ".") for out in _OUTSIDE)
