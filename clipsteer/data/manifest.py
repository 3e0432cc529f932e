"""The manifest: one table of a data set's images, their groups, digests and evaluation subset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import polars as pl

from clipsteer.data.files import check_paths
from clipsteer.data.labels import ROW_SCHEMA, SPLITS, check_unique, few
from clipsteer.errors import ClipsteerError
from clipsteer.store.trees import FileTree

SCHEMA = pl.Schema(
    {
        "index": pl.Int64(),
        "path": pl.String(),
        "split": pl.String(),
        "target": pl.Int8(),
        "spurious": pl.Int8(),
        "group": pl.Int8(),
        "class": pl.String(),
        "text": pl.String(),
        "digest": pl.String(),
        "evaluate": pl.Boolean(),
        "pair": pl.String(),
    }
)
_MOST = 128  # classes, and spurious values
_SOURCE = "manifest"
_STEPS_PER_OCTAVE = 4


def build_manifest(
    rows: pl.DataFrame,
    tree: FileTree,
    *,
    per_group: Mapping[str, int | None],
    seed: int,
    canonical: pl.Series | None = None,
    digests: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """The manifest of a data set from the rows that a layout read.

    Args:
        rows: columns path, split, target, spurious, class, text in the data set's own order; paths as
            they are in `tree`. A column `pair`, if there is one: the path of another row, whose image
            differs from this one in the spurious attribute alone; null where there is none.
        tree: where the images lie; asked for the digests that `digests` lacks.
        per_group: for `validation` and `test` the number of images of each group that evaluate;
            None or absent: all of them.
        seed: of the draw (see `choose`).
        canonical: the rows' paths as they are in the data set's own layout, however deep it lies
            here: they are drawn by and listed, so that the folder's place counts for nothing. Each
            must be the end of its path; where two are alike, all paths stay as they are.
        digests: path -> content digest, for instance from a scan.
        progress: called with the number of images hashed since its last call.

    Returns:
        Columns as in `SCHEMA`: train rows, then validation, then test, each in the order given;
        `index` counts from 0; `group` = n * target + spurious for n spurious values; `evaluate` is
        true for every train row and for the chosen rows of the other splits (balanced evaluation); `pair`
        is the path of the pair as the manifest has it.

    Raises:
        ClipsteerError: a path leaves the root or occurs twice, a split is unknown, a label is
            missing or no number from 0 on, there is only one class or spurious value, a split lacks a
            group that another has, a group has fewer images than `per_group`, or a pair is of another split,
            another target or the same spurious value.
    """
    frame = _checked(rows)
    frame = frame.with_columns(place=pl.col("path"))
    _check_pairs(frame)
    if canonical is not None and canonical.n_unique() == frame.height:
        frame = frame.with_columns(path=canonical)
    frame = frame.with_columns(
        pair=pl.col("pair").replace_strict(frame["place"], frame["path"], default=None)
    )
    rank = {split: number for number, split in enumerate(SPLITS)}
    frame = frame.sort(
        pl.col("split").replace_strict(rank, return_dtype=pl.Int8()), maintain_order=True
    )
    frame = frame.with_columns(_numbered(frame))  # of the rows as they are sorted
    if frame["group"].is_not_null().any():
        _check_groups(frame)
    known = digests if digests is not None else {}
    content = []
    for path in frame["place"]:
        content.append(known.get(path) or tree.digest(path))
        if progress is not None and path not in known:
            progress(1)
    return frame.with_columns(
        pl.Series("index", range(frame.height), dtype=pl.Int64()),
        pl.Series("digest", content, dtype=pl.String()),
        _evaluated(frame, per_group, seed),
    ).select(pl.col(name).cast(_dtype(name, frame)) for name in SCHEMA)


def choose(paths: list[str], count: int, seed: int) -> list[bool]:
    """Draw `count` of the paths by seed, in a way that outlasts appended ones.

    Each path has a number in [0, 1) that depends only on (seed, path). The paths below a threshold
    are kept, where the threshold is the smallest of 1, 2^-1/4, 2^-1/2, ... that keeps at least
    `count` of them, and the first `count` kept ones are taken, in order. Appended paths therefore
    leave the choice as it is until there are so many that a lower threshold will do (the steps are
    about a fifth apart), so that an evaluation split does not have to be extracted anew. Against a
    plain draw by rank, the last images of a group (about a sixth of them at most) may go without
    a chance to be taken.

    Returns a mask. `count` must be between 1 and the number of paths.
    """
    salt = f"{seed}\0".encode()
    draws = [
        int.from_bytes(hashlib.blake2b(salt + path.encode(), digest_size=8).digest(), "big") / 2**64
        for path in paths
    ]
    last = sorted(draws)[count - 1]
    level = 0
    while _threshold(level + 1) > last:
        level += 1
    bound = _threshold(level)
    mask, left = [], count
    for draw in draws:
        take = left > 0 and draw < bound
        mask.append(take)
        left -= take
    return mask


def group_counts(manifest: pl.DataFrame) -> pl.DataFrame:
    """Columns split, group (null without labels), images, evaluated; a row per split and group."""
    rank = {split: number for number, split in enumerate(SPLITS)}
    return (
        manifest.group_by("split", "group")
        .agg(pl.len().cast(pl.Int64()).alias("images"), pl.col("evaluate").sum().cast(pl.Int64()))
        .rename({"evaluate": "evaluated"})
        .sort(pl.col("split").replace_strict(rank, return_dtype=pl.Int8()), "group")
    )


def check_spurious(manifest: pl.DataFrame, value: int, key: str) -> None:
    """Raises ClipsteerError where no image has the spurious value that the config `key` asks for.

    Nothing is said of images without any labels.
    """
    there = manifest["spurious"].drop_nulls().unique().sort().to_list()
    if there and value not in there:
        raise ClipsteerError(
            f"{key}, or without it steering.attribute_value: found {value}, expected a spurious value that images have "
            f"({', '.join(map(str, there))}). Give {key} one of these."
        )


def split_rows(manifest: pl.DataFrame, split: str) -> pl.DataFrame:
    """The rows of a split that are extracted: all of train, the evaluated ones of the others."""
    if split not in SPLITS:
        raise ClipsteerError(f"split: found {split!r}; expected one of {', '.join(SPLITS)}.")
    return manifest.filter((pl.col("split") == split) & pl.col("evaluate"))


def joined(paths: pl.Series, rows: pl.DataFrame, canonical: pl.Series | None) -> pl.DataFrame:
    """The rows of a layout that belong to a manifest's `paths`, in their order.

    `rows`: with a column path as in the data set's folder; `canonical`: those paths as `build_manifest` was given
    them. Raises ClipsteerError where an image of the manifest has no row.
    """
    for own in (rows["path"], canonical):
        if own is not None and own.n_unique() == rows.height:
            found = pl.DataFrame({"path": paths}).join(
                rows.with_columns(path=own, there=pl.lit(True)),
                on="path",
                how="left",
                maintain_order="left",
            )
            if found["there"].is_not_null().all():
                return found.drop("there")
    raise ClipsteerError(
        f"{_SOURCE}: {paths[0]!r} and others have no row in the data set's table any more; expected those "
        "that the manifest was made from. Run the same command again."
    )


def _numbered(frame: pl.DataFrame) -> pl.Series:
    """The group of each row, Int64; null where one of its labels is."""
    n_spurious = _values(frame["spurious"])
    target, spurious = (frame[name].cast(pl.Int64()) for name in ("target", "spurious"))
    return (n_spurious * target + spurious).alias("group")


def _values(labels: pl.Series) -> int:
    """One more than the highest label."""
    highest = labels.max()
    return 1 + int(highest) if isinstance(highest, int) else 0


def _dtype(name: str, frame: pl.DataFrame) -> pl.DataType:
    """A column's type in the manifest: SCHEMA's, or a wider one for the numbers of very many groups."""
    many = name == "group" and _values(frame["group"]) > 128
    return pl.Int32() if many else SCHEMA[name]


def _threshold(level: int) -> float:
    return float(2.0 ** (-level / _STEPS_PER_OCTAVE))


def _checked(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns of ROW_SCHEMA and sound values."""
    absent = [name for name in ROW_SCHEMA if name not in rows.columns]
    if absent:
        raise ClipsteerError(f"{_SOURCE}: found no column {few(absent)} in the data set's rows.")
    if rows.is_empty():
        raise ClipsteerError(f"{_SOURCE}: the data set has no images; expected at least one.")
    check_paths(rows["path"], _SOURCE)
    check_unique(rows["path"], _SOURCE)
    strange = ~rows["split"].is_in(SPLITS).fill_null(False)
    if strange.any():
        where = strange.arg_true()[0]
        raise ClipsteerError(
            f"{_SOURCE}: {rows['path'][where]!r}: found the split {rows['split'][where]!r}; "
            f"expected one of {', '.join(SPLITS)}."
        )
    for name in ("target", "spurious"):
        label = rows[name]
        if label.is_null().all():
            continue
        # NaN is in no set of numbers, so this refuses it as it refuses -1 and an absent label.
        known = [float(value) for value in range(_MOST)]
        bad = ~label.cast(pl.Float64(), strict=False).is_in(known).fill_null(False)
        if bad.any():
            where = bad.arg_true()[0]
            raise ClipsteerError(
                f"{_SOURCE}: {rows['path'][where]!r}: found {name} {label[where]!r}; expected a whole "
                f"number from 0 to {_MOST - 1} on every row, or the column empty throughout."
            )
    pair = pl.col("pair") if "pair" in rows.columns else pl.lit(None).alias("pair")
    return rows.select(
        *(pl.col(name).cast(dtype) for name, dtype in ROW_SCHEMA.items()), pair.cast(pl.String())
    ).with_columns(pl.col("class").fill_null(""), pl.col("text").fill_null(""))


