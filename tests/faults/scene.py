"""A change of the configuration or of the user's files, and cells: a working copy in which a step fails.

A cell stands where the old state has finished. Its store knows what the new one's actions make, but for
those of one step, so that each command takes seconds whichever step it is. However the step fails, and
however often, the end is to be what the new state makes from nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsteer.store.actions import ActionStore
from clipsteer.store.layout import ACTIONS, OBJECTS
from tests.faults.causes import Cause
from tests.faults.injected import VARIABLE
from tests.staleness.scene import as_if_moved, copy_folder
from tests.workflow.everything import (
    ATTACKED,
    BASELINES,
    BEST,
    CONTROL,
    EXAMPLES,
    LOOKS,
    QUALITY,
    SPARSITY,
    STABILITY,
    STEERABILITY,
    STORAGE,
    SWEEP,
    TABLE,
    TYPOGRAPHIC,
    WORTH,
)
from tests.workflow.runs import BASE, REFS, Outcome, WorkingCopy, merged

STEPS = tuple(sorted(path.stem for path in (BASE / "workflow_scripts").glob("*.py")))
# Beside the table: what else is asked for, and the steps that it alone needs.
BESIDE: dict[str, tuple[str, ...]] = {
    CONTROL: ("shuffle_control", "control_table"),
    BASELINES: (
        *("fit_directions", "evaluate_directions", "evaluate_subspaces", "evaluate_readout"),
        *("unconcerned_attributes", "paint_pairs", "pair_margins", "baseline_table"),
    ),
    QUALITY: ("splice_dictionary", "dictionary_table"),
    SPARSITY: ("splice_dictionary", "sparsity_figure"),
    WORTH: ("name_classes", "splice_dictionary", "dictionary_table"),
    STORAGE: ("storage_effect",),
    BEST: ("best_per_layer",),
    LOOKS[0]: ("top_images", "image_views", "nearest_directions", "feature_page"),
    LOOKS[1]: ("top_images", "top_images_figure"),
    SWEEP: ("sweep_table",),
    STABILITY: (
        *("compare_dictionaries", "paint_pairs", "pair_margins", "measure_recovery"),
        "stability_table",
    ),
    STEERABILITY: (
        *("embed_vocabulary", "measure_steerability", "measure_random", "steerability_table"),
    ),
    TYPOGRAPHIC: (
        *("label_attacked", "list_attacked", "train_prefix", "build_class_heads"),
        *("train_projection", "train_patching", "tune_patching", "evaluate_patching"),
        *("tune_defences", "evaluate_defences", "typographic_table"),
    ),
}
BESIDE[EXAMPLES] = (
    *(step for step in BESIDE[TYPOGRAPHIC][:-1] if not step.endswith("_patching")),
    "typographic_examples",
)
BESIDE[ATTACKED] = (
    *("label_attacked", "list_attacked", "train_prefix", "build_class_heads", "tune_defences"),
    *("top_attacked", "typographic_top_images"),
)
BESIDE[LOOKS[3]] = ("edited_images",)
BESIDE[LOOKS[2]] = (*BESIDE[BASELINES], "pairs_figure")
# The results that a step writes: what is there of each is to be of one run. A group tells its jobs apart.
RESULTS = {
    "make_table": re.compile(
        r"celeba_(?!dictionaries|sparsity|negative_control|baselines|pairs|storage|features/|top_images|edited_images|steerability"
        r"|sweep|pareto|stability)"
    ),
    "dictionary_table": re.compile(r"(celeba|general)_dictionaries"),
    "sparsity_figure": re.compile(r"celeba_sparsity"),
    "best_per_layer": re.compile(r"table1\."),
    "control_table": re.compile(r"celeba_negative_control"),
    "baseline_table": re.compile(r"celeba_baselines"),
    "pairs_figure": re.compile(r"celeba_pairs"),
    "storage_effect": re.compile(r"celeba_storage"),
    "feature_page": re.compile(r"celeba_features/"),
    "top_images_figure": re.compile(r"celeba_top_images"),
    "edited_images": re.compile(r"celeba_edited_images"),
    "steerability_table": re.compile(r"celeba_steerability"),
    "typographic_table": re.compile(r"typographic_(?!examples|top_images)"),
    "typographic_examples": re.compile(r"typographic_examples"),
    "typographic_top_images": re.compile(r"typographic_top_images"),
    "sweep_table": re.compile(r"celeba_(?:sweep|pareto)"),
    "stability_table": re.compile(r"celeba_stability"),
}


def lay(copy: WorkingCopy, *sources: WorkingCopy) -> None:
    """Put the first source's state into an empty working copy, and what all of them know into its store."""
    copy_folder(sources[0].folder, copy.folder)
    for source in sources:
        names = ("",) if source is sources[0] else (OBJECTS, ACTIONS)
        for name in names:
            copy_folder(source.store / name, copy.store / name)
    as_if_moved(copy.store, copy.folder)


