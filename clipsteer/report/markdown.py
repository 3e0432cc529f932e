"""`results/<dataset>_table.md`: the results table in the layout of the paper's Tables 5 to 8."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.outcomes import NEURONS

_BLOCKS = (
    ("SAE feature ablation", "targeted"),
    ("Random SAE feature ablation", "random"),
)
_SETTING = ("hook_point", "aggregate", "tokens", "error_term")
MISSING = "–"
Row = dict[str, Any]
Rows = dict[tuple[int, str, str], Row]


def render(
    table: pl.DataFrame,
    *,
    group_names: Sequence[str],
    notes: Sequence[str] = (),
    left_out: Mapping[str, int] | None = None,
) -> str:
    """The page: for each setting and condition the intervals and three blocks.

    The blocks are SAE, random SAE and neurons, then every group under each targeted set. `table` comes from
    `clipsteer.report.table.results_table`; `notes` are added at the end, one item each; `left_out`:
    split -> images that are listed but were not there. Bold: better than the unmodified model.
    Asterisk: the best worst-group accuracy among targeted SAE rows of a condition, where it is
    better than the unmodified model's.
    """
    first = table.row(0, named=True)
    names = dict(enumerate(group_names))
    parts = [
        f"# {_title(first['dataset'])}: accuracy under ablation, by layer",
        f"{source_label(first['source'])}, model: {first['model']}, "
        f"{first['n_images']} test images. Unmodified model: overall "
        f"{first['baseline_overall']:.2f} %, worst group "
        f"{first['baseline_worst']:.2f} % ({first['baseline_worst_group']}). On validation its worst group is "
        f"{first['worst_group_validation']}.",
    ]
    for setting in table.select(_SETTING).unique(maintain_order=True).iter_rows(named=True):
        part = table.filter(*(pl.col(name).eq_missing(value) for name, value in setting.items()))
        words = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in setting.items())
        parts.append(f"## {words}")
        for condition in CONDITIONS:
            rows = part.filter(pl.col("condition") == condition)
            if len(rows):
                parts += [*_condition(rows, condition), *_by_group(rows, names)]
    parts.append("## How to read this")
    if left_out:
        notes = [*notes, f"{left_out_text(left_out)}."]
    parts.append("\n".join(f"- {line}" for line in (*_reading(table), *notes)))
    return "\n\n".join(parts) + "\n"


def source_label(source: str) -> str:
    """What to print about where the images are from; painted data must never pass for real."""
    return "source: painted (synthetic)" if source == "painted" else f"source: {source}"


def left_out_text(counts: Mapping[str, int]) -> str:
    """What to print about images that the data set lists and that were left out: split -> number."""
    total = sum(counts.values())
    splits = ", ".join(f"{counts[split]:,} of {split}" for split in sorted(counts))
    noun = "image that is" if total == 1 else "images that are"
    return f"Left out: {total:,} {noun} listed but missing ({splits})"


def _title(dataset: str) -> str:
    return {"celeba": "CelebA", "waterbirds": "Waterbirds"}.get(dataset, dataset)


def _condition(table: pl.DataFrame, condition: str) -> list[str]:
    rows: Rows = {
        (row["layer"], row["dictionary"], row["ablation"]): row
        for row in table.iter_rows(named=True)
    }
    layers = sorted({key[0] for key in rows})
    every = list(dict.fromkeys(table["dictionary"].to_list()))
    names = [name for name in every if name != NEURONS]
    targeted = [
        row for (_, name, kind), row in rows.items() if kind == "targeted" and name in names
    ]
    top = max((row["worst"] for row in targeted), default=None)
    best = [row for row in targeted if row["worst"] == top and top > row["baseline_worst"]]
    starred = {row["layer"] for row in best}
    parts = [f"### {condition.capitalize()} condition"]

    def pair(row: Row | None) -> list[str]:
        if row is None:
            return [MISSING, MISSING]
        star = r"\*" if row in best else ""
        return [
            _bold(row["overall"], row["baseline_overall"]),
            star + _bold(row["worst"], row["baseline_worst"]),
        ]

    heads = [f"{name} {what}" for name in names for what in ("overall", "worst")]
    for title, kind in _BLOCKS:
        if not any(key[2] == kind and key[1] in names for key in rows):
            continue
        body = [
            [_layer(n, starred if kind == "targeted" else set())]
            + [cell for name in names for cell in pair(rows.get((n, name, kind)))]
            for n in layers
        ]
        parts += [f"**{title}**", grid(["layer", *heads], body)]
    if NEURONS in every:
        kinds = ("targeted", "random")
        heads = [f"{kind} {what}" for kind in kinds for what in ("overall", "worst")]
        body = [
            [_layer(n)] + [cell for kind in kinds for cell in pair(rows.get((n, NEURONS, kind)))]
            for n in layers
        ]
        parts += ["**Base network neuron ablation**", grid(["layer", *heads], body)]
    parts += ["**Worst group with 95 % interval, targeted ablation**"]
    parts += [_per_cell(rows, layers, every, _interval)]
    hardest = table["worst_group_validation"][0]
    parts += [f"**Number of ablated features, and p-value of {hardest} (adjusted by Holm)**"]
    parts += [_per_cell(rows, layers, every, _size_and_p)]
    return parts


def _by_group(table: pl.DataFrame, names: Mapping[int, str]) -> list[str]:
    """The accuracy of every group under each targeted set that is not empty, the unmodified model's first."""
    filled = table.filter(pl.col("ablation") == "targeted", pl.col("n_features") > 0)
    title = "**Every group under targeted ablation**"
    if not len(filled):
        return [
            title,
            "No set passed the condition on validation at any place: nothing is ablated.",
        ]
    shown = [g for g in names if table[f"acc_before_{g}"][0] is not None]
    first = filled.row(0, named=True)
    body = [["unmodified", "", *(f"{first[f'acc_before_{g}']:.2f}" for g in shown)]]
    for row in filled.iter_rows(named=True):
        cells = [_moved(row[f"acc_before_{g}"], row[f"acc_after_{g}"]) for g in shown]
        body.append([_layer(row["layer"]), row["dictionary"], *cells])
    return [title, grid(["layer", "dictionary", *(names[g] for g in shown)], body)]


