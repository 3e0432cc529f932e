"""What settings of the painted worlds give before anything is edited: the unmodified model, and the dictionaries.

By this the default's worlds, what its CLIP learns from, and its dictionaries are chosen. It looks at validation images
alone, and at nothing that an edit does: no module that it can reach knows of an edit (a test holds this), so that no
setting can be chosen by what ablation gives. Everything is made in memory; the store and its results stay as they are.

python experiments/worlds.py [--configfile mine.yaml] [--seeds 0 1 2] [--layers 3] [--web-shares .35 .35 .35 .65]
    [--out found.jsonl]

One JSON object a seed: for each table its accuracies by group in per cent (`groups`, balanced `overall`), the AUC of
the class margin within each spurious value (`auc`), and whether the bands below hold; for each trained dictionary and
layer what it is like on that table's images. Dictionaries learn from the training images without augmented copies.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image

from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.pretrain import pretrain
from clipsteer.backbones.zero_shot import zero_shot_head, zero_shot_logits
from clipsteer.config.check import validate
from clipsteer.data.painters import web
from clipsteer.dictionaries.evaluate import evaluate
from clipsteer.dictionaries.train import Data, train
from clipsteer.store.trees import FolderTree
from clipsteer.training_length import training_steps

ROOT = Path(__file__).parents[1]
BATCH = 100
# What the unmodified model of the default should be like, in per cent: docs/method.md, section 3.
FACES_BEST, FACES_WORST = 92.0, (50.0, 80.0)
BIRDS_OVERALL, BIRDS_WORST, LEAST_AUC = 68.8, 22.4, 0.85
NEAR = 10.0
"""How many points from the paper's numbers of Waterbirds are near."""
L0 = (0.4, 0.9)
"""Of vanilla dictionaries, in units of the model's width (the paper's Section 5.1)."""

Json = dict[str, Any]
Pixels = NDArray[np.uint8]


def settings(overlays: Sequence[str]) -> Json:
    """The default's configuration with overlays laid over it, checked."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    for overlay in overlays:
        config = laid(config, yaml.safe_load(Path(overlay).read_text(encoding="utf-8")))
    return validate(config, ROOT)


def laid(below: Any, above: Any) -> Any:
    """As Snakemake lays one configuration over another."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{name: laid(below.get(name), value) for name, value in above.items()}}


class World:
    """One painted data set: rows as its layout reads them, and pixels (n, side, side, 3)."""

    def __init__(self, config: Json, name: str, seed: int, folder: Path) -> None:
        dataset = config["datasets"][name]
        painted, options = dataset["painted"], dict(dataset["options"])
        # test images are looked at by nobody who chooses
        counts = {split: n for split, n in painted["counts"].items() if split != "test"}
        painter = import_module(f"clipsteer.data.painters.{painted['world']}")
        painter.paint(folder, counts=counts, size=painted["size"], seed=seed)
        layout = import_module(f"clipsteer.data.layouts.{dataset['layout']}")
        self.rows: pl.DataFrame = layout.read(FolderTree(folder), **options)
        self.pixels = np.stack(
            [np.asarray(Image.open(folder / path).convert("RGB")) for path in self.rows["path"]]
        )

    def split(self, name: str) -> tuple[pl.DataFrame, Pixels]:
        """The rows and images of one split."""
        mask = (self.rows["split"] == name).to_numpy()
        return self.rows.filter(pl.Series(mask)), self.pixels[mask]


def looked_at(
    model: Backbone, pixels: Pixels, layers: Sequence[int]
) -> tuple[torch.Tensor, dict[int, NDArray[np.float16]]]:
    """Embeddings (n, p), and the residual stream (n, T, d) behind each of the layers, as it is stored."""
    embeddings, streams = [], {layer: list[NDArray[np.float16]]() for layer in layers}
    for start in range(0, len(pixels), BATCH):
        images = [Image.fromarray(image) for image in pixels[start : start + BATCH]]
        with torch.inference_mode():
            embedding, taps = model.run(model.pixels(images), ["resid_post"] if layers else [])
        embeddings.append(embedding)
        for layer, parts in streams.items():
            parts.append(taps["resid_post"][layer].numpy().astype(np.float16))
    return torch.cat(embeddings), {layer: np.concatenate(parts) for layer, parts in streams.items()}


