"""`results/<dataset>_stability.csv` and `.md`: how alike dictionaries are that differ in one thing, what each gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.report.markdown import MISSING, grid, source_label
from clipsteer.steering.choose import CONDITIONS

RELATIONS = {
    "seed": "the same settings with another seed",
    "settings": "another point of the same grid",
    "architecture": "another architecture, trained on the same images",
    "trained_on": "the same architecture, trained on other images",
}
_ALIKE = ("cosine", "cosine_back", "mutual", "mutual_70", "mutual_90", "matched")
_SETS = ("overlap", "overlap_random", "subspace", "subspace_random")
_GAINS = ("n_features", "gain", "gain_low", "gain_high")
_SIDES = ("", "_back")

# A pair: how it is related, the layer, its likeness, and the gains of each side.
Pair = tuple[Mapping[str, Any], int, Mapping[str, Any], Sequence[Mapping[str, Any]]]


def columns() -> tuple[str, ...]:
    """The table's columns; `_back` is the second dictionary's side."""
    return (
        *("dataset", "source", "model", "relation", "hook_point", "layer", "dictionary", "other"),
        *("alive", "alive_back", *_ALIKE, "weighted", "weighted_back"),
        *(f"random_{name}" for name in _ALIKE),
        *(f"{condition}_{name}" for condition in CONDITIONS for name in _SETS),
        *(f"{c}_{name}{side}" for c in CONDITIONS for side in _SIDES for name in _GAINS),
    )


def stability_table(pairs: Sequence[Pair], labels: Mapping[str, str]) -> pl.DataFrame:
    """One row a pair of dictionaries and layer; null where nothing was measured."""
    rows = []
    for relation, layer, likeness, gains in pairs:
        first, other = relation["dictionaries"]
        told = {**labels, "relation": relation["relation"], "hook_point": relation["hook_point"]}
        told |= {"layer": layer, "dictionary": first, "other": other, **likeness}
        for side, found in zip(_SIDES, gains, strict=True):
            told |= {f"{name}{side}": value for name, value in found.items()}
        rows.append({name: told.get(name) for name in columns()})
    words = ("dataset", "source", "model", "relation", "hook_point", "dictionary", "other")
    types: dict[str, Any] = dict.fromkeys(columns(), pl.Float64())
    types |= dict.fromkeys(words, pl.String())
    whole = ("layer", "alive", "alive_back", *(n for n in columns() if "n_features" in n))
    return pl.DataFrame(rows, schema=types | dict.fromkeys(whole, pl.Int64()))


def render(table: pl.DataFrame) -> str:
    """The page: what each relation comes to, layer by layer, beside what chance gives."""
    source = source_label(str(table["source"][0]))
    parts = [
        f"# Do dictionaries find the same again? {table['dataset'][0]}, {table['model'][0]} ({source})",
        "Features are compared by the cosine of their directions, living ones alone. *Random* is what as many random "
        "directions give, or random sets of the same sizes. Ranges are over the pairs of dictionaries.",
    ]
    for relation, words in RELATIONS.items():
        here = table.filter(relation=relation)
        if here.height:
            parts += [f"## {words[0].upper()}{words[1:]}", _alike(here)]
            parts += [_sets(here, condition) for condition in CONDITIONS if _steered(here)]
    return "\n\n".join(parts) + "\n"


def _alike(here: pl.DataFrame) -> str:
    head = [
        "layer",
        "pairs",
        "nearest",
        "weighted",
        "random",
        "mutual",
        "of 0.7",
        "random",
        "matched",
        "random",
    ]
    body = []
    for layer, rows in _by_layer(here):
        both = pl.concat([rows["cosine"], rows["cosine_back"]])
        weighted = pl.concat([rows["weighted"], rows["weighted_back"]])
        others = ("random_cosine", "mutual", "mutual_70", "random_mutual_70", "matched")
        numbers = (both, weighted, *(rows[name] for name in (*others, "random_matched")))
        body.append([str(layer), str(rows.height), *map(_range, numbers)])
    return grid(head, body)


def _sets(here: pl.DataFrame, condition: str) -> str:
    head = ["layer", "overlap", "random", "subspace", "random", "gains, points", "mean"]
    body = []
    for layer, rows in _by_layer(here):
        gains = _each_once(rows, f"{condition}_gain")
        mean = f"{sum(gains) / len(gains):+.1f}" if gains else MISSING
        told = ", ".join(f"{gain:+.1f}" for gain in gains) or MISSING
        numbers = (_range(rows[f"{condition}_{name}"]) for name in _SETS)
        body.append([str(layer), *numbers, told, mean])
    return f"**{condition.capitalize()} sets, and what each dictionary's gains on test**\n\n{grid(head, body)}"


def _each_once(rows: pl.DataFrame, name: str) -> list[float]:
    """A number of each dictionary, in the order in which they come."""
    found: dict[str, float | None] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row["dictionary"], row[name])
        found.setdefault(row["other"], row[f"{name}_back"])
    return [value for value in found.values() if value is not None]


def _steered(here: pl.DataFrame) -> bool:
    return any(here[f"{condition}_gain"].is_not_null().any() for condition in CONDITIONS)


def _by_layer(here: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    return [(layer, here.filter(layer=layer)) for layer in here["layer"].unique().sort().to_list()]


def _range(values: pl.Series) -> str:
    """The smallest and the largest of some numbers, one where they are the same to two digits."""
    known = values.drop_nulls().to_list()
    if not known:
        return MISSING
    low, high = (f"{value:.2f}" for value in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"
