"""Figures 2 and 10: which rows stand there follows from the rule, and heat maps lie where the patches are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from clipsteer.report.top_images_figure import Panel, Row, panels, top_images_figure
from clipsteer.steering.choose import rules
from clipsteer.steering.counts import GroupCounts
from clipsteer.steering.feature_set import FeatureSet
from clipsteer.steering.shown import ShownPlace
from tests.report.pages import place

RULES = rules({"strict": "no_group_falls", "strict_slack": 0, "relaxed_drop": 4.0})
HOOKS = {"topk": "resid_post", "vanilla": "resid_post", "neurons": "resid_post"}
IMAGES = [100] * 4
BEFORE = [90, 80, 70, 30]


def shown(dictionary: str, layer: int, features: list[int]) -> ShownPlace:
    made = place(dictionary, layer, features)
    return ShownPlace(dictionary, layer, made.features, made.examples, {"m": 64, "cls": 0})


def selection(strict: list[int], relaxed: list[int], gain: int = 0) -> dict[str, Any]:
    """Sets, and what they make of the worst group on validation."""

    def part(features: list[int]) -> dict[str, Any]:
        right = [*BEFORE[:3], BEFORE[3] + gain * bool(features)]
        counts = GroupCounts(tuple(right), tuple(IMAGES))
        return FeatureSet(np.array(features), 0.1 if features else None, counts).as_dict()

    return {"strict": part(strict), "relaxed": part(relaxed), "unmodified": part([])}


def titles_and_rows(selections: dict[tuple[int, str], Any]) -> list[tuple[str, list[int]]]:
    places = [
        shown(name, layer, [5, 6, 7, 8, 9, 10])
        for name in ("topk", "vanilla", "neurons")
        for layer in (0, 3)
    ]
    found = panels(places, selections, HOOKS, {"neurons"}, RULES)
    return [(panel.title, [int(row.label.split()[0]) for row in panel.rows]) for panel in found]


def everywhere(**at: dict[str, Any]) -> dict[tuple[int, str], Any]:
    return {
        (layer, name): at.get(f"{name}_{layer}", selection([], []))
        for layer in (0, 3)
        for name in ("topk", "vanilla", "neurons")
    }


def test_the_strict_places_set_beside_the_same_layers_neurons() -> None:
    selections = everywhere(
        topk_0=selection([5, 6], [5], gain=3),
        vanilla_3=selection([6, 8, 9, 7, 10], [5], gain=4),
        neurons_0=selection([5], [5], gain=50),  # no SAE: no place to choose
    )
    assert titles_and_rows(selections) == [
        ("neurons, layer 3: largest differences", [5, 6, 7, 8]),
        ("vanilla, layer 3: strict set", [6, 7, 8, 9]),
    ]


def test_the_relaxed_set_where_no_strict_one_gains() -> None:
    selections = everywhere(topk_3=selection([], [7, 9], gain=3))
    assert titles_and_rows(selections)[1] == ("topk, layer 3: relaxed set", [7, 9])


def test_nothing_selected_is_said() -> None:
    assert titles_and_rows(everywhere())[1] == (
        "topk, layer 0: no set selected: largest differences",
        [5, 6, 7, 8],
    )


def test_rows_have_the_largest_activations_first() -> None:
    places = [shown("topk", 0, [5, 6, 7])]
    (panel,) = panels(places, {(0, "topk"): selection([6], [], gain=1)}, HOOKS, set(), RULES)
    (row,) = panel.rows
    top = places[0].examples.filter(pl.col("feature") == 6, pl.col("kind") == "top")
    assert row.images == top["image"].to_list()
    assert row.patches.tolist() == top["patches"].to_list()


def draw(path: Path, patches: np.ndarray) -> np.ndarray:
    panel = Panel("a panel", [Row("1\n+0.1", [0], patches)])
    red = np.full((40, 60, 3), (200, 0, 0), np.uint8)
    top_images_figure([panel], lambda image: red, path, title="x", source="painted", grid=(2, 3))
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_picture_is_clear_on_its_patch_alone(tmp_path: Path) -> None:
    pixels = draw(tmp_path / "a.png", np.array([[0, 0, 2.0, -1.0, 0, 1.0]], np.float32))
    veiled = 0.2 * np.array([200, 0, 0]) + 0.8 * 127.5
    there = (pixels[..., 0] - pixels[..., 1]) > 20
    rows, columns = np.nonzero(there)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    inside = pixels[top : bottom + 1, left : right + 1]
    height, width = inside.shape[0] / 2, inside.shape[1] / 3

    def patch(row: int, column: int) -> np.ndarray:
        middle = int((row + 0.5) * height), int((column + 0.5) * width)
        return np.asarray(inside[middle])

    assert patch(0, 2) == pytest.approx([200, 0, 0], abs=2)
    assert patch(1, 2) == pytest.approx(0.6 * np.array([200, 0, 0]) + 0.4 * 127.5, abs=2)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert patch(row, column) == pytest.approx(veiled, abs=2)
    again = draw(tmp_path / "b.png", np.array([[0, 0, 2.0, -1.0, 0, 1.0]], np.float32))
    assert (again == pixels).all()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
