"""`results/<dataset>_stability.csv` and `.md`: how alike dictionaries are that differ in one thing, what each does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clipsteer.report.markdown import MISSING, grid, source_label
from clipsteer.report.pairs import MEANING
from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.spread import MEASURES, effect_columns

RELATIONS = {
    "seed": "the same settings with another seed",
    "settings": "another point of the same grid",
    "architecture": "another architecture, trained on the same images",
    "trained_on": "the same architecture, trained on other images",
}
_ALIKE = ("cosine", "cosine_back", "mutual", "mutual_70", "mutual_90", "matched")
_SETS = ("overlap", "overlap_random", "subspace", "subspace_random")
_SIDES = ("", "_back")

# A pair: how it is related, the layer, its likeness, and what each side's sets do on test: gains, recovery, collateral.
Pair = tuple[Mapping[str, Any], int, Mapping[str, Any], Sequence[Mapping[str, Any]]]


def columns(n_classes: int) -> tuple[str, ...]:
    """The table's columns for so many target classes; `_back` is the second dictionary's side."""
    of_sets = (*MEASURES, *effect_columns(n_classes))
    return (
        *("dataset", "source", "model", "relation", "hook_point", "layer", "dictionary", "other"),
        *("alive", "alive_back", *_ALIKE, "weighted", "weighted_back"),
        *(f"random_{name}" for name in _ALIKE),
        *(f"{condition}_{name}" for condition in CONDITIONS for name in _SETS),
        *(f"{c}_{name}{side}" for c in CONDITIONS for side in _SIDES for name in of_sets),
    )


def stability_table(
    pairs: Sequence[Pair], labels: Mapping[str, str], n_classes: int
) -> pl.DataFrame:
    """One row a pair of dictionaries and layer; null where nothing was measured."""
    names, rows = columns(n_classes), []
    for relation, layer, likeness, sides in pairs:
        first, other = relation["dictionaries"]
        told = {**labels, "relation": relation["relation"], "hook_point": relation["hook_point"]}
        told |= {"layer": layer, "dictionary": first, "other": other, **likeness}
        for side, found in zip(_SIDES, sides, strict=True):
            told |= {f"{name}{side}": value for name, value in found.items()}
        rows.append({name: told.get(name) for name in names})
    words = ("dataset", "source", "model", "relation", "hook_point", "dictionary", "other")
    types: dict[str, Any] = dict.fromkeys(names, pl.Float64())
    types |= dict.fromkeys(words, pl.String())
    whole = ("layer", "alive", "alive_back", *(n for n in names if "n_features" in n))
    return pl.DataFrame(rows, schema=types | dict.fromkeys(whole, pl.Int64()))


def render(table: pl.DataFrame, class_names: Sequence[str]) -> str:
    """The page: what each relation comes to, layer by layer, beside what chance gives."""
    source = source_label(str(table["source"][0]))
    parts = [
        f"# Do dictionaries find the same again? {table['dataset'][0]}, {table['model'][0]} ({source})",
        "Features are compared by the cosine of their directions, living ones alone. *Random* is what as many random "
        "directions give, or random sets of the same sizes. Ranges are over the pairs of dictionaries.",
    ]
    paired = _measured(table, effect_columns(len(class_names)))
    if paired:
        parts.append(
            f"The true effect is known from pairs of images that differ in the attribute alone. {MEANING} Of both the"
            " mean over the dictionaries, in brackets the smallest and the largest."
        )
    for relation, words in RELATIONS.items():
        here = table.filter(relation=relation)
        if here.height:
            parts += [f"## {words[0].upper()}{words[1:]}", _alike(here)]
            for condition in CONDITIONS if _measured(here, ("gain",)) else ():
                parts.append(_sets(here, condition))
                if paired:
                    parts.append(_effects(here, condition, class_names))
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


def _effects(here: pl.DataFrame, condition: str, class_names: Sequence[str]) -> str:
    """How close the sets come to the true effect, and what they move where it is not."""
    said = ("recovery", "collateral")
    head = ["layer", *(f"{what}, {name}" for what in said for name in class_names)]
    body = []
    for layer, rows in _by_layer(here):
        found = (
            _each_once(rows, f"{condition}_{name}") for name in effect_columns(len(class_names))
        )
        body.append([str(layer), *map(_spread, found)])
    title = (
        f"**{condition.capitalize()} sets, and how close each comes to the true effect on test**"
    )
    return f"{title}\n\n{grid(head, body)}"


def _spread(values: Sequence[float]) -> str:
    """The mean of some numbers and, of more than one, the smallest and the largest."""
    if not values:
        return MISSING
    mean, low, high = (
        format(round(value, 2) + 0.0, ".2f")
        for value in (sum(values) / len(values), min(values), max(values))
    )
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def _each_once(rows: pl.DataFrame, name: str) -> list[float]:
    """A number of each dictionary, in the order in which they come."""
    found: dict[str, float | None] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row["dictionary"], row[name])
        found.setdefault(row["other"], row[f"{name}_back"])
    return [value for value in found.values() if value is not None]


def _measured(here: pl.DataFrame, names: Sequence[str]) -> bool:
    """Whether any of some numbers is known of any dictionary's set."""
    return any(here[f"{c}_{name}"].is_not_null().any() for c in CONDITIONS for name in names)


def _by_layer(here: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    return [(layer, here.filter(layer=layer)) for layer in here["layer"].unique().sort().to_list()]


def _range(values: pl.Series) -> str:
    """The smallest and the largest of some numbers, one where they are the same to two digits."""
    known = values.drop_nulls().to_list()
    if not known:
        return MISSING
    low, high = (f"{value:.2f}" for value in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"
