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
from clipsteer.dictionaries.neurons import NeuronBasis
from clipsteer.errors import ClipsteerError, close_match
from clipsteer.front.placed import Placed, Vocabulary, read_placed
from clipsteer.steering.choose import CONDITIONS
from clipsteer.store.layout import FORMAT_FILE
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, read_pointer
from clipsteer.store.roots import REFS
from clipsteer.store.state import noted_stores
from clipsteer.store.trees import StoreTree

if TYPE_CHECKING:
    import zarr
    from PIL.Image import Image

_DEFAULT_STORE = "artifacts"


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
        """Images [start, stop) as float32, (n, tokens, d)."""
        stop = self.reader.n_images if stop is None else stop
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
        self._refs = folder / REFS
        places = [store] if store else [*noted_stores(folder), folder / _DEFAULT_STORE]
        found = next((place for place in places if (place / FORMAT_FILE).exists()), None)
        if found is None or not self._refs.is_dir():
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

        head = self._member(f"{dataset}/head.json").outputs["head"]
        return load(self.store.get_bytes(head.digest))["head"]

    def class_names(self, dataset: str) -> list[str]:
        """What its classes are called, in the order of the head's rows."""
        return list(self._member(f"{dataset}/head.json").facts["class_names"])

    def vocabulary(self, model: str = "model") -> Vocabulary:
        """The words whose probabilities steerability is measured on, with their embeddings."""
        from safetensors.torch import load

        outputs = self._member(f"vocabulary/{model}.json").outputs
        words = json.loads(self.store.get_bytes(outputs["words"].digest))
        rows = load(self.store.get_bytes(outputs["embeddings"].digest))["vocabulary"]
        return Vocabulary(words, rows)

    # ---- dictionaries and feature sets

    def dictionary(
        self, name: str, layer: int, *, hook_point: str = "resid_post", model: str = "model"
    ) -> Placed:
        """A dictionary by its name in the configuration; `hook_point` and `model` are read for neurons alone."""
        if name == "neurons":
            width = read_shape(self._model_folder(model)).width
            return Placed(NeuronBasis(width), layer, hook_point)
        member = self._layer(f"dictionaries/{name}", "", name, layer)
        return read_placed(self._unfolded(member, "dictionary"), None, None)

    def dictionaries(self) -> pl.DataFrame:
        """Every trained dictionary: `dictionary`, `layer`, `hook_point`, `architecture`, `d`, `m`."""
        rows = []
        for pointer in sorted(self._refs.glob("dictionaries/*/layers_*.json")):
            for name, member in read_pointer(pointer).members.items():
                tree = StoreTree(self.store, member.outputs["dictionary"].digest)
                about = json.loads(tree.read("dictionary.json"))
                own = {key: about[key] for key in ("architecture", "d", "m")}
                placed = {key: about["metadata"][key] for key in ("layer", "hook_point")}
                rows.append({"dictionary": name.partition("/")[0], **placed, **own})
        return pl.DataFrame(rows)

    def feature_set(
        self, dataset: str, dictionary: str, layer: int, condition: str = "strict"
    ) -> np.ndarray:
        """The features F (|F|,) int64 that were chosen at a place, by falling difference of Eq. 9."""
        if condition not in CONDITIONS:
            raise ClipsteerError(
                f"condition: found {condition!r}, expected {' or '.join(CONDITIONS)}."
            )
        member = self._layer(f"{dataset}/{dictionary}", "selection.json", dictionary, layer)
        chosen = json.loads(self.store.get_bytes(member.outputs["selection"].digest))
        return np.asarray(chosen[condition]["features"], dtype=np.int64)

    def has_selection(self, dataset: str, dictionary: str) -> bool:
        """Whether features of a dictionary were chosen on a data set."""
        return any(self._refs.glob(f"{dataset}/{dictionary}/layers_*/selection.json"))

    def feature_sets(self, dataset: str) -> pl.DataFrame:
        """Those of the table's rows: one row a feature (docs/configuration.md has the columns)."""
        return self.table(f"{dataset}_feature_sets")

    # ---- data

    def manifest(self, dataset: str) -> pl.DataFrame:
        """Every image of a data set: path, digest, split, labels."""
        return self._frame(f"{dataset}/manifest.json", "manifest")

    def labels(self, dataset: str, split: str) -> pl.DataFrame:
        """Target, spurious value and group of a split's images, in the order of its activations."""
        return self._frame(f"{dataset}/manifest.json", f"labels_{split}")

    def images(self, dataset: str, split: str) -> list[tuple[str, str, int]]:
        """(digest, path, copy) of a split's images, in the order of its activations; copies above 0 are augmented."""
        outputs = self._member(f"{dataset}/activations/{split}/shards.json").outputs
        return [
            (digest, path, copy)
            for _, output in sorted(outputs.items())
            for digest, path, copy in json.loads(self.store.get_bytes(output.digest))["images"]
        ]

    def image(
        self, dataset: str, split: str, index: int, *, root: str | Path | None = None
    ) -> Image:
        """An image of a split, in colour. `root`: the folder of your own images, which the store does not keep."""
        images = self.images(dataset, split)
        if not 0 <= index < len(images):
            raise ClipsteerError(
                f"image: found {index}; {split} of {dataset} has 0 to {len(images) - 1}."
            )
        digest, path, copy = images[index]
        if copy:
            raise ClipsteerError(
                f"image: {index} of {split} is an augmented copy of {path}, which is drawn when it is read; "
                "expected an image of another split."
            )
        place: StoreTree | Path | None = None if root is None else Path(root)
        if (self._refs / dataset / "world.json").is_file() and root is None:  # painted
            world = self._member(f"{dataset}/world.json").outputs["world"]
            place = StoreTree(self.store, world.digest)
        return ImageSource(self.store, place, [(digest, path, 0)], 0, seed=None).load(0)

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

    def _member(self, pointer: str, name: str = "all") -> Member:
        path = self._refs / pointer
        if not path.is_file():
            raise ClipsteerError(
                f"{path}: there is no such result; run `snakemake {REFS}/{pointer}` in {self.folder} to make it."
            )
        members: Mapping[str, Member] = read_pointer(path).members
        return members[name]

    def _layer(self, place: str, file: str, name: str, layer: int) -> Member:
        """The member of one layer, in whichever block of layers it lies."""
        pattern = f"{place}/layers_*/{file}" if file else f"{place}/layers_*.json"
        wanted, there = f"{name}/layer_{layer:02d}", set[str]()
        for path in sorted(self._refs.glob(pattern)):
            members = read_pointer(path).members
            if wanted in members:
                return members[wanted]
            there |= {member.rpartition("_")[2] for member in members}
        at = self._refs / place
        others = [] if there else sorted(path.name for path in at.parent.glob("*"))
        raise ClipsteerError(
            f"{at}: there is nothing of layer {layer}; found layers {', '.join(sorted(there)) or 'none'}."
            + close_match(at.name, others)
        )

    def _frame(self, pointer: str, output: str) -> pl.DataFrame:
        outputs = self._member(pointer).outputs
        if output not in outputs:
            raise ClipsteerError(
                f"{self._refs / pointer}: found {', '.join(sorted(outputs))}, but no {output}."
            )
        return pl.read_parquet(io.BytesIO(self.store.get_bytes(outputs[output].digest)))

    def _arrays(self, dataset: str, split: str, array: str) -> Activations:
        parts = sorted(self._refs.glob(f"{dataset}/activations/{split}/part_*.json"))
        members = {
            name: member for part in parts for name, member in read_pointer(part).members.items()
        }
        found = [(member, name) for name, member in sorted(members.items())]
        if not found or array not in found[0][0].outputs:
            there = sorted(found[0][0].outputs) if found else ["nothing"]
            raise ClipsteerError(
                f"{self._refs / dataset}/activations/{split}: found {', '.join(there)}, but no {array}."
            )
        trees = tuple(StoreTree(self.store, member.outputs[array].digest) for member, _ in found)
        spans = [(int(m.facts["start"]), int(m.facts["stop"])) for m, _ in found]
        reader = ActivationReader(
            [(start, stop, tree) for (start, stop), tree in zip(spans, trees, strict=True)]
        )
        return Activations(reader, trees)

    def _model_folder(self, name: str) -> Path:
        return self._unfolded(self._member(f"model/{name}.json"), "model")

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
