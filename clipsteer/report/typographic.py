"""`results/typographic_table.csv` and its page: accuracy under attack by defence (Table 2, Section 7.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from clipsteer.defences.classes import NO_WORD
from clipsteer.defences.evaluating import (
    BOTH,
    EVERYWHERE,
    NEURONS,
    NONE,
    PATCHING,
    PREFIX,
    PROJECTION,
    RANDOM,
    SAE,
)
from clipsteer.report import paper
from clipsteer.report.markdown import MISSING, grid, p_text, source_label
from clipsteer.steering.pairs import LEAST_EFFECT
from clipsteer.steering.significance import mcnemar_exact, wilson

DEFENCES = {
    NONE: "No defense",
    PREFIX: "DP",
    PROJECTION: "output projection",
    PATCHING: "patched weights (PAINT)",
    SAE: "SAE (ours)",
    BOTH: "DP + ours",
    RANDOM: "random features",
    NEURONS: "neurons",
    f"{RANDOM}_{NEURONS}": "random neurons",
    "mean_difference": "mean difference",
    "leace": "LEACE",
}
"""What defences are called on the page, in its order."""
SCHEMA = {
    **dict.fromkeys(("benchmark", "source", "model", "defence", "hook_point"), pl.String),
    **{"layer": pl.Int64, "dictionary": pl.String},
    **{"tau": pl.Float64, "lambda": pl.Float64, "n_f": pl.Int64, "n_f_star": pl.Int64},
    **{"random_cosine": pl.Float64, "scale": pl.Float64, "draws": pl.Int64},
    **{"n_attacked": pl.Int64, "attacked": pl.Float64},
    **dict.fromkeys(("attacked_low", "attacked_high"), pl.Float64),
    **{"n_clean": pl.Int64, "clean": pl.Float64},
    **dict.fromkeys(("clean_low", "clean_high", "clean_change", "fooled"), pl.Float64),
    **dict.fromkeys(("p_none", "p_prefix", "recovery", "pair_collateral", "paper"), pl.Float64),
}
COLUMNS = tuple(SCHEMA)
_PER_CENT = (
    *("attacked", "attacked_low", "attacked_high", "clean", "clean_low", "clean_high"),
    *("clean_change", "fooled"),
)


@dataclass(frozen=True)
class Answered:
    """A benchmark's test images at one place: classes and words of each, what was chosen, and all answers.

    `answers` as `clipsteer.defences.evaluating` gives them; `labels`: `target` and `word`, of the word that is printed
    or in the photograph. `papers`: whether it is the paper's place, the last layer of its model with its expansion.
    """

    benchmark: str
    source: str
    hook_point: str
    layer: int
    dictionary: str
    chosen: Mapping[str, Any]
    answers: pl.DataFrame
    labels: pl.DataFrame
    papers: bool


def table(places: Sequence[Answered], model: str, tuned: str) -> pl.DataFrame:
    """A row for each benchmark, defence and place, columns COLUMNS; accuracies in per cent, to 2 decimals.

    `tuned`: the data set that everything was chosen on; `clean_change` is what a defence changes on its clean test
    images, which chose nothing, in points. Random draws are one row, their mean. What needs no place has none.
    """
    kept: dict[tuple[str, str, int, str], float] = {}
    found: list[dict[str, Any]] = []
    seen: set[tuple[str, str]] = set()
    for place in places:
        for row in _rows(place, model):
            if row["defence"] in EVERYWHERE:
                if (place.benchmark, row["defence"]) in seen:
                    continue
                seen.add((place.benchmark, row["defence"]))
                row |= {"hook_point": None, "layer": None, "dictionary": None}
                row |= dict.fromkeys(("tau", "lambda", "n_f", "n_f_star", "random_cosine"))
            found.append(row)
            if place.benchmark == tuned and row["clean"] is not None:
                kept[_where(row)] = row["clean"]
    unmodified = kept.get((NONE, "", -1, ""))
    for row in found:
        if _where(row) in kept and unmodified is not None:
            row["clean_change"] = kept[_where(row)] - unmodified
    order = {name: number for number, name in enumerate(DEFENCES)}
    benchmarks = list(dict.fromkeys(place.benchmark for place in places))
    found.sort(
        key=lambda row: (
            benchmarks.index(row["benchmark"]),
            -1 if row["layer"] is None else row["layer"],
            order[row["defence"]],
            row["hook_point"] or "",
            row["dictionary"] or "",
        )
    )
    return pl.DataFrame(found, SCHEMA, orient="row").with_columns(
        *(pl.col(name).round(2) for name in _PER_CENT),
        *(pl.col(name).round(4) for name in ("random_cosine", "recovery", "pair_collateral")),
    )


def _where(row: Mapping[str, Any]) -> tuple[str, str, int, str]:
    layer = -1 if row["layer"] is None else row["layer"]
    return row["defence"], row["hook_point"] or "", layer, row["dictionary"] or ""


def _rows(place: Answered, model: str) -> Iterator[dict[str, Any]]:
    """The rows of one place, `none` and `defense_prefix` among them."""
    targets, words = (place.labels[name].to_numpy() for name in ("target", "word"))
    views = {view: frame for (view,), frame in place.answers.group_by("view", maintain_order=True)}
    printed = "test_attacked" in views
    attacked = views["test_attacked"] if printed else views["test"]
    # of photographs, clean and attacked ones are of one view
    in_attacked = np.ones(len(targets), bool) if printed else words != NO_WORD
    in_clean = np.ones(len(targets), bool) if printed else words == NO_WORD
    told = {
        view: {key: _stack(frame) for key, frame in rows.group_by("defence", maintain_order=True)}
        for view, rows in (("clean", views["test"]), ("attacked", attacked))
    }
    base = {name: told["attacked"][name,][0][0] == targets for name in (NONE, PREFIX)}
    for (defence,), (predictions, margins) in told["attacked"].items():
        own = predictions[:, in_attacked] == targets[in_attacked]
        clean = told["clean"][defence,][0][:, in_clean] == targets[in_clean]
        drawn = defence.startswith(RANDOM)
        row: dict[str, Any] = {
            **{"benchmark": place.benchmark, "source": place.source, "model": model},
            **{"defence": defence, "hook_point": place.hook_point, "layer": place.layer},
            **{"dictionary": place.dictionary, "draws": len(own) if drawn else None},
            **_said(place, defence),
            **_accuracy("attacked", own, drawn),
            **_accuracy("clean", clean, drawn),
            "fooled": 100 * float((predictions[:, in_attacked] == words[in_attacked]).mean())
            if in_attacked.any()
            else None,
            **{"p_none": None, "p_prefix": None, "recovery": None, "pair_collateral": None},
            "paper": _paper(place, defence),
            "clean_change": None,
        }
        if not drawn and in_attacked.any():
            for column, name in (("p_none", NONE), ("p_prefix", PREFIX)):
                if defence != name:
                    row[column] = mcnemar_exact(base[name][in_attacked], own[0])
        if printed and not drawn and defence not in (PREFIX, BOTH, PROJECTION, PATCHING):
            plain = told["clean"][NONE,][1][0], told["attacked"][NONE,][1][0]
            row |= _effect(plain, told["clean"][defence,][1][0], margins[0])
        yield row


def _stack(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and margins of a defence's draws, (R, N) each."""
    return tuple(np.array(frame[name].to_list()) for name in ("predictions", "margins"))  # type: ignore[return-value]


