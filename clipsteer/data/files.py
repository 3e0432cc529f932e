"""The files of a data set's folder: listed, found, and matched with the rows that name them."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from clipsteer.data.forms import CAPTIONS, MISSING_IMAGES
from clipsteer.data.labels import check_unique, few, fold, known_columns, one_of, read_table
from clipsteer.errors import ClipsteerError
from clipsteer.store.clutter import in_clutter
from clipsteer.store.trees import FileTree

_ARCHIVE = re.compile(r"(?i)\.(zip|tar|tgz|tbz2?|txz|7z|rar|gz|bz2|xz|zst|(zip|7z|rar)\.\d+|z\d+)$")
IMAGE_ENDING = r"\.(jpe?g|png|webp|bmp|gif|tiff?|avif|ppm)$"
"""Of the files that are read as images, whatever its case."""
# A path that is empty, absolute (POSIX or Windows), has a "", "." or ".." part, a backslash or NUL.
_BAD_PATH = r"^$|^/|/$|//|\\|\x00|^[A-Za-z]:|(^|/)\.\.?(/|$)"


class LeftOut(UserWarning):
    """Images that are listed but not used: how many of each split."""

    def __init__(self, text: str, counts: Mapping[str, int]) -> None:
        super().__init__(text)
        self.counts = dict(counts)


def listing_of(tree: FileTree) -> list[str]:
    """The tree's paths but for hidden and system files and folders, which are said to be left out.

    So are links that lead to nothing, which are no paths: data that were not fetched, or moved.
    """
    paths = tree.paths()
    kept = [path for path in paths if not in_clutter(path)]
    left_out = [*getattr(tree, "left_out", ()), *filter(in_clutter, paths)]
    if left_out:
        warnings.warn(
            f"hidden and system files and folders are left out ({len(left_out)}): {few(left_out)}",
            stacklevel=3,
        )
    dangling = getattr(tree, "dangling", ())
    if dangling:
        warnings.warn(
            f"{len(dangling)} links lead to nothing and are left out: {few(dangling)}", stacklevel=3
        )
    return kept


def find_file(listing: Iterable[str], names: Sequence[str]) -> str | None:
    """The path with one of these file names: the shallowest, then the earliest name; or None."""
    ranks = {name: rank for rank, name in enumerate(names)}
    found = [path for path in listing if path.rpartition("/")[2] in ranks]
    return min(found, key=lambda p: (p.count("/"), ranks[p.rpartition("/")[2]], p), default=None)


def need_file(listing: Sequence[str], names: Sequence[str], expected: str) -> str:
    """As `find_file`, but a ClipsteerError where there is none; `expected` describes it.

    Where there are several, a warning says which one is read.
    """
    file = find_file(listing, names)
    others = [path for path in listing if path != file and path.rpartition("/")[2] in names]
    if others:
        warnings.warn(f"{file} is read; of the same kind and not read: {few(others)}", stacklevel=3)
    if file is None:
        folded = {fold(name) for name in names}
        near = [path for path in listing if fold(path.rpartition("/")[2]) in folded]
        hint = archive_hint(listing) or (
            f"There is {near[0]!r}: rename it."
            if near
            else "Check that the data set's root points at the folder that holds it."
        )
        raise ClipsteerError(
            f"the data set's folder has no {' or '.join(names)}; expected {expected}. {hint}"
        )
    return file


def archive_hint(listing: Sequence[str]) -> str:
    """What to do where an archive lies in the folder, which nobody has unpacked; else nothing."""
    archives = [path for path in listing if _ARCHIVE.search(path)]
    if not archives:
        return ""
    return f"The folder holds {few(archives)}: unpack the images where the archive lies."


def folder_of(path: str) -> str:
    """The folder part of a relative path, with its slash; "" at the root."""
    head, slash, _ = path.rpartition("/")
    return head + slash


def check_paths(paths: pl.Series, source: str) -> None:
    """Raise a ClipsteerError naming the first row whose path could leave the data set's root."""
    bad = paths.str.contains(_BAD_PATH).fill_null(True)
    if bad.any():
        where = bad.arg_true()[0]
        raise ClipsteerError(
            f"{source}: row {where + 1}: found the path {paths[where]!r}; expected a path relative "
            "to the data set's root, with forward slashes and without '..'."
        )


