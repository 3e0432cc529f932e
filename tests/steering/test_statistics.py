from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.dictionaries.base import Dictionary
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.dictionaries.topk import TopK
from clipsteer.dictionaries.vanilla import Vanilla
from clipsteer.errors import ClipsteerError
from clipsteer.steering import statistics
from clipsteer.steering.statistics import (
    Aggregate,
    Statistics,
    difference,
    feature_statistics,
    firing_frequency,
    label_differences,
)

D, M, T, N = 6, 20, 5, 61


def make(kind: str, seed: int = 0, d: int = D, m: int = M) -> Dictionary:
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(m, d, generator=generator), dim=1)
    parts = (
        torch.randn(d, m, generator=generator),
        torch.randn(m, generator=generator) * 0.1,
        decoder,
        torch.randn(d, generator=generator) * 0.1,
    )
    if kind == "neurons":
        return NeuronBasis(d)
    return Vanilla(*parts) if kind == "vanilla" else TopK(*parts, k=3)


def data(seed: int = 1, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, T, D)).astype(np.float16)
    groups = rng.choice(4, size=n, p=[0.5, 0.1, 0.25, 0.15]).astype(np.int8)
    return x, groups


def batches(x: np.ndarray, size: int, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    for low in range(0, len(x), size):
        yield start + low, x[low : low + size]


def brute_code(dictionary: Dictionary, token: np.ndarray) -> list[float]:
    """One token's code in float64, written out."""
    if isinstance(dictionary, NeuronBasis):
        return [float(value) for value in token]
    encoder = dictionary.W_enc.double().numpy()
    centred = token.astype(np.float64) - dictionary.b_dec.double().numpy()
    bias = dictionary.b_enc.double().numpy()
    pre = []
    for j in range(dictionary.m):
        value = float(bias[j])
        for i in range(len(centred)):
            value += float(centred[i]) * float(encoder[i, j])
        pre.append(value)
    if isinstance(dictionary, TopK):
        kept = sorted(range(len(pre)), key=lambda j: -pre[j])[: dictionary.k]
        return [max(0.0, pre[j]) if j in kept else 0.0 for j in range(len(pre))]
    return [max(0.0, value) for value in pre]


def brute(
    dictionary: Dictionary, x: np.ndarray, groups: np.ndarray, aggregate: Aggregate
) -> dict[tuple[int, int], dict[str, float]]:
    codes = np.array([[brute_code(dictionary, token) for token in image] for image in x])
    result = {}
    for group in range(4):
        for j in range(dictionary.m):
            values, tokens = [], []
            for image in np.flatnonzero(groups == group):
                per_token = [float(codes[image, t, j]) for t in range(T)]
                tokens += per_token
                values.append(
                    {"mean": sum(per_token) / T, "max": max(per_token), "cls": per_token[0]}[
                        aggregate
                    ]
                )
            mean = sum(values) / len(values)
            result[group, j] = {
                "n_images": len(values),
                "mean": mean,
                "variance": sum((value - mean) ** 2 for value in values) / len(values),
                "frequency": sum(value > 0 for value in values) / len(values),
                "token_frequency": sum(value > 0 for value in tokens) / len(tokens),
                "max": max(tokens),
            }
    return result


@pytest.mark.parametrize("kind", ["vanilla", "topk", "neurons"])
@pytest.mark.parametrize("aggregate", ["mean", "max", "cls"])
def test_table_equals_plain_loops(kind: str, aggregate: Aggregate) -> None:
    dictionary = make(kind)
    x, groups = data()
    table = feature_statistics(dictionary, batches(x, 16), groups, aggregate=aggregate).table
    expected = brute(dictionary, x, groups, aggregate)
    assert table.height == 4 * dictionary.m
    for row in table.iter_rows(named=True):
        for name, value in expected[row["group"], row["feature"]].items():
            assert row[name] == pytest.approx(value, rel=2e-5, abs=2e-6), (row, name)


def test_schema_and_order() -> None:
    x, groups = data()
    table = feature_statistics(make("topk"), batches(x, 16), groups).table
    assert dict(table.schema) == {
        "feature": pl.Int32,
        "group": pl.Int8,
        "n_images": pl.Int64,
        **dict.fromkeys(["mean", "variance", "frequency", "token_frequency", "max"], pl.Float64),
    }
    assert table.equals(table.sort("group", "feature"))


@pytest.mark.parametrize("kind", ["vanilla", "topk", "neurons"])
def test_bytes_depend_on_neither_batches_nor_place_nor_threads(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_MAX_BLOCK_IMAGES", 9)
    dictionary = make(kind)
    x, groups = data()
    labels = np.random.default_rng(0).random((3, N)) < 0.4
    before = torch.get_num_threads()

    def once(size: int, start: int = 0) -> Statistics:
        return feature_statistics(dictionary, batches(x, size, start), groups, extra_labels=labels)

    reference = once(16)
    assert reference.labels is not None
    for size, start, threads in ((1, 0, 1), (7, 5000, 2), (61, 0, 2), (100, 3, 1)):
        try:
            torch.set_num_threads(threads)
            other = once(size, start)
        finally:
            torch.set_num_threads(before)
        assert other.table.equals(reference.table)
        assert other.labels is not None
        assert other.labels.sums.tobytes() == reference.labels.sums.tobytes()


def test_many_features_are_thread_stable() -> None:
    # Large enough for torch to split every operation between threads.
    dictionary = make("topk", d=32, m=4096)
    x = np.random.default_rng(0).normal(size=(130, 9, 32)).astype(np.float32)
    groups = (np.arange(130) % 4).astype(np.int8)
    before = torch.get_num_threads()
    tables = []
    for threads in (1, 2):
        try:
            torch.set_num_threads(threads)
            tables.append(feature_statistics(dictionary, batches(x, 50), groups).table)
        finally:
            torch.set_num_threads(before)
    assert tables[0].equals(tables[1])


@settings(max_examples=15)
@given(st.permutations(range(N)))
def test_order_of_images_leaves_the_figures(order: list[int]) -> None:
    dictionary = make("topk")
    x, groups = data()
    straight = feature_statistics(dictionary, batches(x, 16), groups).table
    turned = feature_statistics(dictionary, batches(x[order], 16), groups[order]).table
    for name in straight.columns:
        np.testing.assert_allclose(turned[name], straight[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("balance", ["none", "group"])
def test_difference_equals_plain_loops(balance: statistics.Balance) -> None:
    dictionary = make("vanilla")
    x, groups = data()
    table = feature_statistics(dictionary, batches(x, 16), groups).table
    found = difference(table, balance=balance)
    codes = np.array([[brute_code(dictionary, token) for token in image] for image in x])
    per_image = codes.mean(axis=1)
    for j in range(M):
        parts = []
        for targets in [(0, 1)] if balance == "none" else [(0,), (1,)]:
            with_a = [
                per_image[i, j] for i in range(N) if groups[i] in [2 * t + 1 for t in targets]
            ]
            without = [per_image[i, j] for i in range(N) if groups[i] in [2 * t for t in targets]]
            parts.append(sum(with_a) / len(with_a) - sum(without) / len(without))
        assert found[j] == pytest.approx(sum(parts) / len(parts), rel=1e-5, abs=1e-6)
    # The data are unbalanced, so the two readings must not agree.
    other = difference(table, balance="group" if balance == "none" else "none")
    assert not np.allclose(found, other, atol=1e-3)


@pytest.mark.parametrize("balance", ["none", "group"])
def test_extra_labels_give_what_a_pass_with_those_groups_gives(
    balance: statistics.Balance,
) -> None:
    dictionary = make("topk")
    x, groups = data()
    shuffled = np.stack([groups % 2 == 1, np.random.default_rng(3).permutation(groups % 2 == 1)])
    got = feature_statistics(dictionary, batches(x, 16), groups, extra_labels=shuffled)
    found = label_differences(got, balance=balance)
    np.testing.assert_allclose(found[0], difference(got.table, balance=balance), atol=1e-12)
    other_groups = (groups // 2 * 2 + shuffled[1]).astype(np.int8)
    other = feature_statistics(dictionary, batches(x, 16), other_groups).table
    np.testing.assert_allclose(found[1], difference(other, balance=balance), atol=1e-12)
    assert not np.allclose(found[0], found[1], atol=1e-3)


def test_firing_frequency_is_over_the_whole_split() -> None:
    dictionary = make("topk")
    x, groups = data()
    table = feature_statistics(dictionary, batches(x, 16), groups).table
    code = dictionary.encode(torch.from_numpy(x.astype(np.float32)).reshape(-1, D))
    fired = (code.reshape(N, T, M).mean(dim=1) > 0).double().mean(dim=0).numpy()
    np.testing.assert_allclose(firing_frequency(table), fired, rtol=1e-12)


def test_a_group_without_images_is_null_and_only_counts_where_it_must() -> None:
    x, groups = data()
    groups = np.where(groups == 3, 1, groups).astype(np.int8)
    table = feature_statistics(make("topk"), batches(x, 16), groups).table
    empty = table.filter(pl.col("group") == 3)
    assert empty["n_images"].sum() == 0
    assert empty["mean"].null_count() == M
    assert np.isfinite(difference(table)).all()
    with pytest.raises(ClipsteerError, match=r"target class 1 has 0 images with the spurious"):
        difference(table, balance="group")
    no_target = np.minimum(groups, 1).astype(np.int8)
    table = feature_statistics(make("topk"), batches(x, 16), no_target).table
    np.testing.assert_allclose(difference(table), difference(table, balance="group"), rtol=1e-12)


def test_one_sided_split_is_refused() -> None:
    x, groups = data()
    table = feature_statistics(make("topk"), batches(x, 16), (groups // 2 * 2)).table
    with pytest.raises(ClipsteerError, match="0 images with the spurious attribute"):
        difference(table)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_activations_name_the_image(value: float) -> None:
    x, groups = data()
    x[37, 2, 1] = value
    with pytest.raises(ClipsteerError, match="image 37 of the split has NaN or infinite"):
        feature_statistics(make("neurons"), batches(x, 16), groups)


def test_bad_dictionary_is_refused() -> None:
    x, groups = data()
    dictionary = make("vanilla")
    dictionary.W_enc[0, 4] = torch.nan
    with pytest.raises(ClipsteerError, match="code is not finite"):
        feature_statistics(dictionary, batches(x, 16), groups)


def test_nan_in_a_table_is_refused() -> None:
    x, groups = data()
    table = feature_statistics(make("topk"), batches(x, 16), groups).table
    table = table.with_columns(
        mean=pl.when(pl.col("feature") == 5).then(float("nan")).otherwise(pl.col("mean"))
    )
    with pytest.raises(ClipsteerError, match="mean of feature 5 is not finite"):
        difference(table)


def test_misfits_are_refused() -> None:
    x, groups = data()
    dictionary = make("topk")
    with pytest.raises(ValueError, match="groups of 60"):
        feature_statistics(dictionary, batches(x, 16), groups[:60])
    with pytest.raises(ValueError, match="activations of 61 images, groups of 62"):
        feature_statistics(dictionary, batches(x, 16), np.append(groups, 0))
    gap = (batch for batch in batches(x, 16) if batch[0] != 16)
    with pytest.raises(ValueError, match="starts at image 32, expected 16"):
        feature_statistics(dictionary, gap, groups)
    with pytest.raises(ValueError, match=r"values 0\.\.3"):
        feature_statistics(dictionary, batches(x, 16), groups + 1)


def test_progress_adds_up() -> None:
    x, groups = data()
    seen: list[int] = []
    feature_statistics(make("topk"), batches(x, 16), groups, progress=seen.append)
    assert sum(seen) == N


def test_block_follows_from_the_shapes_so_memory_is_bounded() -> None:
    seen = [len(block) for _, block in statistics._aligned_blocks(
        iter([(0, np.zeros((40, 50, 1), np.float16))]), 49152
    )]  # fmt: skip
    assert max(seen) * 50 * 49152 * 4 <= 128 * 2**20
    assert seen == [13, 13, 13, 1]
