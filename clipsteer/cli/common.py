"""What the commands share: which store is meant, sizes and columns for people, progress."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from clipsteer.errors import ClipsteerError
from clipsteer.store.layout import FORMAT_FILE, ROOTS
from clipsteer.store.roots import REFS, root_id
from clipsteer.store.state import CACHES, noted_stores

CONFIG = Path("config.yaml")
_DEFAULT = "artifacts"


def add_store(parser: argparse.ArgumentParser) -> None:
    """The option --store."""
    parser.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help=f"the store; default: the one that runs here have used, or store.root in ./{CONFIG}",
    )


def store_root(arguments: argparse.Namespace) -> Path:
    """The root of the store that is meant. Raises ClipsteerError where there is none, or several."""
    found = store_roots(arguments)
    if len(found) > 1:
        places = ", ".join(map(str, found))
        raise ClipsteerError(
            f"{Path.cwd()}: found {len(found)} stores that its runs have used ({places}), expected "
            "one; say which: --store DIR."
        )
    return found[0]


def store_roots(arguments: argparse.Namespace, targets: Sequence[str] = ()) -> list[Path]:
    """The stores that may be meant, the likeliest first.

    `--store`; else those of the working copies that the targets lie in, and of the current folder:
    what their runs have used, what their config names. Raises ClipsteerError where there is none.
    """
    if arguments.store:
        places = [Path(arguments.store).expanduser()]
    else:
        folders = [*filter(None, map(_home, targets)), Path()]
        places = [store for folder in folders for store in _stores_of(folder)]
    found: dict[str, Path] = {}
    for place in places:
        if (place / FORMAT_FILE).exists():
            found.setdefault(os.path.realpath(place), place)
    if not found:
        looked = ", ".join(dict.fromkeys(map(str, places)))
        raise ClipsteerError(
            f"{looked}: found no store (no {FORMAT_FILE}), expected one that a run has made. Run the "
            "command in a working copy that has results, or say where the store is: --store DIR."
        )
    return list(found.values())


def _stores_of(folder: Path) -> list[Path]:
    """The stores of a working copy, there or not."""
    return [*noted_stores(folder), folder / _configured(folder)]


def _home(target: str) -> Path | None:
    """The working copy that a file lies in; None for what is no file, or lies in none."""
    path = Path(os.path.abspath(target))
    if not path.exists():
        return None
    return next((p for p in path.parents if (p / REFS).is_dir() or (p / CACHES).is_dir()), None)


def _configured(folder: Path) -> Path:
    file = folder / CONFIG
    if not file.is_file():
        return Path(_DEFAULT)
    import yaml

    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        return Path(config["store"]["root"]).expanduser()
    except (KeyError, TypeError):
        return Path(_DEFAULT)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClipsteerError(
            f"{file}: cannot be read as YAML ({' '.join(str(error).split())}); expected a config "
            "with store.root. Correct it, or say where the store is: --store DIR."
        ) from error


def working_copy(store: Path) -> Path | None:
    """The current folder, if it is a working copy of this store: if its pointers are in use here.

    That is, if its config names the store or its runs have used it, or the store knows the folder.
    """
    folder = Path.cwd()
    known = Path(store, ROOTS, root_id(folder)).is_dir()
    ours = known or os.path.realpath(store) in map(os.path.realpath, _stores_of(folder))
    return folder if ours and Path(REFS).is_dir() else None


def size(number: int) -> str:
    """`0 B`, `999 B`, `1.2 kB`, `34.0 MB`: bytes in decimal units."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.95:
            return f"{number} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def columns(rows: Sequence[Sequence[str]], right: str = "") -> list[str]:
    """Lines with the cells of a table one below the other; `right`: `>` for each right one."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    align = right.ljust(len(widths))
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if side == ">" else cell.ljust(width)
            for cell, width, side in zip(row, widths, align, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr while inside, to be told bytes done and bytes in all; no bar in a file."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Speed

    parts = ("{task.description}", BarColumn(), DownloadColumn(), Speed(), TimeRemainingColumn())
    with Progress(*parts, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Something that moves on stderr while inside; nothing in a file."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
