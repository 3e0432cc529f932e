"""The published numbers, as printed in the paper."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.report import paper
from clipsteer.runner.run import Job, Run, Runtime
from workflow_scripts import best_per_layer, make_table

ROOT = Path(__file__).parents[2]
SAES = ("vanilla", "topk64", "topk128", "celeba_topk64", "celeba_topk128")


@pytest.mark.parametrize(
    ("place", "numbers"),
    [
        (("celeba", "strict", "targeted", "celeba_topk128", 7), (93.61, 81.11)),
        (("celeba", "strict", "targeted", "vanilla", 11), (93.33, 80.56)),
        (("celeba", "relaxed", "targeted", "vanilla", 9), (94.72, 86.67)),
        (("celeba", "strict", "random", "topk64", 4), (92.78, 77.78)),
        (("celeba", "strict", "targeted", "neurons", 11), (92.5, 77.22)),
        (("celeba", "relaxed", "targeted", "neurons", 1), (93.47, 80.56)),
        (("waterbirds", "strict", "targeted", "vanilla", 2), (68.99, 24.61)),
        (("waterbirds", "relaxed", "targeted", "waterbirds_topk64", 6), (71.37, 30.22)),
        (("waterbirds", "relaxed", "targeted", "vanilla", 5), (70.07, 36.6)),
        (("celeba", "strict", "targeted", "celeba_topk128", 2), None),  # "-" in the paper
        (("celeba", "strict", "random", "neurons", 2), None),
        (("celeba", "strict", "targeted", "topk32", 2), None),
        (("celeba", "strict", "targeted", "vanilla", 12), None),
        (("imagenet", "strict", "targeted", "vanilla", 1), None),
        (("celeba", "lenient", "targeted", "vanilla", 1), None),
    ],
)
def test_lookup(place: tuple[str, str, str, str, int], numbers: tuple[float, float] | None) -> None:
    assert paper.lookup(*place) == numbers


@pytest.mark.parametrize("name", ["Top K=64", "topk64", "topk_64", "top-k-64", "TopK64"])
def test_spellings_of_a_name(name: str) -> None:
    assert paper.lookup("celeba", "strict", "targeted", name, 8) == (93.47, 81.11)


@pytest.mark.parametrize(
    ("changes", "of_it"),
    [
        ({}, {"topk_64"}),
        ({"attribute_value": 0}, set()),
        ({"steering": {**make_table._PAPER, "balance": "group"}}, set()),
        ({"source": "painted"}, set()),
    ],
)
def test_numbers_stand_beside_ours_only_in_the_papers_own_setting(
    changes: dict[str, Any], of_it: set[str]
) -> None:
    dictionary = {
        **{"name": "topk_64", "architecture": "topk", "hook_point": "resid_post", "painted": False},
        **{"k": 64, "expansion": 64, "trained_on": "general"},
    }
    steering = {key: value for key, value in make_table._PAPER.items() if key != "attribute_value"}
    recipe = {
        **{"source": "real", "layout": "celeba", "dataset": "celeba", "papers_attributes": True},
        **{"model_shape": [12, 768], "dictionaries": [dictionary], "attribute_value": 1},
        **{"steering": steering, **changes},
    }
    run = SimpleNamespace(
        recipe=recipe,
        inputs={"evaluation/topk_64/layer_07": "blake3:0"},
        json=lambda name: {"tokens_per_image": 50},
    )
    assert make_table._papers_own(cast(Run, run), 720) == of_it


def test_tables_agree_with_each_other() -> None:
    """Table 1 gives the best worst-group accuracy of each layer of Table 5."""
    folder = Path(paper.__file__).parent / "paper"
    with (folder / "table1_best_per_layer.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] != "Baseline"]
    assert len(rows) == 12
    for row in rows:
        found = [
            paper.lookup("celeba", "strict", "targeted", name, int(row["layer"])) for name in SAES
        ]
        assert max(f[1] for f in found if f) == float(row["celeba_sae_worst"])


def test_files_are_all_there() -> None:
    assert len(paper.files()) == 4
    assert all(path.is_file() for path in paper.files())


def _targeted(table: int) -> dict[tuple[str, str, str], tuple[Decimal, Decimal]]:
    """(overall, worst) of a table's targeted cells, features and neurons alike."""
    (path,) = (path for path in paper.files() if path.name.startswith(f"table{table}_"))
    with path.open() as file:
        return {
            (row["ablation"], row["sae"], row["layer"]): (
                Decimal(row["overall"]),
                Decimal(row["worst"]),
            )
            for row in csv.DictReader(file)
            if row["ablation"] != "random_sae"
        }


def test_the_pages_evidence_for_strict_is_what_the_tables_say() -> None:
    """docs/method.md, section 8: where relaxed is better than strict on overall and on worst."""
    counted = []
    for strict, relaxed in ((5, 6), (7, 8)):
        first, second = _targeted(strict), _targeted(relaxed)
        assert first.keys() == second.keys()
        pairs = [(first[cell], second[cell]) for cell in first]
        up = sum(all(b > a for a, b in zip(s, r, strict=True)) for s, r in pairs)
        down = sum(all(b < a for a, b in zip(s, r, strict=True)) for s, r in pairs)
        counted.append((up, len(pairs), down))
    empty = sum(cell == (Decimal("68.81"), Decimal("22.43")) for cell in _targeted(7).values())
    page = " ".join((ROOT / "docs/method.md").read_text(encoding="utf-8").split())
    (up, cells, down), (birds_up, birds, birds_down) = counted
    assert (
        f"{up} of the {cells} targeted cells of Tables 5 and 6, and the other way round in {down}; "
        f"in Tables 7 and 8 in {birds_up} of {birds}, and the other way round in {birds_down}."
    ) in page
    assert f"strict rows that equal the baseline ({empty} of {birds} in Table 7)" in page


def test_table_1_of_no_data_set_is_refused_in_a_sentence() -> None:
    with pytest.raises(ClipsteerError, match=r"results/table1\.csv: found no data set.*`tables`"):
        best_per_layer.plan(Job({}, {}, Runtime()))