@dataclass(frozen=True)
class Change:
    """`old` has finished before the change; `new` has, from nothing, after it.

    In a cell's folder `prepare` puts the user's files as they are after it, and `config` is the
    configuration then.
    """

    old: WorkingCopy
    new: WorkingCopy
    targets: Sequence[str]
    config: Callable[[Path], Mapping[str, Any]]
    prepare: Callable[[Path], None] = lambda place: None


class Cell:
    """A working copy in `place`, with its store, in which the change's new configuration is asked for.

    Where `step` is named, no more of it than the table and one result that needs the step: the rest stays as it was.
    """

    def __init__(self, place: Path, change: Change, python: Path, step: str = "") -> None:
        self.place, self.change, self.python = place, change, python
        self.targets, self.left = change.targets, set[str]()
        self.narrow = step
        if step:
            also = [target for target, steps in BESIDE.items() if step in steps][:1]
            self.targets = [target for target in change.targets if target in (TABLE, *also)]
            every = {step for steps in BESIDE.values() for step in steps}
            self.left = every.difference(*(BESIDE[target] for target in also))
        self.copy = WorkingCopy(place / "copy", place / "store")
        change.prepare(place)
        lay(self.copy, change.old, change.new)

    def run(
        self,
        *options: str,
        fault: str = "",
        config: Mapping[str, Any] | None = None,
        cores: int = 2,
    ) -> Outcome:
        """One command, with a fault ordered or none."""
        return self.copy.run(
            *self.targets,
            config=merged(self.change.config(self.place), config or {}),
            options=options,
            cores=cores,
            python=str(self.python),
            environment={VARIABLE: fault} if fault else None,
        )

    def forget(self, *steps: str) -> Callable[[], None]:
        """Take the new configuration's records of some steps out of the store; gives what puts them back.

        Those that a narrow cell does not ask for are gone since the last time.
        """
        new, mine = ActionStore(self.change.new.store), ActionStore(self.copy.store)
        records = {key: new.get(key) for key in list(new.keys())}
        keys = [key for key, record in records.items() if record and record["step"] in steps]
        files = [Path(mine.file(key)) for key in keys]
        taken = {path: path.read_bytes() for path in files if path.exists()}
        for path in taken:
            path.unlink()

        def put_back() -> None:
            for path, data in taken.items():
                path.write_bytes(data)

        return put_back

    def bring_back(self, *steps: str) -> None:
        """Copy the old configuration's pointers and results of some steps in, as somebody may have done."""
        old = self.change.old
        for name, data in old.pointers().items():
            if json.loads(data).get("step") in steps:
                (self.copy.folder / REFS / name).write_bytes(data)
        for name, data in old.exported().items():
            if any(self._is_of(step, name) for step in steps):
                (self.copy.folder / "results" / name).write_bytes(data)

    def fails(self, *causes: Cause) -> None:
        """The command fails at their steps, says why, and leaves no old result that looks like a new one.

        Where there are several, they do not need each other's steps, and the command goes on after each.
        """
        fault = ",".join(cause.fault for cause in causes)
        config: dict[str, Any] = {}
        for cause in causes:
            config = merged(config, cause.config)
        going_on = ["--keep-going"] if len(causes) > 1 else []
        # one job at a time for a bad input: another that reads the damaged pointer would put it away
        cores = 1 if any(cause.kind == "input" for cause in causes) else 2
        outcome = self.run(*going_on, fault=fault, config=config, cores=cores)
        named = ", ".join(map(str, causes))
        assert outcome.code != 0, f"{named}: it ended well\n{outcome.text}"
        closing = outcome.text.split("\nclipsteer: ")[1:]
        for cause in causes:
            for says in cause.says:
                assert says in outcome.text, f"{cause}: does not say {says!r}\n{outcome.text}"
            told = any(all(word in sentence for word in cause.told) for sentence in closing)
            assert told or not cause.told, f"{cause}: no sentence says {cause.told}\n{outcome.text}"
        here = self.copy.exported()
        wholes = [copy.exported().items() for copy in (self.change.old, self.change.new)]
        for written in RESULTS.values():
            jobs: dict[tuple[str, ...], dict[str, bytes]] = {}
            for name in filter(written.match, here):
                jobs.setdefault(written.match(name).groups(), {})[name] = here[name]
            for mine in jobs.values():
                assert any(mine.items() <= whole for whole in wholes), f"{named}: mixed {[*mine]}"

    def fails_in_between(self, *causes: Cause) -> None:
        """The command fails at steps that may have been done before it is their turn; then they are mended.

        Branches run side by side: old pointers and results of those steps are copied back in, and their records
        are taken away until they are mended.
        """
        steps = [cause.step for cause in causes]
        self.bring_back(*steps)
        put_back = self.forget(*steps)
        self.fails(*causes)
        put_back()

    def is_to_be_done(self, cause: Cause) -> None:
        """A dry run after a failure sees that there is something to do."""
        outcome = self.run("--dry-run", config=cause.config).ok()
        assert not outcome.idle, f"{cause}:\n{outcome.text}"

    def finishes(self, config: Mapping[str, Any] | None = None) -> None:
        """The command does it, and everything is as in `new` (as from nothing)."""
        self.run(config=config).ok()
        assert self._differences() == []

    def is_done(self, config: Mapping[str, Any] | None = None) -> None:
        """Nothing is to be done, and everything is as in `new`."""
        assert self.run(config=config).ok().idle
        assert self._differences() == []

    def _differences(self) -> list[str]:
        """The results and pointers that are not what `new` has. The step that a narrow cell is about has been done."""
        new = self.change.new
        files = {
            name: data
            for name, data in new.exported().items()
            if not self.narrow or self._is_asked(name)
        }
        here = self.copy.pointers()
        # A narrow cell leaves what only other results need (the signs' world, points of a grid) as it was or undone.
        old = self.change.old.pointers() if self.narrow else {}
        steps = {name: json.loads(data).get("step") for name, data in new.pointers().items()}
        pointers = {
            name: data
            for name, data in new.pointers().items()
            if steps[name] not in self.left
            and not (self.narrow and here.get(name) in (None, old.get(name)))
        }
        both = ((files, self.copy.exported()), (pointers, here))
        assert files
        assert pointers
        assert not self.narrow or any(steps[name] == self.narrow for name in pointers)
        return [name for wanted, here in both for name in wanted if wanted[name] != here.get(name)]

    def _is_asked(self, result: str) -> bool:
        """Whether a narrow cell asks for a job that writes it: by a target of the same step and groups."""
        asked = [target.removeprefix("results/") for target in self.targets]
        for step, written in RESULTS.items():
            if mine := written.match(result):
                others = filter(None, map(written.match, asked))
                return step not in self.left and mine.groups() in [o.groups() for o in others]
        return True

    @staticmethod
    def _is_of(step: str, result: str) -> bool:
        return step in RESULTS and RESULTS[step].match(result) is not None
