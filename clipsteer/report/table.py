"""`results/<dataset>_table.csv`: fixed columns, fixed decimals, equal bytes for equal numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import polars as pl

from clipsteer.report import paper
from clipsteer.steering.outcomes import NEURONS

_SETTING = (
    *("dataset", "source", "model", "hook_point", "layer", "dictionary", "trained_on"),
    *("ablation", "condition", "rule", "aggregate", "tokens", "error_term"),
)
_GROUPS = ("worst_group", "baseline_worst_group", "worst_group_validation")
_SIX_DIGITS = (
    *("threshold", "p_gain", "p_worst_group", "p_worst_group_holm", "p_overall"),
    *("tau", "p_none", "p_prefix"),
)
_PER_CENT = (
    *("overall", "overall_low", "overall_high", "worst", "worst_low", "worst_high"),
    *("baseline_overall", "baseline_worst", "gain", "gain_low", "gain_high"),
    *("paper_overall", "paper_worst"),
)
_WHOLE = ("n_features", "n_images", "seed", "random_seeds")


def columns(n_groups: int) -> tuple[str, ...]:
    """The table's columns for so many groups."""
    return (
        *_SETTING,
        *("threshold", "n_features"),
        *("overall", "overall_low", "overall_high"),
        *("worst", "worst_low", "worst_high", "worst_group"),
        *("baseline_overall", "baseline_worst", "baseline_worst_group"),
        *(f"acc_before_{g}" for g in range(n_groups)),
        *(f"acc_after_{g}" for g in range(n_groups)),
        *(f"acc_after_{g}_{side}" for g in range(n_groups) for side in ("low", "high")),
        *("worst_group_validation", "gain", "gain_low", "gain_high", "p_gain"),
        *("p_worst_group", "p_worst_group_holm", "p_overall"),
        *("n_images", "seed", "random_seeds", "paper_overall", "paper_worst"),
    )


def _style(column: str) -> str:
    """How a number of a column is written; "" are Python's own digits, which give the value back."""
    if column in _PER_CENT or column.startswith("acc_"):
        return ".2f"
    return ".6g" if column in _SIX_DIGITS else ""


def results_table(
    measured: pl.DataFrame,
    *,
    dataset: str,
    source: str,
    model: str,
    group_names: Mapping[int, str],
    seed: int,
    strict_rule: str,
    paper_setting: Collection[str] = (),
) -> pl.DataFrame:
    """The table with `columns`, from `clipsteer.steering.outcomes.measure`.

    Rows by hook point, layer, dictionary (in the order given, neurons last), targeted before random, strict
    before relaxed. Accuracies in per cent, rounded to 2 decimals; thresholds and p-values to 6 significant
    digits. Groups by name: `group_names` maps group number -> name; the columns `acc_before_<group>` and
    `acc_after_<group>` have the number. `seed` is the run's, `strict_rule` what `steering.strict` says: the column
    `rule` of strict rows. `source` says where the images are from, e.g. `painted`. The paper's columns are
    filled only for the dictionaries in `paper_setting` (real data in the paper's own setting), and only where
    the paper has the row.
    """
    rows: list[dict[str, Any]] = []
    names = columns(sum(name.startswith("acc_before_") for name in measured.columns))
    ablation, condition = pl.col("ablation") != "targeted", pl.col("condition") != "strict"
    for row in by_place(measured, ablation, condition).iter_rows(named=True):
        found = (
            paper.lookup(
                dataset, row["condition"], row["ablation"], row["dictionary"], row["layer"]
            )
            if row["dictionary"] in paper_setting
            else None
        )
        overall, worst = found or (None, None)
        given = {
            "dataset": dataset,
            "source": source,
            "model": model,
            "seed": seed,
            "rule": strict_rule if row["condition"] == "strict" else row["condition"],
            **{name: _name(group_names, row[name]) for name in _GROUPS},
            "paper_overall": overall,
            "paper_worst": worst,
        }
        full = {**row, **given}
        rows.append({name: _rounded(name, full[name]) for name in names})
    floats = {name: pl.Float64 for name in names if _style(name)}
    whole = {name: pl.Int64 for name in _WHOLE}
    return pl.DataFrame(rows, schema_overrides={**floats, **whole}).select(names)


def by_place(rows: pl.DataFrame, *then: pl.Expr) -> pl.DataFrame:
    """The rows by hook point, layer, dictionary, and by the keys in `then`; equals as they were.

    Hook points and dictionaries keep the order in which they first come, neurons last.
    """

    def first_seen(name: str) -> pl.Expr:
        order = {value: n for n, value in enumerate(rows[name].unique(maintain_order=True))}
        return pl.col(name).replace_strict(order, return_dtype=pl.Int64)

    neurons = pl.col("dictionary") == NEURONS
    keys = (first_seen("hook_point"), pl.col("layer"), neurons, first_seen("dictionary"), *then)
    return rows.sort(keys, maintain_order=True)


def csv_text(table: pl.DataFrame) -> str:
    """The table as CSV, with LF line ends.

    Null is an empty cell, accuracies and points have 2 decimals, thresholds and p-values 6 digits, and any
    other float as many as give its value back.
    """
    cells = [_cells(table[name]) for name in table.columns]
    return pl.DataFrame(cells).write_csv(line_terminator="\n")


def _cells(column: pl.Series) -> pl.Series:
    if not column.dtype.is_float():
        return column.cast(pl.String)
    style = _style(column.name)
    values = [None if value is None else format(value, style) for value in column.to_list()]
    return pl.Series(column.name, values, dtype=pl.String)


def _rounded(name: str, value: Any) -> Any:
    style = _style(name)
    return value if value is None or not style else float(format(value, style))


def _name(group_names: Mapping[int, str], group: int) -> str:
    return group_names.get(group, f"group {group}")
