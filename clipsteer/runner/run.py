"""What a step script works with: the job that it plans, and the run of one action that it computes."""

from __future__ import annotations

import json
import platform
import re
import resource
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from clipsteer.runner.checkpoints import Checkpoints
from clipsteer.runner.progress import Log, Progress
from clipsteer.store.actions import Record
from clipsteer.store.digest import canonical_json
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Output, Pointer
from clipsteer.store.trees import StoreTree, put_tree

Json = Any


@dataclass(frozen=True)
class Action:
    """One unit of staleness inside a job: what is done (`recipe`) to what (`inputs`: name -> digest).

    `found_in`: name -> digest of a tree with files that an input names by their digests (the images of
    a list, say). It is recorded, but enters no key: what is read of it is known by the input.
    """

    recipe: Mapping[str, Json]
    inputs: Mapping[str, str] = field(default_factory=dict)
    found_in: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> Self:
        """The action that a record tells of."""
        return cls(record["recipe"], record["inputs"], record.get("run", {}).get("found_in", {}))

    @property
    def needs(self) -> list[str]:
        """The digests of all that has to be in the store."""
        return [*self.inputs.values(), *self.found_in.values()]


@dataclass(frozen=True)
class Runtime:
    """What may differ between two runs without changing a result: device, threads, where data lie.

    `name` is the data set or dictionary that the job is about; `checkpoint_steps` are the steps of
    training between two checkpoints (0: only when asked to stop).
    """

    name: str = ""
    device: str = "auto"
    threads: int = 1
    roots: Mapping[str, Path] = field(default_factory=dict)
    checkpoint_steps: int = 0

    def like(self, told: Mapping[str, Json]) -> Runtime:
        """The same for an action that a record tells of (the `run` in it).

        Folders that this configuration does not name are taken from the record.
        """
        roots = {name: Path(folder) for name, folder in told.get("roots", {}).items()}
        return replace(self, name=told.get("name", ""), roots={**roots, **self.roots})


@dataclass(frozen=True)
class Job:
    """What `plan` sees: the job's recipe and the pointers of its inputs, so that planning reads no objects.

    `name` is the data set or dictionary that the job is about; it may name members, never enter a key.
    `sources` are the chain keys of what it reads, as `chain_key` takes them.
    """

    recipe: Mapping[str, Json]
    inputs: Mapping[str, Pointer]
    runtime: Runtime
    sources: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.runtime.name

    def output(self, name: str, output: str, member: str = "all") -> str:
        """Digest of one output of one member of the input `name`."""
        return self.inputs[name].members[member].outputs[output].digest

    def of_members(self, name: str, output: str, called: str = "") -> dict[str, str]:
        """Digest of this output of every member of the input `name`, as `<called, or output>/<member>`."""
        called = called or output
        members = self.inputs[name].members
        return {f"{called}/{member}": self.output(name, output, member) for member in members}

    def each(self, output: str) -> dict[str, str]:
        """Digest of this output of every input called `<output>/<name>`, by the name, as far as there is one."""
        return {
            name.removeprefix(f"{output}/"): self.output(name, output)
            for name, pointer in self.inputs.items()
            if name.startswith(f"{output}/") and pointer.members
        }

    def facts(self, name: str) -> Mapping[str, Json]:
        """Facts of the input `name`, which has no members but `all`."""
        return self.inputs[name].members["all"].facts


