"""What pairs say, on the page of baselines: how close each edit comes to the true effect, and at what collateral."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.report.markdown import MISSING, grid
from clipsteer.steering.choose import Condition

MEANING = (
    "Recovery: 1 is the ideal edit, 0 what doing nothing gives, below 0 is worse than nothing; over images with the"
    " attribute. Collateral: the mean squared change of the margin of images without it, in units of the mean"
    " squared true effect."
)
_BY_CLASS = ("n_pairs", "true_effect", "recovery", "pair_collateral")
Row = dict[str, Any]


def pair_columns(n_groups: int, n_classes: int) -> tuple[str, ...]:
    """What pairs add to the table; nothing without classes that have any."""
    if not n_classes:
        return ()
    return (
        *(f"pairs_acc_{group}" for group in range(n_groups)),
        *(f"{name}_{number}" for name in _BY_CLASS for number in range(n_classes)),
    )


def pairs_of(table: pl.DataFrame) -> int:
    """How many classes a table says this of; 0 where images have no pairs."""
    return sum(name.startswith("recovery_") for name in table.columns)


def section(
    rows: Mapping[Condition, Sequence[tuple[list[str], Row]]],
    group_names: Sequence[str],
    class_names: Sequence[str],
) -> list[str]:
    """The paragraphs and grids of the page.

    `rows`: condition -> method, balance and place as the page has them, and the row of the table.
    """
    title = "## Pairs: the true effect"
    first = next(row for shown in rows.values() for _, row in shown)
    if "recovery_0" not in first:
        nothing = (
            "No image names a pair that differs from it in the attribute alone, so what an ideal edit would do is not"
            " known, and nothing is measured here."
        )
        return [title, nothing]
    classes = [number for number in range(len(class_names)) if f"recovery_{number}" in first]
    reach = ", ".join(
        f"{name} {MISSING if (value := first[f'pairs_acc_{group}']) is None else f'{value:.1f} %'}"
        for group, name in enumerate(group_names)
    )
    effect = ", ".join(
        f"{class_names[n]} {_number(first[f'true_effect_{n}'], '.4f')}" for n in classes
    )
    paired = ", ".join(f"{first[f'n_pairs_{n}']:,} of {class_names[n]}" for n in classes)
    parts = [
        title,
        f"Of the test images with the attribute, {paired} have a pair that differs in it alone. What the model says of"
        " the pair is what an ideal edit would make it say of the image; nothing was chosen by pairs. The unmodified"
        f" model on the pairs, by the image's own group: {reach}: where the image has the attribute, what an ideal"
        f" edit reaches. True effect on the class margin, root mean square, in cosines: {effect}.",
    ]
    head = (
        *("method", "balance", "place"),
        *(f"recovery, {class_names[n]}" for n in classes),
        *(f"collateral, {class_names[n]}" for n in classes),
    )
    for condition, shown in rows.items():
        cells = [
            [
                *named,
                *(_number(row[f"recovery_{n}"]) for n in classes),
                *(_number(row[f"pair_collateral_{n}"]) for n in classes),
            ]
            for named, row in shown
        ]
        parts += [f"### {condition.capitalize()} condition", grid(head, cells)]
    return [
        *parts,
        f"{MEANING} Random rows are means over draws; the balanced probe's scores are on another scale.",
    ]


def _number(value: float | None, style: str = ".2f") -> str:
    return MISSING if value is None else format(round(value, int(style[1])) + 0.0, style)