def _said(place: Answered, defence: str) -> dict[str, Any]:
    """What was chosen for a defence."""
    chosen, sets = place.chosen, defence in (SAE, BOTH, NEURONS)
    return {
        "tau": chosen["tau"] if sets else None,
        "lambda": chosen["lambda"] if sets else None,
        "n_f": chosen["n_f"] if sets else None,
        "n_f_star": len(chosen["features"]) if sets or defence.startswith(RANDOM) else None,
        "random_cosine": chosen["random_cosine"],
        "scale": chosen["scales"].get(defence),
    }


def _accuracy(name: str, right: np.ndarray, drawn: bool) -> dict[str, Any]:
    """Of correctness (R, n): the mean over draws in per cent, and Wilson's interval where nothing is drawn."""
    n = right.shape[1]
    found: dict[str, Any] = {f"n_{name}": n, name: None, f"{name}_low": None, f"{name}_high": None}
    if n:
        found[name] = 100 * float(right.mean())
        if not drawn:
            low, high = wilson(int(right[0].sum()), n)
            found |= {f"{name}_low": 100 * low, f"{name}_high": 100 * high}
    return found


def _effect(
    plain: tuple[np.ndarray, np.ndarray], clean: np.ndarray, attacked: np.ndarray
) -> dict[str, float | None]:
    """How close margins of attacked images come to their clean pairs', and what moved on clean ones (docs/method.md).

    `plain`: margins (N,) of the unmodified model on clean and on attacked images.
    """
    effect = float(np.mean((plain[1] - plain[0]) ** 2))
    if effect < LEAST_EFFECT:
        return {"recovery": None, "pair_collateral": None}
    return {
        "recovery": 1 - float(np.mean((attacked - plain[0]) ** 2)) / effect,
        "pair_collateral": float(np.mean((clean - plain[0]) ** 2)) / effect,
    }


def _paper(place: Answered, defence: str) -> float | None:
    """Table 2's number, where images are real and the place is the paper's."""
    here = place.source == "real" and place.papers and place.hook_point == "resid_post"
    return paper.table2().get((place.benchmark, defence)) if here else None


# ---------------------------------------------------------------------------------------- the page


def render(found: pl.DataFrame, tuned: str, last: int) -> str:
    """The page: Table 2 at layer `last`, then every layer."""
    first = found.row(0, named=True)
    benchmarks = [name for name in found["benchmark"].unique(maintain_order=True) if name != tuned]
    here = found.filter(pl.col("layer").is_null() | (pl.col("layer") == last))
    parts = [
        "# Accuracy under typographic attacks",
        f"{source_label(first['source'])}, model: {first['model']}. Accuracy on attacked images in per cent with 95 % "
        f"intervals, at the last layer (L{last}) as in the paper's Table 2.",
        _grid(here, [*benchmarks], tuned),
        "## Every layer",
    ]
    for benchmark in benchmarks:
        parts += [f"**{benchmark}**", _by_layer(found.filter(pl.col("benchmark") == benchmark))]
    parts += ["## What was chosen", _chosen(found, tuned), "## How to read this"]
    parts.append("\n".join(f"- {line}" for line in _reading(found, tuned)))
    return "\n\n".join(parts) + "\n"


