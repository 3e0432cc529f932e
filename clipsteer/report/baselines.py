"""`results/<dataset>_baselines.csv` and `.md`: the SAE beside every control and baseline, chosen alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.report.markdown import MISSING, grid, p_text, source_label
from clipsteer.report.pairs import pair_columns, pairs_of, section
from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.compared import is_taken

# Method -> what people read, in the order of the pages.
METHODS = {
    "sae": "SAE features",
    "neurons": "neurons, one-sided",
    "neurons_two_sided": "neurons, two-sided",
    "random_features": "random SAE features, chosen too",
    "decoder_subspace": "span of the SAE's directions",
    "encoder_subspace": "span of the SAE's encoder",
    "random_subspace": "random subspace, as much removed as by the SAE",
    "mean_difference": "mean difference",
    "leace": "LEACE",
    "leace_scaled": "LEACE, scale chosen",
    "probe": "probe direction",
    "class_bias": "bias on the class scores",
    "balanced_probe": "balanced probe (reference)",
}
_MEANS = (
    *("overall", "worst", "share_of_gap", "largest_fall"),
    *("collateral_mean_change", "collateral_largest_fall"),
)
_HEAD = (
    *("method", "balance", "place", "size", "overall", "worst", "own gain", "share"),
    *("largest fall", "other attributes"),
)
# Of two values; below, an attribute's zero-shot accuracy says little, and so does its change.
_NEAR_CHANCE = 60.0
_GROUPS = ("worst_group", "worst_group_validation", "largest_fall_group")
_OTHER = "unconcerned_"
_PLACE = ("dataset", "source", "model", "hook_point", "layer", "dictionary")
_ROUNDED = {"scale": ".6g", "threshold": ".6g", "p_gain": ".6g", "p_worst_group": ".6g"}
_EXACT = ("share_of_gap", "true_effect_", "recovery_", "pair_collateral_")
Row = dict[str, Any]


def columns(n_groups: int, attributes: Sequence[str] = (), n_paired: int = 0) -> tuple[str, ...]:
    """The table's columns for so many groups, and for these attributes that edits are not meant to concern.

    `n_paired`: how many classes have images with pairs; 0 where images have none.
    """
    return (
        *_PLACE,
        *("method", "balance", "condition", "draw"),
        *("threshold", "n_features", "rank", "scale", "best_place"),
        *("overall", "overall_low", "overall_high"),
        *("worst", "worst_low", "worst_high", "worst_group"),
        *(f"acc_before_{g}" for g in range(n_groups)),
        *(f"acc_after_{g}" for g in range(n_groups)),
        *("worst_group_validation", "gain", "gain_low", "gain_high", "p_gain", "p_worst_group"),
        *("share_of_gap", "largest_fall", "largest_fall_group", "n_images"),
        *("collateral_mean_change", "collateral_largest_fall", "collateral_attribute"),
        *(f"unconcerned_{name}" for name in attributes),
        *pair_columns(n_groups, n_paired),
    )


def baselines_table(
    compared: pl.DataFrame, *, dataset: str, source: str, model: str, group_names: Sequence[str]
) -> pl.DataFrame:
    """The table with `columns`, from `clipsteer.steering.compared.compare`.

    Rows by method (as in METHODS), balance, condition, place, draw. Accuracies and points have 2 decimals,
    `share_of_gap` and what pairs say 4, other numbers 6 significant digits; groups by name.
    """
    order = {method: place for place, method in enumerate(METHODS)}
    rank = pl.col("method").replace_strict(order, return_dtype=pl.Int64)
    relaxed = pl.col("condition") == "relaxed"
    names = dict(enumerate(group_names))
    sorted_rows = compared.sort(
        rank, pl.col("balance") == "group", relaxed, "hook_point", "layer", maintain_order=True
    )
    styled = sorted_rows.with_columns(
        *(pl.lit(v).alias(k) for k, v in zip(_PLACE[:3], (dataset, source, model), strict=True)),
        *(pl.col(name).replace_strict(names, return_dtype=pl.String) for name in _GROUPS),
    )
    others = [n.removeprefix(_OTHER) for n in compared.columns if n.startswith(_OTHER)]
    wanted = columns(len(group_names), others, pairs_of(compared))
    cells = [_rounded(styled[name]) for name in wanted]
    return pl.DataFrame(cells)


def _rounded(column: pl.Series) -> pl.Series:
    if not column.dtype.is_float():
        return column
    exact = column.name.startswith(_EXACT)
    style = _ROUNDED.get(column.name, ".4f" if exact else ".2f")
    values = [None if v is None else float(format(v, style)) + 0.0 for v in column.to_list()]
    return pl.Series(column.name, values, pl.Float64)


def render(
    table: pl.DataFrame,
    *,
    balance: str,
    group_names: Sequence[str],
    class_names: Sequence[str],
    attributes: Mapping[str, float | None],
) -> str:
    """The page: of each condition the rows at every method's own best place.

    What is drawn is a mean over draws, each at its own place. `balance` is the configuration's own; `attributes`:
    the unmodified model's balanced accuracy, in per cent, for each attribute that edits are not meant to concern.
    """
    first = table.row(0, named=True)
    reference = table.filter(pl.col("method") == "balanced_probe").row(0, named=True)
    before = [(name, first[f"acc_before_{g}"]) for g, name in enumerate(group_names)]
    parts = [
        f"# {first['dataset']}: controls and baselines",
        f"{source_label(first['source'])}, model: {first['model']}, {first['n_images']} test images. "
        "Unmodified model: "
        + ", ".join(f"{name} {value:.1f} %" for name, value in before if value is not None)
        + f". Worst on validation: {first['worst_group_validation']}. The balanced probe reaches "
        f"{reference['worst']:.1f} % in its worst group ({reference['worst_group']}).",
    ]
    headlines = {c: headline_rows(table, c, group_names) for c in CONDITIONS}
    for condition, rows in headlines.items():
        parts += [f"## {condition.capitalize()} condition", grid(_HEAD, [_cells(r) for r in rows])]
    shown = {c: [(_named(row), row) for row in rows] for c, rows in headlines.items()}
    parts += section(shown, group_names, class_names)
    reading = _reading(balance, first["worst_group_validation"], attributes)
    parts += ["## How to read this", "\n".join(f"- {line}" for line in reading)]
    return "\n\n".join(parts) + "\n"


def headline_rows(table: pl.DataFrame, condition: str, group_names: Sequence[str]) -> list[Row]:
    """One row a method and balance: that of its best place, or the mean of its draws at theirs.

    Of several draws layer and dictionary stay only where all share them. Adds `own_gain`, the points that the
    group which is worst on validation gained, `own_gains` of each draw, and `is_nothing`: whether nothing passed
    the condition on validation.
    """
    here = pl.col("condition").eq_missing(condition) | pl.col("condition").is_null()
    chosen = table.filter(pl.col("best_place") & here)
    hardest = list(group_names).index(table["worst_group_validation"][0])
    found = []
    for _, part in chosen.group_by("method", "balance", maintain_order=True):
        rows = list(part.iter_rows(named=True))
        gains = [row[f"acc_after_{hardest}"] - row[f"acc_before_{hardest}"] for row in rows]
        row = dict(rows[0])
        if len(rows) > 1:
            means = [*_MEANS, *(name for name in row if name.startswith(_EXACT))]
            row |= {name: _mean([other[name] for other in rows]) for name in means}
            row |= dict.fromkeys(("p_worst_group", "collateral_attribute", *_GROUPS))
            if len({(other["layer"], other["dictionary"]) for other in rows}) > 1:
                row |= dict.fromkeys(("layer", "dictionary"))
        row |= {"own_gain": _mean(gains), "own_gains": gains}
        found.append({**row, "is_nothing": not any(map(is_taken, rows))})
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _cells(row: Row) -> list[str]:
    draws = len(row["own_gains"])
    gain = f"{row['own_gain']:+.1f}"
    if draws > 1:
        gain += f" ({min(row['own_gains']):+.1f} to {max(row['own_gains']):+.1f})"
    elif row["p_worst_group"] is not None:
        gain += f", {p_text(row['p_worst_group'])}"
    fall = f"{row['largest_fall']:.1f}"
    if row["largest_fall_group"]:
        fall += f" ({row['largest_fall_group']})"
    share = row["share_of_gap"]
    group = f" ({row['worst_group']})" if row["worst_group"] else ""
    return [
        *_named(row),
        MISSING if draws > 1 else _size(row),
        f"{row['overall']:.1f}",
        f"{row['worst']:.1f}{group}",
        gain,
        MISSING if share is None else f"{round(100 * share)} %",
        fall,
        _others(row),
    ]


def _named(row: Row) -> list[str]:
    """Method, balance and place."""
    return [METHODS[row["method"]], row["balance"] or MISSING, _place(row, len(row["own_gains"]))]


def _others(row: Row) -> str:
    """What changed for other attributes: on average, and the largest fall with its attribute."""
    if row["collateral_mean_change"] is None:
        return MISSING
    name = f" {row['collateral_attribute']}" if row["collateral_attribute"] else ""
    return (
        f"{row['collateral_mean_change']:+.1f}, {-row['collateral_largest_fall'] + 0.0:.1f}{name}"
    )


def _place(row: Row, draws: int) -> str:
    if row["is_nothing"]:
        return "none passed"
    if row["layer"] is None:
        return MISSING if draws == 1 else f"{draws} draws, each its own"
    place = f"L{row['layer']}" + (f" {row['dictionary']}" if row["dictionary"] else "")
    return place if draws == 1 else f"{place}, {draws} draws"


def _size(row: Row) -> str:
    if row["is_nothing"]:
        return MISSING
    scale = "bias" if row["method"] == "class_bias" else "scale"
    words = {"n_features": "{:,} features", "rank": "rank {}", "scale": f"{scale} {{:.3g}}"}
    found = [word.format(row[name]) for name, word in words.items() if row[name] is not None]
    return ", ".join(found).replace("1 features", "1 feature", row["n_features"] == 1) or MISSING


def _reading(balance: str, hardest: str, attributes: Mapping[str, float | None]) -> list[str]:
    return [
        "Accuracies in per cent, differences in points. Every row but the reference, which no rule takes, was chosen"
        " on validation by the same rule, its place (layer, and dictionary where it has one) too; nothing was chosen on"
        " test images.",
        f"Own gain: of {hardest}, the unmodified model's worst group on validation, with an exact McNemar test on its"
        " test images, not adjusted for the number of rows. Share: of what the balanced probe gains in worst-group"
        " accuracy. Largest fall: of any group.",
        "Balance: how D_A and D_notA were weighted, where a method looks at them; the configuration's own is"
        f" {balance}.",
        "Random rows are means over draws, with the range of their gains. A random subspace stands where the SAE's"
        " features do and removes as much of the activations as they do; random features choose as the SAE does.",
        _of_others(attributes),
    ]


def _of_others(attributes: Mapping[str, float | None]) -> str:
    """What the column on other attributes means, and how well the unmodified model tells each."""
    if not attributes:
        return "Other attributes: none is named (`datasets.<name>.unconcerned`), so nothing is measured."
    told = []
    for name, accuracy in attributes.items():
        near = " (near chance: what changes there says little)"
        missing = "no images of one of its values" if accuracy is None else f"{accuracy:.1f} %"
        is_near = accuracy is not None and accuracy < _NEAR_CHANCE
        told.append(f"{name} {missing}{near if is_near else ''}")
    return (
        "Other attributes, which no edit is meant to concern: mean change of their zero-shot accuracy over attributes,"
        " then the largest fall, in points. The accuracy is balanced: the mean over an attribute's two values, 50 % is"
        f" chance. Unmodified model: {', '.join(told)}. A bias and a probe change nothing inside the model."
    )
