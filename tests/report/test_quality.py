"""What dictionaries are worth: the CSV, the pages in the layout of Tables 3 and 4, L0 by token."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipsteer.report.drawing import Title
from clipsteer.report.quality import Place, quality
from clipsteer.report.quality_pages import Setting, page
from clipsteer.report.sparsity import COLUMNS, GPT2, Shown, sparsity_figure, sparsity_rows

PAPER = Path(__file__).parents[2] / "clipsteer/report/paper"
REAL = Setting(
    "general", "real", "CLIP", "imagenet", (12, 768), ["a photo of a {}."], "model", "open_clip"
)
BARE = REAL._replace(templates=["{}"], logit_scale="none")
VANILLA = {
    **{"name": "mine", "architecture": "vanilla", "hook_point": "mlp_out", "painted": False},
    **{"trained_on": "general", "expansion": 64, "k": None, "l1": 8e-5, "mse": "prisma"},
}
TOPK = VANILLA | {"architecture": "topk", "hook_point": "resid_post", "k": 64, "l1": None}


def place(settings: dict[str, Any], layer: int, **spliced: Any) -> Place:
    evaluation = {
        **{"n_images": 50_000, "tokens_per_image": 50, "n_features": 49152, "l0": 84.5},
        **{"explained_variance": 0.9, "dead_fraction": 0.5, "image_l0": 4225.0, "l0_cls": 5.25},
        **{"cosine_similarity": 0.95, "l0_by_token": [1.0]},
    }
    found = {
        **{"embedding_cosine": 0.97, "ce": 1.5, "ce_reconstruction": 1.75, "ce_zero": 4.0},
        **{"ce_recovered": 90.0, "n_classes": 1000, "logit_scale": 100.0},
    }
    return Place(settings, layer, evaluation, found | spliced, None)


def rows_of(text: str) -> list[list[str]]:
    """The cells of a page's table, its head first."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line
    ]


def test_the_csv_has_every_number_once() -> None:
    neurons = VANILLA | {"name": "basis", "architecture": "neurons", "trained_on": None}
    checked = place(VANILLA, 2)._replace(check={"verdict": "accept", "sentence": "accept: fits"})
    table = quality([place(neurons, 0, ce_recovered=None), checked], "d", "real")
    assert table.columns == [
        *("dataset", "source", "hook_point", "layer", "dictionary", "trained_on", "n_features"),
        *("explained_variance", "l0", "dead_fraction", "n_images", "tokens_per_image"),
        *("image_l0", "l0_cls", "cosine_similarity", "embedding_cosine", "ce"),
        *("ce_reconstruction", "ce_zero", "ce_recovered", "n_classes", "logit_scale"),
        *("check", "check_says"),
    ]
    assert table["dictionary"].to_list() == ["neurons", "mine"]
    assert table["ce_recovered"].to_list() == [None, 90.0]
    assert table["check"].to_list() == [None, "accept"]
    assert "check" not in quality([place(VANILLA, 0)], "d", "real").columns


def test_layout_of_table_3_with_the_papers_row() -> None:
    text = page("vanilla", [place(VANILLA, 4), place(VANILLA, 0), place(TOPK, 1)], REAL)
    head, *body = rows_of(text)
    assert head == [
        *("dictionary", "L1 coef.", "exp. var.", "L0", "layer", "sublayer", "avg img L0"),
        *("avg CLS L0", "cos sim", "recon cos sim", "CE", "recon CE", "zero abl CE", "CE rec"),
    ]
    ours = ["mine", "8e-05", "0.900", "84.50", "0", "mlp_out", "4225.00", "5.25", "0.950", "0.970"]
    assert body[0] == [*ours, "1.500", "1.750", "4.000", "90.00"]
    with (PAPER / "table3_vanilla_all_patches.csv").open() as file:
        printed = {
            row["layer"]: list(row.values())
            for row in csv.DictReader(file)
            if row["l1_coefficient"] == "8e-5"
        }
    assert body[1] == ["*paper*", *printed["0"]]
    assert [row[0] for row in body] == ["mine", "*paper*"] * 2
    assert body[3] == ["*paper*", *printed["4"]]


def test_layout_of_table_4() -> None:
    head, *body = rows_of(page("topk", [place(TOPK, 3), place(VANILLA, 0)], BARE))
    assert "L1 coef." not in head
    assert "avg CLS L0" not in head
    with (PAPER / "table4_topk_all_patches.csv").open() as file:
        printed = {row["layer"]: list(row.values()) for row in csv.DictReader(file)}
    assert [row[0] for row in body] == ["mine", "*paper*"]
    assert body[1] == ["*paper*", *printed["3"]]


