"""The published numbers, as printed in the paper."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from clipsteer.report import paper

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
