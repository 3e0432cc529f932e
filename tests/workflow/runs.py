"""Real Snakemake runs in folders of their own, for the tests that go through the whole workflow."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clipsteer.store.actions import ActionStore
from tests.workflow import ready

BASE = Path(__file__).parents[2]
TINY = BASE / "config/tiny.yaml"
REFS = Path("artifacts/refs")
_ALWAYS = {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
_COUNTS = re.compile(r"^clipsteer: computed=(\d+) restored=(\d+)$", re.M)


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `text` is all it said."""

    code: int
    text: str

    @property
    def counts(self) -> tuple[int, int]:
        """(computed, restored) of the closing summary."""
        found = _COUNTS.search(self.text)
        assert found, self.text
        return int(found[1]), int(found[2])

    @property
    def idle(self) -> bool:
        """Whether Snakemake found nothing to do."""
        return "Nothing to be done" in self.text

    def ok(self) -> Outcome:
        assert self.code == 0, self.text
        return self

    def refused(self, *parts: str) -> Outcome:
        """The run failed with a message of ours that has all `parts` in one line, once, not with a trace."""
        assert self.code != 0, self.text
        assert "Traceback" not in self.text, self.text
        told = [line for line in self.text.splitlines() if all(part in line for part in parts)]
        assert len(told) == 1, f"{parts} stand in {len(told)} lines of\n{self.text}"
        return self


def outcome_of(
    words: Sequence[str | Path], folder: Path, environment: Mapping[str, str], timeout: float
) -> Outcome:
    """What a command in a folder came to; `environment` is laid over this process's own."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Outcome(done.returncode, done.stdout)


def in_fork(words: Sequence[str], folder: Path, checkout: Path | None = None) -> Outcome:
    """What `python -m snakemake` with these words came to in a folder, or `python -m clipsteer` of a checkout."""
    everything = {**os.environ, **_ALWAYS}
    return Outcome(*ready.run(sys.executable, words, folder, everything, 600, checkout))


class WorkingCopy:
    """A working directory beside the checkout: its own results and pointers, a store of its choice.

    `base` is the checkout whose code runs; it may be the folder itself, as in a clone.
    """

    def __init__(self, folder: Path, store: Path, base: Path = BASE) -> None:
        self.folder, self.store, self.base = folder, store, base
        folder.mkdir(parents=True, exist_ok=True)
        if base != folder:
            shutil.copy(base / "config.yaml", folder)

    def command(
        self,
        *targets: str,
        config: Mapping[str, Any] | None = None,
        overlays: Sequence[Path] = (TINY,),
        cores: int = 2,
        options: Sequence[str] = (),
        snakemake: Sequence[str] = ("-m", "snakemake"),
    ) -> list[str]:
        """The words of one run; `config` is laid over the overlays. `snakemake`: what Python is to run."""
        extra = merged({"store": {"root": str(self.store)}}, config or {})
        (self.folder / "overlay.yaml").write_text(yaml.safe_dump(extra))
        words = [sys.executable, *snakemake, "--snakefile", str(self.base / "Snakefile")]
        words += ["--cores", str(cores), *targets, *options]
        return [*words, "--configfile", *map(str, overlays), "overlay.yaml"]

    def run(
        self,
        *targets: str,
        script: str | None = None,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> Outcome:
        """One run of Snakemake by `python`; where there is a Bash `script`, the run's words are its `$@`."""
        words = self.command(*targets, **settings)
        words[0] = python
        variables = {**_ALWAYS, **(environment or {})}
        if script is None and words[1:3] == ["-m", "snakemake"] and ready.usable():
            everything = {**os.environ, **variables}
            return Outcome(*ready.run(python, words[3:], self.folder, everything, 1200))
        script = script or 'exec "$@"'
        return outcome_of(["bash", "-c", script, "bash", *words], self.folder, variables, 1200)

    def asked(self, *words: str) -> Outcome:
        """One command of `python -m clipsteer` in this folder."""
        return in_fork(words, self.folder, self.base)

    def twin(self, place: Path) -> WorkingCopy:
        """A copy, in `place`, of this working directory (Snakemake's memory and time stamps too) and store."""
        shutil.copytree(self.store, place / "store")
        shutil.copytree(self.folder, place / "copy")
        return WorkingCopy(place / "copy", place / "store")

    def pointer(self, name: str) -> bytes:
        return (self.folder / REFS / name).read_bytes()

    def members(self, name: str) -> dict[str, Any]:
        """The members of a pointer, as JSON."""
        return json.loads(self.pointer(name))["members"]

    def pointers(self) -> dict[str, bytes]:
        """Bytes of all pointers by their place."""
        root = self.folder / REFS
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.json")}

    def results(self) -> list[str]:
        """Names of all files in results/, hidden ones too."""
        return sorted(p.name for p in (self.folder / "results").rglob("*") if p.is_file())

    def exported(self) -> dict[str, bytes]:
        """Content of everything in results/ that is not hidden, by its place there."""
        root = self.folder / "results"
        files = (p for p in _files(root) if not p.name.startswith("."))
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}

    def steps(self) -> list[str]:
        """The step of each action record in the store."""
        actions = ActionStore(self.store)
        keys = list(actions.keys())
        return sorted(str((actions.get(key) or {})["step"]) for key in keys)

    def leftovers(self) -> list[str]:
        """Half-written things: scratch folders, temporary files of the store and of the results."""
        found = [p for place in ("scratch", "tmp") for p in _files(self.store / place)]
        hidden = [p for place in ("results", REFS) for p in _files(self.folder / place)]
        return [str(p) for p in (*found, *(p for p in hidden if p.name.startswith(".")))]


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else iter(())


def merged(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """As Snakemake lays one configuration over another: mappings merge, all else is replaced."""
    result = copy.deepcopy(dict(base))
    for key, value in overlay.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else copy.deepcopy(value)
    return result


def nested(key: str, value: object) -> dict[str, Any]:
    """`nested("a.b", 1)` is {"a": {"b": 1}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


DROPPING = nested("activations.keep", False)


@contextmanager
def making(place: Path) -> Iterator[bool]:
    """Hold a folder; whether it is still to be filled, which happens once, by whichever process is first."""
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not (place / "done").exists()
        (place / "done").touch()
