from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.steering.ablation import Predicted, predict_edits
from clipsteer.steering.baselines import (
    Option,
    Trial,
    Validation,
    random_subspaces,
    trials_frame,
)
from clipsteer.steering.choose import NoGroupFalls, Relaxed
from clipsteer.steering.counts import GroupCounts, count_groups
from clipsteer.steering.evaluator import Evaluator
from clipsteer.steering.intervention import (
    AffineEdit,
    ClassBias,
    FeatureEdit,
    NoEdit,
    projection,
)
from clipsteer.steering.selection import nested_sets
from clipsteer.steering.subspaces import removed_energy
from tests.steering.test_ablation import D, M, N, Network, data, evaluating, make
from tests.steering.test_edits import affine

RULES: dict[Any, Any] = {"strict": NoGroupFalls(), "relaxed": Relaxed(5.0)}


def validation(seed: int = 0, evaluator: Evaluator | None = None) -> Validation:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, N)
    evaluator = evaluator or evaluating(make("topk"), Network(), data())
    return Validation(targets, 2 * targets + rng.integers(0, 2, N), 4, RULES, evaluator)


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_the_best_option_is_found_by_brute_force_and_the_smaller_of_equals(seed: int) -> None:
    rng, choice = np.random.default_rng(seed), validation(seed)
    before = np.where(rng.random(N) < 0.6, choice.targets, 1 - choice.targets)
    rows = np.where(rng.random((6, N)) < 0.25, choice.targets, before)
    rows = np.where(rng.random((6, N)) < 0.04, 1 - choice.targets, rows)
    options = [Option(NoEdit(), scale=float(i + 1)) for i in range(6)]
    nothing, baseline = Option(NoEdit(), scale=0.0), choice.counts(before)
    trials = choice.of_options("probe", "none", options, Predicted(before, rows), nothing)
    assert [t.condition for t in trials] == ["strict", "relaxed"]

    groups = np.unique(choice.groups)  # one without images is none

    def shares(prediction: np.ndarray) -> list[float]:
        right = prediction == choice.targets
        return [float(right[choice.groups == g].mean()) for g in groups]

    old = shares(before)
    worst = int(np.argmin(old))
    best: dict[str, tuple[float, float]] = {
        "strict": (float((before == choice.targets).mean()) + min(old), 0.0),
        "relaxed": (old[worst], 0.0),
    }
    for scale, row in enumerate(rows, start=1):
        new = shares(row)
        sums = float((row == choice.targets).mean()) + min(new)
        if all(a >= b for a, b in zip(new, old, strict=True)) and sums > best["strict"][0] + 1e-12:
            best["strict"] = (sums, scale)
        kept = all(new[g] >= old[g] - 0.05 - 1e-12 for g in range(len(groups)) if g != worst)
        if kept and new[worst] > best["relaxed"][0] + 1e-12:
            best["relaxed"] = (new[worst], scale)
    for trial in trials:
        assert trial.option.scale == best[str(trial.condition)][1]
        if trial.option.scale == 0:
            assert trial.option is nothing
            assert trial.counts == trial.baseline == baseline


@pytest.mark.parametrize("error_term", ["keep", "drop"])
def test_predictions_of_edits_together_are_those_of_each_by_its_apply(error_term: Any) -> None:
    x, network, dictionary = data(), Network(), make("topk")
    edits = [
        affine(), NoEdit(), FeatureEdit(dictionary, np.arange(5), error_term=error_term),
        projection(torch.eye(D)[:, :2]), FeatureEdit(dictionary, np.arange(M), error_term=error_term),
    ]  # fmt: skip
    of = evaluating(dictionary, network, x, error_term=error_term)
    resumed, found = predict_edits(of, edits)
    whole = torch.from_numpy(x.astype(np.float32))
    expected = [network.classify(network.embed(edit.apply(whole, "all"))) for edit in edits]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(resumed, expected[1])
    assert len(np.unique(expected, axis=0)) == len(edits)


def test_a_sweep_gives_the_edit_of_the_set_that_was_taken() -> None:
    choice = validation(8)
    sweep = nested_sets(np.random.default_rng(1).normal(size=M), np.linspace(-1.0, 1.0, 7))
    taken = 0
    for trial in choice.of_sweep("sae", "group", sweep, 3):
        assert (trial.method, trial.balance, trial.draw) == ("sae", "group", 3)
        edit = trial.option.intervention
        if trial.option.n_features == 0:
            assert isinstance(edit, NoEdit)
            assert trial.option.threshold is None
            continue
        taken += 1
        assert isinstance(edit, FeatureEdit)
        assert edit.dictionary is choice.evaluator.dictionary
        np.testing.assert_array_equal(edit.features, sweep.order[: trial.option.n_features])
        again = predict_edits(choice.evaluator, [edit]).edited[0]
        assert trial.counts == count_groups(again, choice.targets, choice.groups, 4)
    assert taken == len(RULES)


