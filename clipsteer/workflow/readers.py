"""What reads the activations of each split: with `activations.keep: false` they are dropped behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from clipsteer.data.forms import ATTACKED
from clipsteer.store.roots import REFS
from clipsteer.workflow.inputs import InputFunction, Inputs
from clipsteer.workflow.outline import Outline
from clipsteer.workflow.related import compared

DROPPED = f"{REFS}/{{table}}/dropped/{{result}}/{{dataset}}/{{split}}.json"
"""Says that the activations of a split have been dropped, as far as one result of a table goes."""

_PART = re.compile(rf"{REFS}/([^/]+)/activations/([^/]+)/part_\d+\.json")
RESULTS = (
    *("table", "dictionaries", "negative_control", "baselines", "features", "steerability"),
    *("sweep", "stability"),
)
"""What a table has of results that each read activations."""

TYPOGRAPHIC = "typographic"
"""What the table of typographic attacks is called among these tables."""
TYPOGRAPHIC_RESULTS = ("attacked_table", "attacked_examples", "attacked_top_images")
"""What it has."""

_OF_GRIDS = ("sweep", "stability")

# Told which pointers are made from a split of a data set.
Read = Callable[..., None]


class Readers:
    """What one configuration's results read, and the markers that it has been dropped behind them."""

    def __init__(self, outline: Outline) -> None:
        self._outline, self._inputs = outline, Inputs(outline)

    def of(self, table: str, result: str) -> dict[tuple[str, str], list[str]]:
        """What one of a table's RESULTS needs of each (data set, split)."""
        found: dict[tuple[str, str], list[str]] = {}

        def read(dataset: str, split: str, *pointers: str) -> None:
            found.setdefault((dataset, split), []).extend(pointers)

        if table == TYPOGRAPHIC:
            self._read_attacked(result, read)
            return found
        if result in _OF_GRIDS:
            self._read_by_points(table, result, read)
            return found
        named = self._outline.valued if result == "dictionaries" else self._outline.tables
        for dictionary in named.get(table, []):
            is_sae = self._outline.is_trained(dictionary)
            trained_on = self._outline.learns_from(dictionary)
            for block in self._outline.blocks(table):
                place = f"{REFS}/{table}/{dictionary}/{block}"
                if self._outline.is_imported(dictionary):
                    read(table, "validation", f"{place}/check.json")
                if result != "negative_control" and (is_sae or result != "baselines"):
                    if trained_on:
                        self._read_in_training(table, dictionary, block, read)
                    if result not in ("dictionaries", "steerability"):
                        read(table, "train", f"{place}/statistics.json")
                if result == "table":
                    for kind in ("evaluation", "selection"):
                        read(table, "validation", f"{place}/{kind}.json")
                    read(table, "test", f"{place}/ablation.json")
                elif result == "dictionaries":
                    for kind in ("evaluation", "spliced"):
                        read(table, "validation", f"{place}/{kind}.json")
                elif result == "features":
                    read(table, "validation", f"{place}/selection.json")
                    split = self._outline.config["explorer"]["split"]
                    read(table, split, f"{place}/top_images.json")
                elif result == "steerability":
                    split = self._outline.config["steerability"]["split"]
                    read(table, split, f"{place}/steerability.json")
                elif result == "negative_control" and is_sae:
                    for split in ("train", "validation", "test"):
                        read(table, split, f"{place}/control.json")
                elif is_sae:
                    for split in ("validation", "test"):
                        read(table, split, f"{place}/baselines.json")
        if result == "steerability" and table in self._outline.tables:
            split = self._outline.config["steerability"]["split"]
            read(table, split, *self._inputs.directed(table, "steerability"))
        if result == "baselines" and table in self._outline.tables:
            read(table, "train", *self._inputs.directed(table, "directions"))
            for split in ("validation", "test"):
                read(table, split, *self._inputs.directed(table, "baselines"))
            for split in ("train", "validation", "test"):
                read(table, split, f"{REFS}/{table}/readout.json")
        return found

    def _read_in_training(self, table: str, dictionary: str, block: str, read: Read) -> None:
        """What is read until a dictionary of a table is there."""
        trained_on = self._outline.dictionaries[dictionary]["trained_on"]
        for point in self._outline.candidates(dictionary):
            for split in self._outline.training_splits(trained_on):
                read(trained_on, split, f"{REFS}/dictionaries/{point}/{block}.json")
            if self._outline.is_chosen(dictionary):
                read(table, "validation", f"{REFS}/{table}/{point}/{block}/evaluation.json")

    def _read_by_points(self, table: str, result: str, read: Read) -> None:
        """What a sweep reads, or the comparison of dictionaries."""
        sweep, steer = result == "sweep", self._outline.config["sweep"]["steer"]
        names = self._outline.points(table) if sweep else compared(self._outline, table)
        for point in names:
            for block in self._outline.blocks(table):
                place = f"{REFS}/{table}/{point}/{block}"
                if self._outline.learns_from(point):
                    self._read_in_training(table, point, block, read)
                if self._outline.is_imported(point):
                    read(table, "validation", f"{place}/check.json")
                if sweep:
                    for kind in ("evaluation", "spliced"):
                        read(table, "validation", f"{place}/{kind}.json")
                    read(table, "test", f"{place}/evaluation_test.json")
                if steer or not sweep:
                    read(table, "train", f"{place}/statistics.json")
                if steer:
                    read(table, "validation", f"{place}/selection.json")
                    read(table, "test", f"{place}/ablation.json")
                if steer and not sweep and table in self._outline.paired:
                    read(table, "test", f"{place}/recovery.json")

    def _read_attacked(self, result: str, read: Read) -> None:
        """What defences against typographic attacks are chosen and evaluated on."""
        outline = self._outline
        evaluated = {
            "attacked_table": outline.typographic,
            "attacked_examples": outline.benchmarks,
            "attacked_top_images": [],
        }[result]
        for tuned in outline.tuned:
            learnt = ("prefix", "projection") if evaluated else ("prefix",)
            for view in ("train", f"train{ATTACKED}"):
                read(tuned, view, *(f"{REFS}/{tuned}/{name}.json" for name in learnt))
            if not evaluated:
                read(tuned, f"validation{ATTACKED}", *self._inputs.top_attacked())
            for name in outline.config["typographic"]["dictionaries"]:
                for block in outline.blocks(tuned):
                    place = f"{REFS}/{tuned}/{name}/{block}"
                    for split in ("train", "validation"):
                        read(tuned, split, f"{place}/tuning.json")
                        read(tuned, f"{split}{ATTACKED}", f"{place}/tuning.json")
                    if outline.is_imported(name):
                        read(tuned, "validation", f"{place}/check.json")
                    elif outline.is_trained(name):
                        self._read_in_training(tuned, name, block, read)
        for dataset in evaluated:
            read(dataset, "test", *self._inputs.attacked_places(dataset))
            if dataset in outline.attacked:
                read(dataset, f"test{ATTACKED}", *self._inputs.attacked_places(dataset))

    def before_drop(self, wildcards: Any) -> list[str]:
        """What must be there before a split's activations are dropped."""
        found = self.of(wildcards.table, wildcards.result)
        return found.get((wildcards.dataset, wildcards.split), [])

    def dropped(self, result: str) -> InputFunction:
        """Markers that the activations behind a result have been dropped; none where they are kept."""

        def markers(wildcards: Any) -> list[str]:
            table = getattr(wildcards, "dataset", TYPOGRAPHIC)
            keep = self._outline.config["activations"]["keep"]
            return [
                DROPPED.format(table=table, result=result, dataset=dataset, split=split)
                for dataset, split in ([] if keep else self.of(table, result))
            ]

        return markers

    def among(self, jobs: Iterable[Any]) -> Mapping[str, Sequence[str]]:
        """What some of Snakemake's jobs will write from the activations of each split (data set/split)."""
        found: dict[str, list[str]] = {
            f"{dataset}/{split}": []
            for table, result in (
                *product(self._outline.valued, RESULTS),
                *product([TYPOGRAPHIC], TYPOGRAPHIC_RESULTS),
            )
            for dataset, split in self.of(table, result)
        }
        for job in jobs:
            if job.rule.name == "drop_activations":
                continue
            parts = [part for path in job.input if (part := _PART.match(path))]
            for name in {"/".join(part.groups()) for part in parts}:
                found.setdefault(name, []).append(str(job.output[0]))
        return found
