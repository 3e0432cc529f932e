"""`results/<dataset>_storage.csv`: how many predictions storing activations changes, with sets ablated and without."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from clipsteer.report.table import by_place
from clipsteer.steering.outcomes import NEURONS

COLUMNS = (
    *("dataset", "source", "model", "hook_point", "layer", "dictionary", "condition"),
    *("n_features", "storage_changes", "n_images"),
)
# Hook point, layer, dictionary, condition (`none`: no edit), features, predictions that differ.
Row = tuple[str, int, str, str, int, int]


def storage_table(
    rows: Sequence[Row], named: Mapping[str, str], *, neurons: Collection[str], n_images: int
) -> pl.DataFrame:
    """The table with COLUMNS, places as in the results table; `named`: its first three, `neurons`: neuron bases."""
    frame = pl.DataFrame(rows, schema=list(COLUMNS[3:9]), orient="row").with_columns(
        pl.when(pl.col("dictionary").is_in(list(neurons)))
        .then(pl.lit(NEURONS))
        .otherwise("dictionary")
        .alias("dictionary"),
        *(pl.lit(value).alias(name) for name, value in named.items()),
        pl.lit(n_images).alias("n_images"),
    )
    return by_place(frame).select(COLUMNS)