def _check_pairs(frame: pl.DataFrame) -> None:
    """A pair differs in the spurious attribute alone, as far as labels say."""
    own = frame.filter(pl.col("pair").is_not_null())
    other = frame.select(pl.col("path").alias("pair"), "split", "target", "spurious")
    both = own.join(other, on="pair", how="left", suffix="_there", maintain_order="left")
    wrong = both.filter(
        pl.col("split").ne_missing(pl.col("split_there"))
        | pl.col("target").ne(pl.col("target_there")).fill_null(True)
        | pl.col("spurious").eq(pl.col("spurious_there")).fill_null(True)
    )
    if wrong.height:
        row = wrong.row(0, named=True)
        mine, theirs = (
            ", ".join(f"{name} {row[name + end]}" for name in ("split", "target", "spurious"))
            for end in ("", "_there")
        )
        raise ClipsteerError(
            f"{_SOURCE}: {row['path']!r} ({mine}): found the pair {row['pair']!r} ({theirs}); expected an image of the "
            "same split and target with another spurious value."
        )


def _check_groups(frame: pl.DataFrame) -> None:
    """Every split has every group: worst-group accuracy is not one quantity otherwise.

    Of two classes and two spurious values that is all four; of more, pairs that no split has are no groups.
    """
    n_spurious = _values(frame["spurious"])
    for name in ("target", "spurious"):
        if frame[name].n_unique() < 2:
            raise ClipsteerError(
                f"{_SOURCE}: found the {name} {frame[name][0]} on all rows; expected two values or more."
            )
    expected = set(frame["group"].unique().to_list())
    if (n_spurious, _values(frame["target"])) == (2, 2):
        expected = set(range(4))
    for split in SPLITS:
        here = frame.filter(pl.col("split") == split)["group"]
        lacking = sorted(expected - set(here.unique().to_list()))
        if lacking:
            group = lacking[0]
            raise ClipsteerError(
                f"{_SOURCE}: the split {split!r} ({len(here)} images) lacks group {group} "
                f"({_labels_of(group, n_spurious)}); expected images of all {len(expected)} "
                "groups in train, validation and test. Add some, or split the data set otherwise."
            )


