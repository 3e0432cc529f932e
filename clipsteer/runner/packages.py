"""Versions of installed packages by the name one imports, from the names of metadata folders.

`importlib.metadata` takes 60 ms to import and 250 ms to map modules to distributions; a step that
has nothing to do should not pay that. It is used only for names that are not found the quick way.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from clipsteer.store.digest import digest_bytes

ABSENT = "absent"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

# Top-level module -> distribution, where the two names differ.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "yaml": "PyYAML",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "markdown_it": "markdown-it-py",
    "mpl_toolkits": "matplotlib",
    "attr": "attrs",
    "_pytest": "pytest",
}
# What comes with a direct import, shapes the bytes it makes and has releases of its own: top-level
# module -> distributions. The importing package leaves their versions open, or splits itself in two.
COMES_WITH: dict[str, tuple[str, ...]] = {
    "polars": ("polars-runtime-32",),
    "transformers": ("safetensors", "sentencepiece", "tokenizers"),
    "zarr": ("numcodecs",),
}
# Builds of one release for several devices: the device is recorded with an action, not part of its
# key.
_DEVICE_BUILD = re.compile(r"\+(cpu|cu\d+|rocm[\d.]*|xpu)$")


def version_of(top: str) -> str:
    """Distribution and version of the package that owns the top-level module `top`.

    Several owners (a namespace package) stand side by side. A module that no distribution owns
    counts by the digest of its file; one that is not installed is "absent", so that installing it
    shows.
    """
    versions = _versions(tuple(sys.path))
    names = [_normalised(_DISTRIBUTIONS.get(top, top))]
    if names[0] not in versions:
        names = sorted({_normalised(name) for name in _owners().get(top, [])} & versions.keys())
    if not names:
        return _unowned(top)
    return ", ".join(f"{name} {_DEVICE_BUILD.sub('', versions[name])}" for name in names)


def with_companions(tops: Iterable[str]) -> dict[str, str]:
    """Name -> version of top-level modules and of what comes with them, sorted by name."""
    found: dict[str, str] = {}
    for top in tops:
        found[top] = version_of(top)
        for name in COMES_WITH.get(top, ()):
            # Asked by distribution: the way of modules would map all of them for one that is absent.
            found.setdefault(name, version_of(name) if is_installed(name) else ABSENT)
    return dict(sorted(found.items()))


def is_installed(top: str) -> bool:
    """Whether a distribution of that name (or its known alias) is installed."""
    return _normalised(_DISTRIBUTIONS.get(top, top)) in _versions(tuple(sys.path))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=4)
def _versions(search: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in search:  # the first on the path wins, as it does for imports
        with suppress(OSError):
            for entry in sorted(os.listdir(folder or ".")):
                if entry.endswith((".dist-info", ".egg-info")):
                    name, _, version = entry.rsplit(".", 1)[0].partition("-")
                    if entry.endswith(".egg-info"):
                        version = version.partition("-py")[0]
                    if version:
                        found.setdefault(_normalised(name), version)
    return found


@lru_cache(maxsize=1)
def _owners() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()


def _unowned(top: str) -> str:
    from importlib.util import find_spec

    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return ABSENT
    if spec.origin is None or not os.path.isfile(spec.origin):
        return "unversioned"
    return "file " + digest_bytes(Path(spec.origin).read_bytes())
