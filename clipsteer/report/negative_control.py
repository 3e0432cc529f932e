"""`results/<dataset>_negative_control.csv` and `.md`: what Eq. 9 gains when its training labels are shuffled.

Each shuffle stands twice: at the place of the true labels, so that both had one place to choose from, and at the
place that it chooses itself on validation, as the true labels did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import polars as pl

from clipsteer.report.markdown import grid, source_label
from clipsteer.steering.choose import CONDITIONS, Condition, Rule
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.headline import largest_fall
from clipsteer.steering.places import Place, choose_place, unmodified_counts

FIXED, OWN = "true labels'", "its own"
"""Values of `place_of`: where a row edits."""


def columns(n_groups: int) -> tuple[str, ...]:
    """The CSV's columns for so many groups."""
    return (
        *("dataset", "source", "condition", "place_of", "labels"),
        *("hook_point", "layer", "dictionary", "n_features", "overall", "worst", "worst_group"),
        *("worst_group_validation", "gain", "gain_worst_group"),
        *("largest_fall", "largest_fall_group"),
        *(f"acc_before_{g}" for g in range(n_groups)),
        *(f"acc_after_{g}" for g in range(n_groups)),
    )


def control_rows(
    controls: Mapping[Place, Mapping[str, Any]],
    headline: Mapping[str, Any],
    hooks: Mapping[str, str],
    rules: Mapping[Condition, Rule],
    group_names: Sequence[str],
) -> pl.DataFrame:
    """The true labels and every shuffle, for both conditions and both kinds of place: `columns` but the first two.

    `controls`: what shuffle_control wrote at each place; `headline` of the true labels, whose place is the
    fixed one; `hooks`: each dictionary's hook point. Accuracies in per cent, differences in points:
    `gain` is the smallest group accuracy after minus `worst_group_validation`'s before, `gain_worst_group` that
    group's own, `largest_fall` the most that a group loses. A condition in which the true labels ablate
    nothing has no fixed place.
    """
    some = next(iter(controls.values()))
    before = GroupCounts.from_dict(some["test"])
    unmodified = unmodified_counts(controls)
    hardest = unmodified.worst_group
    rows: list[dict[str, Any]] = []

    def row(labels: str, kind: str, condition: str, place: Place | None, **given: Any) -> None:
        layer, dictionary = place or (None, None)
        rows.append(
            {
                "condition": condition,
                "place_of": kind,
                "labels": labels,
                "hook_point": hooks[dictionary] if dictionary is not None else None,
                "layer": layer,
                "dictionary": dictionary,
                **given,
            }
        )

    for condition in CONDITIONS:
        true = headline[condition]
        chosen = None if true["layer"] is None else (true["layer"], true["dictionary"])
        after = {
            g: true["groups_after"][name]
            for g, name in enumerate(group_names)
            if name in true["groups_after"]
        }
        for kind in (FIXED, OWN) if chosen else (OWN,):
            numbers = _numbers(before, after, true["overall"], hardest, group_names)
            row("true", kind, condition, chosen, n_features=true["n_features"], **numbers)
            for shuffle in range(len(some[condition])):
                here = {
                    place: {"unmodified": found["unmodified"], condition: found[condition][shuffle]}
                    for place, found in controls.items()
                }
                place = chosen
                if kind == OWN:
                    place = choose_place(here, hooks, condition, rules[condition], unmodified).place
                found = here[place][condition] if place else None
                counts = GroupCounts.from_dict(found["test"]) if found else before
                numbers = _numbers(
                    before, _accuracies(counts), counts.overall, hardest, group_names
                )
                size = found["n_features"] if found else 0
                row(f"shuffle {shuffle}", kind, condition, place, n_features=size, **numbers)
    named = columns(len(group_names))[2:]
    return pl.DataFrame(rows, infer_schema_length=None).select(named)


def _accuracies(counts: GroupCounts) -> dict[int, float]:
    return {group: 100 * float(share) for group, share in counts.exact.items()}


