"""What a finished run holds, for reading: model, heads, dictionaries, feature sets, activations, images, tables."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from clipsteer.activations.inputs import EMBEDDING, array_name
from clipsteer.activations.reader import ActivationReader
from clipsteer.backbones.base import Backbone
from clipsteer.backbones.load import load_backbone
from clipsteer.backbones.shape import read_shape
from clipsteer.data.source import ImageSource
from clipsteer.data.words import load_attacked
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.errors import ClipsteerError
from clipsteer.front.given import hook_point_word, whole, word
from clipsteer.front.placed import Placed, Vocabulary, read_placed
from clipsteer.front.refs import Refs
from clipsteer.steering.choose import CONDITIONS
from clipsteer.steering.feature_set import FeatureSet
from clipsteer.store.index import RecordIndex
from clipsteer.store.layout import FORMAT_FILE
from clipsteer.store.objects import ObjectStore
from clipsteer.store.peek import PeekActions
from clipsteer.store.pointers import Member
from clipsteer.store.roots import REFS
from clipsteer.store.state import noted_stores
from clipsteer.store.trees import StoreTree

if TYPE_CHECKING:
    import zarr
    from PIL.Image import Image

_DEFAULT_STORE = "artifacts"
# What the neuron basis is where no run has one.
_NEURONS = {"architecture": "neurons", "hook_point": "resid_post"}


@dataclass(frozen=True)
class Activations:
    """One layer's activations of a split, image by image: read when they are asked for."""

    reader: ActivationReader
    shards: tuple[StoreTree, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(images, tokens, d), or (images, p) of embeddings."""
        return (self.reader.n_images, *self.reader.item)

    def numpy(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Images [start, stop) as float32, (n, tokens, d). Raises ClipsteerError where there are no such images."""
        start = whole("start", start, 0, self.reader.n_images)
        stop = self.reader.n_images if stop is None else stop
        stop = whole("stop", stop, start, self.reader.n_images)
        return np.asarray(self.reader.read(start, stop), dtype=np.float32)

    def torch(self, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """The same as a tensor on the CPU."""
        return torch.from_numpy(self.numpy(start, stop))

    def zarr(self) -> list[zarr.Array[Any]]:
        """The arrays as they are stored, one a shard, read-only (docs/activations.md)."""
        import zarr

        from clipsteer.activations.tree_store import TreeStore

        return [zarr.open_array(TreeStore(tree), mode="r") for tree in self.shards]


class Run:
    """A working copy's results, read-only; `folder` is where its Snakefile lies.

    Everything is found by the pointers in `artifacts/refs` and read from the store. Raises ClipsteerError
    where the folder has none, or what is asked for was not made.
    """

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self.folder = folder
        self._refs = Refs(folder)
        places = [store] if store else [*noted_stores(folder), folder / _DEFAULT_STORE]
        found = next((place for place in places if (place / FORMAT_FILE).exists()), None)
        if found is None or not self._refs.root.is_dir():
            looked = ", ".join(map(str, places))
            raise ClipsteerError(
                f"{folder}: found no results of a run (pointers in {REFS}, a store in {looked}); expected a "
                "working copy in which snakemake has run. Run it, or say where the store is: store=..."
            )
        self.store = ObjectStore(found)

    # ---- model and heads

    def model(
        self,
        name: str = "model",
        *,
        device: str = "auto",
        dtype: str = "float32",
        crop: str = "transformers",
    ) -> Backbone:
        """A model, ready to run: that of the section `model`, or another by its name in `models`.

        `dtype` and `crop` are not the run's own, but as they are given here.
        """
        return load_backbone(self._model_folder(name), device=device, dtype=dtype, crop=crop)

    def head(self, dataset: str) -> torch.Tensor:
        """The zero-shot head of a data set: unit rows (classes, p)."""
        from safetensors.torch import load

        head = self._refs.member(f"{dataset}/head.json").outputs["head"]
        return load(self.store.get_bytes(head.digest))["head"]

    def class_names(self, dataset: str) -> list[str]:
        """What its classes are called, in the order of the head's rows."""
        return list(self._refs.member(f"{dataset}/head.json").facts["class_names"])

    def vocabulary(self, model: str = "model") -> Vocabulary:
        """The words whose probabilities steerability is measured on, with their embeddings."""
        from safetensors.torch import load

        outputs = self._refs.member(f"vocabulary/{model}.json").outputs
        words = json.loads(self.store.get_bytes(outputs["words"].digest))
        rows = load(self.store.get_bytes(outputs["embeddings"].digest))["vocabulary"]
        return Vocabulary(words, rows)

    # ---- dictionaries and feature sets

    def dictionary(
        self,
        name: str,
        layer: int,
        *,
        dataset: str | None = None,
        hook_point: str | None = None,
        model: str | None = None,
    ) -> Placed:
        """A dictionary by its name in the configuration, as tables have it, or a point of a grid by its own.

        The neuron basis is given for every layer, also where no run has used it.

        Args:
            name: of `dictionaries`; a point's is `topk_g` and a digest (see `dictionaries`).
            layer: 0-based.
            dataset: by whose quality it was chosen (`choose`), where data sets have chosen different ones.
            hook_point, model: of the neuron basis, where another place is meant than the last run's, or than
                `resid_post` of the section `model` where no run has it. A trained dictionary has its own.

        Raises:
            ClipsteerError: there is none of this layer, or several that pointers cannot tell apart: it names them;
                or it was trained on another `hook_point`.
        """
        about = self._about(name)
        if about.get("architecture") == "neurons":
            shape = read_shape(self._model_folder(model or about.get("model", "model")))
            layer = whole("layer", layer, 0, shape.n_layers - 1)
            place = hook_point_word(hook_point or about["hook_point"])
            return Placed(NeuronBasis(shape.width), layer, place)
        member = self._refs.dictionary(name, layer, dataset)
        placed = read_placed(self._unfolded(member, "dictionary"), None, None)
        if hook_point not in (None, placed.hook_point):
            raise ClipsteerError(
                f"hook_point: found {hook_point!r}, but {name} was trained on {placed.hook_point}; leave it out."
            )
        return placed

    def dictionaries(self) -> pl.DataFrame:
        """Every dictionary that was trained, imported or chosen, a row a layer; not the neuron basis.

        Columns `dictionary`, `layer`, `hook_point`, `architecture`, `d`, `m`, and `dataset`, by whose quality it was
        chosen; null where it was not. Points of grids stand among them by their own names.
        """
        rows = []
        for name, dataset, member in self._refs.dictionaries():
            tree = StoreTree(self.store, member.outputs["dictionary"].digest)
            about = json.loads(tree.read("dictionary.json"))
            own = {key: about[key] for key in ("architecture", "d", "m")}
            placed = {key: about["metadata"][key] for key in ("layer", "hook_point")}
            rows.append({"dictionary": name, **placed, **own, "dataset": dataset})
        return pl.DataFrame(rows, schema_overrides={"dataset": pl.String} if rows else None)

    def feature_set(
        self, dataset: str, dictionary: str, layer: int, condition: str = "strict"
    ) -> FeatureSet:
        """The set that was chosen at a place, which `ablate` and the like take; its `features` are F (|F|,) int64.

        Args:
            dataset: whose spurious attribute it is about.
            dictionary: by its name in the configuration.
            layer: 0-based.
            condition: `strict` or `relaxed`.

        Raises:
            ClipsteerError: there is no such condition, or nothing was selected at this place.
        """
        word("condition", condition, CONDITIONS)
        member = self._refs.layer(f"{dataset}/{dictionary}", "selection.json", layer)
        chosen = json.loads(self.store.get_bytes(member.outputs["selection"].digest))
        return FeatureSet.from_dict(chosen[condition])

    def has_selection(self, dataset: str, dictionary: str) -> bool:
        """Whether features of a dictionary were chosen on a data set."""
        return self._refs.has_layers(f"{dataset}/{dictionary}", "selection.json")

    def feature_sets(self, dataset: str) -> pl.DataFrame:
        """Those of the table's rows: one row a feature (docs/configuration.md has the columns)."""
        return self.table(f"{dataset}_feature_sets")

    def _about(self, name: str) -> Mapping[str, Any]:
        """What a dictionary is that has no files: by the last run, or by the recipe of what was done with it."""
        noted = self._refs.noted(name)
        if noted or self._refs.layers(name):
            return noted
        index = RecordIndex(PeekActions(self.store.root))
        for pointer in self._refs.done_with(name):
            for member in pointer.members.values():
                for record in index.behind(pointer.step, member):
                    if _NEURONS.keys() <= record["recipe"].keys():
                        return dict(record["recipe"])
        return _NEURONS if name == _NEURONS["architecture"] else {}

    # ---- data

    def manifest(self, dataset: str) -> pl.DataFrame:
        """Every image of a data set: path, digest, split, labels."""
        return self._frame(f"{dataset}/manifest.json", "manifest")

    def labels(self, dataset: str, split: str) -> pl.DataFrame:
        """Target, spurious value and group of a split's images, in the order of its activations."""
        return self._frame(f"{dataset}/manifest.json", f"labels_{split}")

    def images(self, dataset: str, split: str) -> list[tuple[str, str, int]]:
        """(digest, path, copy) of a split's images, in the order of its activations; copies above 0 are augmented."""
        return [
            (digest, path, copy)
            for listing in self._listings(dataset, split)
            for digest, path, copy in listing["images"]
        ]

    def image(
        self, dataset: str, split: str, index: int, *, root: str | Path | None = None
    ) -> Image:
        """The image that a row of a split's activations is of, in colour: with its word, where it is attacked.

        Args:
            dataset: by its name in the configuration.
            split: `train`, `validation` or `test`; `validation_attacked` and the like have words printed on images.
            index: its place in the split, from 0.
            root: the folder of your own images, which the store does not keep.

        Raises:
            ClipsteerError: the split has no such image, it is an augmented copy, or its file is missing or changed.
        """
        listings = self._listings(dataset, split)
        count = sum(len(listing["images"]) for listing in listings)
        index = whole(f"index of {split} of {dataset}", index, 0, count - 1)
        listing = next(one for one in reversed(listings) if one["start"] <= index)
        _, path, copy = listing["images"][index - listing["start"]]
        if copy:
            raise ClipsteerError(
                f"image: {index} of {split} is an augmented copy of {path}, which is drawn when it is read; "
                "expected an image of another split."
            )
        place: StoreTree | Path | None = None if root is None else Path(root)
        if (self._refs.root / dataset / "world.json").is_file() and root is None:  # painted
            world = self._refs.member(f"{dataset}/world.json").outputs["world"]
            place = StoreTree(self.store, world.digest)
        source = ImageSource(self.store, place, listing["images"], listing["start"], seed=None)
        return load_attacked(source.load, listing)(index)

    def _listings(self, dataset: str, split: str) -> list[dict[str, Any]]:
        """What each shard of a split is of: its `images`, the first one's place `start`; words, if any."""
        outputs = self._refs.member(f"{dataset}/activations/{split}/shards.json").outputs
        found = [json.loads(self.store.get_bytes(outputs[name].digest)) for name in outputs]
        return sorted(found, key=lambda listing: int(listing["start"]))

    def activations(
        self, dataset: str, split: str, layer: int, hook_point: str = "resid_post"
    ) -> Activations:
        """A layer's activations of a split; `numpy`, `torch` and `zarr` of it give the values."""
        return self._arrays(dataset, split, array_name(hook_point, layer))

    def embeddings(self, dataset: str, split: str) -> Activations:
        """The unmodified model's image embeddings (images, p), not normalised."""
        return self._arrays(dataset, split, EMBEDDING)

    # ---- results

    def table(self, name: str) -> pl.DataFrame:
        """A CSV of `results/` by its name, such as `celeba_table`."""
        path = self.folder / "results" / f"{name}.csv"
        if not path.is_file():
            there = sorted(found.stem for found in path.parent.glob("*.csv"))
            raise ClipsteerError(
                f"{path}: there is no such table; expected one of {', '.join(there) or 'none'}."
            )
        return pl.read_csv(path, infer_schema_length=None)

    # ---- pointers

    def _frame(self, pointer: str, output: str) -> pl.DataFrame:
        outputs = self._refs.member(pointer).outputs
        if output not in outputs:
            raise ClipsteerError(
                f"{self._refs.root / pointer}: found {', '.join(sorted(outputs))}, but no {output}."
            )
        return pl.read_parquet(io.BytesIO(self.store.get_bytes(outputs[output].digest)))

    def _arrays(self, dataset: str, split: str, array: str) -> Activations:
        found = self._refs.parts(dataset, split)
        if array not in found[0].outputs:
            raise ClipsteerError(
                f"{self._refs.root / dataset}/activations/{split}: found {', '.join(sorted(found[0].outputs))}, but no "
                f"{array}."
            )
        trees = tuple(StoreTree(self.store, member.outputs[array].digest) for member in found)
        spans = [(int(m.facts["start"]), int(m.facts["stop"])) for m in found]
        reader = ActivationReader(
            [(start, stop, tree) for (start, stop), tree in zip(spans, trees, strict=True)]
        )
        return Activations(reader, trees)

    def _model_folder(self, name: str) -> Path:
        return self._unfolded(self._refs.member(f"model/{name}.json"), "model")

    def _unfolded(self, member: Member, output: str) -> Path:
        return unfolded(self.store, member.outputs[output].digest)


def unfolded(store: ObjectStore, digest: str) -> Path:
    """A tree of a store as a folder of links, until this process ends."""
    folder = Path(_scratch().name, digest.replace(":", "_"))
    tree = StoreTree(store, digest)
    for path in tree.paths():
        place = folder / path
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(tree.local_path(path).resolve())
    return folder


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="clipsteer-")
