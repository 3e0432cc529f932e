from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from clipsteer.steering.choose import NoGroupFalls, Relaxed
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.places import best_place, choose_place, unmodified_counts

IMAGES = [180] * 4
UNMODIFIED = {"correct": [150, 170, 160, 60], "images": IMAGES}
HOOKS = {"topk": "resid_post", "vanilla": "resid_post", "mlp": "mlp_out"}


def selection(strict: list[int] | None, relaxed: list[int] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"unmodified": {"counts": UNMODIFIED}}
    for condition, correct in (("strict", strict), ("relaxed", relaxed)):
        counts = UNMODIFIED if correct is None else {"correct": correct, "images": IMAGES}
        found[condition] = {"n_features": 0 if correct is None else 7, "counts": counts}
    return found


def test_the_highest_score_wins_and_ties_go_down() -> None:
    assert best_place({(3, "topk"): 1.0, (1, "vanilla"): 2.0, (2, "topk"): 1.5}) == (1, "vanilla")
    assert best_place({(3, "a"): 2.0, (1, "b"): 2.0, (1, "a"): 2.0}) == (1, "a")
    # four images of 720 are one of 180: floats of per cents would not see it
    tie = {(2, "a"): Fraction(601, 720) + Fraction(61, 180), (1, "b"): Fraction(605, 720)}
    tie[1, "b"] += Fraction(60, 180)
    assert best_place(tie) == (1, "b")
    with pytest.raises(ValueError):
        best_place({})


def test_each_condition_has_a_place_by_its_own_score() -> None:
    selections = {
        (0, "topk"): selection([150, 170, 160, 70], [150, 170, 160, 90]),
        (1, "vanilla"): selection([180, 180, 180, 65], [143, 163, 153, 100]),
        (1, "topk"): selection([150, 170, 160, 71], None),
        (2, "mlp"): selection([150, 170, 160, 75], [180, 180, 180, 95]),
    }
    unmodified = unmodified_counts(selections)
    assert unmodified == GroupCounts.from_dict(UNMODIFIED)
    strict = choose_place(selections, HOOKS, "strict", NoGroupFalls(), unmodified)
    assert (strict.place, strict.hook_point) == ((1, "vanilla"), "resid_post")
    assert strict.per_layer == {0: "topk", 1: "vanilla"}  # at that hook point alone
    relaxed = choose_place(selections, HOOKS, "relaxed", Relaxed(4.0), unmodified)
    assert relaxed.place == (1, "vanilla")  # by the worst group, not by the sum
    del selections[1, "vanilla"]
    assert choose_place(selections, HOOKS, "strict", NoGroupFalls(), unmodified).place == (2, "mlp")


def test_an_empty_set_is_no_place() -> None:
    """Even where its images, resumed from stored activations, come out better than what another gains."""
    selections = {
        (0, "topk"): selection(None, None),
        (1, "topk"): selection([150, 170, 160, 61], None),
        (2, "vanilla"): selection(None, None),
    }
    selections[0, "topk"]["strict"]["counts"] = {"correct": [180] * 4, "images": IMAGES}
    unmodified = unmodified_counts(selections)
    strict = choose_place(selections, HOOKS, "strict", NoGroupFalls(), unmodified)
    assert strict.place == (1, "topk")
    relaxed = choose_place(selections, HOOKS, "relaxed", Relaxed(4.0), unmodified)
    assert (relaxed.place, relaxed.hook_point) == (None, "resid_post")
    assert relaxed.per_layer == {0: "topk", 1: "topk", 2: "vanilla"}


def test_selections_of_different_models_are_refused() -> None:
    other = selection(None, None)
    other["unmodified"] = {"counts": {"correct": [1, 1, 1, 1], "images": IMAGES}}
    with pytest.raises(ValueError, match="differ"):
        unmodified_counts({(0, "topk"): selection(None, None), (1, "topk"): other})
