"""Which pointer of a working copy has a result: of a layer, of activations, of what tables call a dictionary.

Pointers stay where they are when layers or images are cut into other jobs, or when another dictionary is chosen. Which
of them are those of the configuration, its last run has noted; without a note, pointers that differ are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clipsteer.errors import ClipsteerError, close_match
from clipsteer.store.pointers import Member, Pointer, read_pointer
from clipsteer.store.roots import REFS
from clipsteer.store.state import noted_run

_TRAINED = "dictionaries"


class Refs:
    """The pointers of the working copy in `folder`. What it raises are ClipsteerErrors that name the place."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / REFS

    def noted(self, dictionary: str) -> Mapping[str, Any]:
        """`architecture`, `hook_point`, `model` and `chosen` of a dictionary in the last run, if that has noted it."""
        dictionaries: Mapping[str, Mapping[str, Any]] = noted_run(self.folder).get(
            "dictionaries", {}
        )
        return dictionaries.get(dictionary, {})

    # ---- results

    def member(self, pointer: str, name: str = "all") -> Member:
        """One result of a pointer, such as `celeba/head.json`."""
        path = self.root / pointer
        if not path.is_file():
            raise ClipsteerError(
                f"{path}: there is no such result; run `snakemake {REFS}/{pointer}` in {self.folder} to make it."
            )
        return read_pointer(path).members[name]

    def layer(self, place: str, file: str, layer: int) -> Member:
        """What `<place>/<block>/<file>` has of a layer, in whichever block of layers it lies."""
        found = self._layers(f"{place}/layers_*/{file}")
        if layer not in found:
            raise self._lacks(place, layer, found)
        return found[layer]

    def has_layers(self, place: str, file: str) -> bool:
        """Whether there is any `<place>/<block>/<file>`."""
        return any(self.root.glob(f"{place}/layers_*/{file}"))

    def parts(self, dataset: str, split: str) -> list[Member]:
        """The activations of every shard that a split's images are cut into, in their order."""
        place = f"{dataset}/activations/{split}"
        listed = sorted(self.member(f"{place}/shards.json").outputs)
        parts = set(self.root.glob(f"{place}/part_*.json"))
        # of another cut none is taken: it may be of other images
        found = self._joined(self._of_cut(parts) or parts)
        lacking = [shard for shard in listed if f"{split}/{shard}" not in found]
        if lacking:
            raise ClipsteerError(
                f"{self.root / place}: found activations of {len(listed) - len(lacking)} of {len(listed)} shards, "
                f"not of {lacking[0]}; expected all. Run what needs them again."
            )
        return [found[f"{split}/{shard}"] for shard in listed]

    # ---- dictionaries

    def dictionary(self, name: str, layer: int, dataset: str | None = None) -> Member:
        """A layer of a dictionary; `dataset`: by whose quality it was chosen, where it was."""
        places = self._places(name, dataset)
        there = {place: found[layer] for place, found in places.items() if layer in found}
        if not there:
            place = next(iter(places), f"{_TRAINED}/{name}")
            raise self._lacks(place, layer, {n for found in places.values() for n in found})
        if len({member.outputs["dictionary"].digest for member in there.values()}) > 1:
            chosen = [place.partition("/")[0] for place in there if place != f"{_TRAINED}/{name}"]
            raise ClipsteerError(
                f"{self.root}: found different dictionaries {name} of layer {layer} in {' and '.join(there)}, expected "
                f"one. Say whose quality has chosen it ({' or '.join(chosen)}): dataset={chosen[0]!r}, or --dataset "
                f"{chosen[0]}. Pointers of an earlier configuration may go: a run restores what it needs."
            )
        return next(iter(there.values()))

    def layers(self, name: str, dataset: str | None = None) -> list[int]:
        """The layers that there are of a dictionary."""
        return sorted({n for found in self._places(name, dataset).values() for n in found})

    def dictionaries(self) -> list[tuple[str, str | None, Member]]:
        """(name, data set whose quality has chosen it, a layer of it): points of grids too, by name."""
        names = {path.name for path in self.root.glob(f"{_TRAINED}/*") if path.is_dir()}
        names |= {path.parents[1].name for path in self.root.glob("*/*/layers_*/chosen.json")}
        return [
            (name, None if place.startswith(f"{_TRAINED}/") else place.partition("/")[0], layers[n])
            for name in sorted(names)
            for place, layers in self._places(name, None).items()
            for n in sorted(layers)
        ]

    def done_with(self, name: str) -> Iterator[Pointer]:
        """What was made with a dictionary on any data set."""
        for path in sorted(self.root.glob(f"*/{name}/layers_*/*.json")):
            yield read_pointer(path)

    def _places(self, name: str, dataset: str | None) -> dict[str, dict[int, Member]]:
        """Place -> layer -> member: what may go by the name of a dictionary."""
        chosen: list[str] = []
        if self.noted(name).get("chosen", True):
            found = self.root.glob(f"*/{name}/layers_*/chosen.json")
            chosen = sorted({path.parents[2].name for path in found})
        trained = [] if self.noted(name).get("chosen", False) else [f"{_TRAINED}/{name}"]
        if dataset is not None:
            known = chosen or sorted(p.parent.name for p in self.root.glob("*/manifest.json"))
            if dataset not in known:
                raise ClipsteerError(
                    f"dataset: found {dataset!r}, expected one of {', '.join(known) or 'none'}, as pointers in "
                    f"{self.root} have it for {name}.{close_match(dataset, known)}"
                )
            if chosen:
                chosen, trained = [dataset], []
        places = {place: self._layers(f"{place}/layers_*.json") for place in trained}
        for one in chosen:
            places[f"{one}/{name}"] = self._layers(f"{one}/{name}/layers_*/chosen.json")
        return {place: layers for place, layers in places.items() if layers}

    # ---- pointers

    def _layers(self, pattern: str) -> dict[int, Member]:
        members = self._joined(self.root.glob(pattern))
        return {int(name.rpartition("_")[2]): member for name, member in members.items()}

    def _joined(self, pointers: Iterable[Path]) -> dict[str, Member]:
        """The members of some pointers; of one that is in several, that of the last run's cut."""
        found: dict[str, tuple[Path, Member]] = {}
        pointers = set(pointers)
        cut = self._of_cut(pointers)
        for path in (*sorted(cut), *sorted(pointers - cut)):
            for name, member in read_pointer(path).members.items():
                other, before = found.setdefault(name, (path, member))
                if before != member and (path in cut) == (other in cut):
                    raise ClipsteerError(
                        f"{other} and {path}: found another {name} in each, expected one: jobs were cut otherwise in "
                        "an earlier run. Run what needs it again, which notes how jobs are cut; if that does not help, "
                        "remove the file of the earlier configuration."
                    )
        return {name: member for name, (_, member) in found.items()}

    def _of_cut(self, pointers: set[Path]) -> set[Path]:
        """Those of the jobs into which the last run cuts layers or images."""
        cut = frozenset(noted_run(self.folder).get("cut", ()))
        return {path for path in pointers if not cut.isdisjoint((path.stem, path.parent.name))}

    def _lacks(self, place: str, layer: int, there: Iterable[int]) -> ClipsteerError:
        at = self.root / place
        layers = ", ".join(f"{number:02d}" for number in sorted(there))
        others = [] if layers else sorted(path.name for path in at.parent.glob("*"))
        return ClipsteerError(
            f"{at}: there is nothing of layer {layer}; found layers {layers or 'none'}."
            + close_match(at.name, others)
        )
