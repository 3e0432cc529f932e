"""A clone, its store and the user's data in one folder, that rows of the staleness matrix edit and run.

The state after one cold run is made once; every row works on a copy of it. Objects in the store are
immutable, so copies share them by hard links; everything else is copied.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipsteer.store.actions import ActionStore
from clipsteer.store.layout import ACTIONS, FORMAT_FILE, OBJECTS
from clipsteer.store.objects import ObjectStore
from clipsteer.store.roots import forget, roots, sync
from tests.workflow.runs import BASE, Outcome, WorkingCopy, merged

# What of a checkout a run needs.
SOURCES = (
    *("Snakefile", "config.yaml", "rules", "workflow_scripts", "clipsteer"),
    *("config", "schemas", "profiles", "envs"),
)
# What runs leave in a clone.
STATE = ("results", "artifacts/refs", ".snakemake", "logs")
_DONE = re.compile(r"^(computed|remade) .+ (\w+:[0-9a-f]{64})$", re.M)
_Stamps = dict[str, tuple[int, int]]


def check_out(folder: Path, sources: Sequence[str] = SOURCES) -> None:
    """Put the sources of the checkout into a new folder, as a clone would."""
    folder.mkdir(parents=True)
    for name in sources:
        source, place = BASE / name, folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, place)


@dataclass(frozen=True)
class Ground:
    """What the matrix is run on: a configuration and the data that it needs.

    `overlays` are files of the checkout, `config` is laid over them and may name the scene's folder.
    `layers` are those of the configuration, `new_layer` another one that the CLIP has.
    """

    name: str
    overlays: Sequence[str]
    config: Callable[[Path], Mapping[str, Any]]
    prepare: Callable[[Path], None]
    table: str
    layers: Sequence[int]
    new_layer: int | None
    dictionaries: Sequence[str]
    raw: bool


@dataclass(frozen=True)
class Seen:
    """What a run did: names of the actions computed (or remade) and restored, the table's bytes."""

    outcome: Outcome
    computed: list[str]
    restored: list[str]
    table: bytes | None
    seconds: float
    faults: list[str] = field(default_factory=list)


