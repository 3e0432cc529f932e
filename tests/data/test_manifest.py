from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.data.labels import ROW_SCHEMA
from clipsteer.data.manifest import (
    SCHEMA,
    build_manifest,
    check_spurious,
    choose,
    group_counts,
    joined,
    split_rows,
)
from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes
from clipsteer.store.trees import FolderTree
from tests.data.small_trees import write

Row = tuple[str, str, int | None, int | None, str, str]
SPLITS = ("train", "validation", "test")
ALL: Mapping[str, int | None] = {"validation": None, "test": None}


class NoTree:
    """For manifests whose digests are given: whoever asks the tree is at fault."""

    def digest(self, path: str) -> str:
        raise AssertionError(path)


def frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=ROW_SCHEMA, orient="row")


def rows_of(sizes: Mapping[str, tuple[int, ...]], labelled: bool = True) -> list[Row]:
    """Rows of each split with that many images in groups 0..3, the groups interleaved."""
    return [
        (
            f"{split}/{g}/{i}.jpg",
            split,
            g // 2 if labelled else None,
            g % 2 if labelled else None,
            "",
            "",
        )
        for split, groups in sizes.items()
        for i in range(max(groups))
        for g in range(4)
        if i < groups[g]
    ]


def build(
    rows: list[Row], per_group: Mapping[str, int | None] = ALL, seed: int = 0
) -> pl.DataFrame:
    digests = {row[0]: digest_bytes(row[0].encode()) for row in rows}
    return build_manifest(
        frame(rows),
        NoTree(),  # type: ignore[arg-type]
        per_group=per_group,
        seed=seed,
        digests=digests,
    )


SMALL = {"train": (3, 1, 1, 2), "validation": (2, 2, 1, 1), "test": (4, 3, 2, 1)}


@given(order=st.permutations(rows_of(SMALL)))
@settings(max_examples=20)
def test_each_image_has_the_group_of_its_own_labels_in_whatever_order_they_are_listed(
    order: list[Row],
) -> None:
    made = build(order)
    labels = {row[0]: row[2:4] for row in order}
    for path, *found in made.select("path", "target", "spurious", "group").iter_rows():
        target, spurious = labels[path]
        assert found == [target, spurious, 2 * target + spurious]
    listed = [row[0] for split in SPLITS for row in order if row[1] == split]
    assert made["path"].to_list() == listed


def test_columns_order_groups_and_digests(tmp_path: Path) -> None:
    names = ["t/z.jpg", "v/y.jpg", "t/x.jpg", "r/w.jpg", "r/a.jpg", "v/b.jpg"]
    splits = ["test", "validation", "test", "train", "train", "validation"]
    rows = frame([(n, s, None, None, "c", "d") for n, s in zip(names, splits, strict=True)])
    for name in names:
        write(tmp_path / name, name)
    known = {"v/y.jpg": "blake3:" + "5" * 64}
    hashed: list[int] = []
    got = build_manifest(
        rows,
        FolderTree(tmp_path),
        per_group=ALL,
        seed=3,
        digests=known,
        progress=hashed.append,
    )
    assert sum(hashed) == 5
    assert got.schema == SCHEMA
    assert got["path"].to_list() == [
        "r/w.jpg",
        "r/a.jpg",
        "v/y.jpg",
        "v/b.jpg",
        "t/z.jpg",
        "t/x.jpg",
    ]
    assert got["index"].to_list() == list(range(6))
    assert got["digest"].to_list() == [
        known.get(path, digest_bytes(path.encode())) for path in got["path"]
    ]
    assert got.select("target", "spurious", "group").null_count().row(0) == (6, 6, 6)
    assert got["evaluate"].all()
    assert got["class"].unique().to_list() == ["c"]
    assert got["text"].unique().to_list() == ["d"]


def test_groups_and_counts() -> None:
    got = build(rows_of(SMALL), {"validation": None, "test": 1})
    assert (got["group"] == 2 * got["target"] + got["spurious"]).all()
    assert [int(p.split("/")[1]) for p in got["path"]] == got["group"].to_list()
    counts = group_counts(got)
    assert counts.columns == ["split", "group", "images", "evaluated"]
    assert counts.rows() == [
        (split, g, n, 1 if split == "test" else n)
        for split, groups in SMALL.items()
        for g, n in enumerate(groups)
    ]
    assert split_rows(got, "test")["group"].sort().to_list() == [0, 1, 2, 3]
    assert split_rows(got, "train").height == 7
    assert split_rows(got, "validation")["split"].unique().to_list() == ["validation"]
    with pytest.raises(ClipsteerError, match="'val'"):
        split_rows(got, "val")


