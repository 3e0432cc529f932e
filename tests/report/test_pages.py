"""The Markdown page and the figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from clipsteer.report import markdown
from clipsteer.report.figure import layers_figure
from clipsteer.report.table import results_table
from clipsteer.steering.outcomes import measure
from tests.report.fakes import GROUPS, fake_ablations, fake_images

NAMES = list(GROUPS.values())


@pytest.fixture(scope="module")
def images() -> pl.DataFrame:
    return fake_images(per_group=30)


@pytest.fixture(scope="module")
def ablations(images: pl.DataFrame) -> pl.DataFrame:
    return fake_ablations(images, layers=4, seeds=2)


@pytest.fixture(scope="module")
def table(ablations: pl.DataFrame, images: pl.DataFrame) -> pl.DataFrame:
    measured = measure(ablations, images, n_groups=4, hardest=3)
    return results_table(
        measured,
        dataset="celeba",
        source="painted",
        model="tiny",
        group_names=GROUPS,
        seed=5,
        strict_rule="largest_sum",
    )


def grid_after(page: str, title: str, number: int = 0) -> list[list[str]]:
    """Cells of the table below the given title (its number-th occurrence)."""
    lines = page.split(f"**{title}**\n\n")[number + 1].splitlines()
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def test_blocks_hold_the_tables_numbers(table: pl.DataFrame) -> None:
    page = markdown.render(table, group_names=NAMES)
    for number, condition in enumerate(("strict", "relaxed")):
        for title, kind in (
            ("SAE feature ablation", "targeted"),
            ("Random SAE feature ablation", "random"),
        ):
            head, *body = grid_after(page, title, number)
            assert head[:3] == ["layer", "vanilla overall", "vanilla worst"]
            assert [row[0].strip("\\*") for row in body] == ["L0", "L1", "L2", "L3"]
            for layer, row in enumerate(body):
                part = table.filter(
                    pl.col("layer") == layer,
                    pl.col("ablation") == kind,
                    pl.col("condition") == condition,
                    pl.col("dictionary") != "neurons",
                )
                shown = [float(cell.replace("*", "").replace("\\", "")) for cell in row[1:]]
                pairs = part.select("overall", "worst").rows()
                assert shown == [value for pair in pairs for value in pair]
                better = [
                    value > baseline
                    for pair in part.select(
                        "overall", "baseline_overall", "worst", "baseline_worst"
                    ).rows()
                    for value, baseline in (pair[:2], pair[2:])
                ]
                assert ["**" in cell for cell in row[1:]] == better


def test_the_best_worst_group_is_starred(table: pl.DataFrame) -> None:
    page = markdown.render(table, group_names=NAMES)
    targeted = table.filter(
        pl.col("ablation") == "targeted",
        pl.col("condition") == "strict",
        pl.col("dictionary") != "neurons",
    )
    best = targeted.filter(pl.col("worst") == pl.col("worst").max())
    body = grid_after(page, "SAE feature ablation")[1:]
    starred = {int(row[0][1]) for row in body if row[0].endswith(r"\*")}
    assert starred == set(best["layer"])
    assert sum(cell.startswith(r"\*") for row in body for cell in row[1:]) == len(best)


def test_nothing_is_starred_or_bold_where_nothing_helps(table: pl.DataFrame) -> None:
    flat = table.with_columns(overall=pl.col("baseline_overall"), worst=pl.col("baseline_worst"))
    page = markdown.render(flat, group_names=NAMES).split("## How to read this")[0]
    for title in ("SAE feature ablation", "Base network neuron ablation"):
        for row in grid_after(page, title)[1:]:
            assert "*" not in "".join(row)


def test_missing_rows_are_dashes_and_neurons_have_their_block(table: pl.DataFrame) -> None:
    gone = (pl.col("layer") == 2) & (pl.col("dictionary") == "topk64")
    page = markdown.render(table.filter(~gone), group_names=NAMES)
    assert grid_after(page, "SAE feature ablation")[3][3:5] == ["–", "–"]
    head = grid_after(page, "Base network neuron ablation")[0]
    assert head == ["layer", "targeted overall", "targeted worst", "random overall", "random worst"]
    assert grid_after(page, "Worst group with 95 % interval, targeted ablation")[3][2] == "–"


def test_page_says_that_data_are_painted_and_takes_notes(table: pl.DataFrame) -> None:
    page = markdown.render(table, group_names=NAMES, notes=["Three predictions change."])
    assert "source: painted (synthetic)" in page
    assert "- Three predictions change.\n" in page
    real = markdown.render(table.with_columns(source=pl.lit("celeba")), group_names=NAMES)
    assert "source: celeba" in real
    assert "synthetic" not in real


def test_p_values_for_people() -> None:
    shown = [markdown.p_text(p) for p in (None, 1.0, 0.03125, 0.00098, 9.9e-5, 0.0)]
    assert shown == ["–", "p = 1", "p = 0.031", "p = 0.00098", "p < 0.0001", "p < 0.0001"]


def test_settings_get_a_section_each(table: pl.DataFrame) -> None:
    both = pl.concat([table, table.with_columns(hook_point=pl.lit("mlp_out"))])
    page = markdown.render(both, group_names=NAMES)
    assert page.count("### Strict condition") == 2
    assert page.index("hook point: resid_post") < page.index("hook point: mlp_out")


def test_figure_has_the_same_bytes_twice_and_no_time_in_it(
    table: pl.DataFrame, tmp_path: Path
) -> None:
    for name in ("a.png", "deep/b.png"):
        layers_figure(table, tmp_path / name, title="CelebA", baseline_interval=(30, 50))
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "deep/b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert set(image.info) <= {"dpi"}
        assert image.width > 1000
        assert np.asarray(image.convert("L")).std() > 10


def test_figure_shows_the_numbers(
    table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    seen: list[tuple[str, list[float]]] = []
    real = Axes.errorbar

    def spy(self: Axes, x: object, y: np.ndarray, **options: object) -> object:
        seen.append((str(options["label"]), y.tolist()))
        return real(self, x, y, **options)

    monkeypatch.setattr(Axes, "errorbar", spy)
    layers_figure(table, tmp_path / "a.png", title="CelebA")
    per_panel = len(seen) // 2
    assert [label for label, _ in seen[:per_panel]] == [
        "SAE vanilla, targeted",
        "SAE topk64, targeted",
        "SAE celeba_topk64, targeted",
        "neurons, targeted",
        "random SAE features, mean",
    ]
    for panel, condition in enumerate(("strict", "relaxed")):
        rows = table.filter(pl.col("condition") == condition)
        targeted = rows.filter(pl.col("ablation") == "targeted")
        vanilla = targeted.filter(pl.col("dictionary") == "vanilla")["worst"].to_list()
        assert seen[panel * per_panel][1] == vanilla
        random = rows.filter(pl.col("ablation") == "random", pl.col("dictionary") != "neurons")
        mean = random.group_by("layer").agg(pl.col("worst").mean()).sort("layer")["worst"]
        assert seen[panel * per_panel + 4][1] == pytest.approx(mean.to_list())


def test_figure_of_one_condition_and_no_controls(table: pl.DataFrame, tmp_path: Path) -> None:
    part = table.filter(
        pl.col("condition") == "strict",
        pl.col("ablation") == "targeted",
        pl.col("dictionary") == "vanilla",
        pl.col("layer") == 1,
    )
    layers_figure(part, tmp_path / "a.png", title="One")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_every_group_is_shown_under_each_set(table: pl.DataFrame) -> None:
    """The unmodified model's accuracies first, then each set's, with what is lost in brackets."""
    nothing = pl.col("layer") == 1
    some = table.with_columns(n_features=pl.when(nothing).then(0).otherwise(pl.col("n_features")))
    page = markdown.render(some, group_names=NAMES)
    title = "Every group under targeted ablation"
    for number, condition in enumerate(("strict", "relaxed")):
        head, first, *body = grid_after(page, title, number)
        assert head == ["layer", "dictionary", *NAMES]
        rows = some.filter(
            pl.col("condition") == condition,
            pl.col("ablation") == "targeted",
            pl.col("n_features") > 0,
        )
        assert [row[:2] for row in body] == [
            [f"L{layer}", name] for layer, name in rows.select("layer", "dictionary").rows()
        ]
        before = [rows[f"acc_before_{g}"][0] for g in range(4)]
        assert first[2:] == [f"{value:.2f}" for value in before]
        fell = 0
        for cells, row in zip(body, rows.iter_rows(named=True), strict=True):
            for g, cell in enumerate(cells[2:]):
                after, _, lost = cell.partition(" ")
                assert float(after) == row[f"acc_after_{g}"]
                difference = row[f"acc_after_{g}"] - before[g]
                assert lost == (f"({difference:.1f})" if difference < 0 else "")
                fell += difference < 0
        assert fell
    none = markdown.render(table.with_columns(n_features=pl.lit(0)), group_names=NAMES)
    assert none.count("nothing is ablated.\n\n") >= 2


def test_p_values_name_their_group(table: pl.DataFrame) -> None:
    page = markdown.render(table, group_names=NAMES)
    title = "Number of ablated features, and p-value of blond men (adjusted by Holm)"
    body = grid_after(page, title)[1:]
    row = table.filter(
        pl.col("layer") == 2,
        pl.col("dictionary") == "topk64",
        pl.col("condition") == "strict",
        pl.col("ablation") == "targeted",
    ).row(0, named=True)
    single, adjusted = (markdown.p_text(row[f"p_worst_group{end}"]) for end in ("", "_holm"))
    assert body[2][2] == f"30, {single} ({adjusted})"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            {"train": 1200, "test": 3},
            "Left out: 1,203 images that are listed but missing (3 of test, 1,200 of train)",
        ),
        ({"validation": 1}, "Left out: 1 image that is listed but missing (1 of validation)"),
    ],
)
def test_page_says_what_was_left_out(
    table: pl.DataFrame, counts: dict[str, int], said: str
) -> None:
    page = markdown.render(table, group_names=NAMES, left_out=counts)
    assert page == markdown.render(table, group_names=NAMES) + f"- {said}.\n"
