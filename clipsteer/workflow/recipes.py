"""The recipe of every step: its slice of the configuration, with the digest of its code.

A recipe has all that determines a step's results apart from the contents of its inputs, and nothing that
does not (docs/store-protocol.md). The methods of `Recipes` are called as rules and scripts are, in the order
of the DAG; each is given Snakemake's wildcards, whose values are the wildcards' names in the rule's output.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from clipsteer.config import model_shape
from clipsteer.data.forms import papers_attributes
from clipsteer.report.paper import files as paper_files
from clipsteer.runner.code import FINGERPRINTS
from clipsteer.runner.fingerprint import code_fingerprint
from clipsteer.store.actions import STORE_SEMANTICS
from clipsteer.store.digest import canonical_json, digest_file
from clipsteer.workflow.outline import Outline


class Recipes:
    """The recipes that one configuration gives, as canonical JSON."""

    def __init__(self, outline: Outline) -> None:
        self._outline, self._config = outline, outline.config
        self._steering = outline.config["steering"]
        self._code = cache(self._fingerprint)  # one look at a step, however many jobs it has

    def _recipe(self, step: str, settings: dict[str, Any], modules: Sequence[str] = ()) -> str:
        """The recipe of a step; `modules` are those that it imports by a name in its settings."""
        return canonical_json(
            {
                "step": step,
                "config": settings,
                "modules": sorted(modules),
                "code": self._code(step, tuple(sorted(modules))),
                "semantics": STORE_SEMANTICS,  # so that Snakemake too sees it rise
            }
        ).decode()

    def _fingerprint(self, step: str, modules: Sequence[str]) -> str:
        base = self._outline.base
        script = base / "workflow_scripts" / f"{step}.py"
        return code_fingerprint(script, base, modules, FINGERPRINTS)

    # ---- images to one manifest

    def paint_world(self, wildcards: Any) -> str:
        painted = self._outline.datasets[wildcards.dataset]["painted"]
        return self._recipe(
            "paint_world",
            {**painted, "seed": self._config["seed"]},
            [f"clipsteer.data.painters.{painted['world']}"],
        )

    def build_manifest(self, wildcards: Any) -> str:
        settings = self._outline.datasets[wildcards.dataset]
        return self._recipe(
            "build_manifest",
            {
                "layout": settings["layout"],
                "options": settings.get("options", {}),
                "class_names": settings.get("class_names", []),
                "evaluation": settings["evaluation"],
                "source": "painted" if self._outline.is_painted(wildcards.dataset) else "files",
                "seed": self._config["seed"],
            },
            [f"clipsteer.data.layouts.{settings['layout']}"],
        )

    # ---- the CLIP and its zero-shot heads

    def pretrain_clip(self, wildcards: Any) -> str:
        tiny = {k: v for k, v in self._config["model"]["tiny"].items() if k != "worlds"}
        return self._recipe("pretrain_clip", {**tiny, "seed": self._config["seed"]})

    def import_clip(self, wildcards: Any) -> str:
        model = self._config["model"]
        # a folder counts by the content of its files, which its token holds; a hub name by what it says
        hub = None if self._outline.local_model else {k: model[k] for k in ("source", "revision")}
        return self._recipe("import_clip", {"hub": hub})

    def build_head(self, wildcards: Any) -> str:
        dataset = self._outline.datasets[wildcards.dataset]
        return self._recipe("build_head", {k: dataset[k] for k in ("class_names", "templates")})

    # ---- activations

    def list_shards(self, wildcards: Any) -> str:
        return self._recipe(
            "list_shards",
            {
                "split": wildcards.split.removesuffix("_augmented"),
                "augment": self._outline.copies(wildcards.dataset, wildcards.split),
                "images_per_shard": self._config["activations"]["images_per_shard"],
            },
        )

    def extract_activations(self, wildcards: Any) -> str:
        settings, model = self._config["activations"], self._config["model"]
        # evaluation resumes from resid_post
        hook_points = {*settings["hook_points"], "resid_post"}
        copies = self._outline.copies(wildcards.dataset, wildcards.split)
        return self._recipe(
            "extract_activations",
            {
                **{k: settings[k] for k in ("dtype", "codec", "batch_size")},
                "hook_points": sorted(hook_points),
                "layers": self._outline.layers,
                "model_dtype": model["dtype"],
                "crop": model["crop"],
                "split": wildcards.split,
                "seed": self._config["seed"] if copies else None,
                # how this job is cut out of the split; the actions inside do not see it
                "part": int(wildcards.part),
                "parts": len(self._outline.parts),
            },
        )

    def drop_activations(self, wildcards: Any) -> str:
        return self._recipe("drop_activations", {})

    # ---- steps that train a dictionary or apply it

    def train_dictionary(self, wildcards: Any) -> str:
        training = self._outline.dictionaries[wildcards.dictionary]["training"]
        return self._on_layers(
            "train_dictionary", wildcards, training=training, seed=self._config["seed"]
        )

    def evaluate_dictionary(self, wildcards: Any) -> str:
        return self._on_layers("evaluate_dictionary", wildcards)

    def feature_statistics(self, wildcards: Any) -> str:
        return self._on_layers("feature_statistics", wildcards, "aggregate")

    def select_features(self, wildcards: Any) -> str:
        return self._on_layers(
            "select_features",
            wildcards,
            *("balance", "thresholds", "tokens", "error_term"),
            *("strict", "strict_slack", "relaxed_drop"),
            model_dtype=self._config["model"]["dtype"],
        )

    def ablate_features(self, wildcards: Any) -> str:
        return self._on_layers(
            "ablate_features",
            wildcards,
            *("tokens", "error_term", "random_pool", "random_seeds"),
            model_dtype=self._config["model"]["dtype"],
            seed=self._config["seed"],
        )

    def shuffle_control(self, wildcards: Any) -> str:
        return self._on_layers(
            "shuffle_control",
            wildcards,
            *("aggregate", "balance", "thresholds", "tokens", "error_term", "shuffles"),
            *("strict", "strict_slack", "relaxed_drop"),
            model_dtype=self._config["model"]["dtype"],
            seed=self._config["seed"],
        )

    # ---- controls and baselines

    def fit_directions(self, wildcards: Any) -> str:
        return self._directed("fit_directions", wildcards, "aggregate", seed=self._config["seed"])

    def evaluate_directions(self, wildcards: Any) -> str:
        return self._directed(
            "evaluate_directions",
            wildcards,
            *("thresholds", "tokens", "error_term", "strict", "strict_slack", "relaxed_drop"),
            architecture="neurons",
            scales=self._steering["baselines"]["scales"],
            model_dtype=self._config["model"]["dtype"],
        )

    def evaluate_subspaces(self, wildcards: Any) -> str:
        return self._on_layers(
            "evaluate_subspaces",
            wildcards,
            *("balance", "thresholds", "tokens", "error_term", "strict", "strict_slack"),
            *("relaxed_drop", "random_pool", "random_seeds"),
            model_dtype=self._config["model"]["dtype"],
            seed=self._config["seed"],
        )

    def evaluate_readout(self, wildcards: Any) -> str:
        steering = {k: self._steering[k] for k in ("strict", "strict_slack", "relaxed_drop")}
        return self._recipe("evaluate_readout", {**steering, "seed": self._config["seed"]})

    def _directed(self, step: str, wildcards: Any, *steering: str, **settings: Any) -> str:
        """The recipe of a step that has a hook point and a block of layers, and no dictionary."""
        return self._recipe(
            step,
            {
                "hook_point": wildcards.hook_point,
                "layers": self._outline.blocks[wildcards.block],
                **{k: self._steering[k] for k in steering},
                **settings,
            },
        )

    def _on_layers(self, step: str, wildcards: Any, *steering: str, **settings: Any) -> str:
        """The recipe of a step that has a dictionary and a block of layers.

        `steering` are the keys of that section that the step has besides, `settings` all else.
        """
        dictionary = self._outline.dictionaries[wildcards.dictionary]
        return self._recipe(
            step,
            {
                **{k: dictionary[k] for k in ("architecture", "hook_point")},
                "layers": self._outline.blocks[wildcards.block],
                **{k: self._steering[k] for k in steering},
                **settings,
            },
            [f"clipsteer.dictionaries.{dictionary['architecture']}"],
        )

    # ---- tables

    def make_table(self, wildcards: Any) -> str:
        name, dataset = wildcards.dataset, self._outline.datasets[wildcards.dataset]
        return self._recipe(
            "make_table",
            {
                "dataset": name,
                "source": self._images_of(name),
                "layout": dataset["layout"],
                "papers_attributes": papers_attributes(dataset),
                "model": self._config["model"]["name"],
                "model_shape": list(model_shape(self._config, self._outline.folder)),
                "group_names": dataset["group_names"],
                "dictionaries": [self._shown(other) for other in self._outline.tables[name]],
                # the published numbers are data that a step reads, so they count by content
                "paper": [digest_file(path) for path in paper_files()],
                "steering": {
                    k: v for k, v in self._steering.items() if k not in ("shuffles", "baselines")
                },
                "seed": self._config["seed"],
            },
        )

    def control_table(self, wildcards: Any) -> str:
        name = wildcards.dataset
        return self._recipe("control_table", {"dataset": name, "source": self._images_of(name)})

    def baseline_table(self, wildcards: Any) -> str:
        name = wildcards.dataset
        dictionaries = filter(self._outline.is_trained, self._outline.tables[name])
        return self._recipe(
            "baseline_table",
            {
                "dataset": name,
                "source": self._images_of(name),
                "model": self._config["model"]["name"],
                "group_names": self._outline.datasets[name]["group_names"],
                # in the table's order, which a list keeps
                "dictionaries": [
                    [other, self._outline.dictionaries[other]["hook_point"]]
                    for other in dictionaries
                ],
                **{
                    k: self._steering[k]
                    for k in ("balance", "strict", "strict_slack", "relaxed_drop")
                },
            },
        )

    def _images_of(self, dataset: str) -> str:
        """What tables say of where the images are from; a tiny CLIP makes no real result either."""
        painted = self._outline.tiny or self._outline.is_painted(dataset)
        return "painted" if painted else "real"

    def _shown(self, dictionary: str) -> dict[str, Any]:
        """What a table says of a dictionary."""
        settings = self._outline.dictionaries[dictionary]
        trained_on = settings.get("trained_on")
        return {
            "name": dictionary,
            "painted": trained_on is not None and self._outline.is_painted(trained_on),
            **{k: settings.get(k) for k in ("architecture", "hook_point", "trained_on")},
            **{k: settings.get("training", {}).get(k) for k in ("expansion", "k")},
        }