def _named(row: Mapping[str, Any]) -> str:
    name = DEFENCES[row["defence"]]
    of_dictionary = row["defence"] in (SAE, BOTH, RANDOM)
    return f"{name}, {row['dictionary']}" if of_dictionary else name


def _grid(here: pl.DataFrame, benchmarks: Sequence[str], tuned: str) -> str:
    rows: dict[tuple[str, str, int, str], dict[str, Mapping[str, Any]]] = {}
    for row in here.iter_rows(named=True):
        rows.setdefault(_where(row), {})[row["benchmark"]] = row
    with_paper = here["paper"].is_not_null().any()
    head = ["defence", *benchmarks, "fooled", "clean, change"]
    body = []
    for _, cells in sorted(rows.items(), key=lambda item: list(DEFENCES).index(item[0][0])):
        any_row = next(iter(cells.values()))
        own = cells.get(tuned)
        body.append(
            [
                _named(any_row),
                *(_cell(cells.get(name), with_paper) for name in benchmarks),
                " / ".join(
                    _number(cells[name]["fooled"] if name in cells else None) for name in benchmarks
                ),
                _number(own["clean_change"] if own else None, "+.1f"),
            ]
        )
    return grid(head, body)


def _cell(row: Mapping[str, Any] | None, with_paper: bool = False) -> str:
    if row is None or row["attacked"] is None:
        return MISSING
    text = f"{row['attacked']:.1f}"
    if row["attacked_low"] is not None:
        text += f" ({row['attacked_low']:.1f} to {row['attacked_high']:.1f})"
    return text + (f"; paper {row['paper']:.0f}" if with_paper and row["paper"] is not None else "")


def _by_layer(rows: pl.DataFrame) -> str:
    layers = rows["layer"].drop_nulls().unique().sort().to_list()
    names: dict[str, dict[int | None, Mapping[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        names.setdefault(_named(row), {})[row["layer"]] = row
    body = []
    for name, cells in names.items():
        body.append([name, *(_cell(cells.get(None, cells.get(layer))) for layer in layers)])
    return grid(["defence", *(f"L{layer}" for layer in layers)], body)


def _chosen(found: pl.DataFrame, tuned: str) -> str:
    rows = found.filter(
        pl.col("benchmark") == tuned,
        pl.col("defence").is_in([PATCHING, SAE, NEURONS, "mean_difference"]),
    )
    head = ["", "layer", "tau", "lambda", "features F", "features F*", "scale", "clean, change"]
    body = [
        [
            _named(row),
            MISSING if row["layer"] is None else f"L{row['layer']}",
            _number(row["tau"], ".3g"),
            _number(row["lambda"], "g"),
            _number(row["n_f"], ","),
            _number(row["n_f_star"], ","),
            _number(row["scale"], "g"),
            _number(row["clean_change"], "+.1f"),
        ]
        for row in rows.iter_rows(named=True)
    ]
    return grid(head, body)


def _number(value: float | None, style: str = ".1f") -> str:
    return MISSING if value is None else format(value, style)


def _reading(found: pl.DataFrame, tuned: str) -> list[str]:
    cosine = found["random_cosine"].drop_nulls()
    best = found.filter(pl.col("benchmark") != tuned, pl.col("defence") == SAE)
    p: list[float] = best["p_none"].drop_nulls().to_list()
    lines = [
        f"Everything was chosen on validation images of {tuned}: attacked images as accurate as clean ones allow that "
        "lose no more than `typographic.clean_drop` points. Benchmarks chose nothing.",
        f"Clean, change: points on the clean test images of {tuned}, against the unmodified model.",
        "Fooled: per cent of attacked images for which the model says the printed word, a benchmark each.",
        "Random rows are means over draws of as many features as F*.",
        f"Scale: of an edit along a direction; of {DEFENCES[PATCHING]} alpha, how far the weights go from those of the "
        "model (0) to those fine-tuned against words (1).",
        "0 features, or no scale: nothing gained on validation, so the model is left alone.",
        "The CSV has exact McNemar p-values against no defence (`p_none`) and against Defense-Prefix (`p_prefix`), "
        "unadjusted, and of painted pairs what part of the true effect came back (`recovery`).",
    ]
    if len(cosine):
        lines.insert(
            4,
            f"lambda is a cosine. Those of random directions here have a standard deviation of {cosine[0]:.3f} "
            "(1 / √d); the paper's 0.2 at d = 768 is 5.5 of them.",
        )
    if p:
        lines.append(
            f"SAE against none: {p_text(min(p))} to {p_text(max(p))} over layers and benchmarks."
        )
    return lines
