"""The words of jobs' commands: which Python runs which script, and what of the configuration is no recipe's."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from typing import Any

from clipsteer.config.used import job_name
from clipsteer.data.forms import ATTACKED
from clipsteer.dictionaries.inputs import member
from clipsteer.dictionaries.sources import Local
from clipsteer.store.roots import REFS
from clipsteer.workflow.inputs import Inputs
from clipsteer.workflow.outline import Outline


class Commands:
    """The commands that one configuration gives. `python`: the word that runs a script."""

    def __init__(self, outline: Outline, python: str) -> None:
        self._outline, self._python = outline, python

    def shell_words(self, step: str) -> str:
        """The words that run a step's script with the library of this checkout; runtime settings only."""
        base, config = self._outline.base, self._outline.config
        words = [self._python, base / "workflow_scripts" / f"{step}.py"]
        words += ["--store", self._outline.store, "--device", config["runtime"]["device"]]
        words += ["--checkpoint-steps", config["runtime"]["checkpoint_steps"]]
        words += ["--verify-below", config["store"]["verify_below_mb"] * 2**20]
        # of all data sets: a lost object may have to be made again by any step
        for dataset in self._outline.datasets:
            if not self._outline.is_painted(dataset):
                words += ["--root", f"{dataset}={self._outline.root(dataset)}"]
        for dictionary in self._outline.used_imported:
            for layer in self._outline.layers(self._outline.dictionary_model(dictionary)):
                source = self._outline.source(dictionary, layer)
                if isinstance(source, Local):
                    words += ["--root", f"{member(dictionary, layer)}={source.path}"]
        for model in self._outline.models:
            if folder := self._outline.local_model(model):
                words += ["--root", f"{job_name(model)}={folder}"]
        if self._outline.vocabulary is not None:
            words += ["--root", f"vocabulary={self._outline.vocabulary}"]
        return (
            f"PYTHONPATH={quoted(base)} "
            + " ".join(quoted(word) for word in words)
            + " --recipe {params.recipe:q} --chain={params.chain:q} --log {log} --threads {threads} "
        )

    def tables(self) -> str:
        """The pointers of all tables, by their data sets."""
        return _inputs(self._outline.tables, "table")

    def captioned(self, wildcards: Any) -> list[str]:
        """The manifests whose captions are the vocabulary of the job's model, where they are."""
        return _inputs(self._outline.captioned(wildcards), "manifest").split()

    def typographic(self, wildcards: Any) -> list[str]:
        """The pointers of the typographic table by kind and data set."""
        inputs, words = Inputs(self._outline), list[str]()
        for dataset in self._outline.typographic:
            words += ["--input", f"classes/{dataset}={REFS}/{dataset}/classes.json"]
            words += ["--inputs", f"attacked/{dataset}"]
            words += inputs.attacked_places(dataset)
            words += ["--inputs", f"patched/{dataset}", *inputs.patched_answers(dataset)]
        words += ["--inputs", "patched", *inputs.patched(wildcards)]
        return [*words, "--inputs", "tuning", *inputs.tuned_places()]

    def typographic_examples(self, wildcards: Any) -> list[str]:
        """The pointers of the figure of attacked images by kind and benchmark."""
        inputs, words = Inputs(self._outline), list[str]()
        for dataset in self._outline.benchmarks:
            words += ["--input", f"classes/{dataset}={REFS}/{dataset}/classes.json"]
            words += ["--input", f"shards/{dataset}={inputs.attacked_shards(dataset)}"]
            words += ["--inputs", f"attacked/{dataset}", *inputs.attacked_places(dataset)]
            if self._outline.is_painted(dataset):
                words += ["--input", f"world/{dataset}={REFS}/{dataset}/world.json"]
        return words

    def typographic_top_images(self, wildcards: Any) -> list[str]:
        """The pointers of the figure of top attacked images by kind."""
        inputs, words = Inputs(self._outline), list[str]()
        for tuned in self._outline.tuned:
            shards = inputs.attacked_shards(tuned, "validation")
            words += ["--name", tuned, "--input", f"validation{ATTACKED}={shards}"]
            words += ["--inputs", "tuning", *inputs.tuned_places()]
            words += ["--inputs", "top_attacked", *inputs.top_attacked()]
            words += ["--inputs", "model", *inputs.attacked_model(wildcards)]
            if self._outline.is_painted(tuned):
                words += ["--input", f"world/{tuned}={REFS}/{tuned}/world.json"]
        return words

    def learnt_from(self, wildcards: Any) -> list[str]:
        """The manifests that a tiny CLIP learns from, and the worlds where their images are painted."""
        worlds = self._outline.worlds(wildcards.model)
        painted = filter(self._outline.is_painted, worlds)
        return f"{_inputs(worlds, 'manifest')} {_inputs(painted, 'world', 'world/')}".split()


def _inputs(datasets: Iterable[str], pointer: str, before: str = "") -> str:
    """One pointer of each of these data sets, by their names with something before them."""
    return " ".join(f"--input {before}{name}={REFS}/{name}/{pointer}.json" for name in datasets)


def quoted(word: object) -> str:
    """One shell word; Snakemake formats the whole command, so its braces are doubled."""
    return shlex.quote(str(word)).replace("{", "{{").replace("}", "}}")


def python_of(workflow: Any) -> str:
    """The Python of a run's jobs: that of an environment which Snakemake makes, else this one."""
    made = {method.name for method in workflow.deployment_settings.deployment_method}
    return "python" if "CONDA" in made else sys.executable