def auc(higher: NDArray[np.floating], lower: NDArray[np.floating]) -> float:
    """How often a number of the first is above one of the second; ties count half."""
    difference = higher[:, None] - lower[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def unmodified(model: Backbone, dataset: Json, world: World) -> Json:
    """How the model tells the classes of validation images, by group."""
    rows, pixels = world.split("validation")
    head = zero_shot_head(model, dataset["class_names"], dataset["templates"], key="head")
    scores = zero_shot_logits(looked_at(model, pixels, [])[0], head).double().numpy()
    target, spurious = rows["target"].to_numpy(), rows["spurious"].to_numpy()
    right, margin = scores.argmax(axis=1) == target, scores[:, 1] - scores[:, 0]
    groups = [
        100 * float(right[(target == t) & (spurious == s)].mean()) for t in (0, 1) for s in (0, 1)
    ]
    within = [
        auc(margin[(spurious == s) & (target == 1)], margin[(spurious == s) & (target == 0)])
        for s in (0, 1)
    ]
    overall = sum(groups) / len(groups)
    found: Json = {"groups": groups, "overall": overall, "auc": within}
    if dataset["layout"] == "celeba":
        worst, *others = sorted(groups)
        holds = min(others) >= FACES_BEST and FACES_WORST[0] <= worst <= FACES_WORST[1]
    else:
        near = abs(overall - BIRDS_OVERALL) <= NEAR and abs(min(groups) - BIRDS_WORST) <= NEAR
        holds = near and min(within) >= LEAST_AUC
    return {**found, "band_holds": bool(holds)}


def trained(
    model: Backbone, config: Json, worlds: Mapping[str, World], seed: int, layers: Sequence[int]
) -> dict[str, Json]:
    """Quality of each dictionary and layer on the validation images of every table that has it."""
    found: dict[str, Json] = {}
    seen = {
        table: looked_at(model, worlds[table].split("validation")[1], layers)[1]
        for table in config["tables"]
    }
    for name, dictionary in config["dictionaries"].items():
        tables = [table for table, names in config["tables"].items() if name in names]
        if "training" not in dictionary or not tables:
            continue
        pixels = worlds[dictionary["trained_on"]].split("train")[1]
        streams = looked_at(model, pixels, layers)[1]
        for layer in layers:
            made, log = _train(dictionary, streams[layer], 1000 * seed + layer)
            last = log.row(-1, named=True)
            place = found[f"{name}/{layer}"] = {
                "steps": last["step"],
                "dead_in_training": log["dead"].max(),
                "dead_at_the_end": last["dead"],
                "rows_with_ghost_gradients": int((log["ghost"] > 0).sum()),
                "rows": log.height,
            }
            for table in tables:
                stream = seen[table][layer]
                metrics = evaluate(made, lambda stream=stream: iter([stream]))  # type: ignore[misc]
                place[table] = {
                    "l0_in_d": metrics["l0"] / stream.shape[2],
                    "explained_variance": metrics["explained_variance"],
                    "dead_fraction": metrics["dead_fraction"],
                }
            if dictionary["architecture"] == "vanilla":
                measured = [place[table]["l0_in_d"] for table in tables]
                place["band_holds"] = all(L0[0] <= l0 <= L0[1] for l0 in measured)
    return found


def _train(dictionary: Json, stream: NDArray[np.float16], seed: int) -> tuple[Any, pl.DataFrame]:
    training = {
        name: value for name, value in dictionary["training"].items() if name != "buffer_mb"
    }
    tokens = stream.reshape(-1, stream.shape[2])
    size = training["batch_size"]
    steps = training_steps(training, len(tokens), "training")

    def batches(done: int) -> Generator[NDArray[np.float32], None, None]:
        rng = np.random.default_rng(seed)
        for _ in range(training["epochs"]):
            order = rng.permutation(len(tokens))
            for start in range(0, len(tokens) - size + 1, size):
                yield tokens[order[start : start + size]].astype(np.float32)

    few = tokens[:: max(1, len(tokens) // 4096)].astype(np.float32)
    kind = {"architecture": dictionary["architecture"], **training}
    return train(Data(batches, lambda: few), kind, steps=steps, seed=seed)


def milder(shares: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """Shares of groups in `web`, from those of blond women and men, land- and waterbirds on water; classes as there."""
    by_world = dict(zip(web.SHARES, (shares[:2], shares[2:]), strict=True))
    return {
        name: tuple(
            sum(own[2 * target : 2 * target + 2]) * part
            for target, share in enumerate(by_world[name])
            for part in (1 - share, share)
        )
        for name, own in web.SHARES.items()
    }


def found_of(config: Json, seed: int, layers: Sequence[int]) -> Json:
    """All that one seed gives."""
    learnt = config["model"]["tiny"]["worlds"]
    needed = {*learnt, *config["tables"]}
    for name in {n for names in config["tables"].values() for n in names}:
        needed |= {config["dictionaries"][name].get("trained_on")} - {None}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        worlds = {name: World(config, name, seed, folder / name) for name in sorted(needed)}
        painted = time.perf_counter()
        parts = [worlds[name].split("train") for name in sorted(learnt)]
        texts = [text for rows, _ in parts for text in rows["text"]]
        pixels = np.concatenate([pixels for _, pixels in parts])
        tiny = {name: value for name, value in config["model"]["tiny"].items() if name != "worlds"}
        pretrain(pixels, texts, folder / "clip", config=tiny, seed=seed)
        model = load_backbone(folder / "clip", device="cpu")
        learned = time.perf_counter()
        tables = {
            table: unmodified(model, config["datasets"][table], worlds[table])
            for table in config["tables"]
        }
        dictionaries = trained(model, config, worlds, seed, layers) if layers else {}
    seconds = {"painting": painted - began, "pre-training": learned - painted}
    seconds["all"] = time.perf_counter() - began
    return {
        "seed": seed,
        "images_learnt": len(pixels),
        **rounded({"tables": tables, "dictionaries": dictionaries, "seconds": seconds}),
    }


def rounded(value: Any) -> Any:
    """Numbers to four places, however deep."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configfile", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--layers", type=int, nargs="*", default=[3])
    parser.add_argument(
        "--web-shares",
        type=float,
        nargs=4,
        metavar=("WOMEN", "MEN", "LANDBIRDS", "WATERBIRDS"),
        help="other shares of blond among women and men of `web`, and of water among its birds",
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.web_shares:
        web.SHARES.update(milder(arguments.web_shares))
    config = settings(arguments.configfile)
    for seed in arguments.seeds:
        line = json.dumps(found_of(config, seed, arguments.layers))
        print(line, flush=True)
        if arguments.out:
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
