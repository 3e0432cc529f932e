"""What steps on attacked and clean images read of a place, and the network from there on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clipsteer.activations.inputs import EMBEDDING, array_inputs, hook_inputs, open_reader
from clipsteer.dictionaries.inputs import open_dictionary
from clipsteer.steering.inputs import resumed_evaluator, stored_batches

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image

    from clipsteer.activations.reader import ActivationReader
    from clipsteer.backbones.base import Backbone
    from clipsteer.defences.descent import AttackedPairs
    from clipsteer.dictionaries.base import Dictionary
    from clipsteer.runner.step import Job, Run
    from clipsteer.steering.evaluator import Evaluator

BLOCK_IMAGES = 64
"""Images of a block of sums."""

Batches = Iterator[tuple[int, "np.ndarray"]]


def view_inputs(job: Job, layer: int, views: Sequence[str]) -> dict[str, str]:
    """Digests of a layer's activations and of the embeddings of each view, the name of an input with shards."""
    found: dict[str, str] = {}
    for view in views:
        if not job.inputs[view].members:
            continue  # of photographs there is no attacked view besides
        found |= hook_inputs(job, layer, f"{view}/", view)
        found |= array_inputs(job, EMBEDDING, f"{view}/embedding", view)
    return found


_TRAINED = ("train", "train_attacked")


def steps_of(settings: Mapping[str, Any], pairs: int) -> int:
    """How many steps a defence is trained for: each epoch's last one may be of fewer than `batch_size` pairs."""
    return int(settings["epochs"]) * -(-pairs // int(settings["batch_size"]))


def trained_inputs(job: Job) -> dict[str, str]:
    """Digests of the pairs that a defence is trained on: embeddings of both views, and classes."""
    inputs = {"labels": job.output("classes", "labels_train")}
    for view in _TRAINED:
        inputs |= array_inputs(job, EMBEDDING, f"{view}/embedding", view)
    return inputs


def trained_pairs(run: Run, device: torch.device | str) -> AttackedPairs:
    """These pairs, on `device`."""
    import torch

    from clipsteer.defences.descent import AttackedPairs
    from clipsteer.tables import read_parquet

    clean, attacked = (
        torch.nn.functional.normalize(embeddings(run, view).to(device), dim=-1) for view in _TRAINED
    )
    targets = read_parquet(run.blob("labels"))["target"].to_numpy().astype("int64")
    return AttackedPairs(clean, attacked, torch.from_numpy(targets).to(device))


def image_inputs(job: Job, views: Sequence[str]) -> dict[str, str]:
    """Digests of the lists of images of each view, the name of an input."""
    return {
        f"{view}/{shard}": job.output(view, shard, member)
        for view in views
        for member, lists in job.inputs[view].members.items()  # of photographs none, as above
        for shard in sorted(lists.outputs)
    }


@dataclass(frozen=True)
class Images:
    """How many there are, and how each is loaded by its row."""

    count: int
    load: Callable[[int], Image]


def view_images(run: Run, view: str) -> Images:
    """The images of a view, attacked ones with their words on them."""
    from clipsteer.data.source import ImageSource
    from clipsteer.data.words import load_attacked

    loads, starts, count = list[Callable[[int], "Image"]](), list[int](), 0
    for name in sorted(name for name in run.inputs if name.startswith(f"{view}/")):
        listing = run.json(name)
        listed, start, place = listing["images"], listing["start"], run.files(run.runtime.name)
        source = ImageSource(run.store, place, listed, start, seed=None)
        loads.append(load_attacked(source.load, listing))
        starts.append(start)
        count = start + len(listed)
    return Images(count, lambda row: loads[bisect_right(starts, row) - 1](row))


def has_view(run: Run, view: str) -> bool:
    """Whether the action was given images of a view."""
    return any(name.startswith(f"{view}/") for name in run.inputs)


def embeddings(run: Run, view: str) -> torch.Tensor:
    """Embeddings (N, p) of a view, as the unmodified model's own pass gave them."""
    import torch

    reader = open_reader(run, f"{view}/embedding")
    return torch.from_numpy(reader.read(0, reader.n_images).astype("float32"))


def chained(*readers: ActivationReader) -> Batches:
    """The images of one reader after the other, as one run of images in batches."""
    start = 0
    for reader in readers:
        for first, x in reader.batches(BLOCK_IMAGES):
            yield start + first, x
        start += reader.n_images


@dataclass(frozen=True, eq=False)
class Place:
    """One layer of the model: its dictionary, and an evaluator for each view."""

    run: Run
    backbone: Backbone
    dictionary: Dictionary

    @classmethod
    def of(cls, run: Run, view: str) -> Place:
        """Of an action's inputs `model` and, but for the neuron basis, `dictionary`."""
        from clipsteer.activations.inputs import open_backbone
        from clipsteer.dictionaries.tokens import suited

        backbone = open_backbone(run)
        reader = open_reader(run, f"{view}/activations")
        dictionary = suited(open_dictionary(run, reader.width, backbone.device), backbone.cls)
        return cls(run, backbone, dictionary)

    def reader(self, view: str) -> ActivationReader:
        """The layer's activations of a view."""
        return open_reader(self.run, f"{view}/activations")

    def evaluator(
        self, view: str, classify: Callable[[torch.Tensor], np.ndarray], reads: Any = None
    ) -> Evaluator:
        """What predicts a view's images under edits here."""
        batches = stored_batches(self.run, self.backbone, self.reader(view), f"{view}/")
        settings = {**self.run.recipe, "error_term": "keep"}
        found = resumed_evaluator(
            self.backbone, self.dictionary, batches, classify, settings, "typographic.tokens"
        )
        return found if reads is None else replace(found, reads=reads)


def both(run: Run, clean: str, attacked: str) -> Batches:
    """The activations of clean images, then of the same attacked."""
    return chained(
        open_reader(run, f"{clean}/activations"), open_reader(run, f"{attacked}/activations")
    )
