"""`results/table1.csv` and `.md`: the paper's Table 1, strict sets of the best dictionary of each layer.

Overall and worst-group accuracy are of one and the same dictionary, chosen on validation. The paper's table
picks each number for itself, see `paper.table1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from clipsteer.report import paper
from clipsteer.report.markdown import grid, source_label
from clipsteer.steering.outcomes import NEURONS

COLUMNS = (
    *("dataset", "source", "model", "hook_point", "layer", "basis", "dictionary", "n_features"),
    *("overall", "overall_low", "overall_high", "worst", "worst_low", "worst_high", "worst_group"),
    *("baseline_overall", "baseline_worst", "baseline_worst_group", "worst_group_validation"),
    *("gain", "gain_low", "gain_high", "p_gain", "n_images", "paper_overall", "paper_worst"),
)
SAE = "SAE"
"""Values of `basis`: this or `neurons`."""


def best_per_layer(table: pl.DataFrame, strict: Mapping[str, Any]) -> pl.DataFrame:
    """Two rows a layer, with COLUMNS: the SAE that validation chose there, and the neurons where there are any.

    `table` is `results/<dataset>_table.csv` read back, `strict` that part of its headline, which names the
    hook point and the dictionary of each layer under `per_layer`. `paper_overall` and `paper_worst` are Table 1's,
    and only in rows whose own setting is the paper's.
    """
    rows = table.filter(
        pl.col("hook_point") == strict["per_layer"]["hook_point"],
        pl.col("ablation") == "targeted",
        pl.col("condition") == "strict",
    )
    found = []
    for layer, dictionary in sorted(
        (int(layer), name) for layer, name in strict["per_layer"]["dictionaries"].items()
    ):
        for basis, name in ((SAE, dictionary), (NEURONS, NEURONS)):
            here = rows.filter(pl.col("layer") == layer, pl.col("dictionary") == name)
            for row in here.iter_rows(named=True):
                ours = {key: row[key] for key in COLUMNS if key in row} | {"basis": basis}
                published = paper.table1().get((row["dataset"], basis, layer))
                if published and row["paper_overall"] is not None:
                    ours |= dict(zip(("paper_overall", "paper_worst"), published, strict=True))
                found.append(ours)
    floats = dict.fromkeys(("paper_overall", "paper_worst", "p_gain"), pl.Float64)
    return pl.DataFrame(found, infer_schema_length=None, schema_overrides=floats).select(COLUMNS)


def render(tables: Mapping[str, pl.DataFrame]) -> str:
    """The page: a row a layer, the data sets side by side; below it the paper's own table."""
    head = [
        "layer",
        *(f"{name}: {what}" for name in tables for what in ("dictionary", "neurons", "SAE")),
    ]
    layers = sorted({layer for table in tables.values() for layer in table["layer"]})
    first = {name: table.row(0, named=True) for name, table in tables.items()}
    body = [["unmodified", *(cell for row in first.values() for cell in _unmodified(row))]]
    for layer in layers:
        cells = [_cells(table.filter(pl.col("layer") == layer)) for table in tables.values()]
        body.append([f"L{layer}", *(cell for part in cells for cell in part)])
    parts = [
        "# Best dictionary of each layer, strict condition (the paper's Table 1)",
        " ".join(
            f"{name}: {source_label(row['source'])}, model {row['model']}, {row['hook_point']}, "
            f"{row['n_images']} test images; worst group on validation: {row['worst_group_validation']}."
            for name, row in first.items()
        ),
        grid(head, body),
        "Overall / worst-group accuracy on test, per cent, with the group that is worst. A layer's dictionary was "
        "chosen on validation (largest overall + worst), and both numbers are its own; 0 features: no set "
        "passed the strict rule, and the row is the unmodified model's.",
        "## The paper's table",
        "**Not to be compared row by row.** It mixes: in Waterbirds' layers 0 and 2 the overall accuracy is one "
        "SAE's and the worst-group accuracy another's, and each layer's SAE was picked from the test "
        "results (Tables 5 and 7 have the single SAEs). CLIP ViT-B/32 on the real images.",
        _published(),
    ]
    return "\n\n".join(parts) + "\n"


def _unmodified(row: Mapping[str, Any]) -> list[str]:
    same = f"{row['baseline_overall']:.2f} / {row['baseline_worst']:.2f} ({row['baseline_worst_group']})"
    return ["", same, same]


def _cells(rows: pl.DataFrame) -> list[str]:
    """Dictionary, neurons and SAE of one layer and data set."""
    found = {row["basis"]: row for row in rows.iter_rows(named=True)}

    def pair(basis: str) -> str:
        row = found.get(basis)
        return (
            "–"
            if row is None
            else f"{row['overall']:.2f} / {row['worst']:.2f} ({row['worst_group']})"
        )

    sae = found.get(SAE)
    name = "–" if sae is None else f"{sae['dictionary']}, {sae['n_features']:,}"
    return [name, pair(NEURONS), pair(SAE)]


def _published() -> str:
    found = paper.table1()
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in found))
    layers = sorted({layer for _, _, layer in found})
    head = ["layer", *(f"{name}: {basis}" for name in datasets for basis in (NEURONS, SAE))]
    body = [
        [
            f"L{n}",
            *("{:.2f} / {:.2f}".format(*found[d, b, n]) for d in datasets for b in (NEURONS, SAE)),
        ]
        for n in layers
    ]
    return grid(head, body)
