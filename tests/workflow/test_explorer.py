"""The page and the figure of top images through Snakemake: beside a finished table, only what they need is made."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import polars as pl
import pytest
import torch

from clipsteer.activations.reader import ActivationReader
from clipsteer.dictionaries.files import load
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import StoreTree
from tests.workflow.runs import WorkingCopy, merged, nested

PAGE, FIGURE = "results/celeba_features/index.html", "results/celeba_top_images.png"
PLACES = 2 * 2  # a trained dictionary and the neurons, two layers
BARE = nested("explorer.thumbnail", 0)


@pytest.fixture(scope="module")
def looked(finished: WorkingCopy, tmp_path_factory: pytest.TempPathFactory) -> WorkingCopy:
    """Page and figure, beside the finished table."""
    twin = finished.twin(tmp_path_factory.mktemp("explorer"))
    assert twin.run(PAGE, FIGURE).ok().counts == (PLACES + 2, 0)
    return twin


def block(copy: WorkingCopy, name: str) -> dict[str, object]:
    text = (copy.folder / PAGE).read_text(encoding="utf-8")
    found = re.search(rf'<script type="application/json" id="{name}">(.*)</script>', text)
    assert found
    return dict(json.loads(found[1]))


def test_the_page_has_every_place_and_names_painted_data(looked: WorkingCopy) -> None:
    index = block(looked, "index")
    assert [(p["dictionary"], p["layer"]) for p in index["places"]] == [
        *(("topk", 0), ("topk", 2), ("neurons", 0), ("neurons", 2))
    ]
    assert index["grid"] == [2, 2]
    assert index["group_images"] == [8] * 4
    assert "Painted data (synthetic)" in (looked.folder / PAGE).read_text(encoding="utf-8")
    assert (looked.folder / FIGURE).read_bytes().startswith(b"\x89PNG")


def test_heat_maps_are_the_dictionarys_own_activations(looked: WorkingCopy) -> None:
    """From shards and dictionary in the store, the whole code at once."""
    store = ObjectStore(looked.store)
    shards = looked.members("celeba/activations/validation/part_0.json")
    assert len(shards) == 1
    (shard,) = shards.values()
    tree = StoreTree(store, shard["outputs"]["resid_post/02"]["digest"])
    x = torch.from_numpy(ActivationReader([(0, 32, tree)]).read(0, 32).astype(np.float32))
    member = "topk/layer_02"
    (trained,) = (
        m for n, m in looked.members("dictionaries/topk/layers_00-02.json").items() if n == member
    )
    folder = looked.folder / "dictionary"
    folder.mkdir(exist_ok=True)
    saved = StoreTree(store, trained["outputs"]["dictionary"]["digest"])
    for path in saved.paths():
        (folder / path).write_bytes(saved.read(path))
    dictionary = load(folder)
    codes = dictionary.encode(x.reshape(-1, x.shape[2])).reshape(32, 5, -1).numpy()
    outputs = looked.members("celeba/topk/layers_00-02/top_images.json")[member]["outputs"]
    examples = pl.read_parquet(io.BytesIO(store.get_bytes(outputs["examples"]["digest"])))
    assert examples.height > 20
    for row in examples.iter_rows(named=True):
        mine = codes[row["image"], :, row["feature"]]
        assert row["value"] == pytest.approx(mine.max(), rel=1e-5)
        assert row["cls"] == pytest.approx(mine[0], rel=1e-5)
        assert row["patches"] == pytest.approx(mine[1:], rel=1e-5)


def test_a_page_to_hand_on_is_the_page_alone(looked: WorkingCopy) -> None:
    assert looked.run(PAGE, FIGURE, config=BARE).ok().counts == (1, 0)
    assert block(looked, "index")["pictures"] is False


def test_activations_that_are_dropped_leave_the_same_page(looked: WorkingCopy) -> None:
    before = looked.exported()
    config = merged(BARE, nested("activations.keep", False))
    assert looked.run(PAGE, FIGURE, config=config).ok().counts[0] == 0
    assert looked.exported() == before
