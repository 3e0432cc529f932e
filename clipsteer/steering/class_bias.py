"""The simplest baseline: biases on the class scores, chosen on validation, and no edit at all.

For two classes the search along the one free bias is exact: every way in which a bias can part the images is a
candidate. For more, one class after the other is searched so, the others held, until nothing gains any more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clipsteer.steering.choose import Candidate, Rule, choose
from clipsteer.steering.counts import GroupCounts

Bias = NDArray[np.float64]

_APART = 1e-9  # nearer, two images are a tie: cosines are float32
_BEYOND = 1.0  # how far beyond the last image the outermost candidates are


def choose_bias(
    scores: NDArray[np.float64],
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    baseline: GroupCounts,
    rule: Rule,
) -> Candidate[Bias] | None:
    """The biases (K,) that `rule` takes, the first class's 0; None where none gains.

    `scores` (N, K) of the unmodified model, `baseline` its counts on the same images. Of equally good
    biases along one class the smallest is taken.
    """
    n_classes = scores.shape[1]
    best: Candidate[Bias] | None = None
    bias = np.zeros(n_classes)
    gained = n_classes > 1
    while gained:
        gained = False
        for free in range(1, n_classes):
            found = choose(along(scores, bias, free, targets, groups, baseline), baseline, rule)
            if found is None:
                continue
            so_far = baseline if best is None else best.counts
            if rule.score(found.counts, baseline) > rule.score(so_far, baseline):
                best, bias, gained = found, found.what, n_classes > 2
    return best


def along(
    scores: NDArray[np.float64],
    bias: Bias,
    free: int,
    targets: NDArray[np.integer],
    groups: NDArray[np.integer],
    baseline: GroupCounts,
) -> Iterator[Candidate[Bias]]:
    """All that moving one class's bias can do, the others held: a candidate between each two images.

    Scores (N, K), bias (K,), targets and groups (N,). A candidate's cost is (|b|, b) of the free class's bias b.
    """
    rest = scores + bias
    rest[:, free] = -np.inf
    rival = rest.argmax(axis=1)
    needed = rest.max(axis=1) - scores[:, free]  # above this, the free class wins the image
    order = np.argsort(needed, kind="stable")
    needed, groups = needed[order], groups[order]
    with_rival, with_free = (rival == targets)[order], (targets == free)[order]
    # what each image adds to its group's count as the free class takes it
    change = np.zeros((len(order) + 1, len(baseline.images)), dtype=np.int64)
    change[np.arange(len(order)) + 1, groups] = with_free.astype(np.int64) - with_rival
    change[0] = np.bincount(groups[with_rival], minlength=len(baseline.images))
    correct = change.cumsum(axis=0)
    edges = np.concatenate([[needed[0] - 2 * _BEYOND], needed, [needed[-1] + 2 * _BEYOND]])
    for taken in range(len(order) + 1):
        low, high = edges[taken], edges[taken + 1]
        middle = low + (high - low) / 2
        if high - low > _APART:
            moved = bias.copy()
            moved[free] = middle
            counts = GroupCounts(tuple(correct[taken].tolist()), baseline.images)
            yield Candidate((abs(middle), middle), counts, moved)
