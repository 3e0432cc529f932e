"""Configurations as rules see them, without Snakemake, and all jobs that they have."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from clipsteer.workflow.outline import Outline
from clipsteer.workflow.recipes import Recipes
from tests.workflow.runs import BASE, merged

DEFAULT = json.loads(json.dumps(yaml.safe_load((BASE / "config.yaml").read_text())))
# as checking the configuration does
for _dataset in DEFAULT["datasets"].values():
    for _key, _value in (
        *(("options", {}), ("augment", 0)),
        ("evaluation", {"validation": None, "test": None}),
    ):
        _dataset.setdefault(_key, _value)
for _model in DEFAULT["models"].values():
    _model |= {"revision": None, "dtype": "float32", "crop": "transformers"}
SPLITS = ("train", "train_augmented", "validation", "test")

# The step of a job, and its wildcards.
Job = tuple[str, tuple[tuple[str, str], ...]]


def outline(overlay: Mapping[str, Any] | None = None, folder: Path = BASE) -> Outline:
    """That of the default with `overlay` over it, as it is: not validated."""
    return Outline(merged(DEFAULT, overlay or {}), BASE, folder)


def wildcards(**values: object) -> Any:
    """As Snakemake gives them: all are texts."""
    return SimpleNamespace(**{name: str(value) for name, value in values.items()})


def rule_bodies() -> dict[str, str]:
    """The text of every rule, by its name."""
    found = {}
    for path in sorted((BASE / "rules").glob("*.smk")):
        for body in re.split(r"^\s*rule ", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            found[body.split(":")[0]] = body
    return found


RULES = rule_bodies()
# The files that rules write for people.
RESULTS = [file for body in RULES.values() for file in re.findall(r'"(results/[^"]+)",\n', body)]


def jobs(made: Outline) -> Iterator[Job]:
    """All jobs of all rules that could be asked for; a rule's log names its wildcards."""
    for step, body in RULES.items():
        log = re.search(r'log:\s*"([^"]+)"', body)
        assert log, step
        names = re.findall(r"{(\w+)}", log[1])
        datasets: Iterable[str] = made.datasets
        among = re.search(r"dataset=one_of\(OUTLINE\.(typographic|attacked|tuned)\)", body)
        if among:
            datasets = getattr(made, among[1])
        elif step == "paint_world":
            datasets = filter(made.is_painted, made.datasets)
        elif (
            {"dictionary", "hook_point"} & {*names}
            or "dataset=one_of(OUTLINE.tables)" in body
            or step in ("build_head", "evaluate_readout", "paint_pairs", "pair_margins")
            or step == "pairs_figure"
        ):
            datasets = made.tables
        elif "dataset=one_of(OUTLINE.swept)" in body:
            datasets = made.swept
        elif step == "name_classes":
            datasets = [name for name in made.in_folders if "templates" in made.datasets[name]]
        elif "dataset=one_of(OUTLINE.valued)" in body:
            datasets = made.valued
        elif step == "unconcerned_attributes":
            datasets = [name for name, of in made.datasets.items() if of.get("unconcerned")]
        values: dict[str, Iterable[object]] = {
            **{"dataset": datasets, "dictionary": made.dictionaries, "block": made.every_block},
            "hook_point": ["resid_post"],
            "model": made.models,
            **{"split": SPLITS, "part": made.parts, "table": ["celeba"], "result": ["table"]},
            "on": ["", "_test"],
        }
        if step == "list_attacked":
            values["split"] = [
                f"{split}_attacked" for split in SPLITS if split != "train_augmented"
            ]
        if of_models := re.search(r"model=one_of\(OUTLINE\.(\w+)\)", body):
            values["model"] = getattr(made, of_models[1])
        for chosen in itertools.product(*(values[name] for name in names)):
            at = dict(zip(names, map(str, chosen), strict=True))
            of_dataset = made.tables.get(at.get("dataset", ""), made.trained)
            if among:
                of_dataset = made.config["typographic"]["dictionaries"]
            if kind := re.search(r"dictionary=one_of\(OUTLINE\.(\w+)\)", body):
                of_dataset = [name for name in of_dataset if name in getattr(made, kind[1])]
            there = "block" not in at or at["block"] in made.blocks_of(
                made.model_of(wildcards(**at))
            )
            if there and ("dictionary" not in at or at["dictionary"] in of_dataset):
                yield step, tuple(at.items())


def recipes(made: Outline) -> dict[Job, str]:
    """The recipe of every job."""
    found = Recipes(made)
    return {job: found.of(job[0])(wildcards(**dict(job[1]))) for job in jobs(made)}
