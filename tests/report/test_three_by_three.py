"""Headline, summary, figure and negative control of three classes with three spurious values, by plain counting.

The weakest group is the second class with the last value: 5 of 9, another class and value by any other numbering.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from clipsteer.report import figure
from clipsteer.report.headline import headline
from clipsteer.report.negative_control import FIXED, OWN, columns, control_rows, render
from clipsteer.report.summary import WIDTH
from clipsteer.report.summary import render as render_summary
from clipsteer.report.table import results_table
from clipsteer.steering.choose import rules
from clipsteer.steering.outcomes import measure
from tests.report.fakes import SAES, STEERING, fake_ablations, fake_images, fake_selections

NAMES = [" ".join(pair) for pair in product(("cow", "ant", "bee"), ("air", "land", "sea"))]
SHARES = (0.95, 0.85, 0.9, 0.92, 0.88, 0.3, 0.8, 0.97, 0.75)
WORST = 5
HOOKS = dict.fromkeys(SAES, "resid_post")


@pytest.fixture(scope="module")
def images() -> pl.DataFrame:
    return fake_images(40, 3, SHARES, n_spurious=3)


@pytest.fixture(scope="module")
def ablations(images: pl.DataFrame) -> pl.DataFrame:
    return fake_ablations(images, layers=4, seeds=2, hardest=WORST)


@pytest.fixture(scope="module")
def measured(images: pl.DataFrame, ablations: pl.DataFrame) -> pl.DataFrame:
    return measure(ablations, images, n_groups=9, hardest=WORST)


@pytest.fixture(scope="module")
def found(images: pl.DataFrame, ablations: pl.DataFrame, measured: pl.DataFrame) -> dict[str, Any]:
    selections = fake_selections(ablations, images)
    steering = {**STEERING, "strict_slack": 2}
    found = headline(measured, ablations, images, selections, HOOKS, steering=steering, n_groups=9)
    return found.as_dict(NAMES)


def counted(images: pl.DataFrame, predictions: Any) -> list[float]:
    """Accuracy of each group in per cent, by the words of its class and value."""
    right: dict[str, list[bool]] = {name: [] for name in NAMES}
    for target, spurious, prediction in zip(
        images["target"], images["spurious"], predictions, strict=True
    ):
        name = f"{('cow', 'ant', 'bee')[target]} {('air', 'land', 'sea')[spurious]}"
        right[name].append(prediction == target)
    return [100 * sum(values) / len(values) for values in right.values()]


def after(images: pl.DataFrame, ablations: pl.DataFrame, **place: Any) -> list[float]:
    (row,) = ablations.filter(ablation="targeted", **place).iter_rows(named=True)
    return counted(images, row["predictions"])


def test_the_headline_calls_each_group_by_its_name(
    images: pl.DataFrame, ablations: pl.DataFrame, found: dict[str, Any]
) -> None:
    before = counted(images, images["baseline"])
    whole = found["unmodified"]
    assert list(whole["groups"]) == NAMES
    assert list(whole["groups"].values()) == pytest.approx(before)
    assert whole["worst"] == pytest.approx(min(before)) == pytest.approx(before[WORST])
    assert whole["worst_group"] == found["worst_group_validation"] == "ant sea"
    for condition in ("strict", "relaxed"):
        of_it = found[condition]
        layer, name = of_it["layer"], of_it["dictionary"]
        mine = after(images, ablations, layer=layer, dictionary=name, condition=condition)
        assert list(of_it["groups_after"]) == NAMES
        assert list(of_it["groups_after"].values()) == pytest.approx(mine)
        assert list(of_it["groups_before"].values()) == pytest.approx(before)
        assert of_it["worst_group"] == NAMES[int(np.argmin(mine))]
        assert of_it["overall"] == pytest.approx(np.mean(mine))  # as many images in each
        assert of_it["gain"]["points"] == pytest.approx(min(mine) - before[WORST])
        falls = [was - now for was, now in zip(before, mine, strict=True)]
        if max(falls) > 0:
            assert of_it["largest_fall"]["group"] == NAMES[int(np.argmax(falls))]
            assert abs(of_it["largest_fall"]["points"]) == pytest.approx(max(falls))
    # these images choose too, and no place of either rule does better for what it looks at
    best = max(
        after(images, ablations, layer=layer, dictionary=name, condition="relaxed")[WORST]
        for layer in range(4)
        for name in SAES
    )
    assert found["relaxed"]["groups_after"]["ant sea"] == pytest.approx(best)


def test_the_summary_says_each_of_the_nine_groups(found: dict[str, Any]) -> None:
    where = {"dataset": "animals", "source": "real", "seed": 0, "resumed_changes": {"0": 1}}
    text = render_summary({**where, **found})
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    line = " ".join(text.split())
    assert "360 test images; worst group on validation: ant sea" in line
    for name, share in found["unmodified"]["groups"].items():
        assert f"{share:.1f} % {name}" in line
    for condition in ("strict", "relaxed"):
        of_it = found[condition]
        for name in NAMES:
            before, now = of_it["groups_before"][name], of_it["groups_after"][name]
            assert f"{before:.1f} -> {now:.1f} % {name}" in line
        gain = of_it["gain"]
        assert f"gain on test: {gain['points']:+.1f} points (95 %: {gain['low']:+.1f}" in line


def test_the_figure_draws_the_weakest_of_nine_groups(
    images: pl.DataFrame,
    ablations: pl.DataFrame,
    measured: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = results_table(
        measured,
        **{"dataset": "animals", "source": "real", "model": "clip", "seed": 5},
        group_names=dict(enumerate(NAMES)),
        strict_rule="no_group_falls",
    )
    kept, saved = [], figure.saved

    @contextmanager
    def keeping(path: Path, size: tuple[float, float]) -> Iterator[Any]:
        with saved(path, size) as drawn:
            yield drawn
            kept.append(drawn)

    monkeypatch.setattr(figure, "saved", keeping)
    figure.layers_figure(table, tmp_path / "layers.png", title="animals")
    panels = kept[0].axes
    assert [panel.get_title() for panel in panels] == ["strict condition", "relaxed condition"]
    for panel, condition in zip(panels, ("strict", "relaxed"), strict=True):
        handles, labels = panel.get_legend_handles_labels()
        series = dict(zip(labels, handles, strict=True))
        unmodified = series.pop("unmodified model (worst: ant sea)")
        base = min(counted(images, images["baseline"]))
        assert list(unmodified.get_ydata()) == pytest.approx([base, base])
        for name in SAES:
            worst = [
                min(after(images, ablations, layer=layer, dictionary=name, condition=condition))
                for layer in range(4)
            ]
            line = series[f"SAE {name}, targeted"][0]
            assert list(line.get_ydata()) == pytest.approx(worst, abs=0.01)


def test_the_negative_control_is_of_the_weakest_of_nine_groups(
    images: pl.DataFrame, found: dict[str, Any]
) -> None:
    rng, n = np.random.default_rng(0), [40] * 9

    def counts(shares: Any) -> dict[str, list[int]]:
        return {"correct": [round(40 * float(share)) for share in shares], "images": n}

    was = counted(images, images["baseline"])
    before = counts(np.array(was) / 100)

    def shuffled() -> dict[str, Any]:
        seen, tested = rng.uniform(0.2, 1, (2, 9))
        return {"n_features": 3, "counts": counts(seen), "test": counts(tested)}

    controls: dict[tuple[int, str], dict[str, Any]] = {
        (layer, name): {
            "unmodified": {"counts": before},
            "test": before,
            **{condition: [shuffled() for _ in range(3)] for condition in ("strict", "relaxed")},
        }
        for layer in range(4)
        for name in SAES
    }
    rows = control_rows(controls, found, HOOKS, rules({**STEERING, "strict_slack": 2}), NAMES)
    assert rows.columns == list(columns(9)[2:])
    for condition in ("strict", "relaxed"):
        place = (found[condition]["layer"], found[condition]["dictionary"])
        true = rows.filter(condition=condition, labels="true", place_of=FIXED).row(0, named=True)
        now = list(found[condition]["groups_after"].values())
        assert [true[f"acc_after_{g}"] for g in range(9)] == pytest.approx(now)
        assert true["gain_worst_group"] == pytest.approx(now[WORST] - was[WORST])
        for shuffle in range(3):
            here = rows.filter(condition=condition, labels=f"shuffle {shuffle}")
            row = here.filter(place_of=FIXED).row(0, named=True)
            correct = controls[place][condition][shuffle]["test"]["correct"]
            shown = [100 * k / 40 for k in correct]
            assert [row[f"acc_before_{g}"] for g in range(9)] == pytest.approx(was)
            assert [row[f"acc_after_{g}"] for g in range(9)] == pytest.approx(shown)
            assert row["gain"] == pytest.approx(min(shown) - was[WORST])
            assert row["gain_worst_group"] == pytest.approx(shown[WORST] - was[WORST])
        own = here.filter(place_of=OWN).row(0, named=True)
        if condition == "relaxed":  # the place where validation has most of that group right
            best = max(c["relaxed"][2]["counts"]["correct"][WORST] for c in controls.values())
            chosen = controls[own["layer"], own["dictionary"]]["relaxed"][2]
            assert chosen["counts"]["correct"][WORST] == best
    page = render(rows, dataset="animals", source="real", n_images=360)
    assert "of 3" in page
