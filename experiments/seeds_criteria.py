"""By what seeds are judged: the criteria of docs/seeds.md, over the records of experiments/seeds.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student

from experiments.worlds import (
    BIRDS_OVERALL,
    BIRDS_WORST,
    FACES_BEST,
    FACES_WORST,
    LEAST_AUC,
    NEAR,
)

FRESH = range(20, 30)  # seeds below were seen while settings and rules were chosen
LAYERS = range(6)
DRAWS, SHUFFLES = 1, 20
LEAST = 5.0
SAE = "sae"
CONDITIONS = ("strict", "relaxed")
FAMILIES = {
    "neurons": ("neurons", "neurons_two_sided"),
    "direction": ("mean_difference", "leace", "leace_scaled", "probe"),
    "subspace": ("decoder_subspace", "encoder_subspace"),
    "bias": ("class_bias",),
}
"""What the SAE's features are compared with; the remaining methods are controls."""
COMPARISONS = sum(map(len, FAMILIES.values()))


@dataclass(frozen=True)
class Dataset:
    """A data set's title, its groups in short, and its target classes."""

    title: str
    groups: tuple[str, ...]
    classes: tuple[str, str]


DATASETS = {
    "celeba": Dataset(
        "CelebA", ("not blond woman", "blond woman", "not blond man", "blond man"), ("woman", "man")
    ),
    "waterbirds": Dataset(
        "Waterbirds",
        ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water"),
        ("landbird", "waterbird"),
    ),
}

Json = Mapping[str, Any]
Records = Mapping[str, Sequence[Json]]


def mean(values: Iterable[float | None]) -> float:
    """What is not known is a method that did nothing."""
    known = [value or 0.0 for value in values]
    return sum(known) / len(known)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean with Student's 95 % interval; of a single value the whole line."""
    n, centre = len(values), sum(values) / len(values)
    if n < 2:
        return centre, float("-inf"), float("inf")
    spread = (sum((v - centre) ** 2 for v in values) / (n - 1) / n) ** 0.5
    half = float(student.ppf(0.975, n - 1)) * spread
    return centre, centre - half, centre + half


def acts(row: Json) -> bool:
    """Whether something passed: a set that is not empty, a scale that is not 0, an edit that changes anything."""
    changes = any(row.get(name) for name in ("gain", "recovery", "pair_collateral"))
    return changes and row.get("n_features") != 0 and row.get("scale") != 0


def ablates(found: Json, condition: str = "relaxed") -> bool:
    """Whether the SAE's set is not empty."""
    return acts(found[condition][f"{SAE}/none"])


def layers_of(found: Sequence[Json], condition: str, name: str = f"{SAE}/none") -> list[int | None]:
    """By seed, the layer after which a method acts; None where it has none or nothing passed."""
    rows = rows_of(found, condition, name)
    return [row.get("layer") if acts(row) else None for row in rows]


def gains(found: Json) -> bool:
    """The first criterion of the page."""
    here = found["relaxed"][f"{SAE}/none"]
    return ablates(found) and here["gain"] >= LEAST and here["gain_low"] > 0


def reaching_half(found: Json) -> int | None:
    """Of the shuffles at the true labels' place, how many reach half of their gain; None without a true gain."""
    gain = found["relaxed"][f"{SAE}/none"]["gain"]
    if found["shuffles"] is None or gain <= 0:
        return None
    # table and shuffles are rounded apart
    return sum(one >= gain / 2 - 0.01 for one in found["shuffles"])


def in_band(dataset: str, found: Json) -> bool:
    """Whether the unmodified model is as the default's is meant to be (experiments/worlds.py), on test images."""
    worst, *others = sorted(found["unmodified"])
    if dataset == "celeba":
        return min(others) >= FACES_BEST and FACES_WORST[0] <= worst <= FACES_WORST[1]
    overall = sum(found["unmodified"]) / 4
    near = abs(overall - BIRDS_OVERALL) <= NEAR and abs(worst - BIRDS_WORST) <= NEAR
    return near and min(found["auc"]) >= LEAST_AUC


def by_seed(found: Sequence[Json], condition: str, name: str, measure: str) -> list[float]:
    """`recovery`, `pair_collateral` or another number of one method and balance by seed; 0 where it did nothing."""
    return [float(row.get(measure) or 0.0) for row in rows_of(found, condition, name)]


def recoveries(found: Sequence[Json], condition: str, name: str) -> list[float]:
    """What the third criterion compares."""
    return by_seed(found, condition, name, "recovery")


def behind(found: Sequence[Json], condition: str, name: str) -> tuple[float, float, float]:
    """The recovery of the SAE's features minus a method's, by seed; with the balance of the method."""
    ours = recoveries(found, condition, f"{SAE}/{name.partition('/')[2]}")
    return interval([a - b for a, b in zip(ours, recoveries(found, condition, name), strict=True)])


def names_of(found: Sequence[Json], condition: str) -> list[str]:
    """Methods with balances whose recovery can be measured: all but the reference, whose scores are no cosines."""
    every = dict.fromkeys(name for one in found for name in one[condition])
    return [name for name in every if not name.startswith("balanced_probe")]


def rivals(found: Sequence[Json]) -> list[str]:
    """What the SAE is compared with by the third criterion: `FAMILIES` with balance none."""
    methods = {method for family in FAMILIES.values() for method in family}
    return [
        name
        for name in names_of(found, "relaxed")
        if name.partition("/")[0] in methods and name.endswith("/none")
    ]


def rows_of(found: Sequence[Json], condition: str, name: str) -> list[Json]:
    """A method's numbers by seed, empty where it has none."""
    return [one[condition].get(name, {}) for one in found]


def gain(found: Json) -> float:
    """The relaxed gain of the SAE's set, in points."""
    return float(found["relaxed"][f"{SAE}/none"]["gain"])


def complete(records: Records, least: int) -> Records:
    """The data sets of which all seeds have been run: a part of them would be a choice."""
    return {dataset: found for dataset, found in records.items() if len(found) >= least}