def test_counts_without_labels() -> None:
    got = build(rows_of(SMALL, labelled=False))
    assert group_counts(got).rows() == [(s, None, sum(g), sum(g)) for s, g in SMALL.items()]


sizes_and_count = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.just(count), st.tuples(*[st.integers(count, 40)] * 4), st.integers(0, 2**32)
    )
)


@settings(max_examples=40)
@given(sizes_and_count)
def test_balanced_evaluation_is_exact_and_repeatable(
    case: tuple[int, tuple[int, ...], int],
) -> None:
    count, sizes, seed = case
    rows = rows_of({"train": (1, 1, 1, 1), "validation": (2, 2, 2, 2), "test": sizes})
    got = build(rows, {"validation": None, "test": count}, seed)
    chosen = split_rows(got, "test")
    assert Counter(chosen["group"]) == dict.fromkeys(range(4), count)
    assert split_rows(got, "validation").height == 8
    assert got.equals(build(rows, {"validation": None, "test": count}, seed))
    # A group's choice hangs on its own images alone.
    other = rows_of(
        {"train": (2, 2, 2, 2), "validation": (1, 1, 1, 1), "test": (sizes[0], 6, 6, 6)}
    )
    again = split_rows(build(other, {"test": count}, seed), "test").filter(pl.col("group") == 0)
    assert again["path"].to_list() == chosen.filter(pl.col("group") == 0)["path"].to_list()


def level(paths: list[str], count: int, seed: int) -> int:
    """The exponent of a draw's threshold by logarithm; `choose` searches for it."""
    draws = sorted(
        int.from_bytes(blake2b(f"{seed}\0{p}".encode(), digest_size=8).digest(), "big") / 2**64
        for p in paths
    )
    return math.ceil(-4 * math.log2(draws[count - 1])) - 1


@settings(max_examples=200)
@given(st.integers(1, 30), st.integers(0, 60), st.integers(0, 60), st.integers(0, 2**32))
def test_appended_images_leave_the_choice_unless_the_threshold_falls(
    count: int, more: int, appended: int, seed: int
) -> None:
    before = [f"{i:06d}.jpg" for i in range(count + more)]
    after = before + [f"new/{i}.jpg" for i in range(appended)]
    old, new = choose(before, count, seed), choose(after, count, seed)
    assert sum(old) == sum(new) == count
    if level(before, count, seed) == level(after, count, seed):
        assert new == old + [False] * appended
    else:
        assert level(before, count, seed) < level(after, count, seed)


def test_a_few_appended_images_rarely_change_the_choice() -> None:
    """10 images are added to 1,000, of which 180 evaluate; over 100 seeds."""
    before = [f"{i:06d}.jpg" for i in range(1000)]
    after = before + [f"new/{i}.jpg" for i in range(10)]
    same = sum(choose(before, 180, s) == choose(after, 180, s)[:1000] for s in range(100))
    assert same >= 90


def test_the_seed_matters_and_no_place_is_favoured() -> None:
    """Over many seeds every image of the reachable part is taken about equally often."""
    paths = [f"{i:06d}.jpg" for i in range(100)]
    assert choose(paths, 10, 0) != choose(paths, 10, 1)
    taken = [0] * 100
    seeds = 2000
    for seed in range(seeds):
        for i, take in enumerate(choose(paths, 10, seed)):
            taken[i] += take
    # 10 of 100 over 2000 seeds: 200 each were the draw uniform, sd 13. The first half gets a little
    # more than that because the last images are reached less often.
    half = taken[:50]
    assert max(half) - min(half) < 8 * 15
    assert 200 < sum(half) / 50 < 240
    assert min(taken) > 20


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("group", range(4))
def test_a_split_that_lacks_a_group(split: str, group: int) -> None:
    sizes = {s: tuple(0 if (s, g) == (split, group) else 2 for g in range(4)) for s in SPLITS}
    message = (
        rf"split '{split}' \(6 images\) lacks group {group} "
        rf"\(target {group // 2}, spurious {group % 2}\)"
    )
    with pytest.raises(ClipsteerError, match=message):
        build(rows_of(sizes))


def test_a_labelled_data_set_without_a_split() -> None:
    with pytest.raises(ClipsteerError, match=r"split 'validation' \(0 images\) lacks group 0"):
        build(rows_of({"train": (1, 1, 1, 1), "test": (1, 1, 1, 1)}))


