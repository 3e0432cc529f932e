from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clipsteer.__main__ import main
from clipsteer.cli.common import columns, size
from clipsteer.store.roots import root_id
from clipsteer.store.usage import note_peak
from tests.store.world import DEEP, INNER, KEYS, LAST, ONE, OUTER, SAME, World

ALL = set().union(*DEEP.values())
BASE = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    world.run("last")
    monkeypatch.chdir(world.copy)
    (world.copy / "config.yaml").write_text(f"store:\n  root: {world.root}\n")
    return world


def short(name: str) -> str:
    return name.partition(":")[2][:12]


class Shell:
    """Runs commands; what they said."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self.capture = capture

    def __call__(self, *words: str, status: int = 0) -> str:
        assert main(["store", *words]) == status
        out, err = self.capture.readouterr()
        assert status or not err
        return out

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self(*words, "--json", status=status))

    def fault(self, *words: str) -> str:
        assert main(["store", *words]) == 1
        out, err = self.capture.readouterr()
        assert not out
        assert err.startswith("clipsteer: ")
        assert err.count("\n") == 1
        return err


@pytest.fixture
def store(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


# ---- which store


def test_the_store_is_that_of_the_config_or_the_one_that_is_given(
    world: World, store: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(store.json("ls")) == 3
    monkeypatch.chdir(tmp_path)
    assert "no store" in store.fault("ls")
    assert "artifacts: found no store" in store.fault("ls")
    assert not (tmp_path / "artifacts").exists()
    assert len(store.json("ls", "--store", str(world.root))) == 3
    (tmp_path / "artifacts").symlink_to(world.root)
    for text in ("seed: 1\n", "store: {}\n", ""):
        (tmp_path / "config.yaml").write_text(text)
        assert len(store.json("ls")) == 3
    (tmp_path / "config.yaml").write_text("store: {root: [")
    assert "cannot be read as YAML" in store.fault("ls")


# ---- ls


def test_ls(world: World, store: Shell) -> None:
    lines = store("ls").splitlines()
    assert lines[0].split() == ["KEY", "STEP", "ABOUT", "WHEN", "TIME", "BYTES", "OBJECTS"]
    assert sorted(line.split()[0] for line in lines[1:4]) == sorted(
        short(KEYS[name]) for name in ("base", "next", "last")
    )
    assert all("complete" in line and "1.5 s" in line for line in lines[1:4])
    assert lines[4] == "3 actions, 4.5 s"
    world.objects.forget(ONE)
    assert "1 of 4 missing" in store("ls", "--step", "base")
    (row,) = store.json("ls", "--step", "base")
    assert (row["key"], row["missing"], row["objects"], row["bytes"]) == (KEYS["base"], 1, 4, 10)


def test_ls_of_an_unknown_step(world: World, store: Shell) -> None:
    assert "Did you mean base?" in store.fault("ls", "--step", "bse")


def test_an_empty_store(tmp_path: Path, store: Shell) -> None:
    world = World(tmp_path)
    where = ["--store", str(world.root)]
    assert store("ls", *where) == "no actions on record\n"
    assert store.json("ls", *where) == []
    assert "objects" in store("du", *where)
    assert "all sound" in store("verify", *where)
    assert store.json("gc", *where)["deleted"] == []


# ---- show


def test_show_an_action(world: World, store: Shell) -> None:
    text = store("show", short(KEYS["next"]))
    assert f"action  {KEYS['next']}" in text
    assert f"{short(KEYS['base'])} base" in text  # who made its input
    about = store.json("show", KEYS["next"])
    assert about["inputs"]["in"]["producers"] == [{"key": KEYS["base"], "label": "base test"}]
    assert about["outputs"]["tree"] == {"digest": OUTER, "kind": "tree", "size": 8, "here": True}
    world.objects.forget(OUTER)
    assert not store.json("show", KEYS["next"])["outputs"]["tree"]["here"]
    assert "missing; remade when needed" in store("show", KEYS["next"])


def test_show_an_object(world: World, store: Shell) -> None:
    about = store.json("show", OUTER)
    assert (about["kind"], about["here"]) == ("tree", True)
    assert set(about["entries"]) == {"1", "in"}
    assert [made["key"] for made in about["producers"]] == [KEYS["next"]]
    assert "entries 2, 8 B" in store("show", OUTER)
    leaf = store.json("show", INNER)  # only in an output tree
    assert [made["key"] for made in leaf["producers"]] == [KEYS["next"]]
    blob = store.json("show", SAME)
    assert (blob["kind"], blob["bytes"]) == ("blob", 4)
    world.objects.forget(SAME)
    assert not store.json("show", SAME)["here"]  # a record still names it
    assert "not in the store" in store("show", SAME)
    orphan = world.objects.put_bytes(b"orphan")
    assert "no action on record" in store("show", orphan)


def test_prefixes(world: World, store: Shell) -> None:
    assert store.json("show", KEYS["base"].partition(":")[2][:10])["key"] == KEYS["base"]
    assert store.json("show", KEYS["base"][:16])["key"] == KEYS["base"]
    twins = ["abcd" + "0" * 60, "abcd" + "1" * 60]
    (world.root / "objects/ab").mkdir(exist_ok=True)
    for name in twins:
        (world.root / "objects/ab" / name[2:]).write_bytes(b"x")
    said = store.fault("show", "abcd")
    assert all(f"object blake3:{name}" in said for name in twins)
    assert "fits 2 names" in said
    assert store.fault("show", "abc").count("4 to 64")
    assert "begins like this" in store.fault("show", "abcd2")
    assert "expected the key" in store.fault("show", "results/x.csv")
    assert "expected the key" in store.fault("show", "../../etc")


# ---- du


def test_du(world: World, store: Shell) -> None:
    found = store.json("du")
    sizes = {digest: world.objects.size(digest) for digest in ALL}
    assert found["objects"] == {"files": len(ALL), "bytes": sum(sizes.values())}
    base, after = found["steps"]["base"], found["steps"]["next"]
    assert base["all"] == {"files": 4, "bytes": sum(sizes[d] for d in DEEP["base"])}
    assert base["own"]["bytes"] == base["all"]["bytes"] - sizes[ONE]
    assert found["shared"] == {"files": 1, "bytes": sizes[ONE]}
    assert (after["records"], after["missing"]) == (1, 0)
    assert found["kinds"]["tree"]["files"] == 3
    assert found["kinds"]["blob"]["files"] == len(ALL) - 3
    assert found["roots"] == [
        {
            "id": root_id(world.copy),
            "host": found["roots"][0]["host"],
            "path": str(world.copy),
            "pointers": 3,
        }
    ]
    world.objects.put_bytes(b"orphan")
    world.objects.forget(LAST)
    found = store.json("du")
    assert found["unnamed"] == {"files": 1, "bytes": 6}
    assert found["steps"]["last"]["missing"] == 1
    assert found["folders"]["quarantine"] == {"files": 0, "bytes": 0}
    assert found["peak"] is None
    note_peak(world.objects)
    assert store.json("du")["peak"]["bytes"] == store.json("du")["objects"]["bytes"]
    text = store("du")
    assert root_id(world.copy) in text
    assert "peak: " in text


# ---- verify


def test_verify(world: World, store: Shell) -> None:
    assert "all sound" in store("verify")
    assert "found sound in the last 30 days" in store("verify")
    assert store.json("verify", "--all")["checked"] == len(ALL)
    path = world.root / world.objects.relative(ONE)
    path.chmod(0o644)
    path.write_bytes(b"bad")
    world.pointer("base").write_bytes(b"{")
    found = store.json("verify", status=1)
    assert found["damaged"] == [ONE]
    assert found["mended"] == [str(world.pointer("base"))]
    text = store("verify")
    assert "1 object not here, remade when needed: 1 of " in text
    world.pointer("base").write_bytes(b"{")
    assert "mended" in store("verify", status=1)


def test_verify_with_a_budget(world: World, store: Shell) -> None:
    assert f"{len(ALL)} objects left for the next time" in store("verify", "--budget", "0")


def test_pointers_of_another_stores_working_copy_are_left_out(
    world: World, store: Shell, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    where = ["--store", str(other.root)]
    assert "0 pointers" in store("verify", *where)
    store("gc", *where)
    assert not list(other.root.glob("roots/*"))
    assert store.json("rm", "--step", "last")["pointers"] == ["artifacts/refs/last.json"]


# ---- gc


def test_gc(world: World, store: Shell) -> None:
    world.age(40)
    world.pointer("last").unlink()
    orphan = world.objects.put_bytes(b"orphan")
    os.utime(world.root / world.objects.relative(orphan), (0, 0))
    lines = ["delete: 2 objects, 10 B", "  last: 1 object, 4 B", "  no action names: 1 object, 6 B"]
    said = store("gc", "--dry-run").splitlines()
    assert said == [f"would {lines[0]}", *lines[1:], "would free 10 B"]
    assert world.has(LAST)
    said = store("gc").splitlines()
    assert said == [lines[0].replace("delete", "deleted"), *lines[1:], "freed 10 B"]
    assert not world.has(LAST)
    assert world.has("last")
    assert store.json("gc")["freed"] == 0


def test_gc_options(world: World, store: Shell) -> None:
    world.age(10)
    world.unroot()
    assert store.json("gc")["deleted"] == []
    assert store.json("gc", "--older-than", "5", "--grace-days", "11")["deleted"] == []
    assert len(store.json("gc", "--older-than", "5", "--dry-run")["deleted"]) == len(ALL)
    (world.root / "quarantine/x").write_bytes(b"12345")
    assert store.json("gc", "--quarantine")["temporary_bytes"] == 5
    for bad in ("-1", "nan", "inf", "x"):
        with pytest.raises(SystemExit):
            main(["store", "gc", "--older-than", bad])


def test_gc_with_named_working_copies(
    world: World, store: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(world.root / "roots" / root_id(world.copy))
    world.age(40)
    monkeypatch.chdir(world.folder)
    where = ["--store", str(world.root)]
    assert len(store.json("gc", "--dry-run", *where)["deleted"]) == len(ALL)
    assert store.json("gc", "clone", *where)["deleted"] == []
    assert "clon: found no artifacts/refs" in store.fault("gc", "clon", *where)
    assert world.here() >= ALL


def test_gc_forget(world: World, store: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    world.age(40)
    monkeypatch.chdir(world.folder)
    where = ["--store", str(world.root)]
    assert store.json("gc", *where)["deleted"] == []
    assert root_id(world.copy) in store.fault("gc", "--forget", "x", *where)
    assert len(store.json("gc", "--forget", root_id(world.copy), *where)["deleted"]) == len(ALL)


# ---- rm


def test_rm_an_action(world: World, store: Shell) -> None:
    said = store("rm", short(KEYS["next"]), "--dry-run")
    assert f"would forget {KEYS['next']}" in said
    assert "artifacts/refs/next.json" in said
    assert world.has("next")
    gone = store.json("rm", short(KEYS["next"]))
    assert gone["actions"] == [KEYS["next"]]
    assert gone["pointers"] == ["artifacts/refs/next.json"]
    assert not world.has("next")
    assert world.has(OUTER)


def test_rm_a_step(world: World, store: Shell) -> None:
    assert store.json("rm", "--step", "base", "--dry-run")["actions"] == [KEYS["base"]]
    store("rm", "--step", "base")
    assert [name for name in KEYS if world.has(name)] == ["next", "last"]
    assert "no such step" in store.fault("rm", "--step", "base")


def test_rm_an_object(world: World, store: Shell) -> None:
    for digest in (SAME, INNER):
        store("rm", digest, "--dry-run")
        assert world.has(digest)
        store("rm", digest)
        assert not world.has(digest)
    orphan = world.objects.put_bytes(b"orphan")
    assert "no action on record" in store.fault("rm", orphan)
    store("rm", orphan, "--force")
    assert not world.objects.exists(orphan)


def test_rm_wants_one_thing(world: World, store: Shell) -> None:
    assert "both or neither" in store.fault("rm")
    assert "both or neither" in store.fault("rm", SAME, "--step", "base")


# ---- the program


def test_the_program_starts_light_and_ends_well_in_a_pipe(world: World) -> None:
    environment = {**os.environ, "PYTHONPATH": str(BASE)}
    environment.pop("OMP_NUM_THREADS", None)
    code = (
        "import sys; from clipsteer.__main__ import main; main(['store', 'ls']);"
        "heavy = {'torch', 'transformers', 'polars', 'rich', 'numpy', 'snakemake'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    words = f"{sys.executable} -m clipsteer store ls --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        [],
        ["store"],
        *(["store", c] for c in ("ls", "show", "get", "du", "verify", "gc", "rm")),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        assert ended.value.code == 0
        assert "usage: python -m clipsteer" in capsys.readouterr().out


# ---- words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB")),
        *((999_950, "1.0 MB"), (12_345_678, "12.3 MB"), (5 * 10**9, "5.0 GB")),
        (3 * 10**15, "3000.0 TB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


def test_columns() -> None:
    rows = [["a", "1", ""], ["bcd", "22", "x"]]
    assert columns(rows, " >") == ["a     1", "bcd  22  x"]
