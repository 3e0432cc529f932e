from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.steering.controls import (
    balanced_sample,
    random_basis,
    random_folds,
    random_orders,
    random_sets,
    shuffled_labels,
)


@settings(max_examples=50)
@given(st.integers(1, 200), st.data())
def test_all_draws_without_replacement(m: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, m))
    for features in random_sets(m, size, [0, 1]):
        assert features.dtype == np.int64
        assert len(features) == size == len(set(features.tolist()))
        assert all(0 <= j < m for j in features)
        assert features.tolist() == sorted(features.tolist())


def test_a_draw_depends_on_its_own_seed_alone() -> None:
    three = random_sets(1000, 40, [0, 1, 2])
    np.testing.assert_array_equal(random_sets(1000, 40, [2])[0], three[2])
    assert len({features.tobytes() for features in three}) == 3
    # Another size is another draw, not a longer prefix of the same one.
    assert not set(three[0].tolist()) <= set(random_sets(1000, 80, [0])[0].tolist())


def test_draws_are_pinned() -> None:
    # A change here changes published tables.
    assert random_sets(100, 5, [0])[0].tolist() == [13, 18, 28, 29, 90]


def test_all_is_uniform() -> None:
    m, size, draws = 50, 5, 4000
    counts = np.bincount(np.concatenate(random_sets(m, size, range(draws))), minlength=m)
    expected = draws * size / m
    chi_square = float(((counts - expected) ** 2 / (expected * (1 - size / m))).sum())
    # The 0.001 and 0.999 quantiles of chi-square with 49 degrees of freedom.
    assert 23.9 < chi_square < 85.4


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_alive_is_living_untargeted_and_of_like_frequency(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    m = 600
    frequency = np.where(rng.random(m) < 0.4, 0.0, 10 ** rng.uniform(-4, 0, m))
    like = rng.choice(np.flatnonzero(frequency > 0), size, replace=False)
    (features,) = random_sets(m, size, [seed], pool="alive", frequency=frequency, like=like)
    assert len(set(features.tolist())) == size
    assert (frequency[features] > 0).all()
    assert not set(features.tolist()) & set(like.tolist())
    # About 300 candidates over four decades: eight neighbours span a tenth of a decade or so.
    gap = np.abs(np.log10(np.sort(frequency[features])) - np.log10(np.sort(frequency[like])))
    assert gap.mean() < 0.4


def test_alive_differs_between_seeds_and_ignores_other_calls() -> None:
    frequency = np.linspace(0, 1, 500)
    like = np.arange(100, 140)
    arguments = {"pool": "alive", "frequency": frequency, "like": like}
    both = random_sets(500, 40, [3, 4], **arguments)  # type: ignore[arg-type]
    assert both[0].tolist() != both[1].tolist()
    again = random_sets(500, 40, [4], **arguments)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again[0], both[1])


def test_alive_takes_what_there_is() -> None:
    frequency = np.array([0.5, 0.5, 0.2, 0.0, 0.0])
    like = np.array([0, 1])
    (features,) = random_sets(5, 2, [0], pool="alive", frequency=frequency, like=like)
    assert features.tolist() == [2]


def test_alive_where_a_target_never_fires() -> None:
    # A neuron may be selected although its mean is never above zero.
    frequency = np.array([0.0, 0.1, 0.2, 0.3])
    (features,) = random_sets(4, 1, [0], pool="alive", frequency=frequency, like=np.array([0]))
    assert len(features) == 1
    assert features[0] in (1, 2, 3)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="11 features out of 10"):
        random_sets(10, 11, [0])
    with pytest.raises(ValueError, match="needs frequency"):
        random_sets(10, 2, [0], pool="alive")
    with pytest.raises(ValueError, match="pool must be"):
        random_sets(10, 2, [0], pool="dead")  # type: ignore[arg-type]


def test_shuffled_labels_are_permutations() -> None:
    labels = np.arange(300) % 5 == 0
    rows = shuffled_labels(labels, 4, seed=7)
    assert rows.shape == (4, 300)
    assert rows.dtype == np.bool_
    assert (rows.sum(axis=1) == 60).all()
    assert len({row.tobytes() for row in rows} | {labels.tobytes()}) == 5
    np.testing.assert_array_equal(shuffled_labels(labels, 2, seed=7), rows[:2])
    assert not (shuffled_labels(labels, 1, seed=8)[0] == rows[0]).all()
    assert shuffled_labels(labels, 0, seed=7).shape == (0, 300)


def test_random_orders_are_permutations_of_their_pool() -> None:
    one, two = random_orders(50, [3, 4])
    assert sorted(one.tolist()) == sorted(two.tolist()) == list(range(50))
    assert one.tolist() != two.tolist()
    np.testing.assert_array_equal(random_orders(50, [4])[0], two)
    frequency = np.where(np.arange(50) % 3 == 0, 0.2, 0.0)
    (alive,) = random_orders(50, [3], pool="alive", frequency=frequency)
    assert sorted(alive.tolist()) == list(range(0, 50, 3))
    with pytest.raises(ValueError, match="needs frequency"):
        random_orders(50, [3], pool="alive")


def test_a_random_basis_is_orthonormal_and_in_no_preferred_direction() -> None:
    bases = np.stack([random_basis(4, seed) for seed in range(400)])
    np.testing.assert_allclose(bases[0].T @ bases[0], np.eye(4), atol=1e-12)
    # Of a uniform direction every coordinate has mean 0 and mean square 1 / d.
    assert np.abs(bases[:, :, 0].mean(axis=0)).max() < 0.1
    assert np.abs((bases[:, :, 0] ** 2).mean(axis=0) - 0.25).max() < 0.06


def test_a_random_basis_has_the_same_bits_on_any_number_of_threads() -> None:
    """At this width the last bits of numpy's factorisation hang on how many there are."""
    code = (
        "import sys; from clipsteer.steering.controls import random_basis; "
        "sys.stdout.buffer.write(random_basis(300, 1).tobytes())"
    )
    found = []
    for threads in ("1", "4"):
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        run = [sys.executable, "-c", code]
        found.append(subprocess.run(run, env=environment, stdout=subprocess.PIPE, check=True))
    one, four = (np.frombuffer(run.stdout).reshape(300, 300) for run in found)
    assert one.tobytes() == four.tobytes()
    np.testing.assert_allclose(one.T @ one, np.eye(300), atol=1e-12)


def test_folds_are_as_equal_as_can_be_and_samples_balanced() -> None:
    fold = random_folds(23, 5, 1)
    assert sorted(np.bincount(fold).tolist()) == [4, 4, 5, 5, 5]
    assert fold.tolist() != random_folds(23, 5, 2).tolist()
    groups = np.array([0] * 9 + [2] * 4 + [3] * 6)
    sample = balanced_sample(groups, 0)
    assert np.bincount(groups[sample]).tolist() == [4, 0, 4, 4]
    assert len(set(sample.tolist())) == 12
    assert sample.tolist() == sorted(sample.tolist())
    assert sample.tolist() != balanced_sample(groups, 1).tolist()
