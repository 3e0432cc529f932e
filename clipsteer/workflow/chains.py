"""Staleness from our own keys: what each pointer should say, compared before the DAG is built.

Snakemake's memory (`.snakemake`) says how a file was made the last time that *it* made one, and nothing of
a file that was copied here, or that stands behind a job which failed since. So every pointer says which
chain of recipes it is the result of (`chain_key`), and here the same key is worked out from the rules and the
configuration. A pointer with another key, or with a result file that is missing or edited, is not up to
date, whatever Snakemake remembers; its job runs, and is restored where the store knows its actions.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

from clipsteer.errors import ClipsteerError
from clipsteer.store.digest import digest_bytes, digest_file
from clipsteer.store.exports import edited, put_aside
from clipsteer.store.index import RecordIndex
from clipsteer.store.layout import ROOTS
from clipsteer.store.peek import PeekActions, PeekObjects
from clipsteer.store.pointers import chain_key, read_chain, read_pointer
from clipsteer.store.roots import REFS, root_id
from clipsteer.workflow.asked import check_asked
from clipsteer.workflow.places import not_a_file

# Inputs of a rule that only say what comes first.
_ORDER = "dropped"


@dataclass(frozen=True)
class Link:
    """A job as its rule and the configuration give it.

    `pointer`: the file that stands for its results; `exports`: output name -> the file that people
    read; `inputs`: the pointers that its own is made from, `before`: all files that have to be there.
    """

    pointer: str
    exports: Mapping[str, str]
    inputs: Sequence[str]
    before: Sequence[str]
    recipe: Callable[[], str]
    source: Callable[[], str | None]


class Chains:
    """The chain keys that one configuration expects of the pointers in the current folder.

    `workflow` is Snakemake's, whose rules may still be to come. A rule whose pointer counts has the param
    `recipe`; where it reads something of the user's own, it has the param `source` too: a text that
    stands for it, None where that is not known before the job has run. Of a rule's outputs the one
    called `pointer`, or the only one, is the pointer; all others are result files that it vouches for.
    """

    def __init__(self, workflow: Any, store: Path) -> None:
        self._workflow, self.store = workflow, store
        self._links: dict[str, Link | None] = {}
        self._keys: dict[str, str | None] = {}
        #: The pointers that were not up to date before the DAG was built, each with the reason.
        self.found: dict[str, str] = {}

    def compare_first(self, datasets: Iterable[str] = ()) -> None:
        """Let Snakemake run the jobs of all that is not up to date, as if it was named by --forcerun.

        Before, a file that no rule makes is refused; `datasets` may be meant by its name.
        For the main process only: a job's own reading of the rules compares nothing. Snakemake has no
        hook between reading the rules and looking for what has to run, so this one is put there.
        """
        prepare = self._workflow._prepare_dag

        @functools.wraps(prepare)
        def prepared(*words: Any, **options: Any) -> None:
            prepare(*words, **options)
            dag = self._workflow.dag
            asked = [file for rule in dag.targetrules for file in (*rule.output, *rule.input)]
            try:
                check_asked(map(str, dag.targetfiles), self._workflow.rules, datasets)
                self.found = self.stale(map(str, [*dag.targetfiles, *asked]))
            except ClipsteerError as error:
                raise WorkflowError(str(error)) from None
            dag.forcefiles.update(self.found)

        self._workflow._prepare_dag = prepared

    # ---- what is expected

    def key(self, path: str) -> str | None:
        """The chain key that the pointer at `path` has to have; None where it is not known yet.

        Raises ClipsteerError where no rule makes it and where the user's files cannot be read.
        """
        if path not in self._keys:
            link = self.link(path)
            if link is None:
                raise ClipsteerError(f"{path}: no rule makes this pointer; check its name.")
            # keyed first: rules cannot go round in circles, but a Snakefile under work may
            self._keys[path] = None
            source = link.source()
            keys = [self.key(name) for name in link.inputs]
            if source is not None and None not in keys:
                sources = [key for key in keys if key]
                sources += [digest_bytes(source.encode())] if source else []
                self._keys[path] = chain_key(link.recipe(), sources)
        return self._keys[path]

    def expected(self, wildcards: Any, output: Any) -> str:
        """The param `chain` of every rule: the key that a job's pointer has to get.

        Empty where it is not known yet. `output`: the job's, as Snakemake gives it.
        """
        return self.key(str(output.get("pointer", output[0]))) or ""

    def current(self, path: str | Path) -> bool:
        """Whether the pointer at `path` is there and is what this configuration expects."""
        found = read_chain(path)
        return bool(found) and found == self.key(str(path))

    def link(self, path: str) -> Link | None:
        """The job that makes a file; None where no rule with a recipe does."""
        if path not in self._links:
            self._links[path] = self._find(path)
        return self._links[path]

    def _find(self, path: str) -> Link | None:
        for rule in self._workflow.rules:
            for output in rule.output:
                match = output.match(path)
                if match:
                    return self._link(rule, match.groupdict())
        return None

    def _link(self, rule: Any, found: Mapping[str, str]) -> Link | None:
        params = dict(rule.params._allitems())
        if "recipe" not in params:
            return None
        wildcards = Wildcards(fromdict=found)
        outputs = {
            name or "pointer": str(file.apply_wildcards(wildcards))
            for name, file in rule.output._allitems()
        }
        pointer = outputs.pop("pointer")
        named = [
            (name, file)
            for name, item in rule.input._allitems()
            for file in _files(item, wildcards)
        ]
        source = params.get("source", lambda wildcards: "")
        link = Link(
            pointer,
            outputs,
            [file for name, file in named if name != _ORDER],
            [file for _, file in named],
            lambda: str(params["recipe"](wildcards)),
            lambda: source(wildcards),
        )
        for file in (pointer, *outputs.values()):
            self._links[file] = link
        return link

    # ---- what is there

    def needed(self, targets: Iterable[str]) -> list[Link]:
        """The jobs behind some files, each after what it is made from; others' files count for nothing."""
        found: dict[str, Link] = {}

        def visit(path: str) -> None:
            link = self.link(path)
            if link is None or link.pointer in found:
                return
            for file in link.before:
                visit(file)
            found[link.pointer] = link

        for target in targets:
            visit(os.path.relpath(target))
        return list(found.values())

    def stale(self, targets: Iterable[str]) -> dict[str, str]:
        """The pointers behind some files that are not up to date, each with the reason.

        A pointer that is not there is Snakemake's business, unless a result file stands without it.
        Raises one ClipsteerError for all folders that cannot be read or that bar the way of a result.
        """
        targets = [os.path.relpath(target) for target in targets]
        links = self.needed(targets)
        self._check(links)
        found = {link.pointer: why for link in links if (why := self._stale(link))}
        if any(not self._ours(link.pointer) for link in links if link.pointer not in found):
            self._distrust(links, targets, found)
        return found

    def put_edited_aside(self, made: Collection[str]) -> Iterator[tuple[Path, Path]]:
        """Rename the result files among those that will be made anew that no run has written.

        A person has edited them: neither their pointer nor the store knows their bytes. Gives each with
        its new place; call it before the jobs start.
        """
        objects = PeekObjects(self.store)
        for link in self.needed(made):
            vouched = _vouched(link.pointer)
            for file in map(Path, set(link.exports.values()) & set(made)):
                if file.is_file() and file.stat().st_size:
                    digest = digest_file(file)
                    if digest not in vouched and not objects.exists(digest):
                        yield file, put_aside(file)

    def _check(self, links: Iterable[Link]) -> None:
        """Raises ClipsteerError where a folder cannot be read, or stands where a result is to be written."""
        faults = []
        for link in links:
            faults += [not_a_file(file) for file in link.exports.values() if os.path.isdir(file)]
            try:
                link.source()
            except ClipsteerError as error:
                faults.append(str(error))
        if faults:
            raise ClipsteerError("\n".join(faults))

    def _stale(self, link: Link) -> str:
        """Why a job's results are not up to date; nothing where they are, or are not there at all."""
        chain = read_chain(Path(link.pointer))
        there = [file for file in link.exports.values() if Path(file).exists()]
        if chain is None:
            if os.path.islink(link.pointer):  # which Snakemake takes for a file that has just gone
                raise ClipsteerError(
                    f"{link.pointer}: found a link to {os.readlink(link.pointer)}, where nothing is, expected a "
                    f"pointer that a run has written. Remove it and its like (find {REFS} -xtype l -delete) "
                    "and run the same command again: what the store knows is restored."
                )
            return f"{there[0]} is there without its pointer" if there else ""
        if not chain:
            return "it does not say what it was made from"
        if chain != self.key(link.pointer):
            return "it was made by another configuration, code or data"
        first = set(link.before).difference(link.inputs)
        for file in (*link.exports.values(), *sorted(first)):
            if not Path(file).exists():
                return f"{file} is missing"
        if not link.exports:
            return ""  # whoever reads it sees whether it is sound
        try:
            pointer = read_pointer(link.pointer)
        except ClipsteerError:
            return "it is damaged"
        changed = edited(pointer, {name: Path(file) for name, file in link.exports.items()})
        return f"{changed[0]} was edited" if changed else ""

    # ---- pointers from elsewhere

    def _distrust(
        self, links: Sequence[Link], targets: Sequence[str], found: dict[str, str]
    ) -> None:
        """Add to `found` what a job that will run reads and this store knows nothing of.

        Such a pointer is right, but was copied here without its store: it is as good as any until an
        object behind it is needed. Results that nothing has to be done for stay as they are.
        """
        asked = {link.pointer for target in targets if (link := self.link(target))}
        grown = True
        while grown:
            grown = False
            runs = self._runs(links, asked, found)
            for link in links:
                for name in link.inputs if link.pointer in runs else ():
                    # also what seems to run itself: Snakemake forgives a newer input with the same bytes
                    if name not in found and not self._known(name):
                        found[name] = "the store does not know the actions that made it"
                        grown = True

    def _runs(self, links: Sequence[Link], asked: set[str], found: Mapping[str, str]) -> set[str]:
        """The pointers whose jobs may run, as far as can be seen from here."""
        # Snakemake runs what it believes to have been interrupted, whatever the pointer says.
        marked = self._workflow.persistence._filter_incomplete_keys
        runs: set[str] = set(marked([link.pointer for link in links]))
        while True:
            before = len(runs)
            wanted = {name for link in links if link.pointer in runs for name in link.before}
            for link in links:
                place = Path(link.pointer)
                missing = link.pointer in asked | wanted and not place.exists()
                follows = any(name in runs for name in link.before)
                if link.pointer in found or missing or follows or self._older(link):
                    runs.add(link.pointer)
            if len(runs) == before:
                return runs

    def _older(self, link: Link) -> bool:
        """Whether an input is newer, which is a reason for Snakemake."""
        times = [_mtime(Path(name)) for name in (link.pointer, *link.before)]
        return times[0] is not None and any(t is not None and t > times[0] for t in times[1:])

    @cached_property
    def _index(self) -> RecordIndex:
        return RecordIndex(PeekActions(self.store))

    def _known(self, pointer: str) -> bool:
        """Whether a pointer's actions are on record here; one that is not there asks for nothing."""
        if self._ours(pointer):
            return True
        try:
            return self._index.knows(read_pointer(Path(pointer)))
        except ClipsteerError:  # damaged
            return False

    def _ours(self, pointer: str) -> bool:
        """Whether the store has a copy of a pointer, which is written for what it knows (store/roots.py).

        Also where there is no pointer.
        """
        chain = read_chain(Path(pointer))
        return chain in (None, read_chain(self._copies / os.path.relpath(pointer, REFS)))

    @cached_property
    def _copies(self) -> Path:
        """Where the store keeps copies of this working copy's pointers."""
        return self.store / ROOTS / root_id(Path.cwd())


def _files(item: Any, wildcards: Any) -> list[str]:
    """The files that an item of a rule's input stands for: a pattern, or a function that gives paths."""
    if not callable(item):
        return [str(item.apply_wildcards(wildcards))]
    given = item(wildcards)
    return [given] if isinstance(given, str) else [str(file) for file in given]


def _vouched(pointer: str) -> set[str]:
    """The digests of all outputs that a pointer names; none where it is missing or damaged."""
    try:
        members = read_pointer(pointer).members.values()
    except ClipsteerError:
        return set()
    return {output.digest for member in members for output in member.outputs.values()}


def _mtime(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
