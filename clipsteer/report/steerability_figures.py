"""The figures of Section 6: curves (5), histogram (6), layers (7) and words along the strength (9).

Those of single features are of the last layer that was measured, as the paper's are, and of the table's first
dictionary there. Equal tables give equal bytes, as in `clipsteer.report.figure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clipsteer.report.drawing import Title, saved
from clipsteer.report.steerability import FEATURES, RANDOM, Measurement
from clipsteer.steering.measured import ROLES
from clipsteer.steering.outcomes import NEURONS
from clipsteer.steering.steerability import READINGS

# From Okabe and Ito's palette.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_KINDS = {FEATURES: "#0072B2", NEURONS: "#000000", RANDOM: "#999999"}
_MARKERS = {NEURONS: "x", RANDOM: "o"}
# Words that are followed in one panel at most.
_LINES = 6
_TOP = 3


def shown_place(found: Sequence[Measurement]) -> Measurement:
    """The place of the figures of single features."""
    features = [one for one in found if one.kind == FEATURES]
    last = max(one.layer for one in features)
    return next(one for one in features if one.layer == last)


def curves_figure(one: Measurement, entries: Sequence[str], path: Path, title: Title) -> None:
    """Figure 5: S_f (solid) and the largest dP_f (dotted) of chosen features against the strength."""
    with saved(path, (7.2, 4.2)) as figure:
        axes = figure.subplots()
        for (role, feature, rows), colour in zip(_chosen(one), _cycle(), strict=False):
            rows = rows.sort("strength")
            last = rows.filter(strength=one.about["asymptote"]).row(0, named=True)
            word = entries[last["top_words"][0]]
            label = f"{feature} ({role}): {word}"
            axes.plot(rows["strength"], rows["s_paper"], color=colour, marker=".", label=label)
            axes.plot(rows["strength"], rows["delta_max"], color=colour, linestyle=":")
        axes.axvline(one.about["asymptote"], color="#BBBBBB", linewidth=0.8, zorder=0)
        axes.set_xlabel("strength")
        axes.set_ylabel("S_f, solid; largest dP_f, dotted")
        axes.set_ylim(bottom=0)
        axes.legend(
            frameon=False,
            fontsize=8,
            title="feature: its concept at the asymptote",
            title_fontsize=8,
        )
        figure.suptitle(title.of(f"{one.dictionary}, layer {one.layer}"), fontsize=9)


def histogram_figure(found: Sequence[Measurement], gamma: float, path: Path, title: Title) -> None:
    """Figure 6: how many features have which S_f, beside neurons and random directions of that layer."""
    shown = shown_place(found)
    here = [
        one
        for one in found
        if (one.hook_point, one.layer) == (shown.hook_point, shown.layer)
        and (one.kind != FEATURES or one.dictionary == shown.dictionary)
    ]
    with saved(path, (8.4, 3.8)) as figure:
        panels = figure.subplots(1, len(READINGS), sharey=True)
        for axes, reading in zip(panels, READINGS, strict=True):
            column = f"s_{reading}"
            smallest = min(float(one.scores[column].min()) for one in here)  # type: ignore[arg-type]
            low = np.floor(np.log10(max(smallest, 1e-8)))
            bins = 10 ** np.linspace(low, np.log10(2.0), 41)
            for one in here:
                values = one.scores[column].clip(bins[0], bins[-1])
                weights = np.full(len(values), 100 / len(values))
                axes.hist(
                    values, bins, weights=weights, histtype="step", linewidth=1.4,
                    color=_KINDS[one.kind], label=f"{one.dictionary} ({len(values):,})",
                )  # fmt: skip
            axes.axvline(gamma, color="#D55E00", linewidth=0.9, linestyle="--")
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel(f"S_f ({reading}), dashed: gamma")
        panels[0].set_ylabel("% of them")
        panels[0].legend(frameon=False, fontsize=8)
        figure.suptitle(title.of(f"Layer {shown.layer}, at the asymptote"), fontsize=9)


def layers_figure(layers: pl.DataFrame, path: Path, title: Title) -> None:
    """Figure 7: the share that is steerable, and the concepts that are reached, layer by layer, with intervals."""
    paper = layers.filter(reading="paper")
    columns = {
        "equal_number": "as many of each",
        "equal_share": "as large a share of each basis\n(of random directions as many as there are)",
    }
    with saved(path, (9.0, 6.4)) as figure:
        grid = figure.subplots(2, len(columns), sharex=True, sharey="row", squeeze=False)
        for at, (comparison, words) in enumerate(columns.items()):
            part = paper.filter(comparison=comparison)
            for axes, name, scale in zip(
                grid[:, at], ("share_steerable", "coverage"), (100, 100), strict=True
            ):
                _lines(axes, part, name, scale)
            grid[0, at].set_title(words, fontsize=9)
            grid[1, at].set_xlabel("layer")
            grid[1, at].set_xticks(sorted(part["layer"].unique().to_list()))
        for row in grid:  # one axis a row, so after all of it is drawn
            row[0].set_ylim(bottom=0)
        grid[0, 0].set_ylabel("steerable features, %")
        grid[1, 0].set_ylabel("words reached as concepts, %")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8
        )
        figure.suptitle(title.of("Bars: 95 % over samples of features"), fontsize=9)


def _lines(axes: Any, part: pl.DataFrame, name: str, scale: float) -> None:
    names = part.select("hook_point", "dictionary", "kind").unique(maintain_order=True).rows()
    several = part["hook_point"].n_unique() > 1
    colours = iter(_cycle())
    for at, (hook_point, dictionary, kind) in enumerate(names):
        rows = part.filter(hook_point=hook_point, dictionary=dictionary).sort("layer")
        value = rows[name].to_numpy() * scale
        bounds = [value - rows[f"{name}_low"] * scale, rows[f"{name}_high"] * scale - value]
        axes.errorbar(
            rows["layer"].to_numpy() + 0.06 * (at - (len(names) - 1) / 2),
            value,
            yerr=np.maximum(np.array(bounds), 0),
            color=next(colours) if kind == FEATURES else _KINDS[kind],
            marker=_MARKERS.get(kind, "."),
            markersize=4 if kind == RANDOM else 6,
            capsize=2,
            linewidth=1.2,
            label=f"{hook_point} " * several + dictionary,
        )
    axes.grid(color="#EEEEEE", linewidth=0.6)


def words_figure(one: Measurement, entries: Sequence[str], path: Path, title: Title) -> None:
    """Figure 9: the three most probable words along the strength, a panel a feature."""
    chosen = _chosen(one)
    with saved(path, (3.6 * len(chosen), 3.6)) as figure:
        panels = figure.subplots(1, len(chosen), sharey=True, squeeze=False)[0]
        for axes, (role, feature, rows) in zip(panels, chosen, strict=True):
            rows = rows.sort("strength")
            tops = rows["top_words"].to_list()
            shares = np.array(rows["top_probabilities"].to_list())
            highest: dict[int, float] = {}
            for words, values in zip(tops, shares.tolist(), strict=True):
                for word, value in zip(words[:_TOP], values[:_TOP], strict=True):
                    highest[word] = max(value, highest.get(word, 0.0))
            followed = sorted(highest, key=lambda word: (-highest[word], word))[:_LINES]
            for word, colour in zip(followed, _cycle(), strict=False):
                line = [
                    values[words.index(word)] if word in words else np.nan
                    for words, values in zip(tops, shares, strict=True)
                ]
                axes.plot(rows["strength"], line, color=colour, marker=".", label=entries[word])
            axes.set_title(f"{feature} ({role})", fontsize=9)
            axes.set_xlabel("strength")
            axes.legend(frameon=False, fontsize=7)
        panels[0].set_ylabel("mean probability")
        panels[0].set_ylim(0, 1)
        figure.suptitle(
            title.of(
                f"{one.dictionary}, layer {one.layer}\nwords that are among the three most probable"
            ),
            fontsize=9,
        )


def _chosen(one: Measurement) -> list[tuple[str, int, pl.DataFrame]]:
    """(why, number, curve) of each feature that is shown, each feature once."""
    found: dict[int, str] = {}
    for role, feature in one.curves.select("role", "feature").rows():
        found.setdefault(feature, role)
    order = sorted(found, key=lambda feature: ROLES.index(found[feature]))
    curves = one.curves.unique(["feature", "strength"], maintain_order=True)
    return [(found[f], f, curves.filter(feature=f)) for f in order][: len(_COLOURS)]


def _cycle() -> Sequence[str]:
    return _COLOURS * 4
