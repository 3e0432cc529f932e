"""`results/<dataset>_steerability.csv`, a row a feature, `_steerability_layers.csv`, and the finding as `.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from polars import selectors

from clipsteer.report.markdown import MISSING, grid, source_label
from clipsteer.steering.layer_metrics import (
    COMPARISONS,
    Sampled,
    Thresholds,
    compared,
    layer_metrics,
    rank_correlation,
)
from clipsteer.steering.outcomes import NEURONS
from clipsteer.steering.steerability import READINGS

RANDOM = "random"
FEATURES = "features"


_PLACE = ("dataset", "source", "model", "hook_point", "layer", "dictionary", "kind")
FEATURE_COLUMNS = (
    *_PLACE,
    *("feature", "sample", "strength", "s_paper", "s_prisma"),
    *("concept", "concept_probability", "concept_delta", "delta_max", "delta_word"),
    *("entropy", "d", "frequency", "token_frequency", "images"),
    *("top_words", "top_probabilities"),
)
_ESTIMATES = ("s", "share_steerable", "above_beta", "perfect", "coverage")
LAYER_COLUMNS = (
    *_PLACE,
    *("comparison", "reading", "n_features", "m"),
    *(f"{name}{side}" for name in _ESTIMATES for side in ("", "_low", "_high")),
    *("asymptote", "asymptote_reached", "n_images", "entries", "mean_entry_length"),
    *("d_with_s", "d_with_entropy", "gamma", "beta"),
)


class Measurement(NamedTuple):
    """What was measured at a place; `dictionary` is its name, of random directions `random`."""

    hook_point: str
    layer: int
    dictionary: str
    kind: str
    """`features`, `neurons` or `random`."""
    scores: pl.DataFrame
    curves: pl.DataFrame
    about: Mapping[str, Any]


class Words(NamedTuple):
    """The vocabulary: its entries, and how far the mean of their unit embeddings is from 0 (Eq. 10)."""

    entries: Sequence[str]
    mean_length: float


Labels = Mapping[str, str]


def feature_rows(found: Sequence[Measurement], words: Words, labels: Labels) -> pl.DataFrame:
    """A row for each feature that was sampled, place by place, by falling S_f (`paper`)."""
    entries = np.array(words.entries)
    parts = []
    for one in found:
        scores = one.scores.sort(["s_paper", "feature"], descending=[True, False])
        top = np.array(scores["top_words"].to_list(), np.int64)
        shares = scores["top_probabilities"].to_list()
        made = scores.with_columns(
            *(pl.lit(value).alias(name) for name, value in _place(one, labels).items()),
            pl.col("delta").alias("concept_delta"),
            pl.Series("concept", entries[top[:, 0]]),
            pl.Series("concept_probability", [row[0] for row in shares]),
            pl.Series("delta_word", entries[scores["delta_word"].to_numpy()]),
            pl.Series("top_words", ["|".join(row) for row in entries[top].tolist()]),
            pl.Series(
                "top_probabilities", ["|".join(f"{share:.4g}" for share in row) for row in shares]
            ),
        )
        parts.append(made.select(FEATURE_COLUMNS))
    return pl.concat(parts).with_columns(selectors.float().round_sig_figs(6))


def _place(one: Measurement, labels: Labels) -> dict[str, Any]:
    return {
        **labels,
        "hook_point": one.hook_point,
        "layer": one.layer,
        "dictionary": one.dictionary,
        "kind": one.kind,
    }


def layer_rows(
    found: Sequence[Measurement],
    words: Words,
    labels: Labels,
    thresholds: Thresholds,
    seed: int,
) -> pl.DataFrame:
    """A row for each layer, basis, comparison and reading of Eq. 5."""
    rows: list[dict[str, Any]] = []
    for here in _layers(found):
        largest = max((one.about["m"] for one in here if one.kind == FEATURES), default=None)
        for reading in READINGS:
            samples = {one.dictionary: _sampled(one, reading) for one in here}
            for comparison in COMPARISONS:
                cut = compared(samples, comparison, largest)
                for one in here:
                    rows.append(
                        {
                            **_place(one, labels),
                            "comparison": comparison,
                            "reading": reading,
                            "n_features": len(cut[one.dictionary].s),
                            "m": cut[one.dictionary].m,
                            **_metrics(cut[one.dictionary], thresholds, words, seed),
                            **_about(one, words, reading),
                            "gamma": thresholds.gamma,
                            "beta": thresholds.beta,
                        }
                    )
    order = {name: at for at, name in enumerate(COMPARISONS)}
    table = pl.DataFrame(rows, infer_schema_length=None).select(LAYER_COLUMNS)
    table = table.with_columns(selectors.float().round_sig_figs(6))
    return table.sort(
        "hook_point", "layer", pl.col("comparison").replace_strict(order), "reading",
        maintain_order=True,
    )  # fmt: skip


def _layers(found: Sequence[Measurement]) -> Iterator[list[Measurement]]:
    """The measurements of each hook point and layer."""
    for place in sorted({(one.hook_point, one.layer) for one in found}):
        yield [one for one in found if (one.hook_point, one.layer) == place]


def _sampled(one: Measurement, reading: str) -> Sampled:
    scores = one.scores.sort("sample")
    concept = scores["top_words"].list.first().to_numpy()
    m = None if one.kind == RANDOM else int(one.about["m"])
    return Sampled(scores[f"s_{reading}"].to_numpy(), concept, m)


def _metrics(sample: Sampled, thresholds: Thresholds, words: Words, seed: int) -> dict[str, float]:
    found = layer_metrics(sample, thresholds, len(words.entries), seed)
    return {
        f"{name}{side}": value
        for name, estimate in found.items()
        for side, value in zip(("", "_low", "_high"), estimate, strict=True)
    }


def _about(one: Measurement, words: Words, reading: str) -> dict[str, Any]:
    d = one.scores["d"].to_list()
    return {
        "asymptote": one.about["asymptote"],
        "asymptote_reached": one.about["reached"],
        "n_images": one.about["images"],
        "entries": len(words.entries),
        "mean_entry_length": words.mean_length,
        "d_with_s": rank_correlation(d, one.scores[f"s_{reading}"].to_list()),
        "d_with_entropy": rank_correlation(d, one.scores["entropy"].to_list()),
    }


# ------------------------------------------------------------------------------------------- the page


def render(layers: pl.DataFrame) -> str:
    """The page: three sentences, then every layer as it was sampled, at equal numbers and at equal shares."""
    first = layers.row(0, named=True)
    parts = [
        f"# {first['dataset']}: steerability (Section 6)",
        f"{source_label(first['source'])}, model: {first['model']}, {first['n_images']} images, {first['entries']} "
        f"words. Steerable: S_f > {first['gamma']:g}; Eq. 8: S_f > {first['beta']:g}.",
        "\n".join(f"{number}. {text}" for number, text in enumerate(_sentences(layers), 1)),
    ]
    titles = {
        "sample": "As sampled",
        "equal_number": "As many of each",
        "equal_share": "As large a share of each basis",
    }
    all_features = layers.filter(comparison="sample")["n_features"]
    for comparison, title in titles.items():
        rows = layers.filter(comparison=comparison)
        if comparison == "equal_share" and rows["n_features"].equals(all_features):
            parts += [f"## {title}", "As sampled: of each basis the same share was."]
            continue
        for reading in READINGS:
            parts += [f"## {title}: `{reading}`", _grid(rows.filter(reading=reading))]
    parts += ["## How to read this", "\n".join(f"- {line}" for line in _reading())]
    return "\n\n".join(parts) + "\n"


def _sentences(layers: pl.DataFrame) -> list[str]:
    """What was found, where a dictionary's features steer most, by the mean S_f as Eq. 5 is written."""
    paper = layers.filter(reading="paper")
    own = paper.filter(comparison="sample", kind=FEATURES)
    best = own.sort(["s", "layer"], descending=[True, False]).row(0, named=True)
    here = layers.filter(hook_point=best["hook_point"], layer=best["layer"])

    def rows(comparison: str, reading: str) -> dict[str, dict[str, Any]]:
        part = here.filter(comparison=comparison, reading=reading)
        return {
            row["kind"]: row
            for row in part.iter_rows(named=True)
            if row["kind"] != FEATURES or row["dictionary"] == best["dictionary"]
        }

    number, share = rows("equal_number", "paper"), rows("equal_share", "paper")
    named = {NEURONS: "neurons", RANDOM: "random directions"}
    others = [kind for kind in named if kind in number]

    def steerable(reading: str) -> str:
        found = rows("equal_number", reading)
        against = " and ".join(
            f"{_percent(found[kind], 'share_steerable')} of {named[kind]} "
            f"({_verdict(found[FEATURES], found[kind], 'share_steerable')})"
            for kind in others
        )
        return f"{_percent(found[FEATURES], 'share_steerable')} of features against {against}"

    concepts = "; ".join(
        f"{_concepts(number[kind])} and {_reach(share[kind])} for {named[kind]}" for kind in others
    )
    mean = best["mean_entry_length"]
    premise = "holds" if mean < 0.1 else "does not hold"
    return [
        f"At layer {best['layer']}, which {best['dictionary']} steers most, and of {number[FEATURES]['n_features']:,} "
        f"each, S_f is above {best['gamma']:g} for {steerable('paper')}, as Eq. 5 is written; as the authors' code has "
        f"it, for {steerable('prisma')}.",
        f"Steerable features reach {_concepts(number[FEATURES])} of {best['entries']} words as concepts at equal "
        f"numbers and {_reach(share[FEATURES])} at equal shares of the basis, against {concepts}; "
        f"{best['perfect']:.0f} of {best['n_features']:,} features that were sampled there are perfectly steerable "
        "(S_f > 0.9).",
        f"The premise of D_f, a mean word embedding near 0, {premise} here (its length is {mean:.2f}); over the "
        f"features of that layer D_f has a rank correlation of {_number(best['d_with_s'])} with S_f and of "
        f"{_number(best['d_with_entropy'])} with the entropy.",
    ]


