"""What follows from a configuration without a look at any data: names, blocks of layers, places of pointers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from clipsteer.config.grid import candidates, has_grid, is_chosen, swept_points
from clipsteer.config.model import layers_of
from clipsteer.config.used import (
    dictionary_model,
    job_model,
    learns_from,
    model_of,
    models,
    tiny_models,
    typographic_dictionaries,
    typographic_models,
    used_models,
    valued,
    worlds_of,
)
from clipsteer.data.forms import may_pair
from clipsteer.dictionaries.sources import Source, source_of
from clipsteer.errors import ClipsteerError
from clipsteer.store.roots import REFS

MODEL = f"{REFS}/model/{{model}}.json"
"""The pointer of a model."""

VOCABULARY = f"{REFS}/vocabulary/{{model}}.json"
"""The pointer of the words whose probabilities a model gives."""

STEERED = f"{REFS}/{{dataset}}/{{dictionary}}/{{block}}"
"""The folder of the pointers that belong to a data set, a dictionary and a block of layers."""

DIRECTED = f"{REFS}/{{dataset}}/directions/{{hook_point}}/{{block}}"
"""The folder of those that belong to a data set, a hook point and a block of layers, without a dictionary."""


class Outline:
    """A validated configuration in a checkout (`base`) and a working directory (`folder`), as rules see it.

    `tables`: data set -> its dictionaries, of the tables that have any; `valued`: the same of those whose worth is
    told, also of data sets without a table. `parts`: the numbers of the jobs that one split's extraction is cut into.
    `models`: the settings of each by its name. `tiny_models`: those that are pre-trained here. `vocabulary`: the user's
    file of entries, None where a model's own words are taken.
    """

    def __init__(self, config: Mapping[str, Any], base: Path, folder: Path) -> None:
        self.config, self.base, self.folder = config, base, folder
        self.store = Path(config["store"]["root"]).expanduser()
        self.datasets: Mapping[str, Any] = config["datasets"]
        self.dictionaries: Mapping[str, Any] = config["dictionaries"]
        self.tables = {dataset: names for dataset, names in config["tables"].items() if names}
        self.valued = valued(config)
        self.parts = range(config["jobs"]["extraction_parts"])
        self.models = models(config)
        self.tiny_models = tiny_models(config)
        words = config["vocabulary"]["source"]
        self.vocabulary = None if words == "model" else Path(words).expanduser()
        # asked for many times
        self._layers = cache(lambda model: layers_of(config, folder, model))
        self._blocks = cache(
            lambda model: blocks(self._layers(model), config["jobs"]["layers_per_job"])
        )

    # ---- models

    @property
    def taken_models(self) -> list[str]:
        """The models that are taken into the store: all but those that are pre-trained here."""
        return [name for name in self.models if name not in self.tiny_models]

    def worlds(self, model: str) -> list[str]:
        """The data sets that a model which is pre-trained here learns from."""
        return worlds_of(self.config, model)

    def local_model(self, model: str) -> Path | None:
        """The folder of a model of the user's; None for one that is pre-trained here or has a hub name."""
        source = Path(self.models[model]["source"]).expanduser()
        local = model in self.taken_models and (self.folder / source).is_dir()
        return source if local else None

    def captioned(self, wildcards: Any) -> list[str]:
        """The worlds whose captions are the vocabulary of the job's model; none where it is from elsewhere."""
        return self.worlds(self.model_of(wildcards)) if self.vocabulary is None else []

    def model_of(self, wildcards: Any) -> str:
        """The model of a job."""
        names = ("model", "dataset", "dictionary")
        found = {name: str(getattr(wildcards, name)) for name in names if hasattr(wildcards, name)}
        return job_model(self.config, found)

    def dictionary_model(self, dictionary: str) -> str:
        """The model that a dictionary is for."""
        return dictionary_model(self.config, dictionary)

    def layers(self, model: str) -> list[int]:
        """The layers of a model that are extracted and edited."""
        return self._layers(model)

    def blocks_of(self, model: str) -> dict[str, list[int]]:
        """The same by blocks, as many layers as one job handles."""
        return self._blocks(model)

    def blocks(self, dataset: str) -> list[str]:
        """The names of the blocks of the model that sees a data set."""
        return list(self.blocks_of(model_of(self.config, dataset)))

    @cached_property
    def every_block(self) -> list[str]:
        """Those of all models that are used."""
        used = {*used_models(self.config), *typographic_models(self.config)}
        return sorted({block for model in used for block in self.blocks_of(model)})

    def block(self, wildcards: Any) -> list[int]:
        """The layers of a job's block. Raises ClipsteerError where the job's model has none of that name."""
        model = self.model_of(wildcards)
        found = self.blocks_of(model)
        if wildcards.block not in found:
            raise ClipsteerError(
                f"{wildcards.block}: found no such block of layers of the model {model}, expected "
                f"{' or '.join(found)}. Name a result of its own."
            )
        return found[wildcards.block]

    # ---- data sets and dictionaries

    def is_painted(self, dataset: str) -> bool:
        return bool(self.datasets[dataset]["root"] == "painted")

    def root(self, dataset: str) -> Path:
        """The user's folder of a data set that is not painted."""
        return Path(self.datasets[dataset]["root"]).expanduser()

    def is_trained(self, dictionary: str) -> bool:
        """Whether it is an SAE, trained here or by others: the neuron basis is not."""
        return bool(self.dictionaries[dictionary]["architecture"] != "neurons")

    def is_imported(self, dictionary: str) -> bool:
        """Whether others have trained it."""
        return bool(self.dictionaries[dictionary]["architecture"] == "imported")

    @property
    def trained(self) -> list[str]:
        """The dictionaries that are SAEs."""
        return [name for name in self.dictionaries if self.is_trained(name)]

    @property
    def trained_here(self) -> list[str]:
        """Those of them that are trained in a run."""
        return [name for name in self.trained if not self.is_imported(name)]

    @property
    def imported(self) -> list[str]:
        """Those of them that are not."""
        return [name for name in self.trained if self.is_imported(name)]

    @cached_property
    def used_imported(self) -> list[str]:
        """The imported ones that some table asks for."""
        used = {name for names in self.valued.values() for name in names}
        used |= {*typographic_dictionaries(self.config)}
        return [name for name in self.imported if name in used]

    def learns_from(self, dictionary: str) -> str | None:
        """The data set that a dictionary is trained on here."""
        return learns_from(self.dictionaries[dictionary])

    def source(self, dictionary: str, layer: int) -> Source:
        """Where an imported dictionary has a layer from."""
        settings = self.dictionaries[dictionary]
        return source_of(settings, layer, self.folder, f"dictionaries.{dictionary}")

    # ---- grids

    def is_chosen(self, dictionary: str) -> bool:
        """Whether a dictionary is the point of its grid that quality chooses on a table's validation images."""
        return is_chosen(self.dictionaries[dictionary])

    @property
    def chosen(self) -> list[str]:
        """The dictionaries that are."""
        return [name for name in self.trained_here if self.is_chosen(name)]

    def candidates(self, dictionary: str) -> list[str]:
        """The dictionaries that are trained for one: the points that may be chosen, or it alone."""
        if not self.is_chosen(dictionary):
            return [dictionary]
        return list(candidates(self.config, dictionary))

    def with_grids(self, table: str) -> list[str]:
        """The dictionaries of a table that have a grid."""
        return [name for name in self.tables.get(table, []) if has_grid(self.dictionaries[name])]

    def points(self, table: str) -> list[str]:
        """All points of their grids."""
        grids = (swept_points(self.config, name) for name in self.with_grids(table))
        return list(dict.fromkeys(point for found in grids for point in found))

    @property
    def told(self) -> dict[str, Any]:
        """What pointers do not say: into which jobs layers and images are cut, and what dictionaries are."""
        return {
            "cut": [*self.every_block, *(f"part_{part}" for part in self.parts)],
            "dictionaries": {
                name: {
                    "architecture": settings["architecture"],
                    "hook_point": settings["hook_point"],
                    "model": self.dictionary_model(name),
                    "chosen": is_chosen(settings),
                }
                for name, settings in self.dictionaries.items()
            },
        }

    @property
    def swept(self) -> list[str]:
        """The tables that have any."""
        return [table for table in self.tables if self.with_grids(table)]

    def hook_points(self, table: str) -> list[str]:
        """Where a table's dictionaries read and edit, each once."""
        names = self.tables.get(table, [])
        return list(dict.fromkeys(str(self.dictionaries[name]["hook_point"]) for name in names))

    @property
    def every_hook_point(self) -> list[str]:
        """Those of all tables."""
        return sorted({point for table in self.tables for point in self.hook_points(table)})

    # ---- typographic attacks

    @cached_property
    def tuned(self) -> list[str]:
        """The data set that defences against typographic attacks are chosen on; none where there is no benchmark."""
        settings = self.config["typographic"]
        return [settings["tuned_on"]] if settings["benchmarks"] else []

    @property
    def patched(self) -> list[str]:
        """The same where weights are patched, too."""
        return self.tuned if self.config["typographic"]["patching"]["epochs"] else []

    @cached_property
    def typographic(self) -> list[str]:
        """It, and the benchmarks, each once."""
        return list(dict.fromkeys([*self.tuned, *self.config["typographic"]["benchmarks"]]))

    @property
    def benchmarks(self) -> list[str]:
        """Those of them that the table is about."""
        return list(self.config["typographic"]["benchmarks"])

    @property
    def attacked(self) -> list[str]:
        """Those of them that a word is printed on."""
        return [name for name in self.typographic if "attack" in self.datasets[name]]

    @property
    def in_folders(self) -> list[str]:
        """The data sets whose classes are folders, instead of a target."""
        return [name for name, of in self.datasets.items() if of["layout"] == "imagenet"]

    @property
    def targeted(self) -> list[str]:
        """All others."""
        return [name for name in self.datasets if name not in self.in_folders]

    @property
    def paired(self) -> list[str]:
        """The tables whose test images may have pairs."""
        return [table for table in self.tables if may_pair(self.datasets[table])]

    def copies(self, dataset: str, split: str) -> int:
        """Augmented copies of each image in a split."""
        return int(self.datasets[dataset]["augment"]) if split == "train_augmented" else 0

    def training_splits(self, dataset: str) -> list[str]:
        """What a dictionary learns from: the training split, with its augmented copies if there are any."""
        return ["train"] + ["train_augmented"] * bool(self.datasets[dataset]["augment"])


def blocks(layers: list[int], size: int) -> dict[str, list[int]]:
    """The layers cut into blocks of at most `size`, by name: layers_00-02."""
    runs = [layers[i : i + size] for i in range(0, len(layers), size)]
    return {f"layers_{run[0]:02d}-{run[-1]:02d}": run for run in runs}


def one_of(names: Iterable[object]) -> str:
    """The pattern of a wildcard that is one of some names; without any it is a word that no target has."""
    return "|".join(map(str, names)) or "none"
