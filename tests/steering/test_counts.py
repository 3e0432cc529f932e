from __future__ import annotations

import numpy as np
import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.steering.counts import GroupCounts, count_groups, number_of_groups


def test_the_papers_baseline_figures() -> None:
    counts = GroupCounts((180, 170, 178, 140), (180, 180, 180, 180))
    assert round(counts.overall, 2) == 92.78
    assert round(counts.worst, 2) == 77.78
    assert counts.worst_group == 3


def test_counts_equal_plain_loops_for_any_number_of_groups() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 6, 200).astype(np.int8)
    targets, guess = (groups // 2).astype(np.int8), rng.integers(0, 3, 200)
    counts = count_groups(guess, targets, groups, 6)
    assert number_of_groups(groups) == 6
    for group in range(6):
        hits = [guess[i] == targets[i] for i in range(200) if groups[i] == group]
        assert (counts.correct[group], counts.images[group]) == (sum(hits), len(hits))
        assert counts.accuracy(group) == pytest.approx(100 * sum(hits) / len(hits))
    assert counts.overall == pytest.approx(100 * float((guess == targets).mean()))
    assert GroupCounts.from_dict(counts.as_dict()) == counts


def test_a_group_without_images_is_left_out() -> None:
    targets, groups = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 3])
    counts = count_groups(np.array([0, 1, 0, 1]), targets, groups, 5)
    assert (counts.accuracy(2), counts.accuracy(4)) == (None, None)
    assert (counts.overall, counts.worst, counts.worst_group) == (75.0, 50.0, 0)
    with pytest.raises(ValueError, match="group 3 among 3 groups"):
        count_groups(np.array([0, 1, 0, 1]), targets, groups, 3)


def test_no_images_are_a_fault_of_the_split() -> None:
    with pytest.raises(ClipsteerError, match="no images"):
        count_groups(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int), 4)
    with pytest.raises(ValueError, match="no counts of images"):
        GroupCounts((0, 0), (0, 0))
