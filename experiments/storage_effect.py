"""What storing activations changes in the predictions under ablation: against the model's own pass, edited as it runs.

Ablation resumes from stored activations, which are rounded (`activations.dtype`) and may come from batches of another
size. Here the model runs over the test images again, in memory and in float32, is edited at the layer with each set
that was chosen, and goes on. How many predictions differ from those in the store? Without an edit that is
`resumed_changes` of the headline; this is the same with sets ablated. Run it in a finished working copy, with the
environment active: python CLONE/experiments/storage_effect.py [--data-sets celeba ...]. The data sets have to be
painted, the dictionaries of `resid_post`, and the model in float32. Prints Markdown.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.torch import load as load_tensors

BASE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BASE))

from clipsteer.clip.tail import load_tail  # noqa: E402
from clipsteer.clip.tower import VisionTower, load_tower  # noqa: E402
from clipsteer.clip.zero_shot import zero_shot_logits  # noqa: E402
from clipsteer.data.source import ImageSource  # noqa: E402
from clipsteer.dictionaries.base import Dictionary  # noqa: E402
from clipsteer.dictionaries.files import load  # noqa: E402
from clipsteer.dictionaries.neurons import NeuronBasis  # noqa: E402
from clipsteer.steering.ablation import Batch, predict_selected  # noqa: E402
from clipsteer.steering.inputs import BATCH_IMAGES  # noqa: E402
from clipsteer.store.objects import ObjectStore  # noqa: E402
from clipsteer.store.trees import StoreTree  # noqa: E402

REFS = Path("artifacts/refs")


def outputs(path: str, member: str = "all") -> dict[str, str]:
    """Output -> digest of one member of a pointer, or of all members together."""
    members = json.loads((REFS / path).read_text(encoding="utf-8"))["members"]
    return {name: output["digest"] for name, output in members[member]["outputs"].items()}


def folder(store: ObjectStore, digest: str, place: Path) -> Path:
    tree = StoreTree(store, digest)
    for path in tree.paths():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(tree.read(path))
    return place


def live(tower: VisionTower, source: ImageSource, n_images: int) -> Iterator[list[np.ndarray]]:
    """The residual stream (n, T, d) float32 behind each layer, batch by batch."""
    for start in range(0, n_images, BATCH_IMAGES):
        stop = min(n_images, start + BATCH_IMAGES)
        pixels = tower.pixels([source.load(index) for index in range(start, stop)])
        with torch.inference_mode():
            _, kept = tower.run(pixels, ["resid_post"])
        yield [stream.float().numpy() for stream in kept["resid_post"]]


def changes(dataset: str, store: ObjectStore, scratch: Path) -> Iterator[tuple[str, ...]]:
    """A row for each place and condition."""
    model = folder(store, outputs("model/model.json")["model"], scratch / "model")
    head = load_tensors(store.get_bytes(outputs(f"{dataset}/head.json")["head"]))["head"]
    listing = [
        json.loads(store.get_bytes(digest))
        for _, digest in sorted(outputs(f"{dataset}/activations/test/shards.json").items())
    ]
    images = [image for shard in listing for image in shard["images"]]
    table = pl.read_csv(f"results/{dataset}_table.csv", infer_schema_length=None)
    setting = table.select("hook_point", "tokens", "error_term").unique()
    if len(setting) != 1 or setting["hook_point"][0] != "resid_post":
        sys.exit(f"experiments/storage_effect.py: {dataset} has other hook points than resid_post")
    edit = setting.select("tokens", "error_term").row(0, named=True)
    tower = load_tower(model, "cpu")
    source = ImageSource(store, None, images, 0, seed=None)
    seen = list(live(tower, source, len(images)))

    def classify(embeddings: torch.Tensor) -> np.ndarray:
        return zero_shot_logits(embeddings, head).argmax(dim=-1).numpy()

    for pointer in sorted(REFS.glob(f"{dataset}/*/layers_*/ablation.json")):
        block, name = pointer.parent.name, pointer.parent.parent.name
        for member in json.loads(pointer.read_text(encoding="utf-8"))["members"]:
            layer = int(member.rpartition("_")[2])
            made = outputs(f"{dataset}/{name}/{block}/ablation.json", member)
            chosen = json.loads(
                store.get_bytes(
                    outputs(f"{dataset}/{name}/{block}/selection.json", member)["selection"]
                )
            )
            rows = pl.read_parquet(io.BytesIO(store.get_bytes(made["ablation"])))
            dictionary: Dictionary = NeuronBasis(tower.width)
            if (REFS / f"dictionaries/{name}/{block}.json").is_file():
                trained = outputs(f"dictionaries/{name}/{block}.json", member)["dictionary"]
                dictionary = load(folder(store, trained, scratch / name / member))
            tail = load_tail(model, layer, device="cpu", dtype="float32")
            cut = slice(0, 1) if layer == tail.n_layers - 1 else slice(None)

            def batches(layer: int = layer, cut: slice = cut) -> Iterator[Batch]:
                for number, batch in enumerate(seen):
                    yield number * BATCH_IMAGES, batch[layer][:, cut], None

            conditions = [c for c in ("strict", "relaxed") if chosen[c]["n_features"]]
            sets = [np.array(chosen[c]["features"], dtype=np.int64) for c in conditions]
            _, predictions = predict_selected(dictionary, batches, tail, classify, sets, **edit)
            for condition, found in zip(conditions, predictions, strict=True):
                stored = rows.filter(
                    pl.col("ablation") == "targeted", pl.col("condition") == condition
                )["predictions"][0]
                differ = int((found != stored.to_numpy()).sum())
                size = str(chosen[condition]["n_features"])
                yield dataset, str(layer), name, condition, size, f"{differ} of {len(images)}"


def main() -> None:
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--data-sets", nargs="+", default=["celeba", "waterbirds"])
    words.add_argument("--store", type=Path, default=Path("artifacts"))
    arguments = words.parse_args()
    store = ObjectStore(arguments.store)
    print("| data set | layer | dictionary | condition | features | predictions that differ |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for dataset in arguments.data_sets:
            for row in changes(dataset, store, Path(scratch)):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