def _labels_of(group: int, n_spurious: int) -> str:
    return f"target {group // n_spurious}, spurious {group % n_spurious}"


def _evaluated(frame: pl.DataFrame, per_group: Mapping[str, int | None], seed: int) -> pl.Series:
    """The column `evaluate`."""
    for split in per_group:
        if split not in SPLITS[1:]:
            raise ClipsteerError(
                f"per_group: found {split!r}; expected {' or '.join(SPLITS[1:])}: the training "
                "split keeps its confound."
            )
    evaluate = [True] * frame.height
    for split in SPLITS[1:]:
        count = per_group.get(split)
        if count is None or not (frame["split"] == split).any():
            continue
        if count < 1:
            raise ClipsteerError(f"evaluation.{split}: found {count}; expected 1 or more, or null.")
        if frame["group"].is_null().any():
            raise ClipsteerError(
                f"evaluation.{split}: found {count}, but the data set has no target and spurious "
                "labels and so no groups; expected null. Set it to null, or give the labels."
            )
        for group in frame["group"].unique().sort().to_list():
            members = frame.with_row_index("row").filter(
                (pl.col("split") == split) & (pl.col("group") == group)
            )
            if members.height < count:
                raise ClipsteerError(
                    f"{_SOURCE}: the split {split!r} has {members.height} images of group {group} "
                    f"({_labels_of(group, _values(frame['spurious']))}); evaluation.{split} asks for "
                    f"{count}. Lower it, or add images of that group."
                )
            mask = choose(members["path"].to_list(), count, seed)
            for row, take in zip(members["row"], mask, strict=True):
                evaluate[row] = take
    return pl.Series("evaluate", evaluate, dtype=pl.Boolean())