def _concepts(row: Mapping[str, Any]) -> str:
    return f"{row['coverage'] * row['entries']:.0f}"


def _reach(row: Mapping[str, Any]) -> str:
    """Concepts, and of how many features: more features reach more."""
    return f"{_concepts(row)} (of {row['n_features']:,})"


def _percent(row: Mapping[str, Any], name: str) -> str:
    return f"{100 * row[name]:.1f} % ({100 * row[f'{name}_low']:.1f} to {100 * row[f'{name}_high']:.1f})"


def _verdict(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> str:
    """How a number of ours stands to another's, by their intervals."""
    if one[f"{name}_low"] > other[f"{name}_high"]:
        return "fewer"
    if one[f"{name}_high"] < other[f"{name}_low"]:
        return "more"
    return "not to be told apart"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2f}"


def _grid(part: pl.DataFrame) -> str:
    measures = ("S", "steerable", "above beta", "perfect", "concepts", "asymptote")
    head = ["layer", "basis", "features", *measures]
    several = part["hook_point"].n_unique() > 1
    body = []
    for row in part.iter_rows(named=True):
        layer = f"{row['hook_point']} " * several + f"L{row['layer']}"
        reached = "" if row["asymptote_reached"] else " (end)"
        spread = (row["coverage_high"] - row["coverage"]) * row["entries"]
        body.append(
            [
                layer,
                row["dictionary"],
                f"{row['n_features']:,}",
                f"{row['s']:.3f} ({row['s_low']:.3f} to {row['s_high']:.3f})",
                _percent(row, "share_steerable"),
                f"{row['above_beta']:.0f} ({row['above_beta_low']:.0f} to {row['above_beta_high']:.0f})",
                f"{row['perfect']:.0f}",
                f"{_concepts(row)} (± {spread:.0f})",
                f"{row['asymptote']:g}{reached}",
            ]
        )
    return grid(head, body)


def _reading() -> list[str]:
    return [
        "`paper`: S_f as Eq. 5 is written, the mean over images of the squared change of the probabilities, summed "
        "over words. `prisma`: as the authors' code has it, the square of the mean change. The first counts what "
        "steering does to each image, the second only what it does to all alike.",
        "Brackets: 95 % intervals over samples of features (bootstrap). They say what other features would give, not "
        "other images or another vocabulary.",
        "Concepts: words that are the most probable one under some steerable feature.",
        "Random: unit directions that have learned nothing. They have no basis to take a share of: at equal shares "
        "there are as many as of the dictionary's features, as far as `steerability.random` reaches; see their number.",
        "Each basis is scored at its own asymptote.",
        "Asymptote: the smallest strength after which the mean S_f changes by less than 1 %; `(end)`: it still changes "
        "at the largest one.",
        "No image is of the test split.",
    ]