def keep_existing(
    rows: pl.DataFrame, listing: Sequence[str], source: str, missing_images: str
) -> pl.DataFrame:
    """The rows whose image is in the listing, with the paths as they are written there.

    A path that differs from one file's in case or Unicode form alone is that file's, with a warning.

    Args:
        listing: the tree's paths (one directory listing rather than a stat per row).
        missing_images: `error` raises where one is absent, `drop` leaves the rows out (`LeftOut`).

    Raises:
        ClipsteerError: an image is absent (with `error`), or all are; it names the cause where that
            can be seen.
    """
    one_of(missing_images, MISSING_IMAGES, "missing_images")
    files = pl.Series("path", listing, dtype=pl.String).implode()
    there = rows["path"].is_in(files)
    if there.all():
        return rows
    rows = _respelt(rows, rows.filter(~there)["path"], listing, source)
    there = rows["path"].is_in(files)
    if there.all():
        return rows
    absent = rows.filter(~there)
    found = (
        f"{source}: {absent.height} of {rows.height} listed images are missing: "
        f"{few(absent['path'])}"
    )
    if missing_images == "error" or not there.any():
        cause = _cause(absent["path"], listing, every=not there.any())
        advice = "Add them, or take their rows out"
        if not there.any():
            advice = "Check where the images lie: their paths start at the data set's root"
        elif missing_images == "error":
            advice += ", or set the option 'missing_images' to 'drop' where it is a partial copy"
        raise ClipsteerError(
            f"{found}; expected each listed image under the data set's root. {cause or advice + '.'}"
        )
    counts = dict(absent.group_by("split").len().sort("split").iter_rows())
    warnings.warn(LeftOut(f"{found}; their rows are left out", counts), stacklevel=3)
    return rows.filter(there)


def _respelt(
    rows: pl.DataFrame, absent: pl.Series, listing: Sequence[str], source: str
) -> pl.DataFrame:
    """The rows with each absent path that differs from one file's in spelling alone put right."""
    wanted = defaultdict(list)
    for path in absent:
        wanted[fold(path)].append(path)
    taken = set(rows["path"])
    there = defaultdict(list)
    for path in listing:
        if path not in taken and (folded := fold(path)) in wanted:
            there[folded].append(path)
    pairs = {
        paths[0]: there[folded][0]
        for folded, paths in wanted.items()
        if len(paths) == len(there[folded]) == 1
    }
    if not pairs:
        return rows
    first = next(iter(pairs.items()))
    warnings.warn(
        f"{source}: {len(pairs)} images are written otherwise on disk, in case or Unicode form: "
        f"{first[1]!r} for {first[0]!r}; they are taken",
        stacklevel=4,
    )
    return rows.with_columns(pl.col("path").replace(pairs))


def _cause(absent: pl.Series, listing: Sequence[str], *, every: bool) -> str:
    """Why images are missing and what to do, as far as the listing shows it; else nothing.

    `every`: none of the listed images is there, so that the cause is a common one.
    """
    path = absent[0]
    folder, name = folder_of(path), fold(path.rpartition("/")[2])
    stem = name.rpartition(".")[0]
    images = [other for other in listing if re.search(IMAGE_ENDING, other, re.IGNORECASE)]
    spelt = [other for other in images if fold(other) == fold(path)]
    if spelt:
        return f"{few(spelt)} differ from {path!r} in case or Unicode form alone: rename one."
    names = [(other, fold(other.rpartition("/")[2])) for other in images]
    ending = [o for o, n in names if n.rpartition(".")[0] == stem and folder_of(o) == folder]
    if ending:
        return f"There is {ending[0]!r}, with another ending: correct the list or the files."
    if not every:
        return ""
    elsewhere = [o for o, n in names if n == name]
    if elsewhere:
        return f"There is {elsewhere[0]!r}: move the images, or correct the paths in the list."
    return archive_hint(listing)


def fill_text(rows: pl.DataFrame, tree: FileTree, listing: Sequence[str]) -> pl.DataFrame:
    """Fill `text` from `captions.csv` (columns path, text; paths relative to its own folder).

    Images without a caption keep what they have. A captions file that fits no image at all is a
    ClipsteerError, since then its paths are written in another way than the data set's.
    """
    file = find_file(listing, (CAPTIONS,))
    if file is None:
        return rows
    columns = ("path", "text")
    table = known_columns(read_table(tree.read(file), file), columns, file, needed=columns)
    captions = table.select(
        (pl.lit(folder_of(file)) + pl.col("path")).alias("path"),
        pl.col("text").fill_null("").alias("caption"),
    )
    check_unique(captions["path"], file)
    joined = rows.join(captions, on="path", how="left", maintain_order="left")
    if rows.height and joined["caption"].is_null().all():
        raise ClipsteerError(
            f"{file}: found no caption for any image (its first path is {captions['path'][0]!r}, "
            f"the data set's {rows['path'][0]!r}); expected paths relative to the file's folder."
        )
    return joined.with_columns(pl.coalesce("caption", "text").alias("text")).drop("caption")