@pytest.mark.parametrize(
    ("kind", "settings", "setting", "layer"),
    [
        ("vanilla", VANILLA, REAL._replace(source="painted"), 0),
        ("vanilla", VANILLA, REAL._replace(layout="folder"), 0),
        ("vanilla", VANILLA, REAL._replace(model_shape=(24, 1024)), 0),
        ("vanilla", VANILLA, REAL._replace(logit_scale="none"), 0),
        ("vanilla", VANILLA, REAL, 6),
        ("vanilla", VANILLA | {"l1": 2e-5}, REAL, 0),
        ("vanilla", VANILLA | {"mse": "sum"}, REAL, 0),
        ("vanilla", VANILLA | {"expansion": 32}, REAL, 0),
        ("vanilla", VANILLA | {"trained_on": "celeba"}, REAL, 0),
        ("vanilla", VANILLA | {"hook_point": "resid_post"}, REAL, 0),
        ("vanilla", VANILLA | {"architecture": "imported", "expansion": None}, REAL, 0),
        ("topk", TOPK, REAL, 3),
        ("topk", TOPK, BARE._replace(templates=["{}", "a photo of a {}."]), 3),
        ("topk", TOPK, BARE, 0),
        ("topk", TOPK | {"k": 128}, BARE, 3),
        ("topk", TOPK | {"architecture": "batchtopk"}, BARE, 3),
    ],
)
def test_no_number_of_the_paper_beside_another_setting(
    kind: str, settings: dict[str, Any], setting: Setting, layer: int
) -> None:
    text = page(kind, [place(settings, layer)], setting)
    assert [row[0] for row in rows_of(text)[1:]] == ["mine"]
    assert "The paper's numbers are not beside these" in text


def test_pages_say_what_they_are_of() -> None:
    text = page("vanilla", [place(VANILLA, 0, ce_recovered=None)], REAL._replace(source="painted"))
    assert "source: painted (synthetic)" in text
    assert "50,000 validation images, 1,000 classes" in text
    assert "open_clip has curated" in text
    assert rows_of(text)[1][-1] == "–"
    assert "no such dictionary" in page("topk", [place(VANILLA, 0)], REAL)


def test_a_place_whose_reconstructions_change_nothing_has_no_number_but_the_reason() -> None:
    blank = dict.fromkeys(("embedding_cosine", "ce_reconstruction", "ce_zero", "ce_recovered"))
    unread = place(VANILLA, 11, **blank, spliced_says="it is not read")
    places = [place(VANILLA, 10), unread]
    table = quality(places, "d", "real")
    for name in blank:
        assert table[name].is_null().to_list() == [False, True], name
    assert table["spliced_says"].to_list() == [None, "it is not read"]
    text = page("vanilla", places, REAL)
    assert rows_of(text)[2][-5:] == ["–", "1.500", "–", "–", "–"]
    assert "mine, layer 11: no numbers with its reconstructions, as it is not read." in text
    assert "spliced_says" not in quality(places[:1], "d", "real").columns
    assert "no numbers" not in page("vanilla", places[:1], REAL)


def sparse(name: str, layer: int, cls: int | None, architecture: str = "vanilla") -> Shown:
    """Four patches and, maybe, CLS: L0 is 100 times the layer, plus the token's place."""
    means = [100.0 * layer + token for token in range(4 + (cls is not None))]
    spread = [[mean - 2, mean - 1, mean, mean + 1, mean + 2] for mean in means]
    found = {"cls": cls, "mean": means, "quantiles": spread, "grid": [2, 2]}
    found["high_norm"] = [0.0] * (len(means) - 1) + [0.5]
    return Shown(name, architecture, "resid_post", "general", layer, found)


TITLE = Title("d", "m", "painted")


def test_tokens_have_their_places_on_the_image() -> None:
    table = sparsity_rows([sparse("a", 1, 0), sparse("b", 2, None)], TITLE)
    assert tuple(table.columns) == COLUMNS
    places = table.select("dictionary", "token", "row", "column", "l0", "high_norm").rows()
    patches = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert places == [
        ("a", "cls", None, None, 100.0, 0.0),
        *(("a", "spatial", *at, 101.0 + i, 0.5 * (i == 3)) for i, at in enumerate(patches)),
        *(("b", "spatial", *at, 200.0 + i, 0.5 * (i == 3)) for i, at in enumerate(patches)),
    ]
    assert sparse("a", 1, 0).patches.tolist() == [[101.0, 102.0], [103.0, 104.0]]
    assert table["l0_p95"].to_list() == [mean + 2 for mean in table["l0"]]


@pytest.mark.parametrize("cls", [0, None])
def test_the_figure_is_drawn_and_is_the_same_each_time(tmp_path: Path, cls: int | None) -> None:
    places = [
        sparse(name, layer, cls, kind)
        for name, kind in (("t", "topk"), ("v", "vanilla"))
        for layer in range(7)  # more than one row of panels
    ]
    for name in ("a.png", "b.png"):
        sparsity_figure(places, tmp_path / name, TITLE)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).std() > 10
        assert min(picture.size) > 400
    assert GPT2 == (20, 50)


def test_a_dictionary_for_cls_alone_has_no_patches(tmp_path: Path) -> None:
    only = {"cls": 0, "mean": [5.0], "quantiles": [[1, 2, 3, 4, 5]], "high_norm": [0.0]}
    place = Shown("c", "imported", "resid_post", None, 1, only | {"grid": [2, 2]})
    sparsity_figure([place], tmp_path / "c.png", TITLE)
    assert sparsity_rows([place], TITLE)["token"].to_list() == ["cls"]
