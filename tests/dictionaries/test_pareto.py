"""Which points of a grid no other beats, and which one is taken: against definitions, by brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsteer.dictionaries.pareto import Quality, front, heights, ranks, scores, take
from clipsteer.errors import ClipsteerError

# Few values, so that many points are equal in one way or in both.
POINTS = st.lists(
    st.builds(
        Quality,
        st.sampled_from([0.0, 0.5, 2.0, 8.0, 30.0, 100.0]),
        st.sampled_from([-1.0, 0.0, 0.2, 0.5, 0.8, 0.97]),
    ),
    min_size=1,
    max_size=9,
)
PARETO: dict[str, Any] = {"by": "pareto"}


@given(POINTS)
def test_the_front_has_the_points_that_no_other_beats(points: list[Quality]) -> None:
    useful = [p for p in points if p.l0 > 0 and p.explained_variance > 0]
    expected = [
        i
        for i, p in enumerate(points)
        if p in useful
        and not any(
            (q.l0 < p.l0 and q.explained_variance >= p.explained_variance)
            or (q.l0 <= p.l0 and q.explained_variance > p.explained_variance)
            for q in useful
        )
    ]
    found = front(points)
    assert sorted(found) == expected
    assert [points[i].l0 for i in found] == sorted(points[i].l0 for i in expected)


@given(POINTS)
def test_what_is_taken_lies_on_the_front_and_in_whichever_order_they_come(
    points: list[Quality],
) -> None:
    if not front(points):
        with pytest.raises(ClipsteerError, match=r"dictionaries\.v\.grid: found no point"):
            take(points, PARETO, "dictionaries.v")
        return
    number = take(points, PARETO, "dictionaries.v")
    assert number in front(points)
    again = points[::-1][take(points[::-1], PARETO, "")]
    assert heights(points)[points.index(again)] == heights(points)[number]
    assert heights(points)[number] == max(heights(points))
    assert scores(points, {"by": "fixed"}) == scores(points, PARETO)


def test_the_bend_is_where_the_front_is_farthest_above_its_chord() -> None:
    l0 = np.array([1.0, 3.0, 10.0, 30.0, 100.0])
    explained = np.array([0.1, 0.5, 0.8, 0.85, 0.9])
    points = [Quality(*pair) for pair in zip(l0.tolist(), explained.tolist(), strict=True)]
    beaten = Quality(20.0, 0.4)
    # another way to the same: the distance from the chord, in the square that the front spans
    x = (np.log10(l0) - 0) / 2
    y = (explained - 0.1) / 0.8
    distance = (y - x) / math.sqrt(2)
    found = heights([*points, beaten])
    np.testing.assert_allclose(np.array(found[:5]) / math.sqrt(2), distance, atol=1e-12)
    assert take([*points, beaten], PARETO, "") == int(distance.argmax()) == 2
    assert found[5] < found[2]
    assert heights([Quality(0.0, 0.5)]) == [-math.inf]
    assert heights([Quality(4.0, 0.5), Quality(4.0, 0.5)]) == [0.0, 0.0]


@given(POINTS, st.sampled_from([0.4, 2.0, 50.0]), st.sampled_from([0.2, 0.6, 0.99]))
def test_a_rule_takes_the_best_of_those_that_meet_it(
    points: list[Quality], most: float, least: float
) -> None:
    sparse = [p for p in points if p.l0 <= most]
    if sparse:
        taken = points[take(points, {"by": "rule", "max_l0": most}, "")]
        assert taken in sparse
        assert taken.explained_variance == max(p.explained_variance for p in sparse)
    faithful = [p for p in points if p.explained_variance >= least]
    rule = {"by": "rule", "min_explained_variance": least}
    if faithful:
        taken = points[take(points, rule, "")]
        assert taken in faithful
        assert taken.l0 == min(p.l0 for p in faithful)
        return
    nearest = max(p.explained_variance for p in points)
    with pytest.raises(ClipsteerError) as caught:
        take(points, rule, "dictionaries.v")
    assert f"min_explained_variance: found {nearest:.4g} at the nearest" in str(caught.value)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3).map(float)), min_size=1, max_size=8))
def test_ranks_count_who_is_better(found: list[tuple[bool, float]]) -> None:
    order = sorted(found, reverse=True)
    assert ranks(found) == [order.index(score) + 1 for score in found]