def test_a_group_with_too_few_images() -> None:
    with pytest.raises(ClipsteerError, match=r"'test' has 2 images of group 2 .*asks for 3"):
        build(rows_of(SMALL), {"validation": None, "test": 3})


def test_per_group_faults() -> None:
    rows = rows_of(SMALL)
    with pytest.raises(ClipsteerError, match=r"per_group: found 'train'"):
        build(rows, {"train": 1})
    with pytest.raises(ClipsteerError, match=r"evaluation\.test: found 0"):
        build(rows, {"test": 0})
    with pytest.raises(ClipsteerError, match=r"evaluation\.test.*no target and spurious"):
        build(rows_of(SMALL, labelled=False), {"test": 1})


def test_duplicate_paths() -> None:
    rows = rows_of(SMALL)
    rows[9] = (rows[0][0], *rows[9][1:])
    with pytest.raises(ClipsteerError, match=rf"'{rows[0][0]}' more than once"):
        build(rows)


@pytest.mark.parametrize("path", ["../a.jpg", "/a.jpg", "a/../../b.jpg", "", "a\\b.jpg"])
def test_paths_that_leave_the_root(path: str) -> None:
    rows = rows_of(SMALL)
    rows[4] = (path, *rows[4][1:])
    with pytest.raises(ClipsteerError, match=r"row 5: found the path"):
        build(rows)


@pytest.mark.parametrize("label", [-1, 128, None, float("nan"), 0.5])
@pytest.mark.parametrize("column", ["target", "spurious"])
def test_labels_that_are_none(column: str, label: object) -> None:
    table = frame(rows_of(SMALL))
    values = table[column].to_list()
    values[2] = label
    path = table["path"][2]
    with pytest.raises(ClipsteerError, match=rf"'{path}': found {column} "):
        build_manifest(
            table.with_columns(pl.Series(column, values, strict=False)),
            NoTree(),  # type: ignore[arg-type]
            per_group={},
            seed=0,
        )


def test_unknown_split_missing_column_and_no_rows() -> None:
    rows = rows_of(SMALL)
    for split in ("val", None):
        with pytest.raises(ClipsteerError, match=rf"'{rows[1][0]}': found the split {split!r}"):
            build([rows[0], (rows[1][0], split, *rows[1][2:]), *rows[2:]])  # type: ignore[list-item]
    tree = NoTree()
    with pytest.raises(ClipsteerError, match="no column 'split'"):
        build_manifest(frame(rows).drop("split"), tree, per_group={}, seed=0)  # type: ignore[arg-type]
    with pytest.raises(ClipsteerError, match="no images"):
        build([])


def test_the_place_of_the_folder_counts_for_nothing(tmp_path: Path) -> None:
    """The draw, the paths and the order are those of the canonical paths; the contents those of the place."""
    rows = rows_of({"train": (3, 1, 1, 2), "validation": (2, 2, 2, 2), "test": (9, 9, 9, 9)})
    digests = {row[0]: digest_bytes(row[0].encode()) for row in rows}
    deep = [(f"below/{row[0]}", *row[1:]) for row in rows]
    tests = {"per_group": {"validation": None, "test": 3}, "seed": 0}
    tree: FolderTree = NoTree()  # type: ignore[assignment]
    flat = build_manifest(frame(rows), tree, **tests, digests=digests)  # type: ignore[arg-type]
    there = {f"below/{path}": digest for path, digest in digests.items()}
    names = pl.Series([row[0] for row in rows])
    nested = build_manifest(frame(deep), tree, **tests, canonical=names, digests=there)  # type: ignore[arg-type]
    assert nested.equals(flat)
    # two that end alike keep their own paths
    twice = pl.Series([rows[0][0], *(row[0] for row in rows[:-1])])
    kept = build_manifest(frame(deep), tree, **tests, canonical=twice, digests=there)  # type: ignore[arg-type]
    assert kept["path"].str.starts_with("below/").all()


def test_rows_of_a_table_are_joined_by_the_paths_that_the_manifest_has() -> None:
    paths = pl.Series("path", ["s/b.jpg", "s/a.jpg"])
    rows = pl.DataFrame({"path": ["deep/s/a.jpg", "deep/s/b.jpg", "deep/s/c.jpg"], "x": [1, 2, 3]})
    canonical = rows["path"].str.strip_prefix("deep/")
    assert joined(paths, rows, canonical)["x"].to_list() == [2, 1]
    assert joined("deep/" + paths, rows, None)["x"].to_list() == [2, 1]
    # where canonical paths are alike, the manifest has them as they lie
    alike = pl.Series(["s/a.jpg"] * 3)
    assert joined("deep/" + paths, rows, alike)["x"].to_list() == [2, 1]
    with pytest.raises(ClipsteerError, match=r"'s/b\.jpg' and others have no row"):
        joined(paths, rows[:1], canonical[:1])


