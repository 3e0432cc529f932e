"""What a job will take: seconds, memory and disk, from the configuration and the number of images.

A model, not a measurement: docs/cluster.md has its formulas, docs/performance.md what it says beside what was measured.
Work is counted in multiplications and additions (FLOP) and divided by a rate; memory is what the step
holds at once. The rates are those of one core of a server, and of one GPU without tensor cores. What a step
takes its script says, in a function `cost`; here is what it reckons with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clipsteer.config.model import layers_of, vision
from clipsteer.config.used import is_photographed, job_model, models, painted_count, section_of
from clipsteer.number_formats import stored_dtype
from clipsteer.runner.code import loaded
from clipsteer.runner.declared import SCRIPTS

# Steps that the profile for Slurm gives a GPU.
GPU_STEPS = ("extract_activations", "train_dictionary")

CPU, _GPU = 20e9, 8e12  # FLOP a second: of one core, of one GPU, at what these steps do
_START, _START_TORCH = 1.0, 6.0  # seconds until a step works
READ = 200e6  # bytes of activations a second, from a disk shared with others
# MB: Python alone, with torch, with the CLIP; CUDA besides.
_LIGHT, TORCH, CLIP, _CUDA = 180.0, 400.0, 450.0, 2500.0
_ROW = 0.006  # MB that a table of labels takes for each image
FLOAT = 4  # bytes of a float32
_CLIP_B32 = {"width": 768, "layers": 12, "tokens": 50, "pixels": 224}  # where only the hub knows

Config = Mapping[str, Any]
# What is asked for where nobody knows how many images there are: about as many as CelebA has.
_TEXT_B32 = {"text_layers": 12, "text_width": 512}
_PROMPT_TOKENS = 12
CLASSES = 100  # of a data set that attacks are printed on
_CAPTION_WORDS = 300  # entries that the painted worlds' captions have, about
_RELEASED_EXPANSION = 64  # of a released dictionary: how large it is, only its file says
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
    """The costs of all jobs of one configuration: what the `cost` of each step's script says of them."""

    def __init__(self, config: Config, base: Path, images: Images) -> None:
        self.config, self.base, self.images = config, base, images
        # of each model, once: every job asks
        self.shape = cache(self._shape)
        self.layers = cache(lambda model: layers_of(config, base, model))

    def cost(self, step: str, names: Mapping[str, str], *, gpu: bool = False) -> Cost:
        """What a job of `step` takes; `names` are its wildcards. `gpu`: it has one.

        A step whose script has no `cost` takes as little as any.
        """
        script, job = SCRIPTS / f"{step}.py", Sizes(self, names, gpu)
        reckon = getattr(loaded(script), "cost", None) if script.is_file() else None
        found: Cost = reckon(job) if reckon else job.python()
        memory = found.memory_mb + _CUDA * gpu
        return Cost(found.seconds, memory, found.disk_mb, job.known, tuple(job.notes))

    def _shape(self, model: str) -> tuple[dict[str, int], str]:
        """Layers, width, tokens of an image and side of the pictures of a vision tower, and what was assumed."""
        tower = vision(self.config, self.base, model)
        if tower:
            return {
                "layers": tower.n_layers,
                "width": tower.width,
                "tokens": tower.n_tokens,
                "pixels": tower.image_size,
            }, ""
        source = models(self.config)[model]["source"]
        return dict(_CLIP_B32), (
            f"{section_of(model)}.source: how large {source} is, only the hub knows; ViT-B/32 is assumed"
        )