class Scene:
    """A clone that is its own working folder, with its store (`store`) and the user's files (`data`)."""

    def __init__(self, home: Path, ground: Ground) -> None:
        self.home, self.ground = home, ground
        self.clone, self.store, self.data = home / "clone", home / "store", home / "data"

    @classmethod
    def new(cls, home: Path, ground: Ground) -> Scene:
        """A fresh clone of the checkout with the ground's data and an empty store."""
        scene = cls(home, ground)
        check_out(scene.clone)
        ground.prepare(scene.data)
        return scene

    def adopt(self, store: Path) -> None:
        """Begin with what another store holds: its objects and records."""
        for name in (OBJECTS, ACTIONS):
            copy_folder(store / name, self.store / name)
        shutil.copy2(store / FORMAT_FILE, self.store)

    def copy(self, home: Path) -> Scene:
        """Another one in the same state, which may be changed without changing this one."""
        copy_folder(self.home, home)
        other = Scene(home, self.ground)
        as_if_moved(other.store, other.clone)
        return other

    def run_from_nothing(self, home: Path, config: Mapping[str, Any]) -> Seen:
        """The same code, files and configuration in a copy without store and without earlier results."""
        other = self.copy(home)
        for path in (other.store, *(other.clone / name for name in STATE)):
            shutil.rmtree(path, ignore_errors=True)
        return other.run(config)

    def damaged_objects(self) -> list[str]:
        """Objects whose bytes are no longer what their name says: somebody wrote in place."""
        objects, found = ObjectStore(self.store), []
        for digest in list(objects.digests()):
            try:
                objects.verify(digest)
            except Exception as error:
                found.append(str(error))
        return found

    def names(self) -> list[str]:
        """The names of all actions on record."""
        return sorted(action_name(record) for record in self.records().values())

    def table(self) -> bytes | None:
        """The bytes of the ground's table, if it is there."""
        path = self.file(self.ground.table)
        return path.read_bytes() if path.exists() else None

    # ---- editing

    def file(self, path: str) -> Path:
        """A file of the clone."""
        return self.clone / path

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace the one occurrence of `old` in a file of the clone."""
        text = self.file(path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path}: {old!r} stands there {text.count(old)} times"
        self.file(path).write_text(text.replace(old, new), encoding="utf-8")

    def modules(self) -> list[Path]:
        """Every Python file of the clone."""
        return sorted(p for p in self.clone.rglob("*.py") if ".snakemake" not in p.parts)

    def record(self, name: str) -> tuple[str, dict[str, Any]]:
        """Key and record of the action of this name."""
        found = [item for item in self.records().items() if action_name(item[1]) == name]
        assert len(found) == 1, f"{name}: {len(found)} records"
        return found[0]

    def records(self) -> dict[str, dict[str, Any]]:
        """Every action record of the store, by its key."""
        actions = ActionStore(self.store)
        every = ((key, actions.get(key)) for key in list(actions.keys()))
        return {key: record for key, record in every if record is not None}

    # ---- running

    def run(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        targets: Sequence[str] = (),
        options: Sequence[str] = (),
        cores: int = 2,
        meanwhile: Callable[[Scene], None] | None = None,
    ) -> Seen:
        """One run of Snakemake (by default for the ground's table); `meanwhile` acts once a step computes."""
        copy = WorkingCopy(self.clone, self.store, base=self.clone)
        records, logs = self._record_stamps(), self._log_stamps()
        if meanwhile is not None:
            threading.Thread(target=self._act_while_computing, args=[meanwhile]).start()
        started = time.monotonic()
        outcome = copy.run(
            *(targets or [self.ground.table]),
            config=merged(self.ground.config(self.data), config or {}),
            overlays=[self.clone / path for path in self.ground.overlays],
            options=options,
            cores=cores,
        )
        return self._seen(outcome, time.monotonic() - started, records, logs)

    def _act_while_computing(self, act: Callable[[Scene], None]) -> None:
        """Wait until an attempt at an action has its scratch folder, then act."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if any(path.is_dir() for path in (self.store / "scratch").glob("*/*")):
                act(self)
                return
            time.sleep(0.005)

    def _seen(
        self,
        outcome: Outcome,
        seconds: float,
        records: _Stamps,
        logs: dict[Path, int],
    ) -> Seen:
        """What a run did, as its logs, the store and its closing line say: `faults` is where they differ."""
        names = {key: action_name(record) for key, record in self.records().items()}
        now = self._record_stamps()
        # a record is linked into its place when it is made, and its time is set when it is used
        made = {key for key in now if key not in records or now[key][0] != records[key][0]}
        used = {key for key in now.keys() - made if now[key] != records[key]}
        written = [path for path, stamp in self._log_stamps().items() if logs.get(path) != stamp]
        done = [found for path in written for found in _DONE.findall(path.read_text())]
        computed = sorted(names[key] for _, key in done)
        restored = sorted(names[key] for key in used)
        faults = []
        if made != {key for how, key in done if how == "computed"}:
            faults.append(f"new records {sorted(names[key] for key in made)}, logs {computed}")
        if outcome.counts != (len(computed), len(restored)):
            faults.append(f"closing line {outcome.counts}, seen {len(computed)}, {len(restored)}")
        return Seen(outcome, computed, restored, self.table(), seconds, faults)

    def _record_stamps(self) -> _Stamps:
        """(inode, time) of each record."""
        actions = ActionStore(self.store)
        stats = {key: os.stat(actions.file(key)) for key in list(actions.keys())}
        return {key: (stat.st_ino, stat.st_mtime_ns) for key, stat in stats.items()}

    def _log_stamps(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in self.file("logs").rglob("*.log")}


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder, perhaps into one that is there; objects of a store are shared by links if they can be."""

    def link_or_copy(file: str, place: str) -> str:
        if f"/{OBJECTS}/" in file:
            with suppress(OSError):
                if not os.path.exists(place):
                    os.link(file, place)
                return place
        return shutil.copy2(file, place)

    shutil.copytree(source, target, copy_function=link_or_copy, symlinks=True, dirs_exist_ok=True)


def as_if_moved(store: Path, clone: Path) -> None:
    """Let a store know only this working copy, as if the one that it was copied with had been moved here."""
    for root in roots(store):
        forget(store, root.id)
    sync(store, clone)


def action_name(record: Mapping[str, Any]) -> str:
    """What an action is called here: its step and what it is about, such as `list_shards celeba/train`."""
    step, run = record["step"], record["run"]
    parts = [run["name"], record["recipe"].get("split", "")]
    member = run["label"].removeprefix(step).strip()
    about = [part for part in parts if part and part not in member.split("/")]
    return f"{step} {'/'.join([*about, *([member] if member else [])])}".rstrip()
