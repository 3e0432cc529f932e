"""The inputs of rules that no wildcard pattern says, as they follow from the configuration.

All are pointers. A method that takes wildcards is an input function of a rule; one that takes a word gives
such a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from clipsteer.config.used import typographic_models
from clipsteer.data.forms import ATTACKED, may_pair, unconcerned
from clipsteer.store.roots import REFS
from clipsteer.workflow.outline import DIRECTED, MODEL, VOCABULARY, Outline
from clipsteer.workflow.related import compared

InputFunction = Callable[[Any], list[str]]


class Inputs:
    """The inputs that one configuration gives."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline

    # ---- models, images and activations

    def model(self, wildcards: Any) -> str:
        """The pointer of the job's model."""
        return MODEL.format(model=self._outline.model_of(wildcards))

    def world(self, wildcards: Any) -> list[str]:
        """The pointer of a painted world; nothing where the user has the images."""
        return self._worlds([wildcards.dataset])

    def learnt_from(self, wildcards: Any) -> list[str]:
        """What a tiny CLIP learns from: manifests, and the worlds where their images are painted."""
        names = self._outline.worlds(wildcards.model)
        return [*(f"{REFS}/{name}/manifest.json" for name in names), *self._worlds(names)]

    def captioned(self, wildcards: Any) -> list[str]:
        """The manifests whose captions are the vocabulary; none where it is from elsewhere."""
        return [f"{REFS}/{name}/manifest.json" for name in self._outline.captioned(wildcards)]

    def vocabulary(self, wildcards: Any) -> str:
        """The pointer of the vocabulary of the job's model."""
        return VOCABULARY.format(model=self._outline.model_of(wildcards))

    def _worlds(self, names: Iterable[str]) -> list[str]:
        return [f"{REFS}/{name}/world.json" for name in names if self._outline.is_painted(name)]

    def parts(self, dataset: str, split: str) -> list[str]:
        """All parts of the activations of one split."""
        place = f"{REFS}/{dataset}/activations/{split}"
        return [f"{place}/part_{part}.json" for part in self._outline.parts]

    def evaluated(self, wildcards: Any) -> list[str]:
        """The activations that a dictionary's quality is measured on: of validation, or of test where the rule says."""
        split = wildcards.on.removeprefix("_") or "validation"
        return self.parts(wildcards.dataset, split)

    def activations(self, split: str) -> InputFunction:
        """All parts of one split of the data set at hand."""
        return lambda wildcards: self.parts(wildcards.dataset, split)

    def unconcerned(self, wildcards: Any) -> list[str]:
        """The pointer of what is known of other attributes; nothing where the data set names none."""
        named = unconcerned(self._outline.datasets[wildcards.dataset])
        return [f"{REFS}/{wildcards.dataset}/unconcerned.json"] if named else []

    def pairs(self, wildcards: Any) -> list[str]:
        """The pointer of what the model says of the test images' pairs; nothing where they can have none."""
        paired = may_pair(self._outline.datasets[wildcards.dataset])
        return [f"{REFS}/{wildcards.dataset}/pairs.json"] if paired else []

    def painted_pairs(self, split: str) -> InputFunction:
        """The pointer of a split's pairs that are painted; nothing where the user has the images, or there are none."""

        def painted(wildcards: Any) -> list[str]:
            dataset = wildcards.dataset
            there = self._outline.is_painted(dataset) and may_pair(self._outline.datasets[dataset])
            return [f"{REFS}/{dataset}/painted_pairs/{split}.json"] if there else []

        return painted

    def image_views(self, wildcards: Any) -> list[str]:
        """The pointers of what a table's dictionaries do in single images; nothing where none is looked at."""
        shown = self._outline.config["explorer"]["views"]["images"]
        return self._steered(wildcards.dataset, "image_views") if shown else []

    # ---- typographic attacks

    def attacked(self, split: str) -> InputFunction:
        """All parts of a split with words printed on its images; nothing of photographs, which have their own."""
        view = f"{split}{ATTACKED}"
        return lambda wildcards: (
            self.parts(wildcards.dataset, view)
            if wildcards.dataset in self._outline.attacked
            else []
        )

    def tuning(self, wildcards: Any) -> list[str]:
        """What was chosen with a dictionary and block of layers."""
        return [
            f"{REFS}/{tuned}/{wildcards.dictionary}/{wildcards.block}/tuning.json"
            for tuned in self._outline.tuned
        ]

    def prefix(self, wildcards: Any) -> list[str]:
        """Defense-Prefix of the model."""
        return [f"{REFS}/{tuned}/prefix.json" for tuned in self._outline.tuned]

    def projection(self, wildcards: Any) -> list[str]:
        """The output projection of the model."""
        return [f"{REFS}/{tuned}/projection.json" for tuned in self._outline.tuned]

    def patched(self, wildcards: Any) -> list[str]:
        """The model with patched weights; nothing where these are left out."""
        return [f"{REFS}/{tuned}/patched.json" for tuned in self._outline.patched]

    def patched_answers(self, dataset: str) -> list[str]:
        """What it says of a data set."""
        return [f"{REFS}/{dataset}/patched_answers.json"] if self._outline.patched else []

    def attacked_list(self, wildcards: Any) -> list[str]:
        """The list of test images with words printed on them; nothing of photographs."""
        attacked = wildcards.dataset in self._outline.attacked
        return [self.attacked_shards(wildcards.dataset)] if attacked else []

    def typographic(self, wildcards: Any) -> list[str]:
        """All that the typographic table reads."""
        found = [*self.tuned_places(), *self.patched(wildcards)]
        for dataset in self._outline.typographic:
            found += [f"{REFS}/{dataset}/classes.json", *self.attacked_places(dataset)]
            found += self.patched_answers(dataset)
        return found

    def typographic_examples(self, wildcards: Any) -> list[str]:
        """All that the figure of attacked images reads: of each benchmark answers, lists of images and its world."""
        found = []
        for dataset in self._outline.benchmarks:
            found += [f"{REFS}/{dataset}/classes.json", *self.attacked_places(dataset)]
            found += [self.attacked_shards(dataset), *self._worlds([dataset])]
        return found

    def typographic_top_images(self, wildcards: Any) -> list[str]:
        """All that the figure of top attacked images reads, but the model."""
        found = []
        for tuned in self._outline.tuned:
            found += [*self.tuned_places(), *self.top_attacked()]
            found.append(self.attacked_shards(tuned, "validation"))
            found += self._worlds([tuned])
        return found

    def top_attacked(self) -> list[str]:
        """The top attacked images of each dictionary and block of the typographic table."""
        tuned = self._outline.tuned
        return [pointer for name in tuned for pointer in self._typographic(name, "top_attacked")]

    def attacked_model(self, wildcards: Any) -> list[str]:
        """The pointer of the model of that table."""
        return [MODEL.format(model=name) for name in typographic_models(self._outline.config)]

    def attacked_shards(self, dataset: str, split: str = "test") -> str:
        """The lists of a data set's images with words on them."""
        view = f"{split}{ATTACKED}" if dataset in self._outline.attacked else split
        return f"{REFS}/{dataset}/activations/{view}/shards.json"

    def tuned_places(self) -> list[str]:
        """What was chosen with each dictionary and block of the typographic table."""
        tuned = self._outline.tuned
        return [pointer for name in tuned for pointer in self._typographic(name, "tuning")]

    def attacked_places(self, dataset: str) -> list[str]:
        """What the model says of one of its data sets, with each dictionary and block."""
        return self._typographic(dataset, "attacked")

    def _typographic(self, dataset: str, kind: str) -> list[str]:
        return [
            f"{REFS}/{dataset}/{dictionary}/{block}/{kind}.json"
            for dictionary in self._outline.config["typographic"]["dictionaries"]
            for block in self._outline.blocks(dataset)
        ]

    # ---- dictionaries

    def training(self, wildcards: Any) -> list[str]:
        """The activations that a dictionary learns from."""
        dataset = self._outline.dictionaries[wildcards.dictionary]["trained_on"]
        splits = self._outline.training_splits(dataset)
        return [part for split in splits for part in self.parts(dataset, split)]

    def trained(self, wildcards: Any) -> list[str]:
        """A dictionary's block of layers, of an imported one as it passed the check; nothing for the neuron basis."""
        return self._dictionary(wildcards.dataset, wildcards.dictionary, wildcards.block)

    def defended(self, wildcards: Any) -> list[str]:
        """The same of one that stands against typographic attacks: as the data set that it is tuned on has it."""
        return [
            pointer
            for tuned in self._outline.tuned
            for pointer in self._dictionary(tuned, wildcards.dictionary, wildcards.block)
        ]

    def trained_of_table(self, wildcards: Any) -> list[str]:
        """The same of all dictionaries and blocks of a table."""
        return [
            pointer
            for dictionary in self._outline.tables.get(wildcards.dataset, [])
            for block in self._outline.blocks(wildcards.dataset)
            for pointer in self._dictionary(wildcards.dataset, dictionary, block)
        ]

    def trained_of_block(self, wildcards: Any) -> list[str]:
        """The same of all dictionaries of a table, of one block."""
        return [
            pointer
            for dictionary in self._outline.tables.get(wildcards.dataset, [])
            for pointer in self._dictionary(wildcards.dataset, dictionary, wildcards.block)
        ]

    def of_block(self, kind: str) -> InputFunction:
        """The pointers of one kind of a table's trained dictionaries, of one block."""

        def pointers(wildcards: Any) -> list[str]:
            names = self._outline.tables.get(wildcards.dataset, [])
            return [
                f"{REFS}/{wildcards.dataset}/{name}/{wildcards.block}/{kind}.json"
                for name in filter(self._outline.is_trained, names)
            ]

        return pointers

    def comparisons(self, wildcards: Any) -> list[str]:
        """What says of a table's dictionaries which directions are near; nothing where no two can be compared."""
        table = wildcards.dataset
        names = filter(self._outline.is_trained, self._outline.tables.get(table, []))
        hooks = [self._outline.dictionaries[name]["hook_point"] for name in names]
        if len(hooks) == len(set(hooks)):
            return []
        return [
            f"{REFS}/{table}/nearest_directions/{block}.json"
            for block in self._outline.blocks(table)
        ]

    def _dictionary(self, dataset: str, dictionary: str, block: str) -> list[str]:
        if not self._outline.is_trained(dictionary):
            return []
        if self._outline.is_imported(dictionary):
            return [f"{REFS}/{dataset}/{dictionary}/{block}/check.json"]
        if self._outline.is_chosen(dictionary):
            return [f"{REFS}/{dataset}/{dictionary}/{block}/chosen.json"]
        return [f"{REFS}/dictionaries/{dictionary}/{block}.json"]

    # ---- grids

    def candidates(self, wildcards: Any) -> list[str]:
        """The points that a dictionary is chosen among."""
        names = self._outline.candidates(wildcards.dictionary)
        return [f"{REFS}/dictionaries/{name}/{wildcards.block}.json" for name in names]

    def candidates_quality(self, wildcards: Any) -> list[str]:
        """What each of them is worth."""
        names = self._outline.candidates(wildcards.dictionary)
        place = f"{REFS}/{wildcards.dataset}"
        return [f"{place}/{name}/{wildcards.block}/evaluation.json" for name in names]

    def of_chosen(self, kind: str) -> InputFunction:
        """The pointers of one kind of the table's dictionaries that are chosen."""
        return lambda wildcards: self._steered(wildcards.dataset, kind, self._outline.is_chosen)

    def of_points(self, kind: str) -> InputFunction:
        """Those of every point of the table's grids."""
        return lambda wildcards: self._of_points(wildcards.dataset, kind)

    def of_steered_points(self, kind: str) -> InputFunction:
        """The same, where points are steered; none else."""
        steer = self._outline.config["sweep"]["steer"]
        return lambda wildcards: self._of_points(wildcards.dataset, kind) if steer else []

    def compared(self, wildcards: Any) -> list[str]:
        """The block's dictionaries that are compared with each other."""
        names = compared(self._outline, wildcards.dataset)
        dataset, block = wildcards.dataset, wildcards.block
        return [file for name in names for file in self._dictionary(dataset, name, block)]

    def of_compared(self, kind: str, *, steered: bool = True) -> InputFunction:
        """The pointers of one kind of these, of the job's block or of all; none where `steered` and points are not."""

        def pointers(wildcards: Any) -> list[str]:
            if steered and not self._outline.config["sweep"]["steer"]:
                return []
            table = wildcards.dataset
            own = getattr(wildcards, "block", None)
            return [
                f"{REFS}/{table}/{name}/{block}/{kind}.json"
                for name in compared(self._outline, table)
                for block in ([own] if own else self._outline.blocks(table))
            ]

        return pointers

    def recovery(self, wildcards: Any) -> list[str]:
        """What their sets come to beside the true effect; nothing where images can have no pairs."""
        paired = wildcards.dataset in self._outline.paired
        return self.of_compared("recovery")(wildcards) if paired else []

    def likeness(self, wildcards: Any) -> list[str]:
        """What came of comparing them."""
        table = wildcards.dataset
        blocks = self._outline.blocks(table) if compared(self._outline, table) else []
        return [f"{REFS}/{table}/likeness/{block}.json" for block in blocks]

    def _of_points(self, table: str, kind: str) -> list[str]:
        return [
            f"{REFS}/{table}/{point}/{block}/{kind}.json"
            for point in self._outline.points(table)
            for block in self._outline.blocks(table)
        ]

    # ---- tables

    def of_table(self, kind: str) -> InputFunction:
        """The pointers of one kind of every dictionary and block of a table."""
        return lambda wildcards: self._steered(wildcards.dataset, kind)

    def of_valued(self, kind: str) -> InputFunction:
        """Those of every dictionary whose worth on a data set is told."""
        return lambda wildcards: self._steered(wildcards.dataset, kind, among=self._outline.valued)

    def checked(self, wildcards: Any) -> list[str]:
        """The checks of those of them that others have trained."""
        imported, valued = self._outline.is_imported, self._outline.valued
        return self._steered(wildcards.dataset, "check", imported, valued)

    def of_trained(self, kind: str) -> InputFunction:
        """Those of the dictionaries that are trained: a negative control the neuron basis does not have."""
        return lambda wildcards: self._steered(wildcards.dataset, kind, self._outline.is_trained)

    def of_imported(self, kind: str) -> InputFunction:
        """Those of the dictionaries that others have trained."""
        return lambda wildcards: self._steered(wildcards.dataset, kind, self._outline.is_imported)

    def of_directions(self, kind: str) -> InputFunction:
        """Those of every hook point and block of a table, for what needs no dictionary."""
        return lambda wildcards: self.directed(wildcards.dataset, kind)

    def directed(self, table: str, kind: str) -> list[str]:
        """The same for a table by name."""
        return [
            f"{DIRECTED}/{kind}.json".format(dataset=table, hook_point=hook_point, block=block)
            for hook_point in self._outline.hook_points(table)
            for block in self._outline.blocks(table)
        ]

    def _steered(
        self,
        table: str,
        kind: str,
        counts: Callable[[str], bool] = lambda name: True,
        among: Mapping[str, Sequence[str]] | None = None,
    ) -> list[str]:
        names = self._outline.tables if among is None else among
        return [
            f"{REFS}/{table}/{dictionary}/{block}/{kind}.json"
            for dictionary in names.get(table, [])
            if counts(dictionary)
            for block in self._outline.blocks(table)
        ]
