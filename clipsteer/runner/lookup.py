"""What a walk through the project's code asks of the file system, with the answers.

So the same questions can be asked again later: where all answers are as they were, the walk would end as it did.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from clipsteer.runner.packages import is_installed
from clipsteer.store.digest import digest_bytes


class Place(NamedTuple):
    """path: a module's file, None for a folder without __init__. folder: where a package's modules lie."""

    path: str | None
    folder: str | None


class Lookup:
    """Looks for modules below a project's root, and in the folder of a script."""

    def __init__(self, root: str, folder: str) -> None:
        self.root, self.folder = root, folder
        self._digests: dict[str, str] = {}  # of files that were read
        self._places: dict[str, Place | None] = {}
        self._listings: dict[str, list[str]] = {}  # of packages
        self._installed: dict[str, bool] = {}

    def answers(self) -> dict[str, Any]:
        """All answers so far as JSON-ready values, for `confirms`."""
        return {
            "digests": self._digests,
            "places": self._places,
            "listings": self._listings,
            "installed": self._installed,
        }

    def confirms(self, answers: Mapping[str, Any]) -> bool:
        """Whether all answers would be the same now."""
        with suppress(OSError):
            return (
                all(self.read(path)[0] == digest for path, digest in answers["digests"].items())
                and all(_listed(self.place(n)) == place for n, place in answers["places"].items())
                and all(list(self.children(n)) == names for n, names in answers["listings"].items())
                and all(self.installed(top) == there for top, there in answers["installed"].items())
            )
        return False

    def read(self, path: str) -> tuple[str, bytes]:
        """A file's digest and bytes."""
        with open(path, "rb") as file:
            data = file.read()
        self._digests[path] = digest_bytes(data)
        return self._digests[path], data

    def installed(self, top: str) -> bool:
        """Whether a distribution of that name is installed."""
        if top not in self._installed:
            self._installed[top] = is_installed(top)
        return self._installed[top]

    def is_ours(self, name: str) -> bool:
        """Whether a dotted name is the project's, by its first part."""
        top = name.partition(".")[0]
        found = self.place(top)
        # An installed package of the same name as a folder of scripts (no __init__) wins, as it
        # does in Python.
        return found is not None and not (found.path is None and self.installed(top))

    def place(self, name: str) -> Place | None:
        """Where a module of the project lies; None if there is none of this name."""
        if name not in self._places:
            self._places[name] = self._search(name)
        return self._places[name]

    def _search(self, name: str) -> Place | None:
        above, _, last = name.rpartition(".")
        if above:
            package = self.place(above)
            bases = [package.folder] if package and package.folder else []
        else:
            # The script's folder comes before the standard library, as on `sys.path`; the project's
            # root after.
            bases = [self.folder, *([] if name in sys.stdlib_module_names else [self.root])]
        for base in bases:
            stem = os.path.join(base, last)
            init = os.path.join(stem, "__init__.py")
            if os.path.isfile(init):
                return Place(init, stem)
            if os.path.isfile(stem + ".py"):
                return Place(stem + ".py", None)
        for base in bases:  # a folder without __init__ is the last thing Python would take
            stem = os.path.join(base, last)
            if os.path.isdir(stem) and (above or _has_python(stem)):
                return Place(None, stem)
        return None

    def children(self, name: str) -> Iterator[str]:
        """The modules of a package, packages too; their dotted names, sorted."""
        if name not in self._listings:
            found = self.place(name)
            folder = found.folder if found else None
            self._listings[name] = [f"{name}.{stem}" for stem in _modules(folder)] if folder else []
        yield from self._listings[name]


def _listed(place: Place | None) -> list[str | None] | None:
    return None if place is None else list(place)


def _modules(folder: str) -> Iterator[str]:
    for entry in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(entry)
        package = os.path.isfile(os.path.join(folder, entry, "__init__.py"))
        if stem.isidentifier() and stem != "__init__" and (extension == ".py" or package):
            yield stem


def _has_python(folder: str) -> bool:
    return any(entry.endswith(".py") for entry in os.listdir(folder))