class Run:
    """What `compute` sees: one action, a scratch folder of its own, and the ways to hand over outputs."""

    def __init__(
        self,
        action: Action,
        store: ObjectStore,
        runtime: Runtime,
        scratch: Path,
        log: Log,
        label: str,
        checkpoints: Checkpoints,
    ) -> None:
        self.recipe, self.inputs, self.found_in = action.recipe, action.inputs, action.found_in
        self.store, self.runtime, self.scratch = store, runtime, scratch
        self.checkpoints = checkpoints
        self.outputs: dict[str, Output] = {}
        self.facts: dict[str, Json] = {}
        self._log, self.label = log, label
        self._shown: dict[str, str] = {}  # a link, or what it leads to -> what people know it by
        self._began, self._clock = datetime.now(UTC), time.monotonic()
        self._circumstances: dict[str, Json] = {}

    def blob(self, name: str) -> bytes:
        """Bytes of the input blob `name`."""
        return self.store.get_bytes(self.inputs[name])

    def json(self, name: str) -> Json:
        """The input blob `name`, parsed as JSON."""
        return json.loads(self.blob(name))

    def tree(self, name: str) -> StoreTree:
        """The input tree `name`."""
        return StoreTree(self.store, self.inputs[name])

    def files(self, name: str) -> StoreTree | Path | None:
        """Where the files of a data set are: a tree, or the user's folder; None where neither is known."""
        if name in self.found_in:
            return StoreTree(self.store, self.found_in[name])
        return self.runtime.roots.get(name)

    def folder(self, name: str) -> Path:
        """A folder that shows the input tree `name` as files (links into the store; read-only).

        For libraries that insist on a path. Files below the store's `verify_below` are verified.
        """
        target = self.scratch / "inputs" / name
        if target.exists():
            return target
        tree = self.tree(name)
        paths = tree.paths()
        shown = self._origin(name, tree)
        self._shown[str(target)] = shown
        for path in paths:
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            file = tree.local_path(path).resolve()
            self._shown[str(file)] = f"{shown}/{path}"
            place.symlink_to(file)
            if tree.size(path) < self.store.verify_below:
                self.store.verify(tree.digest(path))
        return target

    def _origin(self, name: str, tree: StoreTree) -> str:
        """What people know an input tree by: the user's own folder, as long as it has these files."""
        kind = name.rpartition("/")[2]
        for called, root in self.runtime.roots.items():
            if called == kind or called.startswith(f"{kind}-"):  # one of several models
                files = [(root / path, tree.size(path)) for path in tree.paths()]
                if all(file.is_file() and file.stat().st_size == size for file, size in files):
                    return str(root)
        return f"<{kind} {self.inputs[name][:15]}>"

    def for_people(self, text: str) -> str:
        """An error's text with the user's own files in it, not this attempt's links to them.

        The scratch folder is gone when somebody reads the error; what lies elsewhere in it becomes the
        store that it is in.
        """
        for path in sorted(self._shown, key=len, reverse=True):
            text = text.replace(path, self._shown[path])
        scratch = re.escape(str(self.scratch))
        return re.sub(rf"{scratch}[^\s:;,'\")]*", str(self.store.root), text)

    def put_bytes(self, name: str, data: bytes) -> None:
        """Hands over an output blob."""
        self.outputs[name] = Output(self.store.put_bytes(data), len(data), "blob")

    def put_json(self, name: str, value: Json) -> None:
        """Hands over an output as canonical JSON."""
        self.put_bytes(name, canonical_json(value))

    def put_file(self, name: str, path: Path) -> None:
        """Hands over an output file; it is copied into the store."""
        self.outputs[name] = Output(self.store.put_file(path), path.stat().st_size, "blob")

    def put_tree(self, name: str, folder: Path, nested: Sequence[str] = ()) -> str:
        """Hands over an output folder as a tree; sub-folders in `nested` get a digest of their own."""
        digest = put_tree(self.store, folder, nested)
        self.put_tree_digest(name, digest)
        return digest

    def put_tree_digest(self, name: str, digest: str) -> None:
        """Hands over a tree that is in the store already."""
        self.outputs[name] = Output(digest, StoreTree(self.store, digest).total_size(), "tree")

    def fact(self, name: str, value: Json) -> None:
        """Notes something small that downstream rules need; it stands in the pointer."""
        self.facts[name] = value

    def progress(self, total: int, unit: str, scale: tuple[str, int] | None = None) -> Progress:
        """A progress counter that reports under this action's name."""
        return Progress(self._log, self.label, total, unit, scale)

    def say(self, text: str) -> None:
        """One line in the log, and on the terminal too if it is not brief or `text` begins with "warning: "."""
        self._log.detail(f"{self.label}: {text}")

    # ---- for the record

    def output_values(self) -> dict[str, Json]:
        """The outputs as they stand in an action record."""
        return {
            name: {"digest": out.digest, "size": out.size, "kind": out.kind}
            for name, out in self.outputs.items()
        }

    def finished(self) -> Self:
        """Stop the clock."""
        seconds = round(time.monotonic() - self._clock, 3)
        self._circumstances = {
            "began": self._began.isoformat(timespec="seconds"),
            "seconds": seconds,
            "host": socket.gethostname(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "label": self.label,
            "name": self.runtime.name,
            "roots": {name: str(path) for name, path in self.runtime.roots.items()},
            "found_in": dict(self.found_in),
            "threads": self.runtime.threads,
            "device": self.runtime.device,
        }
        torch = sys.modules.get("torch")  # the store itself does without
        if torch is not None:
            self._circumstances["instruction_set"] = torch.backends.cpu.get_cpu_capability()
            gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
            self._circumstances["gpu"] = gpu
        return self

    def circumstances(self) -> dict[str, Json]:
        """When, where and how it ran: recorded, never part of a key."""
        return self._circumstances
