"""A working copy in any state: each part of it absent, or as another run, in another place or time, left it."""

from __future__ import annotations

import json
import os
import shutil
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from clipsteer.store.digest import canonical_json, digest_bytes
from clipsteer.store.pointers import read_chain
from tests.staleness.scene import STATE, copy_folder
from tests.workflow.runs import REFS, Outcome

DAMAGED = "damaged"
TIMES = ("kept", "now", "backwards")


class State(NamedTuple):
    """A working copy's folder and its store."""

    folder: Path
    store: Path

    def clear(self) -> None:
        """Take away all that runs have left."""
        for path in (self.store, *(self.folder / name for name in STATE)):
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, place: Path) -> State:
        """A copy of what runs have left, in a new folder."""
        other = State(place / "copy", place / "store")
        for name in STATE:
            copy_folder(self.folder / name, other.folder / name)
        copy_folder(self.store, other.store)
        return other

    def pointers(self) -> list[str]:
        """The places of all pointers below artifacts/refs."""
        root = self.folder / REFS
        return sorted(str(path.relative_to(root)) for path in root.rglob("*.json"))

    def says(self) -> dict[str, str | bytes | None]:
        """The bytes of every result, and the chain key of every pointer: a damaged one may go unread."""
        files = [path for path in (self.folder / "results").glob("*") if path.is_file()]
        results = {f"results/{path.name}": path.read_bytes() for path in files}
        return results | {name: read_chain(self.folder / REFS / name) for name in self.pointers()}

    def interrupt(self) -> None:
        """Let Snakemake believe that none of its jobs has come to an end."""
        marks = self.folder / ".snakemake/incomplete"
        marks.mkdir(exist_ok=True)
        for name in self.pointers():
            mark = marks / urlsafe_b64encode(str(REFS / name).encode()).decode()
            mark.write_text('{"external_jobid": null}')

    def without_chains(self) -> None:
        """Make every pointer one of an earlier version, which does not say what it was made from."""
        for name in self.pointers():
            path = self.folder / REFS / name
            body = {**json.loads(path.read_bytes()), "format": "clipsteer-pointer/1"}
            for key in ("chain", "check"):
                body.pop(key, None)
            text = {**body, "check": digest_bytes(canonical_json(body))}
            path.write_text(json.dumps(text, sort_keys=True, indent=1) + "\n")


@dataclass(frozen=True)
class Mixture:
    """Where each part of a working copy comes from; None: it is not there.

    `single`: pointers that come from elsewhere than the others. `store`: whose runs the store knows.
    `times`: of all pointers and results. `fault`: what goes wrong in a run in between, if anything.
    """

    memory: str | None  # .snakemake
    pointers: str | None
    results: str | None
    single: Mapping[str, str | None]
    store: frozenset[str]
    times: str
    fault: str

    def lay(self, target: State, sources: Mapping[str, State]) -> None:
        """Put a cleared working copy into this state."""
        target.clear()
        for name, source in (
            (".snakemake", self.memory),
            (str(REFS), self.pointers),
            ("results", self.results),
        ):
            if source is not None:
                copy_folder(sources[source].folder / name, target.folder / name)
        for name, source in self.single.items():
            path = target.folder / REFS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if source == DAMAGED:
                data = path.read_bytes() if path.exists() else b"{}"
                path.write_bytes(data[: len(data) // 2])
            elif source is not None:
                shutil.copy2(sources[source].folder / REFS / name, path)
            else:
                path.unlink(missing_ok=True)
        for source in sorted(self.store):
            copy_folder(sources[source].store, target.store)
        self._set_times(target.folder)

    def _set_times(self, folder: Path) -> None:
        files = [p for name in (REFS, "results") for p in (folder / name).rglob("*") if p.is_file()]
        files.sort(key=lambda path: path.stat().st_mtime_ns, reverse=self.times == "backwards")
        for age, path in enumerate(reversed(files)):
            if self.times != "kept":
                os.utime(path, times=(time.time() - age,) * 2)


def mixtures(
    sources: Sequence[str], pointers: Sequence[str], faults: Sequence[str]
) -> st.SearchStrategy[Mixture]:
    """Mixtures of what these sources have."""
    anyone = st.sampled_from([*sources, None])
    return st.builds(
        Mixture,
        memory=anyone,
        pointers=anyone,
        results=anyone,
        single=st.dictionaries(
            st.sampled_from(pointers), st.sampled_from([*sources, DAMAGED, None]), max_size=4
        ),
        store=st.frozensets(st.sampled_from(sources)),
        times=st.sampled_from(TIMES),
        fault=st.sampled_from(["", "", *faults]),
    )


def tries(count: int) -> settings:
    """So many mixtures, the same ones each time; a failing one is said as it is, as each takes seconds."""
    return settings(
        max_examples=count,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


def settle(mixture: Mixture, run: Callable[[str], Outcome], state: State, right: State) -> None:
    """Whatever the state, a run that ends well leaves what one from nothing does, and the next one does.

    `run(fault)` is the command in the working copy of `state`; `right` is what a run from nothing left.
    """
    wanted = right.says()

    def check(outcome: Outcome) -> None:
        found = state.says()
        other = [name for name in wanted if found.get(name) != wanted[name]]
        assert other == [], f"rc 0, and other {other}\n{outcome.text}"

    if mixture.fault:
        outcome = run(mixture.fault)
        if outcome.code == 0:
            check(outcome)
    check(run("").ok())
    outcome = run("").ok()
    assert outcome.idle, outcome.text
    check(outcome)
