"""Every choice on validation: candidates, a rule, and the one that is taken (docs/method.md, section 8).

Feature sets, scales, biases and directions are all chosen here, so that what stands side by side in a
table was chosen alike. Accuracies are compared as exact fractions of image counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, Literal, Protocol, TypeVar

from clipsteer.steering.counts import GroupCounts

T = TypeVar("T")
Condition = Literal["strict", "relaxed"]
CONDITIONS: tuple[Condition, ...] = ("strict", "relaxed")


@dataclass(frozen=True)
class Candidate(Generic[T]):
    """One thing that may be chosen, `what`, with its counts on validation.

    Of equally good candidates the one of least `cost` is taken: numbers, compared in turn, such as
    (number of features, -threshold), (|scale|,) or (|bias|, bias). No two candidates of one choice
    may have the same cost: the outcome would hang on the order in which they come.
    """

    cost: tuple[float, ...]
    counts: GroupCounts
    what: T


class Rule(Protocol):
    """What may be chosen, and what is best; `baseline` is the model without an intervention."""

    def admits(self, counts: GroupCounts, baseline: GroupCounts) -> bool:
        """Whether the rule allows these counts at all."""

    def score(self, counts: GroupCounts, baseline: GroupCounts) -> Fraction:
        """The higher, the better; the choice must have more than the baseline itself."""


@dataclass(frozen=True)
class NoGroupFalls:
    """Strict: no group's accuracy below its baseline, then the largest overall + worst-group accuracy.

    `slack`: how many images each group may lose.
    """

    slack: int = 0

    def admits(self, counts: GroupCounts, baseline: GroupCounts) -> bool:
        pairs = zip(counts.correct, baseline.correct, strict=True)
        return all(now >= before - self.slack for now, before in pairs)

    def score(self, counts: GroupCounts, baseline: GroupCounts) -> Fraction:
        return counts.exact_overall + counts.exact_worst


@dataclass(frozen=True)
class LargestSum:
    """Strict as the words "maximizes both" may also be read: the largest overall + worst-group accuracy.

    Neither may be below the baseline's. A group that is not the worst may fall.
    """

    def admits(self, counts: GroupCounts, baseline: GroupCounts) -> bool:
        overall = counts.exact_overall >= baseline.exact_overall
        return overall and counts.exact_worst >= baseline.exact_worst

    def score(self, counts: GroupCounts, baseline: GroupCounts) -> Fraction:
        return counts.exact_overall + counts.exact_worst


@dataclass(frozen=True)
class Relaxed:
    """The highest accuracy of the baseline's worst group (ties: the lowest number).

    No other group may lose more than `max_drop` points, per cent of its own images.
    """

    max_drop: float

    def admits(self, counts: GroupCounts, baseline: GroupCounts) -> bool:
        allowed = Fraction(str(self.max_drop)) / 100  # as written: 3.3 means 33/1000
        before, now = baseline.exact, counts.exact
        others = before.keys() - {baseline.worst_group}
        return all(before[group] - now[group] <= allowed for group in others)

    def score(self, counts: GroupCounts, baseline: GroupCounts) -> Fraction:
        return counts.exact[baseline.worst_group]


@dataclass(frozen=True)
class AttackedUnderCleanDrop:
    """The highest accuracy on attacked images, group 1, that clean ones, group 0, allow.

    They may lose at most `max_drop` points.
    """

    max_drop: float

    def admits(self, counts: GroupCounts, baseline: GroupCounts) -> bool:
        allowed = Fraction(str(self.max_drop)) / 100
        return baseline.exact[0] - counts.exact[0] <= allowed

    def score(self, counts: GroupCounts, baseline: GroupCounts) -> Fraction:
        return counts.exact[1]


def choose(
    candidates: Iterable[Candidate[T]], baseline: GroupCounts, rule: Rule
) -> Candidate[T] | None:
    """The admitted candidate of the highest score above the baseline's, of equals the one of least cost.

    None where nothing gains: then there is no intervention. `baseline` are the counts of the same
    images without an intervention. The order of the candidates does not matter. Raises ValueError for
    two candidates of one cost, and for counts of other images than the baseline's.
    """
    every = list(candidates)
    if len({candidate.cost for candidate in every}) < len(every):
        raise ValueError("two candidates have the same cost; expected a different one for each")
    if any(candidate.counts.images != baseline.images for candidate in every):
        raise ValueError("a candidate was not counted on the baseline's images")
    least = rule.score(baseline, baseline)
    gaining = [
        candidate
        for candidate in every
        if rule.admits(candidate.counts, baseline)
        and rule.score(candidate.counts, baseline) > least
    ]
    return min(
        gaining,
        key=lambda candidate: (-rule.score(candidate.counts, baseline), candidate.cost),
        default=None,
    )


def rules(steering: Mapping[str, Any]) -> dict[Condition, Rule]:
    """The rule of each condition, from the keys `strict`, `strict_slack` and `relaxed_drop` of `steering`."""
    strict: dict[str, Rule] = {
        "no_group_falls": NoGroupFalls(steering["strict_slack"]),
        "largest_sum": LargestSum(),
    }
    return {"strict": strict[steering["strict"]], "relaxed": Relaxed(steering["relaxed_drop"])}
