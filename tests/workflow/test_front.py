"""docs/python.md works to the letter on a finished run; what a run holds is what its jobs wrote."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import clipsteer
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.errors import ClipsteerError
from clipsteer.steering.feature_set import FeatureSet
from clipsteer.store.roots import REFS
from clipsteer.store.state import CACHES
from tests.workflow.runs import WorkingCopy

PAGE = Path(__file__).parents[2] / "docs/python.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_works(
    twin: WorkingCopy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Model, dictionary, top features of a photograph, an ablation and the probabilities: in under 15 lines."""
    assert len(SNIPPETS[0].splitlines()) < 15
    monkeypatch.chdir(twin.folder)
    names: dict[str, Any] = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, str(PAGE), "exec"), names)
    before, after = re.findall(r"tensor\(\[\[([\d., e-]+)\]\]\)", capsys.readouterr().out)[:2]
    assert before != after
    run, model, photograph = names["run"], names["model"], names["photograph"]
    # what is computed here is what is stored, but for its rounding
    x = clipsteer.activations_of(model, [photograph], layer=2)
    stored = run.activations("celeba", "test", layer=2).torch(0, 1)
    torch.testing.assert_close(x, stored, rtol=2**-10, atol=1e-3)
    embedding, _ = model.run(model.pixels([photograph]), [])
    torch.testing.assert_close(embedding, run.embeddings("celeba", "test").torch(0, 1))


def test_a_run_gives_what_its_jobs_wrote(finished: WorkingCopy) -> None:
    run = clipsteer.open_run(finished.folder, store=finished.store)
    labels = run.labels("celeba", "test")
    images = run.images("celeba", "test")
    manifest = run.manifest("celeba")
    targets = dict(manifest.select("digest", "target").iter_rows())
    assert [targets[digest] for digest, _, _ in images] == labels["target"].to_list()
    rows = 0
    sets = run.feature_sets("celeba").group_by("dictionary", "layer", "condition")
    for (dictionary, layer, condition), frame in sets:
        expected = frame.sort("rank")["feature"].drop_nulls().to_list()
        found = run.feature_set("celeba", str(dictionary), int(str(layer)), str(condition))
        assert found.features.tolist() == expected
        assert isinstance(found, FeatureSet)
        assert (found.hook_point, found.layer) == ("resid_post", layer)
        assert found.how["condition"] == condition
        rows += len(expected)
    assert rows, "no set has a feature: this test would show little"
    stored = run.activations("celeba", "train", layer=0)
    whole = np.concatenate([np.asarray(array[:]) for array in stored.zarr()]).astype(np.float32)
    np.testing.assert_array_equal(stored.numpy(), whole)
    assert whole.shape == stored.shape
    trained = run.dictionaries().filter(dictionary="topk", layer=2).row(0, named=True)
    placed = run.dictionary("topk", 2)
    assert (placed.layer, placed.hook_point) == (2, trained["hook_point"])
    assert (placed.dictionary.d, placed.dictionary.m) == (trained["d"], trained["m"])
    assert run.dictionary("neurons", 2).dictionary.m == trained["d"]
    digest = finished.members("dictionaries/topk/layers_00-02.json")["topk/layer_02"]["outputs"]
    again = clipsteer.load_dictionary(digest["dictionary"]["digest"], store=finished.store)
    assert torch.equal(again.dictionary.W_dec, placed.dictionary.W_dec)
    csv = pl.read_csv(io.BytesIO((finished.folder / "results/celeba_table.csv").read_bytes()))
    assert run.table("celeba_table").shape == csv.shape


def test_neurons_by_another_name_are_known_by_what_was_done_with_them(twin: WorkingCopy) -> None:
    """As a configuration names them that no run has noted."""
    (twin.folder / REFS / "celeba/neurons").rename(twin.folder / REFS / "celeba/own")
    run = clipsteer.open_run(twin.folder, store=twin.store)
    with pytest.raises(ClipsteerError, match="found layers none"):
        run.dictionary("owm", 2)
    shutil.rmtree(twin.folder / CACHES)
    found = clipsteer.open_run(twin.folder, store=twin.store).dictionary("own", 2)
    assert isinstance(found.dictionary, NeuronBasis)
    assert (found.dictionary.d, found.hook_point) == (32, "resid_post")


def test_what_a_run_lacks_is_named(finished: WorkingCopy) -> None:
    run = clipsteer.open_run(finished.folder, store=finished.store)
    for ask, said in (
        (lambda: run.dictionary("topk", 1), "nothing of layer 1; found layers 00, 02"),
        (lambda: run.dictionary("tokp", 0), "found layers none. Did you mean topk?"),
        (lambda: run.table("celebb_table"), "expected one of .*celeba_table"),
        (lambda: run.head("general"), r"run `snakemake artifacts/refs/general/head\.json`"),
        (lambda: run.activations("celeba", "test", 2, "mlp_out"), "no mlp_out/02"),
        (lambda: run.labels("celeba", "tset"), "but no labels_tset"),
        (lambda: run.image("celeba", "test", 40), "index of test of celeba: found 40, .* 0 to 39"),
        (lambda: run.image("waterbirds", "train_augmented", 0), "is an augmented copy"),
        (lambda: run.feature_set("celeba", "topk", 2, "lax"), "expected strict or relaxed"),
    ):
        with pytest.raises(ClipsteerError, match=said):
            ask()
