"""What a job will take: seconds, memory and disk, from the configuration and the number of images.

A model, not a measurement: docs/cluster.md has its formulas, and what it says beside what was measured.
Work is counted in multiplications and additions (FLOP) and divided by a rate; memory is what the step
holds at once. The rates are those of one core of a server, and of one GPU without tensor cores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clipsteer.config import layers_of, painted_count, picture_size, vision
from clipsteer.number_formats import stored_dtype

# Steps that the profile for Slurm gives a GPU.
GPU_STEPS = ("extract_activations", "train_dictionary")

_CPU, _GPU = 20e9, 8e12  # FLOP a second: of one core, of one GPU, at what these steps do
_START, _START_TORCH = 1.0, 6.0  # seconds until a step works
_READ = 200e6  # bytes of activations a second, from a disk shared with others
_DECODE = 400e3  # pixels a second and core when worlds are painted
_LOAD = 8e6  # pixels a second and core when images are decoded
_LIGHT, _TORCH, _CLIP, _CUDA = (
    180.0,
    400.0,
    450.0,
    2500.0,
)  # MB: Python alone, with torch, CLIP, CUDA
_ROW = 0.006  # MB that a table of labels takes for each image
_FLOATS = 4  # bytes of a float32
_CLIP_B32 = {"width": 768, "layers": 12, "tokens": 50, "pixels": 224}  # where only the hub knows

Config = Mapping[str, Any]
# What is asked for where nobody knows how many images there are: about as many as CelebA has.
_ASSUMED = {"train": 160_000, "validation": 20_000, "test": 20_000}


@dataclass(frozen=True)
class Count:
    """Images in a split of a data set.

    `note` says what was assumed where the number is an estimate. Not `known`: it is none at all, only
    a stand-in, so that a cluster can be asked for something.
    """

    images: int
    note: str = ""
    known: bool = True


# Images in a split (train, validation, test) of a data set.
Images = Callable[[str, str], Count]


@dataclass(frozen=True)
class Cost:
    """What one job takes: `seconds` on the device that it has, memory at once and new bytes on disk, in MB.

    `notes`: what was assumed. Not `known`: these are the numbers of a stand-in (see `Count`).
    """

    seconds: float
    memory_mb: float
    disk_mb: float = 0.0
    known: bool = True
    notes: tuple[str, ...] = ()

    def request(self, attempt: int) -> tuple[int, int]:
        """(memory in MB, minutes) to ask a cluster for: with room to spare, doubled on each retry."""
        memory = max(1000.0, 1.5 * self.memory_mb) * 2 ** (attempt - 1)
        minutes = max(15.0, 3 * self.seconds / 60) * 2 ** (attempt - 1)
        return 100 * math.ceil(memory / 100), 5 * math.ceil(minutes / 5)


class Model:
    """The costs of all jobs of one configuration."""

    def __init__(self, config: Config, base: Path, images: Images) -> None:
        self.config, self.base, self.images = config, base, images
        # Of the cost that is being reckoned: what was assumed, and whether all was known.
        self._notes: dict[str, None] = {}
        self._known = True

    # ---- sizes

    @property
    def _vision(self) -> dict[str, int]:
        """Layers, width, tokens of an image, and the side of the pictures, of the vision tower."""
        found, note = self._shape
        if note:
            self._notes[note] = None
        return found

    @cached_property
    def _shape(self) -> tuple[dict[str, int], str]:
        tower, pixels = vision(self.config, self.base), picture_size(self.config, self.base)
        if tower and pixels:
            return {**tower._asdict(), "pixels": pixels}, ""
        source = self.config["model"]["source"]
        return dict(_CLIP_B32), (
            f"model.source: how large {source} is, only the hub knows; ViT-B/32 is assumed"
        )

    @cached_property
    def _layers(self) -> list[int]:
        """The layers that are extracted and edited."""
        return layers_of(self.config, self.base)

    @property
    def _layer_flop(self) -> float:
        """FLOP of one image in one encoder layer, forward."""
        tokens, width = self._vision["tokens"], self._vision["width"]
        return 24.0 * tokens * width**2 + 4.0 * tokens**2 * width

    @property
    def _weights_mb(self) -> float:
        return 12 * self._vision["layers"] * self._vision["width"] ** 2 * _FLOATS / 1e6

    def _features(self, dictionary: str) -> int:
        """m; of the neuron basis d, and nothing to multiply with."""
        training = self.config["dictionaries"][dictionary].get("training")
        return int(training["expansion"]) * self._vision["width"] if training else 0

    def _block(self, block: str) -> int:
        """Number of layers in a block such as layers_00-02."""
        first, last = (int(part) for part in block.removeprefix("layers_").split("-"))
        return sum(first <= layer <= last for layer in self._layers)

    def _used(self, dataset: str, split: str) -> int:
        """Images of a split that are extracted: those that evaluation draws, where it draws."""
        split, _, augmented = split.partition("_")
        settings = self.config["datasets"][dataset]
        drawn = settings["evaluation"].get(split)
        number = self._count(dataset, split) if drawn is None else 4 * int(drawn)
        return number * int(settings["augment"]) if augmented else number

    def _count(self, dataset: str, split: str) -> int:
        """Images of a split. Notes what was assumed."""
        found = self.images(dataset, split)
        self._known &= found.known
        if found.note:
            self._notes[found.note] = None
        return found.images

    def _all(self, dataset: str) -> int:
        return sum(self._count(dataset, split) for split in _ASSUMED)

    def _stored(self, images: int, layers: int) -> float:
        """Bytes of the activations of so many images and layers."""
        token = stored_dtype(self.config["activations"]["dtype"]).token_bytes(self._vision["width"])
        return float(images * layers * self._vision["tokens"] * token)

    # ---- costs

    def cost(self, step: str, names: Mapping[str, str], *, gpu: bool = False) -> Cost:
        """What a job of `step` takes; `names` are its wildcards. `gpu`: it has one."""
        self._notes, self._known = {}, True
        step_cost = getattr(self, f"_{step}", None)
        cost = step_cost(names, gpu) if step_cost else Cost(_START, _LIGHT)
        memory = cost.memory_mb + _CUDA * gpu
        return Cost(cost.seconds, memory, cost.disk_mb, self._known, tuple(self._notes))

    def _seconds(self, flop: float, gpu: bool, threads: int | None = None) -> float:
        cores = threads or int(self.config["runtime"]["threads"])
        return _START_TORCH + flop / (_GPU if gpu else _CPU * cores)

    def _paint_world(self, names: Mapping[str, str], gpu: bool) -> Cost:
        images = self._all(names["dataset"])
        pixels = float(self.config["datasets"][names["dataset"]]["painted"]["size"]) ** 2 * images
        return Cost(_START + pixels / _DECODE / 5, _LIGHT, images * 3e-3)

    def _build_manifest(self, names: Mapping[str, str], gpu: bool) -> Cost:
        images = self._all(names["dataset"])
        return Cost(_START + images * 2e-5, _LIGHT + _ROW * images, images * 1e-4)

    _list_shards = _build_manifest

    def _pretrain_clip(self, names: Mapping[str, str], gpu: bool) -> Cost:
        tiny = self.config["model"]["tiny"]
        text = tiny["context_length"] * 24.0 * tiny["text_width"] ** 2 * tiny["text_layers"]
        forward = self._layer_flop * tiny["vision_layers"] + text
        images = sum(self._count(world, "train") for world in tiny["worlds"])
        held = images * float(tiny["image_size"]) ** 2 * 3 / 1e6  # the pictures, as bytes
        # a batch's activations for the way back, about 40 values a token, layer and width
        tokens = self._vision["tokens"] * tiny["vision_layers"] * tiny["vision_width"]
        tokens += tiny["context_length"] * tiny["text_layers"] * tiny["text_width"]
        back = tiny["batch_size"] * 40.0 * tokens * _FLOATS / 1e6
        flop = 3 * forward * tiny["steps"] * tiny["batch_size"]
        return Cost(self._seconds(flop, gpu, 2), _CLIP + held + back, 10)

    def _import_clip(self, names: Mapping[str, str], gpu: bool) -> Cost:
        return Cost(_START + 120, _LIGHT + 3 * self._weights_mb, 2 * self._weights_mb)

    def _build_head(self, names: Mapping[str, str], gpu: bool) -> Cost:
        return Cost(_START_TORCH, _CLIP + 3 * self._weights_mb)

    def _extract_activations(self, names: Mapping[str, str], gpu: bool) -> Cost:
        settings, vision = self.config["activations"], self._vision
        parts, size = (
            int(self.config["jobs"]["extraction_parts"]),
            int(settings["images_per_shard"]),
        )
        used = self._used(names["dataset"], names["split"])
        starts = range(int(names["part"]) * size, used, parts * size)  # of the part's shards
        images = sum(min(size, used - start) for start in starts)
        points = len(set(settings["hook_points"]) | {"resid_post"})
        written = self._stored(images, len(self._layers) * points)
        batch = settings["batch_size"] * vision["tokens"] * vision["width"] * _FLOATS / 1e6
        memory = _CLIP + 3 * self._weights_mb + batch * (8 + vision["layers"] * points)
        memory += min(32.0, written / 1e6) * vision["layers"] * points  # a file of each array
        threads = int(self.config["runtime"]["threads"])
        seconds = self._seconds(images * vision["layers"] * self._layer_flop, gpu)
        seconds += images * vision["pixels"] ** 2 / (_LOAD * threads) + written / _READ
        return Cost(seconds, memory, written / 1e6)

    def _train_dictionary(self, names: Mapping[str, str], gpu: bool) -> Cost:
        settings = self.config["dictionaries"][names["dictionary"]]
        training, dataset = settings["training"], settings["trained_on"]
        layers, width = self._block(names["block"]), self._vision["width"]
        m = self._features(names["dictionary"])
        images = self._used(dataset, "train")
        if self.config["datasets"][dataset]["augment"]:
            images += self._used(dataset, "train_augmented")
        tokens = float(images * self._vision["tokens"] * training["epochs"])
        read = self._stored(images, layers) * training["epochs"]
        parameters = 2.0 * m * width * _FLOATS / 1e6
        # parameters, gradient, both means; a checkpoint's copy of three of them, twice while it is saved
        memory = _TORCH + parameters * (4 + 6) + training["buffer_mb"]
        memory += 4 * training["batch_size"] * m * _FLOATS / 1e6
        seconds = self._seconds(layers * tokens * 12.0 * m * width, gpu) + read / _READ
        return Cost(seconds, memory, layers * parameters + 3 * 3 * parameters)

    def _apply(
        self, names: Mapping[str, str], images: int, gpu: bool, *, ways: int = 2, flop: float = 0.0
    ) -> Cost:
        """A step that reads activations and applies a dictionary to all of them once.

        `ways`: 1 encodes only, 2 decodes too. `flop`: of all else, for each layer.
        """
        layers, width = self._block(names["block"]), self._vision["width"]
        m = self._features(names["dictionary"]) if "dictionary" in names else 0
        tokens = float(images * self._vision["tokens"])
        batch = self.config["activations"]["batch_size"] * self._vision["tokens"]
        memory = _TORCH + 2 * m * width * _FLOATS / 1e6 + 3.0 * batch * (m + width) * _FLOATS / 1e6
        work = layers * (tokens * ways * 2.0 * m * width + flop)
        read = self._stored(images, layers)
        return Cost(self._seconds(work, gpu) + read / _READ, memory, 1.0)

    def _evaluate_dictionary(self, names: Mapping[str, str], gpu: bool) -> Cost:
        return self._apply(names, self._used(names["dataset"], "validation"), gpu)

    def _feature_statistics(self, names: Mapping[str, str], gpu: bool) -> Cost:
        return self._apply(names, self._used(names["dataset"], "train"), gpu, ways=1)

    def _tail(self, names: Mapping[str, str], split: str, passes: int, gpu: bool) -> Cost:
        """A step that resumes the CLIP from each layer, `passes` times for each image."""
        images = self._used(names["dataset"], split)
        above = self._vision["layers"] / 2
        flop = images * passes * above * self._layer_flop
        cost = self._apply(names, images, gpu, flop=flop)
        return Cost(cost.seconds, cost.memory_mb + 3 * self._weights_mb + 100, cost.disk_mb)

    def _select_features(self, names: Mapping[str, str], gpu: bool) -> Cost:
        points = int(self.config["steering"]["thresholds"]["points"])
        return self._tail(names, "validation", points // 2, gpu)

    def _ablate_features(self, names: Mapping[str, str], gpu: bool) -> Cost:
        seeds = int(self.config["steering"]["random_seeds"])
        return self._tail(names, "test", seeds + 1, gpu)

    def _shuffle_control(self, names: Mapping[str, str], gpu: bool) -> Cost:
        once = self._tail(names, "validation", 40, gpu)
        read = self._feature_statistics(names, gpu)
        shuffles = int(self.config["steering"]["shuffles"])
        return Cost(
            once.seconds * shuffles + read.seconds, max(once.memory_mb, read.memory_mb), 1.0
        )

    def _fit_directions(self, names: Mapping[str, str], gpu: bool) -> Cost:
        layers, vision = self._block(names["block"]), self._vision
        images, width = self._used(names["dataset"], "train"), vision["width"]
        moments = 2.0 * images * vision["tokens"] * width**2
        probe = 200 * 2.0 * images * width**2  # Newton's steps, all folds and penalties, twice
        seconds = layers * (moments + probe) / (_CPU / 2)  # float64, on one thread
        memory = _TORCH + (3.0 * images * width + 16.0 * width**2) * 2 * _FLOATS / 1e6
        read = 2 * self._stored(images, layers)
        return Cost(_START_TORCH + seconds + read / _READ, memory, 1.0)

    def _evaluate_directions(self, names: Mapping[str, str], gpu: bool) -> Cost:
        return self._baselines(names, len(self.config["steering"]["baselines"]["scales"]), gpu)

    def _evaluate_subspaces(self, names: Mapping[str, str], gpu: bool) -> Cost:
        return self._baselines(names, 4 * int(self.config["steering"]["random_seeds"]), gpu)

    def _baselines(self, names: Mapping[str, str], more: int, gpu: bool) -> Cost:
        """Four sweeps and `more` options each of several kinds on validation, what was taken on test."""
        points = int(self.config["steering"]["thresholds"]["points"])
        chosen = self._tail(names, "validation", 4 * points // 2 + 6 * more, gpu)
        tested = self._tail(names, "test", 4 * 5 + more, gpu)
        memory = max(chosen.memory_mb, tested.memory_mb)
        return Cost(chosen.seconds + tested.seconds, memory, 1.0)

    def _evaluate_readout(self, names: Mapping[str, str], gpu: bool) -> Cost:
        images = self._used(names["dataset"], "train")
        return Cost(_START_TORCH + 2, _TORCH + 100 + images * 20e-3, 1.0)

    _baseline_table = _evaluate_readout

    def _make_table(self, names: Mapping[str, str], gpu: bool) -> Cost:
        return Cost(_START + 3, _LIGHT + 100, 1.0)


# ---- how many images there are


def known_images(
    config: Config,
    refs: Path,
    is_current: Callable[[Path], bool] = Path.exists,
    scanned: Callable[[str], Mapping[str, Any]] = lambda dataset: {},
) -> Images:
    """How many images each split has: (data set, split) -> count.

    From the config where it paints; else from the manifest's pointer where `is_current` holds of it;
    else from what a scan of the folder found (`scanned`, by the name of the data set).

    A scan knows only how many files there are: four fifths count for training and a fifth for each other
    split, all of them for a layout that has no others. With `raw.watch: off` it does not know even that,
    and the count is not `known`.
    """

    def images(dataset: str, split: str) -> Count:
        settings = config["datasets"][dataset]
        if settings["root"] == "painted":
            return Count(painted_count(settings, split))
        manifest = refs / dataset / "manifest.json"
        found = _facts(manifest).get(f"images_{split}") if is_current(manifest) else None
        if found is not None:
            return Count(int(found))
        token = scanned(dataset)
        there = f"datasets.{dataset}: its files as they are now have no manifest yet"
        if token.get("watch", "off") == "off":
            note = (
                f"{there}, and raw.watch is off, so how many images it has is unknown; what is asked for "
                f"is for {_ASSUMED['train']:,} to train on and {_ASSUMED['test']:,} in each other split"
            )
            return Count(_ASSUMED[split], note, known=False)
        files = int(token["files"]) + int(token["names"])
        if settings["layout"] == "imagenet":
            note = f"{there}; its {files:,} files are taken for images of the training split"
            return Count(files if split == "train" else 0, note)
        note = (
            f"{there}; of its {files:,} files, 4/5 are taken for training, 1/5 for each other split"
        )
        return Count(math.ceil(files * (0.8 if split == "train" else 0.2)), note)

    return images


def asks_for_gpu(resources: Mapping[str, Any]) -> bool:
    """Whether a job's resources have a GPU, as Snakemake's plugin for Slurm reads them: `gpu` or `gres`."""
    number, gres = (str(resources.get(name) or "").strip("'\" ") for name in ("gpu", "gres"))
    return number not in ("", "0") or any(
        part.strip().startswith("gpu") for part in gres.split(",")
    )


def _facts(pointer: Path) -> dict[str, Any]:
    return dict(_json(pointer).get("members", {}).get("all", {}).get("facts", {}))


def _json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty where it is missing or unsound: then less is known."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
