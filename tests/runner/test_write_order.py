"""What a power cut may find: every write of a step is recorded and held against the order of the protocol.

The worst disk keeps nothing that was not flushed: of a file its bytes, of a folder the names in it. So a
name may be given only to a file whose bytes are flushed, and a record or pointer only when all that it
names, and the names themselves, are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipsteer.runner import step
from clipsteer.runner.code import loaded
from clipsteer.store import durable
from clipsteer.store.layout import ACTIONS, OBJECTS, ROOTS
from tests.toy import Toy


class Disk:
    """Follows what is written and flushed; `faults` are names that were given too early."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.refs = root / "store", root / "artifacts/refs"
        self.dirty: set[int] = set()  # inodes with bytes that are not flushed
        self.pending: set[Path] = set()  # names that are not flushed
        self.named: list[Path] = []
        self.faults: list[str] = []
        for name in ("open", "write", "fsync", "replace", "link", "mkdir"):
            monkeypatch.setattr(os, name, self._recorded(getattr(os, name), getattr(self, name)))
        monkeypatch.setattr(durable, "_syncfs", self.syncfs)

    @staticmethod
    def _recorded(real: Callable[..., Any], seen: Callable[..., None]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            result = real(*words, **options)
            seen(result, *words)
            return result

        return call

    def open(self, descriptor: int, path: object, flags: int, *_: object) -> None:
        if flags & os.O_CREAT:
            self.dirty.add(os.fstat(descriptor).st_ino)

    def write(self, _: int, descriptor: int, data: object) -> None:
        self.dirty.add(os.fstat(descriptor).st_ino)

    def fsync(self, _: None, descriptor: int) -> None:
        place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self.dirty.discard(os.fstat(descriptor).st_ino)
        self.pending = {name for name in self.pending if name.parent != place}

    def syncfs(self, folder: str) -> bool:
        self.dirty.clear()
        self.pending.clear()
        return True

    def mkdir(self, _: None, path: str, *mode: object) -> None:
        self.pending.add(Path(os.path.abspath(path)))

    def replace(self, _: None, source: str, target: str) -> None:
        place = Path(os.path.abspath(target))
        if os.stat(place).st_ino in self.dirty:
            self.faults.append(f"{place} has its name before its bytes")
        needed = {ACTIONS: (OBJECTS,), ROOTS: (), OBJECTS: ()}
        if place.is_relative_to(self.refs):
            needed = {"": (OBJECTS, ACTIONS, ROOTS)}
        for kind, befores in needed.items():
            if kind and not place.is_relative_to(self.store / kind):
                continue
            for before in befores:
                early = [p for p in self.pending if self._concerns(p, self.store / before)]
                self.faults += [f"{place} has its name before {name} has" for name in early]
        self.named.append(place)
        self.pending.add(place)

    link = replace

    @staticmethod
    def _concerns(name: Path, place: Path) -> bool:
        """Whether losing the name loses something in `place`."""
        return name.is_relative_to(place) or place.is_relative_to(name)


def run(toy: Toy, members: dict[str, int]) -> None:
    module = loaded(toy.script("written"))
    words = ["--recipe", toy.recipe("written", members), "--store", "store"]
    words += ["--log", "logs/written.log"]
    words += ["--pointer", "artifacts/refs/a/b/written.json"]
    words += ["--export", *(f"{name}/count=results/{name}.json" for name in members)]
    step.main(module.plan, module.compute, None, words)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names descriptors through /proc")
@pytest.mark.parametrize(("files", "syncfs"), [(1, True), (5, True), (40, True), (40, False)])
def test_nothing_has_a_name_before_what_it_stands_for(
    files: int, syncfs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few files are flushed one by one, many at once where the system can do that."""
    monkeypatch.chdir(tmp_path)
    toy = Toy(tmp_path / "project")
    disk = Disk(tmp_path, monkeypatch)
    if not syncfs:
        monkeypatch.setattr(durable, "_syncfs", lambda folder: False)
    run(toy, {"a": files, "b": files + 1})
    assert disk.faults == []
    places = [path.relative_to(tmp_path).parts[:2] for path in disk.named]
    assert places.count(("store", ACTIONS)) == 2
    assert places.count(("store", OBJECTS)) >= files + 2
    assert places[-3:] == [("results", "a.json"), ("results", "b.json"), ("artifacts", "refs")]
    private = [tmp_path / name for name in ("store/scratch", "store/tmp", "logs")]
    left = [p for p in disk.pending if not any(p.is_relative_to(place) for place in private)]
    assert left == [], "not durable on return"


def test_the_disk_sees_a_name_that_comes_too_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder itself."""
    disk = Disk(tmp_path, monkeypatch)
    for folder in (tmp_path / "store" / OBJECTS, tmp_path / "store" / ACTIONS, disk.refs):
        os.makedirs(folder)
    durable.write_new(str(tmp_path / "bytes"), b"x", mode=0o644, flush=False)
    os.replace(tmp_path / "bytes", tmp_path / "store" / OBJECTS / "o")
    assert len(disk.faults) == 1
    disk.syncfs("")
    disk.faults.clear()
    for number, (name, place) in enumerate(
        [("o", OBJECTS), ("r", ACTIONS), ("p", "../artifacts/refs")]
    ):
        durable.write_new(str(tmp_path / name), b"x", mode=0o644, flush=True)
        os.replace(tmp_path / name, tmp_path / "store" / place / name)
        assert len(disk.faults) == number + (number == 2)
