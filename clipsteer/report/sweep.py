"""`results/<dataset>_sweep.csv`: every point of every grid with its quality, and which of them are on the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from clipsteer.dictionaries.pareto import FIXED, Quality, front, ranks, scores, take
from clipsteer.steering import spread

# Keys that lead along the front, from sparse to faithful: its ends are ends of their lists, however wide these are.
ALONG = ("l1", "k", "expansion")
_NUMBERS = (
    *("explained_variance", "l0", "l0_cls", "dead_fraction", "cosine_similarity"),
    "ce_recovered",
)
_ON_TEST = ("explained_variance", "l0")
_PAPER_SHAPE = (12, 768)  # ViT-B/32
_PAPER = {"expansion": 64, "batch_size": 4096, "warmup_steps": 200}
_SPARSITY = {"vanilla": ("l1", (1e-5,)), "topk": ("k", (64, 128, 256))}


class Place(NamedTuple):
    """One point at one layer.

    `on_validation`: what `evaluate_dictionary` and `splice_dictionary` wrote; `on_test`: what the first of them did on
    test; `gains`: of `clipsteer.steering.spread`, where it was steered.
    """

    layer: int
    point: str
    on_validation: Mapping[str, Any]
    on_test: Mapping[str, Any]
    gains: Mapping[str, Any]


def quality(measured: Mapping[str, Any]) -> Quality:
    """What of an evaluation points are compared by."""
    return Quality(measured["l0"], measured["explained_variance"])


def columns(keys: Sequence[str], steered: bool) -> tuple[str, ...]:
    """The table's columns; `keys` are those that some grid has several values of."""
    return (
        *("dataset", "source", "model", "hook_point", "layer", "dictionary", "architecture"),
        *("trained_on", "point", *keys, "n_features", *_NUMBERS),
        *(f"{name}_test" for name in _ON_TEST),
        *("pareto", "edge", "choose", "chosen", "rank", "rank_test", "points", "paper"),
        *(spread.columns() if steered else ()),
    )


def sweep_table(
    sweeps: Sequence[Mapping[str, Any]],
    places: Mapping[str, Sequence[Place]],
    *,
    labels: Mapping[str, str],
    shape: tuple[int, int],
) -> pl.DataFrame:
    """One row a point and layer, in the order of the configuration.

    Args:
        sweeps: of each dictionary with a grid `name`, `architecture`, `trained_on`, `hook_point`, `choice`, the `keys`
            that have several values, the names of the `candidates` that one is chosen among, and its `points`: `name`,
            `values` of all keys of training and the seed, `own` (whether these are the settings of `training`).
        places: what was measured of each of them, by its name.
        labels: data set, source and model.
        shape: layers and width of the model.
    """
    keys = list(dict.fromkeys(key for sweep in sweeps for key in sweep["keys"]))
    real = labels["source"] == "real" and tuple(shape) == _PAPER_SHAPE
    rows = []
    for sweep in sweeps:
        points = {point["name"]: point for point in sweep["points"]}
        here = places[sweep["name"]]
        for layer in sorted({place.layer for place in here}):
            at = {place.point: place for place in here if place.layer == layer}
            told = _compared(sweep, points, at)
            for name, point in points.items():
                rows.append(
                    {
                        **labels,
                        **{k: sweep[k] for k in ("hook_point", "architecture", "trained_on")},
                        **{"layer": layer, "dictionary": sweep["name"], "point": name},
                        **{key: _cell(point["values"].get(key)) for key in keys},
                        **_measures(at[name]),
                        **told[name],
                        "choose": sweep["choice"]["by"],
                        "paper": real and _is_papers(sweep["architecture"], point["values"]),
                        **at[name].gains,
                    }
                )
    steered = any(place.gains for here in places.values() for place in here)
    types = {"edge": pl.String(), "l0_cls": pl.Float64(), "ce_recovered": pl.Float64()}
    table = pl.DataFrame(rows, infer_schema_length=None, schema_overrides=types)
    return table.select(columns(keys, steered))


def _is_papers(architecture: str, values: Mapping[str, Any]) -> bool:
    """Whether settings are those of one of the paper's dictionaries, as far as it and its release say (Section 10)."""
    key, of_paper = _SPARSITY.get(architecture, ("", ()))
    return values.get(key) in of_paper and all(values.get(k) == v for k, v in _PAPER.items())


def _measures(place: Place) -> dict[str, Any]:
    own = {key: place.on_validation.get(key) for key in ("n_features", *_NUMBERS)}
    test = {f"{key}_test": place.on_test[key] for key in _ON_TEST}
    return own | test


def _compared(
    sweep: Mapping[str, Any],
    points: Mapping[str, Mapping[str, Any]],
    at: Mapping[str, Place],
) -> dict[str, dict[str, Any]]:
    """By a point's name what it is among those of its seed, on validation and on test."""
    found: dict[str, dict[str, Any]] = {}
    choice = sweep["choice"]
    for seed in sorted({point["values"]["seed"] for point in points.values()}):
        names = [name for name, point in points.items() if point["values"]["seed"] == seed]
        validation = [quality(at[name].on_validation) for name in names]
        test = [quality(at[name].on_test) for name in names]
        best = set(front(validation))
        first, second = (ranks(scores(some, choice)) for some in (validation, test))
        chosen = _chosen(sweep, points, names, validation)
        for number, name in enumerate(names):
            found[name] = {
                "pareto": number in best,
                "edge": _edge(sweep, points[name], number in best, name == chosen),
                "chosen": name == chosen,
                "rank": first[number],
                "rank_test": second[number],
                "points": len(names),
            }
    return found


def _chosen(
    sweep: Mapping[str, Any],
    points: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    validation: Sequence[Quality],
) -> str | None:
    """The point that tables use, where it is one of these, all of one seed."""
    if sweep["choice"]["by"] == FIXED:
        return next((name for name in names if points[name]["own"]), None)
    if set(names) != set(sweep["candidates"]):
        return None
    return names[take(validation, sweep["choice"], f"dictionaries.{sweep['name']}")]


def _edge(
    sweep: Mapping[str, Any], point: Mapping[str, Any], best: bool, chosen: bool
) -> str | None:
    """The keys whose value is the first or last of those that the grid lists, where a wider grid might do better.

    Of a point on the front those that do not lead along it, of the chosen one all; of others none.
    """
    wanted = [
        key
        for key in sweep["keys"]
        if key != "seed" and (chosen or (best and key not in ALONG)) and _ordered(sweep, key)
    ]
    ends = {key: [p["values"][key] for p in sweep["points"]] for key in wanted}
    value = point["values"]
    return " ".join(k for k, of in ends.items() if value[k] in (min(of), max(of))) or None


def _ordered(sweep: Mapping[str, Any], key: str) -> bool:
    """Whether a key's values are numbers, which have ends."""
    values = [point["values"].get(key) for point in sweep["points"]]
    return all(isinstance(value, int | float) and type(value) is not bool for value in values)


def _cell(value: Any) -> Any:
    """A setting in one cell: numbers as they are, a list as its text."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def in_words(table: pl.DataFrame) -> list[str]:
    """A sentence for each grid and layer: the point that tables use, and its place in the grid."""
    return [
        f"{row['dictionary']}, layer {row['layer']}: {row['choose']} takes {row['point']}, L0 {row['l0']:.1f}, "
        f"explained variance {row['explained_variance']:.3f}; place {row['rank']} of {row['points']} on validation, "
        f"{row['rank_test']} on test"
        for row in table.filter(pl.col("chosen")).iter_rows(named=True)
    ]
