"""Choices on validation, against a brute force that ranks every candidate by the words of the rule."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipsteer.steering.choose import (
    Candidate,
    LargestSum,
    NoGroupFalls,
    Relaxed,
    Rule,
    choose,
    rules,
)
from clipsteer.steering.counts import GroupCounts

STEERING = {"strict": "no_group_falls", "strict_slack": 0, "relaxed_drop": 4.0}
RULES: list[Rule] = [NoGroupFalls(), NoGroupFalls(2), LargestSum(), Relaxed(4.0), Relaxed(0)]


def of(images: tuple[int, ...], *correct: tuple[int, ...]) -> list[Candidate[int]]:
    """Candidates named by their place, of rising cost."""
    return [Candidate((n,), GroupCounts(c, images), n) for n, c in enumerate(correct)]


def taken(
    rule: Rule, images: tuple[int, ...], base: tuple[int, ...], *correct: tuple[int, ...]
) -> int | None:
    found = choose(of(images, *correct), GroupCounts(base, images), rule)
    return None if found is None else found.what


@st.composite
def worlds(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, ...]]]:
    """(images, baseline, candidates) by group, 2 to 6 groups, some without images."""
    images = draw(st.lists(st.integers(0, 12), min_size=2, max_size=6).filter(any))
    counts = st.tuples(*(st.integers(0, n) for n in images))
    near = st.tuples(*(st.integers(-1, 2) for _ in images))
    base = draw(counts)
    moved = near.map(
        lambda by: tuple(max(0, min(n, b + d)) for n, b, d in zip(images, base, by, strict=True))
    )
    return tuple(images), base, draw(st.lists(counts | moved, min_size=1, max_size=6))


def brute_force(
    rule: Rule, images: tuple[int, ...], base: tuple[int, ...], rows: list[tuple[int, ...]]
) -> int | None:
    """The words of docs/method.md, section 8, one candidate after the other; None for the empty set."""
    groups = [g for g, n in enumerate(images) if n]

    def share(c: tuple[int, ...], g: int) -> Fraction:
        return Fraction(c[g], images[g])

    def both(c: tuple[int, ...]) -> tuple[Fraction, Fraction]:
        return Fraction(sum(c), sum(images)), min(share(c, g) for g in groups)

    worst = next(g for g in groups if share(base, g) == min(share(base, h) for h in groups))
    best: tuple[Fraction, int | None] = (
        share(base, worst) if isinstance(rule, Relaxed) else sum(both(base), Fraction(0)),
        None,
    )
    for number, c in enumerate(rows):
        if isinstance(rule, NoGroupFalls):
            allowed = all(base[g] - c[g] <= rule.slack for g in groups)
        elif isinstance(rule, LargestSum):
            allowed = all(now >= before for now, before in zip(both(c), both(base), strict=True))
        else:
            assert isinstance(rule, Relaxed)
            lost = [100 * (share(base, g) - share(c, g)) for g in groups if g != worst]
            allowed = all(points <= Fraction(rule.max_drop) for points in lost)
        value = share(c, worst) if isinstance(rule, Relaxed) else sum(both(c), Fraction(0))
        if allowed and value > best[0]:
            best = (value, number)
    return best[1]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60)
@given(world=worlds())
@example(world=((180,) * 4, (170, 150, 175, 100), [(175, 150, 175, 100), (170, 150, 175, 101)]))
def test_choice_is_the_brute_forces(
    rule: Rule, world: tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, ...]]]
) -> None:
    images, base, rows = world
    assert taken(rule, images, base, *rows) == brute_force(rule, images, base, rows)


@settings(max_examples=80)
@given(worlds())
def test_what_holds_by_construction(
    world: tuple[tuple[int, ...], tuple[int, ...], list[tuple[int, ...]]],
) -> None:
    """Strict lowers no group; the baseline's worst group is at least as accurate under relaxed."""
    images, base, rows = world
    baseline = GroupCounts(base, images)
    chosen = {
        name: choose(of(images, *rows), baseline, rule) for name, rule in rules(STEERING).items()
    }
    after = {name: baseline if c is None else c.counts for name, c in chosen.items()}
    assert all(now >= before for now, before in zip(after["strict"].correct, base, strict=True))
    worst = baseline.worst_group
    assert after["relaxed"].exact[worst] >= after["strict"].exact[worst] >= baseline.exact[worst]


@pytest.mark.parametrize("rule", RULES)
def test_order_does_not_matter(rule: Rule) -> None:
    base, images = (9, 8, 9, 5), (10, 10, 10, 10)
    rows = [(9, 8, 9, 6), (9, 8, 10, 6), (10, 8, 9, 6), (6, 8, 9, 7)]
    every = of(images, *rows)
    found = {choose(order, GroupCounts(base, images), rule) for order in permutations(every)}
    assert len(found) == 1


def test_ties_go_to_the_least_cost() -> None:
    # One more right in the worst group (1/180 + 1/720) against five more elsewhere (5/720): equal.
    images, base = (180,) * 4, (170, 150, 175, 100)
    equals = [(175, 150, 175, 100), (170, 150, 175, 101)]
    for pair in (equals, equals[::-1]):
        assert taken(NoGroupFalls(), images, base, *pair) == 0
        assert taken(LargestSum(), images, base, *pair) == 0
    assert taken(Relaxed(4.0), images, base, (170, 150, 175, 101), (180, 180, 180, 101)) == 0


def test_the_rules_differ_where_a_group_pays() -> None:
    images, base = (100,) * 4, (90, 94, 95, 27)
    pays, spares = (90, 73, 95, 73), (90, 94, 95, 40)
    assert taken(LargestSum(), images, base, pays, spares) == 0
    assert taken(NoGroupFalls(), images, base, pays, spares) == 1
    assert taken(NoGroupFalls(21), images, base, pays, spares) == 0
    assert taken(NoGroupFalls(20), images, base, pays, spares) == 1
    assert taken(Relaxed(4.0), images, base, pays, spares) == 1


def test_max_drop_means_what_is_written() -> None:
    images, base = (1000,) * 4, (900, 900, 900, 500)
    for lost, kept in ((33, 0), (34, None)):
        assert taken(Relaxed(3.3), images, base, (900 - lost, 900, 900, 600)) == kept


def test_baselines_worst_group_counts_and_not_the_worst_after() -> None:
    images, base = (100,) * 4, (90, 80, 95, 40)
    assert taken(Relaxed(4.0), images, base, (86, 76, 91, 95), (90, 80, 95, 81)) == 0


def test_what_cannot_be_compared_is_refused() -> None:
    baseline = GroupCounts((1, 1), (2, 2))
    same = [Candidate((1,), baseline, "a"), Candidate((1,), baseline, "b")]
    with pytest.raises(ValueError, match="same cost"):
        choose(same, baseline, LargestSum())
    with pytest.raises(ValueError, match="baseline's images"):
        choose(of((2, 3), (1, 1)), baseline, LargestSum())


def test_rules_of_the_configuration() -> None:
    assert rules(STEERING) == {"strict": NoGroupFalls(0), "relaxed": Relaxed(4.0)}
    other = {"strict": "largest_sum", "strict_slack": 0, "relaxed_drop": 2.5}
    assert rules(other) == {"strict": LargestSum(), "relaxed": Relaxed(2.5)}
    assert rules({**STEERING, "strict_slack": 3})["strict"] == NoGroupFalls(3)
