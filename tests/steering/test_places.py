from __future__ import annotations

import pytest

from clipsteer.steering.places import best_place


def test_the_highest_score_wins_and_ties_go_down() -> None:
    assert best_place({(3, "topk"): 1.0, (1, "vanilla"): 2.0, (2, "topk"): 1.5}) == (1, "vanilla")
    assert best_place({(3, "a"): 2.0, (1, "b"): 2.0, (1, "a"): 2.0}) == (1, "a")
    with pytest.raises(ValueError):
        best_place({})