def test_groups_of_any_number_of_classes_and_spurious_values() -> None:
    """Three of each, but no image of target 1 with spurious 2: a group that is none."""
    pairs = [(t, s) for t in range(3) for s in range(3) if (t, s) != (1, 2)]
    rows = [
        (f"{split}/{t}{s}{i}.jpg", split, t, s, "", "")
        for split in SPLITS
        for t, s in pairs
        for i in range(2)
    ]
    found = build(rows, {"validation": 1, "test": None})
    for row in found.iter_rows(named=True):
        assert row["group"] == 3 * row["target"] + row["spurious"]
    evaluated = found.filter((pl.col("split") == "validation") & pl.col("evaluate"))
    assert evaluated["group"].to_list() == sorted(3 * t + s for t, s in pairs)
    assert found.schema["group"] == pl.Int8()
    lacking = [row for row in rows if row[1:4] != ("test", 2, 1)]
    with pytest.raises(
        ClipsteerError, match=r"'test'.*lacks group 7 \(target 2, spurious 1\).*all 8"
    ):
        build(lacking)
    one = [row for row in rows if row[2] == 0]
    with pytest.raises(ClipsteerError, match="found the target 0 on all rows"):
        build(one)


def test_a_spurious_value_that_no_image_has_is_refused() -> None:
    labels = {"split": ["train"] * 4, "target": [0, 0, 1, 1], "spurious": [0, 2, 0, 2]}
    manifest = pl.DataFrame(labels)
    for value in (0, 2):
        check_spurious(manifest, value, "datasets.mine.attribute_value")
    with pytest.raises(ClipsteerError, match=r"^datasets\.mine\.attribute_value, or .*steering\."):
        check_spurious(manifest, 3, "datasets.mine.attribute_value")
    with pytest.raises(ClipsteerError, match=r"found 1, expected .* \(0, 2\)\. Give datasets\."):
        check_spurious(manifest, 1, "datasets.mine.attribute_value")
    without = manifest.with_columns(spurious=pl.lit(None, pl.Int8))
    check_spurious(without, 1, "datasets.mine.attribute_value")


def test_very_many_groups_have_a_wider_number() -> None:
    rows = [
        (f"{s}/{t}{a}.jpg", s, t, a, "", "") for s in SPLITS for t in range(100) for a in (0, 1)
    ]
    found = build(rows)
    assert found["group"].max() == 199
    assert found.schema["group"] == pl.Int32()


def test_pairs_go_by_the_paths_that_the_manifest_has() -> None:
    rows = frame(rows_of({split: (2, 2, 1, 1) for split in SPLITS})).with_columns(
        path=pl.lit("deep/") + pl.col("path"), pair=pl.lit(None, pl.String())
    )
    pair = "deep/test/1/1.jpg"
    first = pl.col("path") == "deep/test/0/0.jpg"
    named = rows.with_columns(pair=pl.when(first).then(pl.lit(pair)).otherwise(pl.col("pair")))
    digests = dict.fromkeys(rows["path"], "blake3:0")
    how: dict[str, Any] = {"per_group": ALL, "seed": 0, "digests": digests}
    short = rows["path"].str.strip_prefix("deep/")
    found = build_manifest(named, NoTree(), canonical=short, **how)
    own = found.filter(pl.col("pair").is_not_null())
    assert own.select("path", "pair").rows() == [("test/0/0.jpg", "test/1/1.jpg")]
    assert build_manifest(rows, NoTree(), **how)["pair"].is_null().all()


@pytest.mark.parametrize("pair", ["validation/1/0.jpg", "test/3/0.jpg", "test/0/1.jpg"])
def test_a_pair_of_another_split_class_or_the_same_value_is_refused(pair: str) -> None:
    rows = frame(rows_of({split: (2, 2, 1, 1) for split in SPLITS}))
    first = pl.col("path") == "test/0/0.jpg"
    rows = rows.with_columns(pair=pl.when(first).then(pl.lit(pair)))
    said = rf"'test/0/0\.jpg' \(split test, target 0, spurious 0\): found the pair '{pair}'"
    with pytest.raises(ClipsteerError, match=said):
        build_manifest(rows, NoTree(), per_group=ALL, seed=0, digests={})
