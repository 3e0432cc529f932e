"""The asymptote, and what is said of a layer: Equations 6 to 8, coverage, intervals, comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clipsteer.sampled import sampled
from clipsteer.steering import layer_metrics as metrics
from clipsteer.steering.layer_metrics import (
    Sampled,
    Thresholds,
    compared,
    layer_metrics,
    rank_correlation,
)
from clipsteer.steering.steerability import asymptote


@pytest.mark.parametrize(
    ("strengths", "means", "found"),
    [
        ([-20, 10, 50, 100, 150], [9.0, 1.0, 2.0, 2.01, 2.005], (50, True)),
        ([10, 50, 100, 150], [1.0, 2.0, 2.01, 2.05], (150, False)),  # 100 -> 150 is 2 %
        ([10, 50, 100, 150], [2.0, 2.0, 3.0, 2.0], (150, False)),  # it comes back
        ([150, 10, 50], [2.0, 1.0, 2.0], (50, True)),
        ([-5, 0, 3], [1.0, 1.0, 1.0], (3, False)),
    ],
)
def test_the_asymptote_is_where_the_mean_no_longer_moves(
    strengths: list[float], means: list[float], found: tuple[float, bool]
) -> None:
    assert asymptote(strengths, means) == found


@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 6)), min_size=1, max_size=40),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_measures_of_a_layer_are_counts(
    features: list[tuple[float, int]], gamma: float, beta: float
) -> None:
    found = Sampled(np.array([s for s, _ in features]), np.array([c for _, c in features]), 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "RESAMPLES", 20)
        got = layer_metrics(found, Thresholds(gamma, beta), 7, seed=0)
    n = len(features)
    expected = {
        "s": sum(s for s, _ in features) / n,
        "share_steerable": sum(s > gamma for s, _ in features) / n,
        "above_beta": sum(s > beta for s, _ in features),
        "perfect": sum(s > 0.9 for s, _ in features),
        "coverage": len({c for s, c in features if s > gamma}) / 7,
    }
    for name, value in expected.items():
        assert got[name].value == pytest.approx(value)
        assert got[name].low <= got[name].high


def test_intervals_are_those_of_the_bootstrap() -> None:
    """The mean's is near its normal one, the share's near its binomial one."""
    rng = np.random.default_rng(0)
    s, concept = rng.random(400), rng.integers(0, 50, 400)
    got = layer_metrics(Sampled(s, concept, 400), Thresholds(0.8, 0.9), 50, seed=1)
    half = 1.96 * s.std() / 20
    assert got["s"].low == pytest.approx(s.mean() - half, abs=0.2 * half)
    assert got["s"].high == pytest.approx(s.mean() + half, abs=0.2 * half)
    share = (s > 0.8).mean()
    half = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert got["share_steerable"].high == pytest.approx(share + half, abs=0.3 * half)
    assert got["coverage"].low < got["coverage"].value <= got["coverage"].high <= 1


def sample(n: int, m: int | None) -> Sampled:
    return Sampled(np.arange(n, dtype=np.float64), np.arange(n), m)


def test_bases_are_compared_at_equal_numbers_and_shares() -> None:
    bases = {
        "topk": sample(12_288, 49_152),
        "neurons": sample(768, 768),
        "random": sample(1000, None),
    }

    def sizes(found: dict[str, Sampled]) -> dict[str, int]:
        return {name: len(one.s) for name, one in found.items()}

    assert sizes(compared(bases, "sample")) == {"topk": 12_288, "neurons": 768, "random": 1000}
    assert set(sizes(compared(bases, "equal_number")).values()) == {768}
    quarter = {"topk": 12_288, "neurons": 192, "random": 1000}
    assert sizes(compared(bases, "equal_share", 49_152)) == quarter
    assert compared(bases, "equal_share")["neurons"].s.tolist() == list(range(192))


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=30))
def test_rank_correlation_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    a, b = (list(map(float, side)) for side in zip(*pairs, strict=True))
    found = rank_correlation(a, b)
    if min(len(set(a)), len(set(b))) < 2:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize(
    ("asked", "m", "number"),
    [
        ("all", 96, 96),
        (0.25, 1536, 384),
        (0.25, 10, 3),
        (12_000, 768, 768),
        (12_000.0, 49_152, 12_000),
    ],
)
def test_a_sample_is_all_a_share_or_a_number(asked: float | str, m: int, number: int) -> None:
    assert sampled(asked, m) == number
