"""What recipes have that is no key of the configuration as it stands.

`USES` and `CUT` of a step's script name the methods (clipsteer/runner/declared.py). Each is given Snakemake's
wildcards, whose values are the wildcards' names in the rule's output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clipsteer.config import grid
from clipsteer.config.model import model_shape
from clipsteer.config.used import (
    attribute_value,
    is_photographed,
    model_of,
    typographic_dictionaries,
    typographic_models,
)
from clipsteer.data.fonts import fonts_known
from clipsteer.data.forms import ATTACKED, CURATED_WORDS, papers_attributes, unconcerned
from clipsteer.dictionaries.sources import published
from clipsteer.report.page_files import files as page_files
from clipsteer.report.paper import files as paper_files
from clipsteer.report.paper import quality_files, table1_files, table2_files
from clipsteer.store.digest import digest_file
from clipsteer.workflow.outline import Outline
from clipsteer.workflow.related import relations
from clipsteer.workflow.released import expected

# Layers and width of the paper's model, and the expansion of its dictionaries.
_B32, _EXPANSION = (12, 768), 64


class Derived:
    """What follows from one configuration."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline

    # ---- which part of a step's work a job does

    def layers(self, wildcards: Any) -> list[int]:
        """Those of the job's block."""
        return self._outline.block(wildcards)

    def split(self, wildcards: Any) -> str:
        """The split as a rule names it: `train_augmented` for the copies."""
        return str(wildcards.split)

    def part(self, wildcards: Any) -> int:
        """The number of the job among those of its split."""
        return int(wildcards.part)

    def parts(self, wildcards: Any) -> int:
        """How many jobs a split is cut into."""
        return len(self._outline.parts)

    # ---- images

    def dataset(self, wildcards: Any) -> str:
        """The data set's name."""
        return str(wildcards.dataset)

    def painted_or_files(self, wildcards: Any) -> str:
        """Where images come from; a folder counts by the content of its files, not by its name."""
        return "painted" if self._outline.is_painted(wildcards.dataset) else "files"

    def names_given(self, wildcards: Any) -> Sequence[str]:
        """The names of the classes; none where the layout has its own."""
        names: Sequence[str] = self._outline.datasets[wildcards.dataset].get("class_names", [])
        return names

    def split_of_images(self, wildcards: Any) -> str:
        """The split that the images stand in, whose copies may be meant."""
        return self.split(wildcards).removesuffix("_augmented").removesuffix(ATTACKED)

    def copies(self, wildcards: Any) -> int:
        """Augmented copies of each image in the split."""
        return self._outline.copies(wildcards.dataset, wildcards.split)

    def where_copied(self, wildcards: Any) -> int | None:
        """The seed, where there are augmented copies: nothing else is drawn."""
        return int(self._outline.config["seed"]) if self.copies(wildcards) else None

    def attribute_value(self, wildcards: Any) -> int:
        """The spurious value whose images are D_A: the data set's own, or that of all tables."""
        return attribute_value(self._outline.config, wildcards.dataset)[1]

    def attribute_needed(self, wildcards: Any) -> int | None:
        """The same, which some image must have; None where no table compares it."""
        return (
            self.attribute_value(wildcards) if wildcards.dataset in self._outline.tables else None
        )

    def unconcerned(self, wildcards: Any) -> dict[str, Sequence[str]]:
        """The attributes that edits are not meant to concern, with their prompts."""
        return unconcerned(self._outline.datasets[wildcards.dataset])

    def words_of_folders(self, wildcards: Any) -> str | None:
        """Where the names of classes in folders are from; None where classes are no folders."""
        in_folders = wildcards.dataset in self._outline.in_folders
        return self._outline.datasets[wildcards.dataset]["class_words"] if in_folders else None

    def curated(self, wildcards: Any) -> str | None:
        """The digest of the curated names of ImageNet's classes, where they are taken: data that a step reads."""
        words = self._outline.datasets[wildcards.dataset]["class_words"]
        return digest_file(CURATED_WORDS) if words == "open_clip" else None

    # ---- the model and its activations

    def hub_name(self, wildcards: Any) -> dict[str, Any] | None:
        """What the hub calls the model; None of a folder, which counts by what its token says of its files."""
        name = self._outline.model_of(wildcards)
        local, model = self._outline.local_model(name), self._outline.models[name]
        return None if local else {k: model[k] for k in ("source", "revision")}

    def model_shape(self, wildcards: Any) -> list[int | None]:
        """Layers and width."""
        model = self._outline.model_of(wildcards)
        return list(model_shape(self._outline.config, self._outline.folder, model))

    def all_layers(self, wildcards: Any) -> list[int]:
        """Those that are extracted."""
        return self._outline.layers(self._outline.model_of(wildcards))

    def with_resid_post(self, wildcards: Any) -> list[str]:
        """The hook points, and the one that evaluation resumes from."""
        return sorted({*self._outline.config["activations"]["hook_points"], "resid_post"})

    def words_from(self, wildcards: Any) -> str:
        """Where the vocabulary is from: `captions`, the model's `tokenizer`, or the digest of the user's file."""
        if self._outline.vocabulary is not None:
            return digest_file(self._outline.folder / self._outline.vocabulary)
        return "captions" if self._outline.captioned(wildcards) else "tokenizer"

    # ---- trained dictionaries

    def training_seed(self, wildcards: Any) -> int:
        """The dictionary's own, or the run's."""
        return grid.seed_of(self._outline.config, self._outline.dictionaries[wildcards.dictionary])

    # ---- grids

    def choice(self, wildcards: Any) -> dict[str, Any]:
        """How a point of the dictionary's grid is taken."""
        return self._choice(wildcards.dictionary)

    def candidates(self, wildcards: Any) -> list[dict[str, Any]]:
        """The settings of the points that it is taken among, of the keys that the grid lists."""
        config, name = self._outline.config, wildcards.dictionary
        found = grid.candidates(config, name).values()
        return [self._values(point, config["dictionaries"][name]["grid"]) for point in found]

    def candidate_names(self, wildcards: Any) -> list[str]:
        """What they are called, in the same order."""
        return self._outline.candidates(wildcards.dictionary)

    def sweeps(self, wildcards: Any) -> list[dict[str, Any]]:
        """The grids of a table's dictionaries, with their points."""
        return [self._sweep(name) for name in self._outline.with_grids(wildcards.dataset)]

    def relations(self, wildcards: Any) -> list[dict[str, Any]]:
        """Pairs of dictionaries that are compared, and how the two are related."""
        return relations(self._outline, wildcards.dataset)

    def compared(self, wildcards: Any) -> list[list[str]]:
        """The pairs alone, each once."""
        found = (relation["dictionaries"] for relation in self.relations(wildcards))
        return [list(pair) for pair in dict.fromkeys(map(tuple, found))]

    def _sweep(self, name: str) -> dict[str, Any]:
        config, settings = self._outline.config, self._outline.dictionaries[name]
        own = {**settings.get("training", {}), "seed": grid.seed_of(config, settings)}
        found = {
            point: self._values(of, own) for point, of in grid.swept_points(config, name).items()
        }
        return {
            "name": name,
            **{key: settings[key] for key in ("architecture", "trained_on", "hook_point")},
            "choice": self._choice(name),
            "keys": grid.swept(config, name),
            "candidates": list(grid.candidates(config, name)),
            "points": [
                {"name": point, "values": values, "own": values == own}
                for point, values in found.items()
            ],
        }

    def _choice(self, name: str) -> dict[str, Any]:
        settings = self._outline.dictionaries[name]
        return {"by": settings.get("choose", "fixed"), **settings.get("rule", {})}

    def _values(self, point: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
        """Of a point the values of some keys of training, and the seed."""
        values = {**point["training"], "seed": grid.seed_of(self._outline.config, point)}
        return {key: values.get(key) for key in keys}

    # ---- released dictionaries

    def release(self, wildcards: Any) -> dict[str, Any]:
        """What the configuration expects of the files."""
        return expected(self._outline, wildcards.dictionary)

    def published(self, wildcards: Any) -> dict[str, Any]:
        """What is published of each of the block's layers, where anything is."""
        layers = self.layers(wildcards)
        rows = {
            str(layer): published(self._outline.source(wildcards.dictionary, layer))
            for layer in layers
        }
        return {layer: dict(row) for layer, row in rows.items() if row}

    def stops(self, wildcards: Any) -> bool:
        """Whether a dictionary that does not fit stops the run."""
        return bool(self._outline.dictionaries[wildcards.dictionary].get("check") != "report")

    # ---- baselines

    def hook_point(self, wildcards: Any) -> str:
        """The one that a rule names, where no dictionary does."""
        return str(wildcards.hook_point)

    def neurons(self, wildcards: Any) -> str:
        """The architecture of a step on the layer's own basis."""
        return "neurons"

    def trained(self, wildcards: Any) -> list[list[str]]:
        """Name and hook point of those of the table's dictionaries that are trained, in the table's order."""
        return [[name, hook] for name, hook in self.hook_points(wildcards).items()]

    # ---- steerability

    def stop_below(self, wildcards: Any) -> float | None:
        """The S_f below which a feature is left early; None where all images are looked at."""
        settings = self._outline.config["steerability"]
        return float(settings["gamma"]) if settings["early_stop"] else None

    # ---- typographic attacks

    def photographed(self, wildcards: Any) -> bool:
        """Whether images have words of their own, which their layout names."""
        return is_photographed(self._outline.datasets[wildcards.dataset])

    def fonts(self, wildcards: Any) -> list[list[str]]:
        """File and digest of each font that a data set's words are printed in."""
        names = self._outline.datasets[wildcards.dataset]["attack"]["fonts"]
        return fonts_known(names, self._outline.folder)

    def typographic_places(self, wildcards: Any) -> list[list[Any]]:
        """Name, hook point and architecture of each dictionary of the typographic table, and whether it is the paper's.

        That is, an SAE of expansion 64, or neurons, of a model of 12 layers of width 768 (ViT-B/32's).
        """
        outline = self._outline
        found: list[list[Any]] = []
        for name in typographic_dictionaries(outline.config):
            settings = outline.dictionaries[name]
            (model,) = typographic_models(outline.config)
            size = model_shape(outline.config, outline.folder, model)
            expansion = settings.get("training", {}).get("expansion", _EXPANSION)
            papers = size in (_B32, (None, None)) and expansion == _EXPANSION
            found.append([name, settings["hook_point"], settings["architecture"], papers])
        return found

    def typographic_datasets(self, wildcards: Any) -> list[list[str]]:
        """Name of each data set of the typographic table, and whether its images are `painted` or `real`."""
        found = []
        for name in self._outline.typographic:
            tiny = model_of(self._outline.config, name) in self._outline.tiny_models
            painted = tiny or self._outline.is_painted(name)
            found.append([name, "painted" if painted else "real"])
        return found

    def typographic_model(self, wildcards: Any) -> str:
        """What tables call the model of the typographic table."""
        names = (self._outline.models[m]["name"] for m in typographic_models(self._outline.config))
        return str(next(names, ""))  # without benchmarks there is none, which the step says

    def typographic_crop(self, wildcards: Any) -> str:
        """Whose centre crop the images of that model get."""
        (model,) = typographic_models(self._outline.config) or ["model"]
        return str(self._outline.models[model]["crop"])

    def papers_defences(self, wildcards: Any) -> list[str]:
        """The published numbers of Table 2."""
        return [digest_file(path) for path in table2_files()]

    # ---- tables

    def places(self, wildcards: Any) -> list[list[str]]:
        """Name, hook point and architecture of each of the table's dictionaries, in the table's order."""
        names = self._outline.tables[wildcards.dataset]
        settings = self._outline.dictionaries
        return [[n, *(settings[n][key] for key in ("hook_point", "architecture"))] for n in names]

    def architectures(self, wildcards: Any) -> list[str]:
        """Those of the table's dictionaries, each once."""
        return sorted({kind for _, _, kind in self.places(wildcards)})

    def trained_architectures(self, wildcards: Any) -> list[str]:
        """The same of those that are trained."""
        return [kind for kind in self.architectures(wildcards) if kind != "neurons"]

    def images_from(self, wildcards: Any) -> str:
        """What tables say of where the images are from; a tiny CLIP makes no real result either."""
        tiny = self._outline.model_of(wildcards) not in self._outline.taken_models
        painted = tiny or self._outline.is_painted(wildcards.dataset)
        return "painted" if painted else "real"

    def papers_attributes(self, wildcards: Any) -> bool:
        """Whether target and spurious attribute are the paper's."""
        return papers_attributes(self._outline.datasets[wildcards.dataset])

    def paper(self, wildcards: Any) -> list[str]:
        """The published numbers: data that a step reads, so they count by content."""
        return [digest_file(path) for path in paper_files()]

    def papers_best(self, wildcards: Any) -> list[str]:
        """The same of Table 1."""
        return [digest_file(path) for path in table1_files()]

    def papers_quality(self, wildcards: Any) -> list[str]:
        """The same of Tables 3 and 4."""
        return [digest_file(path) for path in quality_files()]

    def page_files(self, wildcards: Any) -> list[str]:
        """Template, style and program of pages of features: data too."""
        return [digest_file(path) for path in page_files()]

    def tables(self, wildcards: Any) -> list[str]:
        """The data sets that have a table."""
        return list(self._outline.tables)

    def hook_points(self, wildcards: Any) -> dict[str, str]:
        """Those of the table's dictionaries that are trained."""
        trained = filter(self._outline.is_trained, self._outline.tables[wildcards.dataset])
        return {name: self._outline.dictionaries[name]["hook_point"] for name in trained}

    def shown(self, wildcards: Any) -> list[dict[str, Any]]:
        """What a table says of each of its dictionaries."""
        return [self._shown(name) for name in self._outline.tables[wildcards.dataset]]

    def valued(self, wildcards: Any) -> list[dict[str, Any]]:
        """The same of those whose worth on the data set is told, and how the loss of each is weighed."""
        names = self._outline.valued[wildcards.dataset]
        return [{**self._shown(name), **self._told(name, ("l1", "mse"))} for name in names]

    def _shown(self, dictionary: str) -> dict[str, Any]:
        settings = self._outline.dictionaries[dictionary]
        learns_from = self._outline.learns_from(dictionary)
        return {
            "name": dictionary,
            "painted": learns_from is not None and self._outline.is_painted(learns_from),
            **{k: settings.get(k) for k in ("architecture", "hook_point", "trained_on")},
            **self._told(dictionary, ("expansion", "k")),
            **({"choose": settings["choose"]} if grid.is_chosen(settings) else {}),
        }

    def _told(self, dictionary: str, keys: Iterable[str]) -> dict[str, Any]:
        """Some keys of its training; of one that is chosen among points not those in which they differ."""
        settings = self._outline.dictionaries[dictionary]
        differ = settings["grid"] if grid.is_chosen(settings) else {}
        training = settings.get("training", {})
        return {key: None if key in differ else training.get(key) for key in keys}
