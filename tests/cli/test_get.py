"""`store get`: by which names, and what becomes of objects that are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsteer.__main__ import main
from clipsteer.runner.code import loaded
from clipsteer.runner.fingerprint import code_fingerprint
from clipsteer.runner.step import main as run_step
from clipsteer.store.durable import remove
from clipsteer.store.objects import ObjectStore
from clipsteer.store.pointers import Member, Output, Pointer, read_pointer, write_pointer
from clipsteer.store.roots import REFS
from clipsteer.store.state import note_store
from clipsteer.store.trees import StoreTree, put_tree_entries
from tests.folders import contents

BASE = Path(__file__).parents[2]
Files = dict[str, bytes]


class Copy:
    """A working copy with a few pointers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = ObjectStore(folder / "artifacts")
        one, two = self.objects.put_bytes(b"one"), self.objects.put_bytes(b"two!")
        tree = put_tree_entries(self.objects, {"a": (one, 3, "blob"), "b/c": (two, 4, "blob")})
        blobs = {"one": Output(one, 3), "two": Output(two, 4)}
        self.tree = Output(tree, 7, "tree")
        self.write("x/world", "paint", all={"world": self.tree})
        self.write("x/rows", "build", all=blobs)
        self.write("d/layers", "train", **{f"d/layer_{i}": {"sae": self.tree} for i in (0, 1)})
        self.write("x/part", "extract", **{"train/0": {"shard": self.tree, "res/0": blobs["one"]}})

    def write(self, name: str, step: str, **members: dict[str, Output]) -> None:
        path = self.folder / REFS / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pointer(path, Pointer(step, {n: Member(outputs) for n, outputs in members.items()}))


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    monkeypatch.chdir(tmp_path)
    return Copy(tmp_path)


TREE = {"a": b"one", "b/c": b"two!"}


def below(name: str) -> Files:
    return {f"{name}/{path}": data for path, data in TREE.items()}


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("x/world", TREE),
        ("x/world.json", TREE),
        (f"{REFS}/x/world.json", TREE),
        ("x/world/world", TREE),
        ("x/rows", {"one": b"one", "two": b"two!"}),
        ("x/rows/two", {"two": b"two!"}),
        (f"{REFS}/x/rows.json/one", {"one": b"one"}),
        ("d/layers", below("d/layer_0/sae") | below("d/layer_1/sae")),
        ("d/layers/d", below("layer_0/sae") | below("layer_1/sae")),
        ("d/layers/d/layer_1", TREE),
        ("d/layers/d/layer_1/sae", TREE),
        ("x/part/train/0", below("shard") | {"res/0": b"one"}),
        ("x/part/train/0/res/0", {"0": b"one"}),
    ],
)
def test_names_of_pointers_and_their_parts(copy: Copy, name: str, files: Files) -> None:
    assert main(["store", "get", name, "out"]) == 0
    assert contents(Path("out")) == files


def test_digests(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "get", copy.tree.digest.partition(":")[2][:10], "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"bytes": 7, "files": 2, "folder": "out"}
    assert contents(Path("out")) == TREE
    blob = copy.objects.put_bytes(b"made by nobody")
    assert main(["store", "get", blob, "blob"]) == 0
    assert contents(Path("blob")) == {blob.partition(":")[2][:12]: b"made by nobody"}


def test_names_of_nothing(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (
        ("x/wrld", "Did you mean x/world?"),
        ("x/rows/twoo", "expected one of its 2 outputs such as one, two. Did you mean two?"),
        ("abcdef", "begins like this"),
        ("results/table.csv", "found no pointer of that name"),
        ("../../etc/passwd", "found no pointer of that name"),
    ):
        assert main(["store", "get", name, "out"]) == 1
        assert words in capsys.readouterr().err
    (Path(REFS) / "x/world.json").write_text("{}")
    assert main(["store", "get", "x/world", "out"]) == 1
    assert "damaged or edited pointer" in capsys.readouterr().err
    assert not Path("out").exists()


# ---- lost objects


@pytest.fixture
def painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreTree:
    """A world of four pictures in a working copy, painted by its step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIPSTEER_RUN", raising=False)
    script, modules = BASE / "workflow_scripts/paint_world.py", ["clipsteer.data.painters.general"]
    recipe = {
        "step": "paint_world",
        "modules": modules,
        "code": code_fingerprint(script, BASE, modules),
        "config": {"world": "general", "size": 16, "counts": {"train": 4}, "seed": 0},
    }
    words = ["--store", "artifacts", "--name", "w", "--pointer", f"{REFS}/w/world.json"]
    step = loaded(script)
    run_step(step.plan, step.compute, "", [*words, "--log", "log", "--recipe", json.dumps(recipe)])
    digest = read_pointer(f"{REFS}/w/world.json").members["all"].outputs["world"].digest
    return StoreTree(ObjectStore("artifacts"), digest)


def lose(tree: StoreTree) -> None:
    remove(os.fspath(tree.store.path(tree.root_digest)))


def damage_a_picture(tree: StoreTree) -> None:
    picture = tree.read(next(path for path in tree.paths() if path.endswith(".JPEG")))
    path = tree.store.path(tree.root_digest)
    path.chmod(0o644)
    assert path.read_bytes().count(picture) == 1
    path.write_bytes(path.read_bytes().replace(picture, picture[::-1]))


@pytest.mark.parametrize("harm", [lose, damage_a_picture])
def test_what_is_lost_is_made_again(
    painted: StoreTree, harm: Callable[[StoreTree], None], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {path: painted.read(path) for path in painted.paths()}
    assert len(whole) > 4
    harm(painted)
    assert main(["store", "get", "w/world", "out"]) == 0
    assert "executing it again" in capsys.readouterr().err
    assert contents(Path("out")) == whole


def test_what_nobody_can_make_again_is_said(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    copy.objects.forget(copy.tree.digest)
    assert main(["store", "get", "x/world", "out"]) == 1
    assert "no action is on record that made it" in capsys.readouterr().err
    assert sorted(os.listdir()) == ["artifacts"]


def test_another_store_that_has_it_whole_comes_first(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "artifacts").rename(tmp_path / "whole")
    (tmp_path / "whole/refs").rename(tmp_path / "refs")
    ObjectStore(tmp_path / "artifacts")  # an empty one
    (tmp_path / "refs").rename(tmp_path / "artifacts/refs")
    note_store(Path("whole"), tmp_path)
    note_store(Path("artifacts"), tmp_path)
    assert main(["store", "get", "x/world", "out"]) == 0
    assert contents(Path("out")) == TREE


def test_terminated(copy: Copy, tmp_path: Path) -> None:
    code = """
import sys, time
from clipsteer.store import unpack
from clipsteer.__main__ import main
def slow(*words):
    print("writing", flush=True)
    time.sleep(60)
unpack.write_all = slow
main(["store", "get", "x/world", "out"])
"""
    words = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(BASE)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        assert any(name.endswith(".tmp") for name in os.listdir())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert os.listdir() == ["artifacts"]
