"""The real path in small: image files of every kind in the real layouts, and a CLIP from a folder."""

from __future__ import annotations

import io
import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load

from clipsteer.store.objects import ObjectStore
from clipsteer.store.trees import StoreTree
from tests.data.small_trees import face_name, write
from tests.workflow.real_trees import (
    FACES,
    KINDS,
    photo,
    real_config,
    waterbirds_tree,
)
from tests.workflow.runs import WorkingCopy, merged
from tests.workflow.test_bad_input import folder_dataset

BLOCK = "layers_01-01"
NEAR = 1e-3  # cosines nearer than this may be told apart either way


def outputs_of(copy: WorkingCopy, pointer: str, member: str) -> dict[str, Any]:
    return {name: o["digest"] for name, o in copy.members(pointer)[member]["outputs"].items()}


def parquet(copy: WorkingCopy, digest: str) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(ObjectStore(copy.store).get_bytes(digest)))


def test_table(real: WorkingCopy) -> None:
    table = pl.read_csv(real.folder / "results/celeba_table.csv", infer_schema_length=None)
    assert table["source"].unique().to_list() == ["real"]
    assert table["model"].unique().to_list() == ["random-clip"]
    assert table.height == 1 * 2 * 2 * 2  # layers, dictionaries, ablations, conditions
    assert set(table["trained_on"]) == {"celeba", None}
    assert table["n_images"].unique().to_list() == [12]
    # a real data set, but not the paper's setting
    assert table["paper_worst"].is_null().all()
    summary = (real.folder / "results/celeba_summary.txt").read_text()
    assert "painted" not in summary
    quality = pl.read_csv(real.folder / "results/celeba_dictionaries.csv")
    assert quality.select("dictionary", "n_images").rows() == [("celeba_topk", 8), ("neurons", 8)]


def test_users_images_are_not_copied_into_the_store(real: WorkingCopy) -> None:
    manifest = parquet(real, outputs_of(real, "celeba/manifest.json", "all")["manifest"])
    store = ObjectStore(real.store)
    assert manifest.height == len(FACES)
    assert not any(store.exists(digest) for digest in manifest["digest"])


