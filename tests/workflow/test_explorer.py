"""What looks at features through Snakemake: page and figure of top images, and steerability.

Beside a finished table only what they need is made.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import clipsteer
from clipsteer.__main__ import main
from clipsteer.activations.reader import ActivationReader
from clipsteer.dictionaries.files import load
from clipsteer.steering.controls import random_orders
from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import StoreTree
from tests.workflow.runs import WorkingCopy, merged, nested

PAGE, FIGURE = "results/celeba_features/index.html", "results/celeba_top_images.png"
BARE = nested("explorer.thumbnail", 0)


def block(copy: WorkingCopy, name: str) -> Any:
    text = (copy.folder / PAGE).read_text(encoding="utf-8")
    found = re.search(rf'<script type="application/json" id="{name}">(.*)</script>', text)
    assert found
    return json.loads(found[1])


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


def test_views_are_what_the_front_door_computes(looked: WorkingCopy) -> None:
    """Of images and of their pairs, at a trained dictionary and at neurons."""
    run = clipsteer.open_run(looked.folder, store=looked.store)
    model, head = run.model(), run.head("celeba")
    views, index = block(looked, "views"), block(looked, "index")
    assert views["classes"] == ["woman", "man"]
    assert len(views["images"]) == 24
    assert Counter(image["group"] for image in views["images"]) == dict.fromkeys(index["groups"], 6)
    files = [path for _, path, _ in run.images("celeba", "validation")]
    numbers = [files.index(image["file"]) for image in views["images"]]
    images = [run.image("celeba", "validation", number) for number in numbers]
    shares = clipsteer.classify(model, images, head).numpy()
    np.testing.assert_allclose([image["p"] for image in views["images"]], shares, atol=1e-4)
    assert all(image["pair"] for image in views["images"])
    for at, (dictionary, layer) in ((1, ("topk", 2)), (2, ("neurons", 0))):
        placed = run.dictionary(dictionary, layer)
        found = block(looked, f"images-{at}")
        for number in (0, 13):
            for feature, *_, without in found[number]["f"]:
                edit = clipsteer.ablate(placed, [feature])
                expected = clipsteer.classify(model, [images[number]], head, edit)[0]
                np.testing.assert_allclose(without, expected, atol=2e-4)


def test_a_report_is_a_file_to_hand_round(
    looked: WorkingCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = looked.twin(tmp_path)
    words = copy.command()[-4:]  # the overlays
    monkeypatch.chdir(copy.folder)
    snakefile = ["--snakefile", str(copy.base / "Snakefile")]
    overlays = ["--configfile", *words[words.index("--configfile") + 1 :]]
    assert main(["report", "celeba", "--cores", "1", *snakefile, *overlays]) == 0
    with zipfile.ZipFile("results/celeba_report.zip") as report:
        names = {Path(name).name: name for name in report.namelist()}
        for result in ("celeba_table.csv", "celeba_table.html", "celeba_top_images.png"):
            assert report.read(names[result]) == (copy.folder / "results" / result).read_bytes()
        assert report.read(names["index.html"]) == (copy.folder / PAGE).read_bytes()
        page = report.read(names["report.html"]).decode()
    assert "Source: painted (synthetic); model: tiny-clip-for-tests; 40 test images" in page
    assert "waterbirds_table" not in page


def test_a_page_to_hand_on_is_the_page_alone(looked: WorkingCopy, tmp_path: Path) -> None:
    """Also where activations are dropped."""
    copy = looked.twin(tmp_path)
    assert copy.run(PAGE, FIGURE, config=BARE).ok().counts == (1, 0)
    assert block(copy, "index")["pictures"] is False
    before = copy.exported()
    config = merged(BARE, nested("activations.keep", False))
    assert copy.run(PAGE, FIGURE, config=config).ok().counts[0] == 0
    assert copy.exported() == before


def test_steerability_is_that_of_the_models_own_pass(looked: WorkingCopy) -> None:
    """Of the most steerable features, by the front door, from pictures and not from stored activations."""
    run = clipsteer.open_run(looked.folder, store=looked.store)
    table, model, words = run.table("celeba_steerability"), run.model(), run.vocabulary()
    assert table.group_by("kind").len().sort("kind").rows() == [
        *(("features", 2 * 128), ("neurons", 2 * 32), ("random", 2 * 12))
    ]
    images = [run.image("celeba", "validation", i) for i in sampled_images(32)]

    def shares(edit: Any = None) -> np.ndarray:
        found = clipsteer.top_words(model, images, words, edit, k=len(words.words))
        ordered = found.sort("image", "word")["probability"].to_numpy()
        return ordered.reshape(len(images), -1)

    before = shares()
    for layer in (0, 2):
        row = table.filter(layer=layer, kind="features").row(0, named=True)
        placed = run.dictionary("topk", layer)
        change = shares(clipsteer.set_to(placed, [row["feature"]], row["strength"])) - before
        assert row["s_paper"] == pytest.approx((change**2).sum(axis=1).mean(), rel=0.02)
        assert row["s_prisma"] == pytest.approx((change.mean(axis=0) ** 2).sum(), rel=0.02)
        mean = (before + change).mean(axis=0)
        assert row["concept"] == sorted(words.words)[mean.argmax()]
    page = (looked.folder / "results/celeba_steerability.md").read_text(encoding="utf-8")
    assert "source: painted (synthetic)" in page


def sampled_images(n: int) -> list[int]:
    """The twelve of n images that the seed 0 draws."""
    return random_orders(n, [0])[0][:12].tolist()


def test_a_feature_is_steered_from_the_command_line(
    looked: WorkingCopy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(looked.folder)
    run = clipsteer.open_run(store=looked.store)
    run.image("celeba", "validation", 3).save("face.png")
    words = ["face.png", "--place", "topk/2", "--feature", "5", "--strength", "20", "--words", "2"]
    stored = ["--store", str(looked.store)]
    assert main(["steer", *words, *stored, "--out", "steered.png"]) == 0
    said = capsys.readouterr().out.splitlines()
    edit = clipsteer.set_to(run.dictionary("topk", 2), [5], 20.0)
    top = clipsteer.top_words(run.model(), ["face.png"], run.vocabulary(), edit, k=2)
    line = ", ".join(f"{word} {100 * share:.1f} %" for _, word, share in top.rows())
    assert said[0] == "feature 5 of topk/2 set to 20"
    assert said[3] == f"  after   {line}"
    assert said[4] == "steered.png"
    assert (looked.folder / "steered.png").read_bytes().startswith(b"\x89PNG")
    look = ["look", "face.png", "--place", "topk/2", "--place", "neurons/0", *stored]
    assert main([*look, "--dataset", "celeba"]) == 0
    assert capsys.readouterr().out == "look.html\n"
    page = Path("look.html").read_text(encoding="utf-8")
    assert "Model model of a run of clipsteer, classes of celeba" in page
    assert main([*look, "--dataset", "celeba", "--out", "again.html"]) == 0
    assert Path("again.html").read_text(encoding="utf-8") == page
    assert main(look) == 1
    assert "--dataset: found none, expected celeba or waterbirds" in capsys.readouterr().err
    assert main(["steer", *words[:3], "--feature", "999", "--strength", "1", *stored]) == 1
    assert "distinct numbers from 0 to 127" in capsys.readouterr().err
    assert main(["steer", "face.png", "--place", "topk", *words[3:], *stored]) == 1
    assert "--place: found 'topk', expected a dictionary and a layer" in capsys.readouterr().err
