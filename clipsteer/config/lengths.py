"""How long trainings are, as far as it is known before anything runs, and which options do not suit that."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from clipsteer.activations.chunks import buffer_fault, shuffled_images
from clipsteer.backbones.shape import Shape
from clipsteer.config.model import vision
from clipsteer.config.used import (
    Config,
    dictionary_model,
    models,
    painted_count,
    section_of,
    tiny_models,
    typographic_dictionaries,
    typographic_models,
    used_dictionaries,
    used_models,
)
from clipsteer.errors import ClipsteerError
from clipsteer.training_length import training_steps, without_effect


def length_faults(config: Config, name: str, tower: Shape, base: Path) -> Iterator[str]:
    """A batch or a buffer that does not suit the number of tokens."""
    dictionary, key = config["dictionaries"][name], f"dictionaries.{name}.training"
    training, dataset = dictionary["training"], config["datasets"][dictionary["trained_on"]]
    images = _painted_images(dataset)
    if images is not None:
        try:
            training_steps(training, images * tower.n_tokens, key)
        except ClipsteerError as error:
            yield str(error)

    def fault(n_images: int | None) -> str:
        return buffer_fault(
            f"{key}.buffer_mb",
            training["buffer_mb"] * 2**20,
            batch_size=training["batch_size"],
            images=shuffled_images(tower.n_tokens, tower.width),
            n_tokens=tower.n_tokens,
            width=tower.width,
            n_images=n_images,
        )

    if (
        fault(None) and images is None
    ):  # a small split may still fit whole: only now it is worth reading labels
        images = _labelled_images(dataset, base)
    if images is not None and (found := fault(images)):
        yield found


def config_warnings(config: Config, base: Path) -> list[str]:
    """What of a valid config has no effect, as far as it is known how long its trainings are.

    Of images that are not painted, the job that trains counts them, and says the same in its log.
    """
    found: list[str] = []
    for model in tiny_models(config):
        if model in {*used_models(config), *typographic_models(config)}:
            tiny = models(config)[model]["tiny"]
            found += without_effect(tiny, tiny["steps"], f"{section_of(model)}.tiny")
    for name in dict.fromkeys([*used_dictionaries(config), *typographic_dictionaries(config)]):
        training = config["dictionaries"][name].get("training")
        tower = vision(config, base, dictionary_model(config, name)) if training else None
        if training and tower:
            images = _painted_images(config["datasets"][config["dictionaries"][name]["trained_on"]])
            if images is not None:
                key = f"dictionaries.{name}.training"
                steps = training_steps(training, images * tower.n_tokens, key)
                found += without_effect(training, steps, key)
    return found


def _labelled_images(dataset: Config, base: Path) -> int | None:
    """Training images of a folder, with their augmented copies; None where its labels cannot be read."""
    from clipsteer.store.trees import FolderTree

    layout = import_module(f"clipsteer.data.layouts.{dataset['layout']}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = layout.read(
                FolderTree(base / Path(dataset["root"]).expanduser()), **dataset.get("options", {})
            )
    except Exception:  # whatever it is, build_manifest says it better
        return None
    return int((rows["split"] == "train").sum()) * int(1 + dataset["augment"])


def _painted_images(dataset: Config) -> int | None:
    """Training images of a painted data set, with their augmented copies; None where it is not painted."""
    if dataset["root"] != "painted" or "painted" not in dataset:
        return None
    return painted_count(dataset, "train") * int(1 + dataset.get("augment", 0))