def test_predictions_equal_transformers_own(real: WorkingCopy) -> None:
    """Baseline and targeted ablation, recomputed with plain transformers, a hook and float64."""
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

    root = real.folder.parent
    model = CLIPModel.from_pretrained(root / "clip").double().eval()
    processor = CLIPImageProcessorPil.from_pretrained(root / "clip")
    tokenizer = AutoTokenizer.from_pretrained(root / "clip")
    manifest = parquet(real, outputs_of(real, "celeba/manifest.json", "all")["manifest"])
    test = manifest.filter(pl.col("split") == "test")
    assert {KINDS[int(path[-10:-4]) % 6 - 1] for path in test["path"]} == set(KINDS)
    pixels = torch.cat([see(processor, root / "celeba" / path) for path in test["path"]])

    member = "celeba_topk/layer_01"
    trained = outputs_of(real, f"dictionaries/celeba_topk/{BLOCK}.json", member)
    tree = StoreTree(ObjectStore(real.store), trained["dictionary"])
    weights = {k: v.double() for k, v in load(tree.read("dictionary.safetensors")).items()}
    place = f"celeba/celeba_topk/{BLOCK}"
    selection = json.loads(
        ObjectStore(real.store).get_bytes(
            outputs_of(real, f"{place}/selection.json", member)["selection"]
        )
    )
    found = outputs_of(real, f"{place}/ablation.json", member)
    images, ablation = parquet(real, found["images"]), parquet(real, found["ablation"])
    assert images["target"].to_list() == test["target"].to_list()
    assert images["group"].to_list() == test["group"].to_list()

    def predict(features: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Classes, and whether they are clear."""

        def ablate(_module: object, _inputs: object, output: Any) -> Any:
            x = output[0] if isinstance(output, tuple) else output
            pre = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
            kept = pre.topk(4, dim=-1)
            code = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())
            edited = x - code[..., features] @ weights["W_dec"][features]
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        hook = model.vision_model.encoder.layers[1].register_forward_hook(ablate)
        texts = tokenizer(
            ["a photo of a woman.", "a photo of a man."], padding=True, return_tensors="pt"
        )
        with torch.no_grad():
            seen = model.visual_projection(model.vision_model(pixels.double()).pooler_output)
            read = model.text_projection(model.text_model(**texts).pooler_output)
        hook.remove()
        unit = torch.nn.functional.normalize
        cosines = unit(seen, dim=-1) @ unit(read, dim=-1).T
        return cosines.argmax(-1).numpy(), ((cosines[:, 0] - cosines[:, 1]).abs() > NEAR).numpy()

    base, clear = predict([])
    assert clear.sum() >= 8
    assert (images["baseline"].to_numpy() == base)[clear].all()
    assert (images["resumed"].to_numpy() == base)[clear].all()
    changed = 0
    for condition in ("strict", "relaxed"):
        features = selection[condition]["features"]
        row = ablation.filter(
            (pl.col("ablation") == "targeted") & (pl.col("condition") == condition)
        )
        assert row["n_features"].item() == len(features)
        expected, clear = predict(features)
        assert (row["predictions"][0].to_numpy() == expected)[clear].all()
        changed += int((expected != base).sum())
    assert changed, "no prediction changes: this test would show little"
    assert 2 <= base.sum() <= 10, "the classes are not both there: this test would show little"


def test_the_same_data_nested_deeper_are_the_same(real: WorkingCopy, tmp_path: Path) -> None:
    """Only the manifest is looked at again. Then an image less: every result says so."""
    place = real.folder.parent
    deep = tmp_path / "data/img_align_celeba"
    shutil.copytree(place / "celeba/img_align_celeba", deep / "img_align_celeba")
    shutil.copytree(place / "celeba/img_align_celeba", deep / ".ipynb_checkpoints")
    for table in (place / "celeba").glob("*.txt"):
        shutil.copy(table, tmp_path / "data")
    copy = real.twin(tmp_path)
    config = real_config(place / "clip", tmp_path / "data")
    outcome = copy.run("results/celeba_table.csv", config=config).ok()
    assert outcome.counts[0] == 1
    assert "left out (1): 'img_align_celeba/.ipynb_checkpoints'" in outcome.text
    results = {name: (copy.folder / "results" / name).read_bytes() for name in copy.results()}
    assert results == {n: (real.folder / "results" / n).read_bytes() for n in real.results()}
    assert not any(b"left out" in data.lower() for data in results.values())

    victim = next(i for i, (split, _, _) in enumerate(FACES) if split == 2)
    (deep / "img_align_celeba" / face_name(victim)).unlink()
    config["datasets"]["celeba"]["options"] = {"missing_images": "drop"}  # type: ignore[index]
    outcome = copy.run("results/celeba_table.csv", config=config).ok()
    assert "1 of 36 listed images are missing" in outcome.text
    assert copy.members("celeba/manifest.json")["all"]["facts"]["left_out"] == {"test": 1}
    said = "eft out: 1 image that is listed but missing (1 of test)"
    assert said in (copy.folder / "results/celeba_table.md").read_text()
    assert said in (copy.folder / "results/celeba_summary.txt").read_text()
    # nested, found from its canonical path by extraction
    shards = copy.members("celeba/activations/test/shards.json")["all"]["outputs"]
    listed = json.loads(ObjectStore(copy.store).get_bytes(shards["00000"]["digest"]))
    assert {path.rpartition("/")[0] for _, path, _ in listed["images"]} == {"img_align_celeba"}


def see(processor: Any, file: Path) -> torch.Tensor:
    """An image as the model sees it, decoded without our code."""
    image = ImageOps.exif_transpose(Image.open(file))
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return processor(images=[image.convert("RGB")], return_tensors="pt")["pixel_values"]


def groups_of(copy: WorkingCopy, dataset: str) -> dict[tuple[str, int], int]:
    digest = outputs_of(copy, f"{dataset}/manifest.json", "all")["groups"]
    rows = parquet(copy, digest).select("split", "group", "images").rows()
    return {(split, group): images for split, group, images in rows}


def test_waterbirds_layout(fresh: WorkingCopy, tmp_path: Path) -> None:
    config = {"datasets": {"waterbirds": {"root": str(waterbirds_tree(tmp_path / "birds"))}}}
    fresh.run("artifacts/refs/waterbirds/manifest.json", config=config, cores=1).ok()
    splits = ("train", "validation", "test")
    assert groups_of(fresh, "waterbirds") == {(s, g): 1 for s in splits for g in range(4)}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_folder_with_a_manifest(fresh: WorkingCopy, tmp_path: Path, form: str) -> None:
    rows = [
        {
            "path": f"{split}/{target}{spurious}.png",
            "split": split,
            "target": target,
            "spurious": spurious,
        }
        for split in ("train", "val", "test")
        for target in (0, 1)
        for spurious in (0, 1)
    ]
    for i, row in enumerate(rows):
        write(tmp_path / "mine" / str(row["path"]), photo("rgba", i))
    frame = pl.DataFrame(rows)
    if form == "csv":
        frame.write_csv(tmp_path / "mine/manifest.csv")
    else:
        frame.write_parquet(tmp_path / "mine/manifest.parquet")
    config = folder_dataset({"root": str(tmp_path / "mine"), "layout": "folder"})
    fresh.run("artifacts/refs/mine/manifest.json", config=config, cores=1).ok()
    assert set(groups_of(fresh, "mine").values()) == {1}
    assert ("validation", 3) in groups_of(fresh, "mine")


def test_tiny_imagenet(fresh: WorkingCopy, tmp_path: Path) -> None:
    for n, wnid in enumerate(("n01443537", "n01629819")):
        write(tmp_path / f"tiny/train/{wnid}/images/{wnid}_0.JPEG", photo("plain", n))
        write(tmp_path / f"tiny/val/images/val_{n}.JPEG", photo("grey", n))
    labels = "val_1.JPEG\tn01443537\t0\t0\t9\t9\nval_0.JPEG\tn01629819\t0\t0\t9\t9\n"
    write(tmp_path / "tiny/val/val_annotations.txt", labels)
    config = {"datasets": {"general": {"root": str(tmp_path)}}}
    outcome = fresh.run("artifacts/refs/general/manifest.json", config=config, cores=1).ok()
    assert (
        outcome.text.count("build_manifest: warning: tiny/val/images/: the classes of 2 images")
        == 1
    )
    digest = outputs_of(fresh, "general/manifest.json", "all")["manifest"]
    assert parquet(fresh, digest).select("path", "class").rows() == [
        ("train/n01443537/images/n01443537_0.JPEG", "n01443537"),
        ("train/n01629819/images/n01629819_0.JPEG", "n01629819"),
        ("val/images/val_1.JPEG", "n01443537"),
        ("val/images/val_0.JPEG", "n01629819"),
    ]


def test_an_image_that_a_manifest_names_in_a_hidden_folder_is_watched(
    fresh: WorkingCopy, tmp_path: Path
) -> None:
    rows = ["path;split", ".mine/a.png;train", "b.png;train"]
    write(tmp_path / "mine/manifest.csv", "\n".join(rows) + "\n")
    config = folder_dataset({"root": str(tmp_path / "mine"), "layout": "folder"})
    seen = []
    for seed in (0, 1):
        for name in (".mine/a.png", "b.png", ".other/c.png"):
            write(tmp_path / "mine" / name, photo("plain", seed if name == ".mine/a.png" else 0))
        fresh.run("artifacts/refs/mine/manifest.json", config=config, cores=1).ok()
        digest = outputs_of(fresh, "mine/manifest.json", "all")["manifest"]
        seen.append(parquet(fresh, digest)["digest"].to_list())
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1]


def test_jobs_elsewhere_plan_with_the_same_words(real: WorkingCopy) -> None:
    """A node reads the rules again and looks at no folder: recipes, chain keys, tokens as in the main process."""
    root = real.folder.parent
    config = real_config(root / "clip", root / "celeba")

    def words(*mode: str) -> list[str]:
        options = ["--dry-run", "--forceall", "--printshellcmds", *mode]
        said = real.run("results/celeba_table.csv", config=config, options=options).ok().text
        return sorted(line.strip() for line in said.splitlines() if "workflow_scripts/" in line)

    jobs = words()
    assert len(jobs) == 19
    assert all("--chain=blake3:" in line for line in jobs)
    assert words("--mode", "remote") == jobs


ANIMALS, PLACES = ("cow", "ant", "bee"), ("air", "land", "sea")


def test_three_classes_and_three_spurious_values(
    real: WorkingCopy, fresh: WorkingCopy, tmp_path: Path
) -> None:
    """Names in the manifest: the table counts every group right, and D_A is one value against the rest.

    Each test image at sea names its pair, the same animal in the air. Another entry of the same folder asks for land:
    what does not depend on that is made once.
    """
    rows = [
        {
            **{"path": f"{split}/{n}.png", "split": split, "target": animal, "spurious": place},
            "pair": f"{split}/{n - 2}.png" if (split, place) == ("test", "sea") else None,
        }
        for split in ("train", "val", "test")
        for n, (animal, place) in enumerate([*product(ANIMALS, PLACES)] * 2)
    ]
    for i, row in enumerate(rows):
        write(tmp_path / "mine" / str(row["path"]), photo("plain", i))
    pl.DataFrame(rows).write_csv(tmp_path / "mine/manifest.csv")
    config = real_config(real.folder.parent / "clip", tmp_path)
    mine = folder_dataset({"root": str(tmp_path / "mine"), "layout": "folder"})
    mine["datasets"]["mine"] |= {
        "class_names": list(ANIMALS),
        "group_names": [f"{animal} {place}" for animal in ANIMALS for place in PLACES],
    }
    mine["datasets"]["ashore"] = {**mine["datasets"]["mine"], "attribute_value": 1}
    both = {name: ["celeba_topk", "neurons"] for name in ("mine", "ashore")}
    tables = {"celeba": [], "waterbirds": [], **both}
    dictionaries = {"celeba_topk": {"trained_on": "mine"}}
    steering = {"attribute_value": 2, "relaxed_drop": 100.0}
    del config["datasets"]
    config = merged(
        config,
        merged(mine, {"tables": tables, "dictionaries": dictionaries, "steering": steering}),
    )
    targets = ("results/mine_table.csv", "results/mine_baselines.csv", "results/mine_storage.csv")
    fresh.run(*targets, "results/ashore_table.csv", config=config).ok()

    # of the manifest's rows, not of its numbers
    test = [row for row in rows if row["split"] == "test"]
    groups = np.array(
        [3 * ANIMALS.index(str(r["target"])) + PLACES.index(str(r["spurious"])) for r in test]
    )
    place = f"mine/neurons/{BLOCK}"
    found = outputs_of(fresh, f"{place}/ablation.json", "neurons/layer_01")
    images, ablation = parquet(fresh, found["images"]), parquet(fresh, found["ablation"])
    assert images["group"].to_list() == groups.tolist()
    statistics = parquet(
        fresh, outputs_of(fresh, f"{place}/statistics.json", "neurons/layer_01")["statistics"]
    )
    means = statistics["mean"].to_numpy().reshape(9, -1)  # as many images in each
    differences = []
    for name, value in (("mine", 2), ("ashore", 1)):
        difference = means[value::3].mean(axis=0) - means[np.arange(9) % 3 != value].mean(axis=0)
        differences.append(difference)
        made = outputs_of(fresh, f"{name}/neurons/{BLOCK}/selection.json", "neurons/layer_01")
        ranking, sweep = parquet(fresh, made["ranking"]), parquet(fresh, made["sweep"])
        np.testing.assert_allclose(
            ranking["difference"].to_numpy(), difference[ranking["feature"].to_numpy()], atol=1e-9
        )
        sizes = [int((difference > tau).sum()) for tau in sweep["threshold"]]
        assert sweep["n_features"].to_list() == sizes
        assert max(sizes) > 0
        note = f"D_A: images with the spurious value {value} of 0 to 2"
        assert note in (fresh.folder / f"results/{name}_table.md").read_text()
    assert np.abs(differences[0] - differences[1]).max() > 0.01
    sets = pl.read_csv(fresh.folder / "results/mine_feature_sets.csv").filter(dictionary="neurons")
    filled = sets.drop_nulls("feature")
    assert len(filled)
    np.testing.assert_allclose(
        filled["difference"].to_numpy(), differences[0][filled["feature"].to_numpy()], atol=1e-9
    )
    for pointer, member in (
        *((f"activations/{split}/shards.json", "all") for split in ("train", "validation", "test")),
        (f"celeba_topk/{BLOCK}/statistics.json", "celeba_topk/layer_01"),
        (f"neurons/{BLOCK}/statistics.json", "neurons/layer_01"),
    ):
        one, other = (outputs_of(fresh, f"{name}/{pointer}", member) for name in both)
        assert one == other, pointer
    table = pl.read_csv(fresh.folder / "results/mine_table.csv", infer_schema_length=None).filter(
        (pl.col("dictionary") == "neurons") & (pl.col("ablation") == "targeted")
    )
    for row in table.iter_rows(named=True):
        after = ablation.filter(ablation="targeted", condition=row["condition"])["predictions"][0]
        for when, predictions in (("before", images["baseline"]), ("after", after)):
            right = predictions.to_numpy() == groups // 3
            for g in range(9):
                assert row[f"acc_{when}_{g}"] == 100 * right[groups == g].mean()
        assert row["worst"] == min(row[f"acc_after_{g}"] for g in range(9))
    # the pairs are test images too, so what the model says of them is known
    margins = parquet(fresh, outputs_of(fresh, "mine/readout.json", "all")["images"])["margin"]
    pairs = parquet(fresh, outputs_of(fresh, "mine/pairs.json", "all")["pairs"])["margin"]
    for n, row in enumerate(test):
        assert (pairs[n] is None) == (row["pair"] is None)
        if row["pair"]:
            assert pairs[n] == pytest.approx(margins[n - 2], abs=1e-5)
    baselines = pl.read_csv(fresh.folder / "results/mine_baselines.csv", infer_schema_length=None)
    at_sea = groups % 3 == 2
    for c in range(3):
        mine = at_sea & (groups // 3 == c)
        effect = np.mean((pairs.to_numpy() - margins.to_numpy())[mine] ** 2) ** 0.5
        assert baselines[f"true_effect_{c}"][0] == pytest.approx(effect, abs=1e-4)
    assert "recovery, bee" in (fresh.folder / "results/mine_baselines.md").read_text()
