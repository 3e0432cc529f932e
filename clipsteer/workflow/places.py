"""Where a run may take place: what its folders and the clone's path must be like, said before it begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.durable import write_atomic
from clipsteer.store.roots import REFS

# What a run writes in its working directory.
_SNAKEMAKE = Path(".snakemake")
_FOLDERS = (_SNAKEMAKE, Path("logs"), Path("results"), Path(REFS))
_FILES = {".json", ".log"}  # pointers and logs, among folders
_OWNER = ".working-copy"  # beside pointers that a link leads to: whose they are


def check_places(base: Path, folder: Path, store: Path, *, writes: bool) -> None:
    """See that a clone's path can be used, and that what is in the working directory does not bar the way.

    `base` is the clone, `folder` the working directory, `store` the store's root as the config has it.
    `writes`: Snakemake may write its own folder. Raises ClipsteerError with all faults.
    """
    faults = list(_path_faults(base))
    for place in (*_FOLDERS, store):
        faults += _way_faults(folder, place)
    files = [p for n in _FOLDERS for p in _below(folder, n) if p.suffix in _FILES]
    faults += [not_a_file(file) for file in files if (folder / file).is_dir()]
    faults += [
        f"{place}: found a link, expected a folder. Put its content here; {REFS} itself may be a link."
        for place in _below(folder, Path(REFS))
        if (folder / place).is_symlink()
    ]
    if writes and not faults:
        faults += _write_faults(folder, _SNAKEMAKE)
    _raise(faults)


def not_a_file(place: Path | str) -> str:
    """What to say of a folder that stands where runs write a file."""
    return f"{place}: found a folder, expected a file that runs write. Rename or remove it."


def check_writable(folder: Path) -> None:
    """See that a run that has something to do may write where it will. Raises ClipsteerError.

    The store may be read-only where nothing has to be computed; a job says so where it does.
    """
    _raise(fault for place in _FOLDERS for fault in _write_faults(folder, place))


def claim_pointers(folder: Path) -> None:
    """Note that pointers to which a link leads are those of this working copy.

    Raises ClipsteerError where they are those of another: each has its own.
    """
    refs, here = folder / REFS, folder.resolve()
    if refs.resolve().is_relative_to(here):
        return
    note = refs / _OWNER
    owner = Path(os.fsdecode(note.read_bytes())) if note.exists() else here
    if owner != here and (owner / REFS).exists() and (owner / REFS).samefile(refs):
        link = next(place for place in (refs, *refs.parents) if place.is_symlink())
        raise ClipsteerError(
            f"{link.relative_to(folder)}: found a link to {link.resolve()}, where the pointers of {owner} are, "
            "expected a folder for this working copy alone. Remove the link; store.root in the config is how "
            "clones share a store."
        )
    write_atomic(note, os.fsencode(here))


def _path_faults(base: Path) -> Iterator[str]:
    for signs, who in (("{}", "Snakemake takes as wildcards"), (":", "PYTHONPATH cannot hold")):
        if found := [sign for sign in signs if sign in str(base)]:
            yield (
                f"{base}: found {' and '.join(found)} in the path of the clone, expected one without, which "
                f"{who}. Rename the folder."
            )


def _way_faults(folder: Path, name: Path) -> Iterator[str]:
    """What bars the way to a folder: there is at most one thing."""
    for shown in reversed([name, *name.parents][:-1]):
        place = folder / shown
        if place.is_symlink() and not place.exists():
            remedy = "Make that folder, or remove the link"
            if name not in (_SNAKEMAKE, Path("logs"), Path("results")):
                remedy += "; a store on another disk is best named by store.root in the config"
            yield f"{shown}: found a link to {os.readlink(place)}, where nothing is, expected a folder. {remedy}."
            return
        if place.exists() and not place.is_dir():
            yield f"{shown}: found a file, expected a folder. Rename or remove it."
            return


def _write_faults(folder: Path, name: Path) -> Iterator[str]:
    """The first folder that may not be written to: this one, one below it, or where it is to be made."""
    there = next(p for p in (folder / name, *(folder / name).parents) if p.exists())
    inner = _below(folder, name)
    for place in (there, *(folder / p for p in inner)):
        if not os.access(place, os.W_OK | os.X_OK):
            real = place.resolve()
            link = "" if real == place else f" (a link to {real})"
            yield (
                f"{place}{link}: found a folder that you may not write to, expected one where runs can write. "
                "Change its permissions, or run in a folder of your own (snakemake --directory FOLDER)."
            )
            return


def _below(folder: Path, name: Path) -> Iterator[Path]:
    """The folders below one; of Snakemake's own only the first, as it keeps a file for each output there."""
    for place, folders, _ in os.walk(folder / name):
        yield from (Path(place, inner).relative_to(folder) for inner in sorted(folders))
        if name == _SNAKEMAKE:
            return


def _raise(faults: Iterable[str]) -> None:
    if found := list(dict.fromkeys(faults)):
        raise ClipsteerError("\n".join(found))
