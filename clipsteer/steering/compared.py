"""What each baseline came to on test, beside the SAE: accuracies by group, what was gained and what was lost.

`trials` are rows of `clipsteer.steering.baselines.trials_frame` of all places, with `hook_point`, `layer` and
`dictionary` (null where a method has none); `images` has one row per test image: `target`, `spurious`, `group`,
`baseline`, and `margin`, where pairs are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from clipsteer.steering.choose import Condition, Rule
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.headline import largest_fall
from clipsteer.steering.outcomes import Outcomes, accuracies, outcomes
from clipsteer.steering.pairs import Margins, Pairs
from clipsteer.steering.places import best_place
from clipsteer.steering.significance import Bools, group_counts, mcnemar_exact
from clipsteer.steering.unconcerned import collateral

SAE, REFERENCE = "sae", "balanced_probe"
# A share of a gap smaller than this (points) says nothing.
_LEAST_GAP = 1.0
LONG = ("predictions", "margins")  # a number for each test image
_COUNTS = ("validation", "validation_baseline", "validation_images", "unconcerned")
_OF_PAIRS = ("pairs_acc_", "n_pairs_", "true_effect_", "recovery_", "pair_collateral_")
_SIZES = ("n_features", "rank", "scale")


def compare(
    trials: pl.DataFrame,
    images: pl.DataFrame,
    unconcerned: pl.DataFrame,
    *,
    n_groups: int,
    rules: Mapping[Condition, Rule],
    pairs: Pairs | None = None,
) -> pl.DataFrame:
    """The rows with what they came to, accuracies in per cent and differences in points.

    - `best_place`: whether the row is its method's own best place (balance, condition and draw apart), by its
      rule's score on validation, among places where anything was taken; of none, the first.
    - `overall`, `worst` with 95 % intervals (`_low`, `_high`), `worst_group`, `acc_before_<group>`,
      `acc_after_<group>`, `worst_group_validation` (of the unmodified model), `gain` of the minimum with its
      interval and `p_gain`, `p_worst_group`: as in the results table. Where nothing was taken, no p-values.
    - `share_of_gap`: of what the balanced probe gains in worst-group accuracy; null where that is under a point.
    - `largest_fall` of any group, and `largest_fall_group`; 0 and null where none falls.
    - `collateral_...` and `unconcerned_<attribute>`: what changed for other attributes
      (`clipsteer.steering.unconcerned.collateral`), of which `unconcerned` has the unmodified model's counts.
    - With `pairs`: `pairs_acc_<group>`, and by target class how close the row comes to the true effect
      (`measure` of `clipsteer.steering.pairs`).

    Raises ValueError where there is not one balanced probe.
    """
    data = outcomes(trials, images, n_groups)
    before = data.unmodified
    counts = group_counts(data.correct, data.groups, n_groups)
    probe, unmodified = reference(trials)
    hardest = unmodified.worst_group
    gap = counts[probe].worst - before.worst
    chosen = best_rows(trials, rules, unmodified)
    rows = []
    of_pairs = {} if pairs is None else pairs.accuracies(n_groups)
    n_classes = int(images["target"].cast(pl.Int64).to_numpy().max()) + 1
    for number, row in enumerate(trials.drop(LONG).iter_rows(named=True)):
        after = counts[number]
        rows.append(
            {
                **{name: value for name, value in row.items() if name not in _COUNTS},
                "best_place": number in chosen,
                **accuracies(data, after, data.correct[number], hardest),
                "worst_group": after.worst_group,
                "worst_group_validation": hardest,
                **{f"acc_before_{g}": before.accuracy(g) for g in range(n_groups)},
                **_tests(data, data.correct[number], hardest, is_taken(row)),
                "share_of_gap": (after.worst - before.worst) / gap if gap >= _LEAST_GAP else None,
                **_fall(before, after),
                **collateral(unconcerned, row["unconcerned"]),
                "n_images": len(images),
                **of_pairs,
                **({} if pairs is None else pairs.measure(margins_of(trials, number), n_classes)),
            }
        )
    floats = [
        name
        for name in rows[0]
        if name.startswith(("acc_", "p_", "gain", "collateral_", "unconcerned_", *_OF_PAIRS))
        or name in ("threshold", "scale", "share_of_gap")
    ]
    types: dict[str, Any] = {
        **dict.fromkeys(floats, pl.Float64()),
        **dict.fromkeys(("draw", "n_features", "rank", "layer", "largest_fall_group"), pl.Int64()),
        **dict.fromkeys(
            ("hook_point", "dictionary", "balance", "condition", "collateral_attribute"),
            pl.String(),
        ),
    }
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


def reference(trials: pl.DataFrame) -> tuple[int, GroupCounts]:
    """The row of the balanced probe, and the unmodified model's counts on validation, which it knows.

    Raises ValueError where there is not one such row.
    """
    found = np.flatnonzero(trials["method"].to_numpy() == REFERENCE)
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows of {REFERENCE}, expected 1")
    row = trials.drop(LONG).row(int(found[0]), named=True)
    return int(found[0]), validation_counts(row, "validation_baseline")


def margins_of(trials: pl.DataFrame, number: int) -> Margins | None:
    """The class margins (N,) of one row; None where its scores are no cosines."""
    found = trials["margins"][number]
    return None if found is None else found.cast(pl.Float64).to_numpy()


def best_rows(
    trials: pl.DataFrame, rules: Mapping[Condition, Rule], unmodified: GroupCounts
) -> set[int]:
    """The numbers of the rows that are their method's own best place on validation.

    Every place is scored against the unmodified model's counts, so that scores are of one kind.
    """
    families: dict[tuple[Any, ...], list[int]] = {}
    rows = list(trials.drop(LONG).iter_rows(named=True))
    for number, row in enumerate(rows):
        key = tuple(row[name] for name in ("method", "balance", "condition", "draw"))
        families.setdefault(key, []).append(number)
    best = set()
    for (_, _, condition, _), members in families.items():
        if condition is None:
            best.update(members)
            continue
        taken = [number for number in members if is_taken(rows[number])]
        if not taken:
            best.add(min(members, key=lambda number: _place(rows[number])))
            continue
        scores = {
            _place(rows[number]): rules[condition].score(
                validation_counts(rows[number], "validation"), unmodified
            )
            for number in taken
        }
        place = best_place(scores)
        best.update(number for number in taken if _place(rows[number]) == place)
    return best


def _place(row: Mapping[str, Any]) -> tuple[int, str]:
    """Layer and dictionary, or hook point; what has no place has one."""
    return (
        -1 if row["layer"] is None else row["layer"],
        row["dictionary"] or row["hook_point"] or "",
    )


def is_taken(row: Mapping[str, Any]) -> bool:
    """Whether there is any intervention; only what has a size may be none."""
    sizes = [row[name] for name in _SIZES if row[name] is not None]
    return not sizes or any(sizes)


def validation_counts(row: Mapping[str, Any], name: str) -> GroupCounts:
    """Of one row: `name` is `validation`, under the row's intervention, or `validation_baseline`."""
    return GroupCounts(tuple(row[name]), tuple(row["validation_images"]))


def _tests(data: Outcomes, after: Bools, hardest: int, taken: bool) -> dict[str, float | None]:
    """The exact McNemar test of the hardest group's images; of no intervention there is nothing to test."""
    own = data.groups == hardest
    if not taken:
        return {"p_worst_group": None, **dict.fromkeys(("gain_low", "gain_high", "p_gain"))}
    return {"p_worst_group": mcnemar_exact(data.baseline[own], after[own])}


def _fall(before: GroupCounts, after: GroupCounts) -> dict[str, Any]:
    known = [group for group, images in enumerate(before.images) if images]
    found = largest_fall(
        *({g: counts.accuracy(g) or 0.0 for g in known} for counts in (before, after))
    )
    if found is None:
        return {"largest_fall": 0.0, "largest_fall_group": None}
    return {"largest_fall": -found.points, "largest_fall_group": found.group}
