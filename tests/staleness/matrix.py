"""What a row of the staleness matrix is, and where a run differs from it.

Actions are named by their step and what they are about (`train_dictionary topk/layer_00`). `*` stands for
anything among the actions of the first, cold run, so that one list fits every ground; an action that is new
with the edit is written out, with `{layer}` for each layer of the ground and `{new}` for its new layer. What
a pattern after `-` stands for is taken away again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from tests.staleness import edits
from tests.staleness.edits import Edit
from tests.staleness.scene import Ground, Scene, Seen

Patterns = Sequence[str] | Callable[[Ground], Sequence[str]]
Config = Mapping[str, Any] | Callable[[Ground], Mapping[str, Any]]


@dataclass(frozen=True)
class Stage:
    """One edit and one run: the exact actions that it computes and restores, and how it ends.

    `table` says whether the table's bytes are those of the first run; `says` is a part of the message
    of a run that must fail, and `meanwhile` an edit made while the run computes.
    """

    what: str
    edit: Edit = edits.nothing
    config: Config = field(default_factory=dict)
    computed: Patterns = ()
    restored: Patterns = ()
    table: Literal["same", "other"] = "same"
    says: str = ""
    meanwhile: Edit | None = None
    options: Sequence[str] = ()
    cores: int = 2

    def settings(self, ground: Ground) -> Mapping[str, Any]:
        """What is laid over the ground's configuration."""
        return self.config(ground) if callable(self.config) else self.config

    def patterns(self, word: str, ground: Ground) -> Sequence[str]:
        """The patterns of what is `computed` or `restored`."""
        found: Patterns = getattr(self, word)
        return found(ground) if callable(found) else found

    def run(self, scene: Scene) -> Seen:
        """Edit the scene and run."""
        self.edit(scene)
        return scene.run(
            self.settings(scene.ground),
            options=self.options,
            cores=self.cores,
            meanwhile=self.meanwhile,
        )

    def faults(self, seen: Seen, first: Scene) -> list[str]:
        """Where a run did not do what this stage says; `first` is the scene as the cold run left it."""
        found = list(seen.faults)
        for word in ("computed", "restored"):
            wanted = expected(self.patterns(word, first.ground), first)
            got = getattr(seen, word)
            if extra := sorted(set(got) - wanted):
                found.append(f"{word}, but should not be: {', '.join(extra)}")
            if missing := sorted(wanted - set(got)):
                found.append(f"not {word}, but should be: {', '.join(missing)}")
            if len(got) != len(set(got)):
                found.append(f"{word} twice: {got}")
        if self.says:
            if seen.outcome.code == 0 or self.says not in seen.outcome.text:
                found.append(f"exit {seen.outcome.code}, expected a failure that says {self.says}")
        elif seen.outcome.code != 0:
            found.append(f"exit {seen.outcome.code}, expected 0")
        elif (seen.table == first.table()) != (self.table == "same"):
            found.append(f"the table is not the {self.table} as in the first run")
        return found


@dataclass(frozen=True)
class Row:
    """A row of the matrix: one stage, or several that follow one another on the same scene.

    `idle` rows change nothing that counts: they do not disturb each other, so that all of them can be
    edited together and run once. `raw` rows need the user's own files, `layers` rows a layer that the
    configuration does not use. `long` rows compute everything again.
    """

    name: str
    stages: Sequence[Stage]
    idle: bool = False
    raw: bool = False
    layers: bool = False
    long: bool = False

    def fits(self, ground: Ground) -> bool:
        return (ground.raw or not self.raw) and (ground.new_layer is not None or not self.layers)


def row(name: str, what: str, edit: Edit = edits.nothing, **settings: Any) -> Row:
    """A row of one stage; `settings` are the row's and the stage's."""
    marks = {key: settings.pop(key) for key in ("idle", "raw", "layers", "long") if key in settings}
    return Row(name, [Stage(what, edit, **settings)], **marks)


def together(rows: Sequence[Row], ground: Ground) -> Stage:
    """The single stages of several idle rows as one."""
    stages = [stage for row in rows for stage in row.stages]
    config: dict[str, Any] = {}
    for stage in stages:
        config |= stage.settings(ground)
    return Stage(
        "; ".join(stage.what for stage in stages),
        edits.all_of(*(stage.edit for stage in stages)),
        config=config,
        options=[option for stage in stages for option in stage.options],
        cores=min(stage.cores for stage in stages),
    )


def expected(patterns: Sequence[str], first: Scene) -> set[str]:
    """The names of the actions that some patterns stand for; each must stand for one at least."""
    ground, known = first.ground, first.names()
    numbers = {"new": f"layer_{ground.new_layer or 0:02d}"}
    found: set[str] = set()
    for pattern in patterns:
        plain = pattern.removeprefix("-")
        if "*" in plain:
            names = [name for name in known if fnmatchcase(name, plain)]
        else:
            layers = [f"layer_{layer:02d}" for layer in ground.layers]
            names = [plain.format(layer=layer, **numbers) for layer in layers]
        assert names, f"{pattern} stands for no action of {ground.name}"
        found = found.difference(names) if plain != pattern else found.union(names)
    return found
