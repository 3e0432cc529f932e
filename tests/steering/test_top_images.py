"""The images that features answer to, beside plain loops in float64 over every image, token and feature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.dictionaries.base import Dictionary
from clipsteer.errors import ClipsteerError
from clipsteer.steering import statistics
from clipsteer.steering.controls import random_orders, random_sets
from clipsteer.steering.statistics import feature_statistics, firing_frequency
from clipsteer.steering.top_images import (
    EDGES,
    Answers,
    Numbers,
    by_group,
    looked_at,
    nearest,
    top_images,
)
from tests.steering.test_statistics import M, N, brute_code, data, make

NUMBERS = Numbers(top=5, quantiles=3, per_quantile=2, random=4)
SEED = 3


class Stored:
    """Activations (N, T, d) that are handed out in batches; the first image's number is not 0."""

    def __init__(self, x: np.ndarray, at_most: int = 1000, cls: int | None = 0) -> None:
        self.x, self.at_most, self.n_tokens, self.cls = x, at_most, x.shape[1], cls

    def batches(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        size = min(size, self.at_most)
        for low in range(0, len(self.x), size):
            yield 100 + low, self.x[low : low + size]


def found(
    dictionary: Dictionary, x: np.ndarray, groups: np.ndarray, features: list[int], **words: Any
) -> Answers:
    settings: dict[str, Any] = {"numbers": NUMBERS, "seed": SEED, **words}
    stored = Stored(x, settings.pop("at_most", 1000), settings.pop("cls", 0))
    return top_images(dictionary, stored, np.array(features), groups, 4, **settings)


def brute(
    dictionary: Dictionary, x: np.ndarray, feature: int, numbers: Numbers = NUMBERS
) -> tuple[np.ndarray, dict[tuple[str, int | None], list[int]]]:
    """A feature's codes (N, T) in float64, and the images of each kind and part, in order."""
    codes = np.array([[brute_code(dictionary, token)[feature] for token in image] for image in x])
    largest = codes.max(axis=1)
    fires = [i for i in range(len(x)) if largest[i] > 0]
    place = {int(image): at for at, image in enumerate(random_orders(len(x), [SEED])[0])}
    drawn = sorted(fires, key=lambda i: place[i])[
        : numbers.random + 4 * numbers.quantiles * numbers.per_quantile
    ]
    shown: dict[tuple[str, int | None], list[int]] = {
        ("top", None): sorted(fires, key=lambda i: (-largest[i], i))[: numbers.top],
        ("random", None): drawn[: numbers.random],
    }
    rest = sorted(drawn[numbers.random :], key=lambda i: (-largest[i], i))
    base, more = divmod(len(rest), numbers.quantiles)
    low = 0
    for part in range(numbers.quantiles):
        high = low + base + (part < more)
        inside = sorted(rest[low:high], key=lambda i: place[i])
        shown["quantile", part] = inside[: numbers.per_quantile]
        low = high
    return codes, shown


@pytest.mark.parametrize("kind", ["vanilla", "topk", "neurons"])
@pytest.mark.parametrize("cls", [0, None])
def test_images_values_and_heat_maps_are_those_of_a_plain_loop(kind: str, cls: int | None) -> None:
    dictionary, (x, groups) = make(kind), data()
    features = list(range(0, dictionary.m, 2))
    answers = found(dictionary, x, groups, features, cls=cls)
    kept = 0
    for feature in features:
        codes, shown = brute(dictionary, x, feature)
        rows = answers.examples.filter(pl.col("feature") == feature)
        assert {key: images for key, images in shown.items() if images} == {
            (kind_, part): here["image"].to_list()
            for (kind_, part), here in rows.group_by("kind", "part", maintain_order=True)
        }
        for row in rows.iter_rows(named=True):
            tokens = codes[row["image"]]
            assert row["value"] == pytest.approx(tokens.max(), abs=1e-5)
            patches = tokens if cls is None else tokens[1:]
            assert row["patches"] == pytest.approx(patches, abs=1e-5)
            assert (row["cls"] is None) == (cls is None)
            if cls is not None:
                assert row["cls"] == pytest.approx(tokens[0], abs=1e-5)
        line = answers.features.filter(pl.col("feature") == feature).row(0, named=True)
        fires = codes.max(axis=1) > 0
        assert line["fires"] == [int((fires & (groups == g)).sum()) for g in range(4)]
        expected = [0] * (len(EDGES) + 1)
        for value in codes.max(axis=1)[fires]:
            expected[sum(value >= edge for edge in EDGES)] += 1
        assert line["histogram"] == expected
        kept += rows.height
    assert kept > 5 * len(features)  # features that never fire would show nothing


@settings(max_examples=15)
@given(at_most=st.integers(1, N), kind=st.sampled_from(["vanilla", "topk"]))
def test_batches_leave_no_trace(at_most: int, kind: str) -> None:
    dictionary, (x, groups) = make(kind), data()
    whole = found(dictionary, x, groups, [1, 7, 11])
    parts = found(dictionary, x, groups, [1, 7, 11], at_most=at_most)
    order = ["feature", "kind", "part", "place", "image"]
    assert whole.examples.select(order).equals(parts.examples.select(order))
    assert whole.features.equals(parts.features)
    values = (answers.examples["value"].to_numpy() for answers in (whole, parts))
    np.testing.assert_allclose(*values, rtol=1e-5)


def test_a_tie_goes_to_the_earlier_image_and_features_do_not_see_each_other() -> None:
    dictionary = make("neurons")
    x = np.ones((20, 3, 6), np.float16)
    x[13] = 2
    groups = np.zeros(20, np.int8)
    both = found(dictionary, x, groups, [2, 4], at_most=7)
    tops = both.examples.filter((pl.col("kind") == "top") & (pl.col("feature") == 4))
    assert tops["image"].to_list() == [13, 0, 1, 2, 3]
    alone = found(dictionary, x, groups, [4], at_most=7)
    assert both.examples.filter(pl.col("feature") == 4).equals(alone.examples)


def test_a_feature_that_never_fires_has_no_examples() -> None:
    dictionary = make("vanilla")
    dictionary.b_enc[5] = -1e3
    x, groups = data()
    answers = found(dictionary, x, groups, [5, 6])
    assert set(answers.examples["feature"]) == {6}
    assert answers.features["fires"].to_list()[0] == [0, 0, 0, 0]


def test_no_parts_where_none_are_asked_for() -> None:
    x, groups = data()
    answers = found(make("vanilla"), x, groups, [6], numbers=Numbers(3, 0, 4, 2))
    assert set(answers.examples["kind"]) == {"top", "random"}


@pytest.mark.parametrize("tokens", ["cls", "spatial"])
def test_a_dictionary_for_some_tokens_is_silent_on_the_others(tokens: Any) -> None:
    dictionary, (x, groups) = make("vanilla"), data()
    whole = found(dictionary, x, groups, [6], numbers=Numbers(N, 0, 1, 1))
    dictionary.tokens = tokens
    part = found(dictionary, x, groups, [6], numbers=Numbers(N, 0, 1, 1))

    def by_image(answers: Answers) -> dict[int, tuple[float, list[float]]]:
        tops = answers.examples.filter(pl.col("kind") == "top")
        return {image: (cls, p) for image, cls, p in tops.select("image", "cls", "patches").rows()}

    every, own = by_image(whole), by_image(part)
    expected = {
        image: (cls, [0.0] * len(p)) if tokens == "cls" else (0.0, p)
        for image, (cls, p) in every.items()
        if (cls if tokens == "cls" else max(p)) > 0
    }
    assert own == expected
    assert 0 < len(own) < len(every)


def test_memory_is_that_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary, (x, groups) = make("topk"), data()
    monkeypatch.setattr(statistics, "_BLOCK_BYTES", 3 * x.shape[1] * M * 4)
    sizes: list[int] = []

    class Watched(Stored):
        def batches(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
            sizes.append(size)
            return super().batches(size)

    top_images(dictionary, Watched(x), np.array([1]), groups, 4, numbers=NUMBERS, seed=0)
    assert sizes == [3]


def test_faults_are_named() -> None:
    dictionary, (x, groups) = make("vanilla"), data()
    with pytest.raises(ValueError, match=f"activations of {N} images"):
        found(dictionary, x, np.append(groups, 0), [1])
    with pytest.raises(ValueError, match="at least"):
        found(dictionary, x, groups[:-1], [1])
    x[30] = np.nan
    with pytest.raises(ClipsteerError, match="not finite"):
        found(dictionary, x, groups, [1])


def test_which_features_are_looked_at() -> None:
    difference = np.array([0.5, -0.4, 0.3, 0.0, 0.2, -0.1, 0.1, 0.05])
    frequency = np.array([0.9, 0.8, 0.9, 0.0, 0.5, 0.6, 0.7, 0.4])
    sets = {"strict": [0], "relaxed": [0, 2, 4]}
    table = looked_at(difference, frequency, sets, selected=2, ends=1, seed=5)
    rows = {row["feature"]: row for row in table.iter_rows(named=True)}
    (controls,) = random_sets(
        8, 2, [5000], pool="alive", frequency=frequency, like=np.array([0, 2])
    )
    assert set(rows) == {0, 2, *controls.tolist(), 1}
    assert [rows[0][name] for name in ("rank", "strict", "relaxed", "control", "end")] == [
        *(1, True, True, False, True)
    ]
    assert rows[1]["rank"] == 8
    assert rows[1]["end"]
    assert rows[2]["difference"] == 0.3
    assert not rows[2]["strict"]
    assert sum(row["control"] for row in rows.values()) == 2
    assert 3 not in controls  # which never fires
    # beyond what is shown of a set, a feature's row still says that it is in the set
    if 4 in rows:
        assert rows[4]["relaxed"]


def test_nothing_selected_has_no_controls() -> None:
    table = looked_at(
        np.arange(6.0), np.ones(6), {"strict": [], "relaxed": []}, selected=9, ends=2, seed=0
    )
    assert table["feature"].to_list() == [0, 1, 4, 5]
    assert not table["control"].any()


@pytest.mark.parametrize("kind", ["vanilla", "neurons"])
def test_group_means_are_those_of_eq_9(kind: str) -> None:
    dictionary, (x, groups) = make(kind), data()
    statistics = feature_statistics(dictionary, [(0, x)], groups).table
    table = by_group(statistics, np.array([1, 4]), rectified=kind == "vanilla")
    for row in table.iter_rows(named=True):
        codes = np.array([[brute_code(dictionary, t)[row["feature"]] for t in i] for i in x])
        image = codes.mean(axis=1)
        assert row["images"] == np.bincount(groups).tolist()
        assert row["means"] == pytest.approx(
            [image[groups == g].mean() for g in range(4)], abs=1e-5
        )
        assert row["frequency"] == pytest.approx((image > 0).mean())
        assert row["frequency"] == pytest.approx(firing_frequency(statistics)[row["feature"]])
        assert row["token_frequency"] == pytest.approx((codes > 0).mean())
        if kind == "vanilla":
            assert row["active_mean"] == pytest.approx(image[image > 0].mean(), abs=1e-5)
        else:
            assert row["active_mean"] is None


def test_neighbours_are_the_most_similar_directions() -> None:
    dictionary = make("topk")
    table = nearest(dictionary, np.array([3, 0]), 4)
    decoder = dictionary.W_dec.double()
    for row in table.iter_rows(named=True):
        j = row["feature"]
        cosine = {i: float(decoder[j] @ decoder[i]) for i in range(M) if i != j}
        assert row["nearest"] == sorted(cosine, key=lambda i: -cosine[i])[:4]
        assert row["cosine"] == pytest.approx([cosine[i] for i in row["nearest"]], abs=1e-6)
        column = dictionary.W_enc[:, j].double()
        own = float(column @ decoder[j] / torch.linalg.vector_norm(column))
        assert row["encoder_cosine"] == pytest.approx(own, abs=1e-6)


def test_a_basis_has_no_neighbours() -> None:
    table = nearest(make("neurons"), np.array([2]), 4)
    assert table.row(0) == (2, [], [], None)