class Sizes:
    """The sizes of one job's work, and what jobs of several steps take: what a script's `cost` reckons with.

    `gpu`: the job has one. `notes`: what was assumed so far; not `known`: nobody knows how many images
    there are.
    """

    def __init__(self, model: Model, names: Mapping[str, str], gpu: bool) -> None:
        self._model, self.names, self.gpu = model, names, gpu
        self.config = model.config
        self.notes: dict[str, None] = {}
        self.known = True

    @property
    def threads(self) -> int:
        return int(self.config["runtime"]["threads"])

    @property
    def dataset(self) -> Config:
        """The settings of the job's data set."""
        settings: Config = self.config["datasets"][self.names["dataset"]]
        return settings

    @property
    def dictionary(self) -> Config:
        """The settings of the job's dictionary."""
        settings: Config = self.config["dictionaries"][self.names["dictionary"]]
        return settings

    # ---- images

    def images(self, split: str, dataset: str = "") -> int:
        """Images of a split that are extracted: those that evaluation draws, where it draws."""
        dataset = dataset or self.names["dataset"]
        split, _, kind = split.partition("_")
        settings = self.config["datasets"][dataset]
        drawn = settings["evaluation"].get(split)
        groups = len(settings.get("group_names", ())) or 4
        number = self.listed(split, dataset) if drawn is None else groups * int(drawn)
        return number * int(settings["augment"]) if kind == "augmented" else number

    def listed(self, split: str, dataset: str = "") -> int:
        """Images of a split that there are."""
        found = self._model.images(dataset or self.names["dataset"], split)
        self.known &= found.known
        if found.note:
            self.notes[found.note] = None
        return found.images

    def all_listed(self) -> int:
        """Images of the data set."""
        return sum(self.listed(split) for split in _ASSUMED)

    # ---- the model and its activations

    @property
    def model(self) -> str:
        """The job's model."""
        return job_model(self.config, self.names)

    @property
    def tiny(self) -> Config:
        """The settings of the job's model, one that is pre-trained here."""
        settings: Config = models(self.config)[self.model]["tiny"]
        return settings

    @property
    def text(self) -> tuple[int, int, int]:
        """Layers and width of the text tower, and tokens of a short prompt."""
        settings = models(self.config)[self.model]
        tiny = settings["tiny"] if settings["source"] == "tiny" else _TEXT_B32
        return tiny["text_layers"], tiny["text_width"], _PROMPT_TOKENS

    @property
    def vision(self) -> dict[str, int]:
        """`layers`, `width`, `tokens` of an image, and `pixels` of a side, of the vision tower."""
        found, note = self._model.shape(self.model)
        if note:
            self.notes[note] = None
        return found

    @property
    def layer_flop(self) -> float:
        """FLOP of one image in one encoder layer, forward."""
        tokens, width = self.vision["tokens"], self.vision["width"]
        return 24.0 * tokens * width**2 + 4.0 * tokens**2 * width

    @property
    def weights_mb(self) -> float:
        """The vision tower's parameters."""
        return 12 * self.vision["layers"] * self.vision["width"] ** 2 * FLOAT / 1e6

    @property
    def extracted(self) -> int:
        """Number of layers that are extracted."""
        return len(self._model.layers(self.model))

    @property
    def block(self) -> int:
        """Number of layers in the job's block, such as layers_00-02."""
        return len(self._layers_of_block())

    def _layers_of_block(self) -> list[int]:
        first, last = map(int, self.names["block"].removeprefix("layers_").split("-"))
        layers = self._model.layers(self.model)
        return [layer for layer in layers if first <= layer <= last]

    @property
    def features(self) -> int:
        """m; 0, as there is nothing to multiply with, of the neuron basis and of a job without a dictionary."""
        if "dictionary" not in self.names:
            return 0
        return expansion(self.dictionary) * self.vision["width"]

    def stored(self, images: int, layers: int) -> float:
        """Bytes of the activations of so many images and layers."""
        token = stored_dtype(self.config["activations"]["dtype"]).token_bytes(self.vision["width"])
        return float(images * layers * self.vision["tokens"] * token)

    # ---- what jobs take

    def takes(self, seconds: float, memory_mb: float, disk_mb: float = 0.0) -> Cost:
        """Just so much."""
        return Cost(seconds, memory_mb, disk_mb)

    def python(self, seconds: float = 0.0, memory_mb: float = 0.0, disk_mb: float = 0.0) -> Cost:
        """So much beside what Python alone takes: a step that works without torch."""
        return Cost(_START + seconds, _LIGHT + memory_mb, disk_mb)

    def painted(self, images: int) -> Cost:
        """At 2 million pixels a second and core; a file has some 3 kB, and all are held twice to be packed."""
        pixels = float(self.dataset["painted"]["size"]) ** 2 * images
        return self.python(pixels / 400e3 / 5, memory_mb=images * 6e-3, disk_mb=images * 3e-3)

    def labels(self) -> Cost:
        """To read or write the table of all images of the data set."""
        images = self.all_listed()
        return self.python(images * 2e-5, _ROW * images, images * 1e-4)

    def decoding(self, images: float, threads: int = 1) -> float:
        """Seconds to decode images of the size that the model takes: 8 million pixels each for a core."""
        return images * float(self.vision["pixels"] ** 2) / (8e6 * threads)

    def seconds(self, flop: float, threads: int = 0) -> float:
        """To start torch, and for so much work; `threads`: those of `runtime` where 0."""
        return _START_TORCH + flop / (_GPU if self.gpu else CPU * (threads or self.threads))

    def apply(self, images: int, *, ways: int = 2, flop: float = 0.0) -> Cost:
        """To read activations of the block and to apply the dictionary to all of them once.

        `ways`: 1 encodes only, 2 decodes too. `flop`: of all else, for each layer.
        """
        layers, width, m = self.block, self.vision["width"], self.features
        tokens = float(images * self.vision["tokens"])
        batch = self.config["activations"]["batch_size"] * self.vision["tokens"]
        memory = TORCH + 2 * m * width * FLOAT / 1e6 + 3.0 * batch * (m + width) * FLOAT / 1e6
        work = layers * (tokens * ways * 2.0 * m * width + flop)
        return Cost(self.seconds(work) + self.stored(images, layers) / READ, memory, 1.0)

    def resume(self, split: str, times: int) -> Cost:
        """The same on a split, and to resume the CLIP from each layer so many times for each image."""
        return self._resumed(self.images(split), times, self.vision["layers"] / 2)

    def resume_images(self, images: int, times: int) -> Cost:
        """The same of so many images, by the layers that there truly are above those of the block."""
        layers, last = self._layers_of_block(), self.vision["layers"] - 1
        return self._resumed(images, times, sum(last - layer for layer in layers) / len(layers))

    def _resumed(self, images: int, times: int, above: float) -> Cost:
        """With so many layers above the edited one."""
        cost = self.apply(images, flop=images * times * above * self.layer_flop)
        return Cost(cost.seconds, cost.memory_mb + 3 * self.weights_mb + 100, cost.disk_mb)

    def steered(self, features: int, m: int) -> Cost:
        """To measure how precisely so many features of a dictionary of m steer, at each layer of the block."""
        settings, tower = self.config["steerability"], self.vision
        width, tokens, last = tower["width"], tower["tokens"], tower["layers"] - 1
        tiny = models(self.config)[self.model]["source"] == "tiny"
        entries = _CAPTION_WORDS if tiny else self.config["vocabulary"]["size"]
        images = min(settings["images"], self.images(settings["split"]))
        curves = min(settings["curves"], features) * sum(s > 0 for s in settings["strengths"])
        curves += 3 * len(settings["strengths"])
        pairs = float(images * (features + curves))
        above = 0.0
        for layer in self._layers_of_block():
            if layer < last:  # of the last layer CLS alone, with keys and values of all tokens
                above += (last - 1 - layer) * self.layer_flop + 4.0 * tokens * width**2
                above += 2.0 * entries * width
            above += 30.0 * entries  # the softmax and its sums
        encode = self.block * 2.0 * images * tokens * m * width
        codes = float(images * features * tokens) * FLOAT / 1e6  # in files, while it works
        memory = CLIP + 3 * self.weights_mb + 2.0 * m * width * FLOAT / 1e6 + 200
        memory += 96 * 10.0 * tokens * width * FLOAT / 1e6
        return Cost(self.seconds(pairs * above + encode), memory, codes)

    def compare(self, options: int) -> Cost:
        """To try four threshold grids and six kinds of so many options on validation, and what was taken on test."""
        points = self.config["steering"]["thresholds"]["points"]
        chosen = self.resume("validation", 4 * points // 2 + 6 * options)
        tested = self.resume("test", 4 * 5 + options)
        memory = max(chosen.memory_mb, tested.memory_mb)
        return Cost(chosen.seconds + tested.seconds, memory, 1.0)

    def embeddings(self) -> Cost:
        """To look at the embeddings, or at many predictions, of the data set's images with torch."""
        return Cost(self.seconds(0) + 2, TORCH + 100 + self.images("train") * 20e-3, 1.0)


def expansion(dictionary: Config) -> int:
    """How many features a dictionary has for each dimension: 0 for the neuron basis."""
    if dictionary["architecture"] == "imported":
        return _RELEASED_EXPANSION
    return int(dictionary["training"]["expansion"]) if "training" in dictionary else 0


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
        if is_photographed(settings):
            return Count(
                files if split == "test" else 0,
                f"{there}; its {files:,} files are taken for images",
            )
        if settings["layout"] == "imagenet":
            note = f"{there}; its {files:,} files are taken for images of the training split"
            if held_out := settings["options"].get("held_out"):
                shares = {
                    "train": 0.9 * (1 - 1 / held_out),
                    "validation": 0.9 / held_out,
                    "test": 0.1,
                }
                return Count(
                    math.ceil(files * shares[split]),
                    f"{there}; its {files:,} files are divided by guess",
                )
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
