from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsteer.steering.choose import LargestSum, NoGroupFalls, Relaxed, Rule
from clipsteer.steering.class_bias import along, choose_bias
from clipsteer.steering.counts import count_groups
from clipsteer.steering.intervention import ClassBias, predict_readout

RULES: list[Rule] = [NoGroupFalls(), NoGroupFalls(1), LargestSum(), Relaxed(10.0)]


def sample(seed: int, classes: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    groups = 2 * targets + rng.integers(0, 2, n)
    scores = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[targets] + 0.8 * groups[:, None]
    scores[:, 0] += 0.9  # something to mend
    return np.round(8 * scores) / 8, targets, groups  # with ties, and sums that are exact


@settings(max_examples=25)
@given(st.integers(0, 500), st.integers(2, 4), st.data())
def test_each_candidate_counts_what_its_bias_predicts(
    seed: int, classes: int, more: st.DataObject
) -> None:
    scores, targets, groups = sample(seed, classes)
    free = more.draw(st.integers(1, classes - 1))
    baseline = count_groups(scores.argmax(axis=1), targets, groups, 2 * classes)
    bias = np.random.default_rng(seed).integers(-8, 8, classes) / 8
    bias[0] = 0
    found = list(along(scores, bias, free, targets, groups, baseline))
    assert len({candidate.cost for candidate in found}) == len(found) > 1
    for candidate in found:
        after = (scores + candidate.what).argmax(axis=1)
        assert candidate.counts == count_groups(after, targets, groups, 2 * classes)
    # All that the free class can win: from no image to every image, one cut between each two.
    won = {int(((scores + c.what).argmax(axis=1) == free).sum()) for c in found}
    needed = np.delete(scores + bias, free, axis=1).max(axis=1) - scores[:, free]
    assert won == {int((needed <= edge).sum()) for edge in (-np.inf, *needed)}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_two_classes_are_searched_to_the_end(rule: Rule, seed: int) -> None:
    scores, targets, groups = sample(seed, 2)
    baseline = count_groups(scores.argmax(axis=1), targets, groups, 4)
    found = choose_bias(scores, targets, groups, baseline, rule)
    best, least = rule.score(baseline, baseline), rule.score(baseline, baseline)
    for shift in np.arange(-6, 6, 0.02) + 0.001:
        counts = count_groups((scores + np.array([0, shift])).argmax(axis=1), targets, groups, 4)
        if rule.admits(counts, baseline):
            best = max(best, rule.score(counts, baseline))
    if best == least:
        assert found is None
        return
    assert found is not None
    assert rule.score(found.counts, baseline) == best
    assert found.what[0] == 0


@pytest.mark.parametrize("rule", RULES)
def test_many_classes_end_where_no_single_bias_gains(rule: Rule) -> None:
    scores, targets, groups = sample(1, 4, 120)
    baseline = count_groups(scores.argmax(axis=1), targets, groups, 8)
    found = choose_bias(scores, targets, groups, baseline, rule)
    if found is None:
        return
    assert rule.admits(found.counts, baseline)
    score = rule.score(found.counts, baseline)
    assert score > rule.score(baseline, baseline)
    for free in (1, 2, 3):
        for other in along(scores, found.what, free, targets, groups, baseline):
            assert not (
                rule.admits(other.counts, baseline) and rule.score(other.counts, baseline) > score
            )


def test_the_bias_works_on_the_scores_of_embeddings() -> None:
    rng = np.random.default_rng(0)
    embeddings, head = torch.from_numpy(rng.normal(size=(30, 5))), torch.eye(5)[:3]
    units = torch.nn.functional.normalize(embeddings.float(), dim=1)
    scores = (units @ head.T).double().numpy()
    targets, groups = rng.integers(0, 3, 30), rng.integers(0, 6, 30)
    baseline = count_groups(scores.argmax(axis=1), targets, groups, 6)
    found = choose_bias(scores, targets, groups, baseline, Relaxed(100.0))
    assert found is not None
    after = predict_readout(ClassBias(torch.from_numpy(found.what)), embeddings, head)
    assert count_groups(after, targets, groups, 6) == found.counts