def test_spans_stand_on_the_feature_sets_own_features_and_take_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, choice = data(), validation()
    dictionary, rng = choice.evaluator.dictionary, np.random.default_rng(2)
    before = np.where(rng.random(N) < 0.5, choice.targets, 1 - choice.targets)
    baseline = choice.counts(before)
    features = np.array([7, 1, 4])
    filled = Option(FeatureEdit(dictionary, features), 0.25, n_features=3)
    counts = choice.counts(choice.targets)  # of the set itself: no span is judged by them
    beside = [
        Trial("sae", "none", "strict", counts, baseline, filled),
        Trial("sae", "group", "relaxed", counts, baseline, Option(NoEdit(), n_features=0)),
        Trial("sae", "group", "relaxed", counts, baseline, filled),
    ]
    seen: list[Any] = []

    def predict(evaluator: Any, edits: Any) -> Predicted:
        assert evaluator is choice.evaluator
        seen.extend(edits)  # the last span is no better than nothing
        return Predicted(before, np.stack([*[choice.targets] * 5, before]))

    monkeypatch.setattr("clipsteer.steering.baselines.predict_edits", predict)
    found = choice.of_spans(beside)
    assert [(t.method, t.balance, t.condition, t.option.rank) for t in found] == [
        ("decoder_subspace", "none", "strict", 3),
        ("encoder_subspace", "none", "strict", 3),
        ("decoder_subspace", "group", "relaxed", 0),
        ("encoder_subspace", "group", "relaxed", 0),
        ("decoder_subspace", "group", "relaxed", 3),
        ("encoder_subspace", "group", "relaxed", 0),
    ]
    flat = x.astype(np.float64).reshape(-1, D)
    weights = {"decoder": dictionary.W_dec[features], "encoder": dictionary.W_enc[:, features].T}
    for edit, vectors in zip(seen[:2], weights.values(), strict=True):
        basis = vectors.double().numpy().T
        expected = flat - (basis @ np.linalg.lstsq(basis, flat.T, rcond=None)[0]).T
        edited = edit.apply(torch.from_numpy(x.astype(np.float64)), "all").numpy()
        np.testing.assert_allclose(edited.reshape(-1, D), expected, atol=1e-6)
    assert found[0].option.threshold == 0.25
    assert found[2].counts == found[5].counts == baseline


def trial(option: Option, condition: Any = "strict") -> Trial:
    counts = GroupCounts((3, 4), (5, 6))
    return Trial("sae", "none", condition, counts, GroupCounts((2, 4), (5, 6)), option)


def test_random_subspaces_stand_beside_each_edit_and_remove_as_much() -> None:
    x, dictionary = data(), make("neurons")
    filled = FeatureEdit(dictionary, np.array([0, 3]))
    beside = [trial(Option(filled, n_features=2)), trial(Option(NoEdit(), n_features=0), "relaxed")]
    of = evaluating(dictionary, Network(), x)
    found = random_subspaces(beside, of, [5, 6])
    assert [(t.method, t.condition, t.draw) for t in found] == [
        ("random_subspace", condition, seed)
        for seed in (5, 6)
        for condition in ("strict", "relaxed")
    ]
    (energy,) = removed_energy([filled], of)
    for one in found:
        assert one.counts == beside[0].counts  # the place of the edit beside it is its own
        edit = one.option.intervention
        if one.condition == "relaxed":
            assert isinstance(edit, NoEdit)
            assert one.option.rank == 0
            continue
        assert isinstance(edit, AffineEdit)
        basis = edit.maps["cls"].a
        assert basis.shape[1] == one.option.rank
        less = projection(basis[:, :-1])
        more, fewer = removed_energy([edit, less], of)
        assert fewer < energy <= more * (1 + 1e-5)


def test_the_frame_has_a_row_a_trial_and_its_predictions() -> None:
    bias = Option(ClassBias(torch.zeros(2)), scale=0.25)
    trials = [trial(Option(NoEdit(), 0.5, n_features=7)), trial(bias, None)]
    predictions, unconcerned = np.array([[0, 1, 1], [1, 1, 0]]), np.array([[5, 2], [4, 3]])
    frame = trials_frame(trials, predictions, unconcerned, [np.array([0.5, -1.0, 0.25]), None])
    assert frame.to_dicts()[0] == {
        "method": "sae", "balance": "none", "condition": "strict", "draw": None, "threshold": 0.5,
        "n_features": 7, "rank": None, "scale": None, "validation": [3, 4],
        "validation_baseline": [2, 4], "validation_images": [5, 6], "unconcerned": [5, 2],
        "predictions": [0, 1, 1], "margins": [0.5, -1.0, 0.25],
    }  # fmt: skip
    assert frame["margins"].to_list()[1] is None
    assert frame["scale"].to_list() == [None, 0.25]
    assert frame["predictions"].dtype == pl.List(pl.Int16)