def _moved(before: float, after: float) -> str:
    """An accuracy after ablation and, where it fell, by how many points."""
    fall = f" ({after - before:.1f})" if after < before else ""
    return f"{after:.2f}{fall}"


def _per_cell(
    rows: Rows, layers: Sequence[int], names: Sequence[str], text: Callable[[Row], str]
) -> str:
    body = []
    for layer in layers:
        found = [rows.get((layer, name, "targeted")) for name in names]
        body.append([_layer(layer), *(MISSING if row is None else text(row) for row in found)])
    return grid(["layer", *names], body)


def _interval(row: Row) -> str:
    return f"{row['worst']:.2f} ({row['worst_low']:.1f} to {row['worst_high']:.1f})"


def _size_and_p(row: Row) -> str:
    if row["n_features"] == 0:
        return "0"
    return f"{row['n_features']:,}, {p_text(row['p_worst_group'])} ({p_text(row['p_worst_group_holm'])})"


def p_text(p: float | None) -> str:
    """A p-value for people: two significant digits, small ones as a bound."""
    if p is None:
        return MISSING
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def _bold(value: float, baseline: float) -> str:
    return f"**{value:.2f}**" if value > baseline else f"{value:.2f}"


def _layer(number: int, starred: set[int] | None = None) -> str:
    return f"L{number}" + (r"\*" if starred and number in starred else "")


def grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns of even width."""
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, rule, *body)
    ]
    return "\n".join(lines)


def _rules(table: pl.DataFrame) -> list[str]:
    """What chose the sets of each condition, as the configuration says it."""
    said = {"relaxed": "relaxed sets within `steering.relaxed_drop`"}
    found = table.select("condition", "rule").unique(maintain_order=True).rows()
    return [said.get(c, f"{c} sets by `steering.strict: {rule}`") for c, rule in found]


def _reading(table: pl.DataFrame) -> list[str]:
    seeds = table["random_seeds"].drop_nulls()
    lines = [
        "Accuracies in per cent. **Bold**: better than the unmodified model. \\*: the best"
        " worst-group accuracy of targeted SAE ablation in that condition, read off the test set;"
        " the layer and dictionary chosen on validation stand in the summary.",
        "Chosen on validation: " + "; ".join(_rules(table)) + ".",
        "Worst: the smallest accuracy among the groups, whichever it is. Its interval is made of"
        " exact bounds of all groups. p: exact McNemar test against the unmodified model's predictions"
        " on the test images of the group that is worst on validation; in brackets, adjusted by Holm"
        " for all different sets of the condition.",
        "Every group: accuracy after ablation, and in brackets the points by which it is below the"
        " unmodified model's. What no group loses on validation it may lose here.",
        "0 features: no set passed the condition on validation, so nothing is ablated.",
    ]
    lines.append(
        "What storing activations changes in these predictions, for each set:"
        f" `snakemake results/{table['dataset'][0]}_storage.csv`."
    )
    if len(seeds):
        lines.append(f"Random rows are means over {seeds[0]} draws of as many features.")
    if table["paper_worst"].is_not_null().any():
        lines.append("The paper's own numbers stand in the CSV (`paper_overall`, `paper_worst`).")
    return lines