def _numbers(
    before: GroupCounts,
    after: Mapping[int, float],
    overall: float,
    hardest: int,
    group_names: Sequence[str],
) -> dict[str, Any]:
    was = _accuracies(before)
    fall = largest_fall(was, after)
    worst = min(after, key=lambda group: (after[group], group))
    groups = range(len(group_names))
    return {
        "overall": overall,
        "worst": after[worst],
        "worst_group": group_names[worst],
        "worst_group_validation": group_names[hardest],
        "gain": after[worst] - was[hardest],
        "gain_worst_group": after[hardest] - was[hardest],
        "largest_fall": -fall.points if fall else 0.0,
        "largest_fall_group": group_names[fall.group] if fall else None,
        **{f"acc_before_{g}": was.get(g) for g in groups},
        **{f"acc_after_{g}": after.get(g) for g in groups},
    }


def render(rows: pl.DataFrame, *, dataset: str, source: str, n_images: int) -> str:
    """The page: for each condition and kind of place the true labels beside the shuffles, then every row."""
    hardest = rows["worst_group_validation"][0]
    parts = [
        f"# {dataset}: the negative control",
        f"{source_label(source)}, {n_images} test images. The labels that say which training images have the "
        "attribute are shuffled; Eq. 9, the choice on validation (with true groups) and the ablation are "
        f"as in the table. Gains in points, on test: *gain* is the smallest group accuracy after, minus that "
        f"of {hardest} (the worst group on validation) before; *own gain* is that of {hardest} alone; *fall* is "
        "the most that a group loses.",
    ]
    head = ["place", "true: gain, own gain, fall", "shuffles: median gain", "largest gain"]
    head += ["median own gain", "median fall", "gain as much as true", "reach half of it"]
    for condition in CONDITIONS:
        here = rows.filter(pl.col("condition") == condition)
        parts += [f"## {condition.capitalize()}", grid(head, list(_outcomes(here)))]
        if FIXED not in here["place_of"].to_list():
            parts.append("The true labels ablate nothing at any place, so there is no fixed one.")
    parts.append("## All rows")
    each = ["condition", "place of", "labels", "layer", "dictionary", "features", "overall"]
    each += ["worst", "gain", "own gain", "largest fall"]
    parts.append(grid(each, [_cells(row) for row in rows.iter_rows(named=True)]))
    return "\n\n".join(parts) + "\n"


def _outcomes(rows: pl.DataFrame) -> Iterator[list[str]]:
    """One line a kind of place."""
    for kind in rows["place_of"].unique(maintain_order=True):
        here = rows.filter(pl.col("place_of") == kind)
        true = here.filter(pl.col("labels") == "true").row(0, named=True)
        shuffles = here.filter(pl.col("labels") != "true")
        gains = shuffles["gain"].to_list()
        half = reached(gains, true["gain"] / 2) if true["gain"] > 0 else "-"
        yield [
            kind,
            f"{true['gain']:+.1f}, {true['gain_worst_group']:+.1f}, {true['largest_fall']:.1f}",
            f"{median(gains):+.1f}",
            f"{max(gains):+.1f}",
            f"{median(shuffles['gain_worst_group'].to_list()):+.1f}",
            f"{median(shuffles['largest_fall'].to_list()):.1f}",
            reached(gains, true["gain"]),
            half,
        ]


def reached(gains: Sequence[float], wanted: float) -> str:
    """How many of them are no smaller, in words; rounding in the last place of a share is no difference."""
    return f"{sum(gain >= wanted - 1e-9 for gain in gains)} of {len(gains)}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    fall = "none" if row["largest_fall_group"] is None else row["largest_fall_group"]
    return [
        row["condition"],
        row["place_of"],
        row["labels"],
        "–" if row["layer"] is None else f"L{row['layer']}",
        row["dictionary"] or "–",
        f"{row['n_features']:,}",
        f"{row['overall']:.1f}",
        f"{row['worst']:.1f} ({row['worst_group']})",
        f"{row['gain']:+.1f}",
        f"{row['gain_worst_group']:+.1f}",
        f"{row['largest_fall']:.1f} ({fall})",
    ]
