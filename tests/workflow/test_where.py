"""Real runs in unusual places: elsewhere, behind links, with odd names, without a home."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.workflow.runs import BASE, TINY, Outcome, WorkingCopy, outcome_of

WORLD = "artifacts/refs/celeba/world.json"


def run(folder: Path, *words: str | Path, **environment: str) -> Outcome:
    """One run, as typed in a folder."""
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "2"]
    return outcome_of([*snakemake, *words, "--configfile", TINY], folder, environment, 300)


def clone(folder: Path) -> Path:
    """A checkout of the same files (links), with nothing computed yet."""
    folder.mkdir(parents=True)
    for name in ("Snakefile", "config.yaml", "rules", "schemas", "workflow_scripts", "clipsteer"):
        (folder / name).symlink_to(BASE / name)
    return folder


@pytest.mark.parametrize("own", [False, True], ids=["the clone's config", "its own config"])
def test_another_directory(tmp_path: Path, own: bool) -> None:
    elsewhere, start = tmp_path / "elsewhere", tmp_path / "start"
    elsewhere.mkdir()
    start.mkdir()
    if own:
        text = (BASE / "config.yaml").read_text()
        (elsewhere / "config.yaml").write_text(text.replace("root: artifacts", "root: kept_here"))
    words = (WORLD, "--snakefile", BASE / "Snakefile", "--directory", "../elsewhere")
    outcome = run(start, *words).ok()
    assert outcome.counts == (1, 0)
    assert outcome.text.splitlines()[-1].startswith(
        f"clipsteer: the working directory is {elsewhere}"
    )
    assert (elsewhere / WORLD).is_file()
    assert (elsewhere / ("kept_here" if own else "artifacts") / "objects").is_dir()
    assert list((elsewhere / ("kept_here" if own else "artifacts") / "roots").iterdir())
    assert list(start.iterdir()) == []
    again = run(start, *words).ok()
    assert again.idle
    assert again.counts == (0, 0)


def test_artifacts_on_a_larger_disk(tmp_path: Path) -> None:
    copy = WorkingCopy(tmp_path / "copy", tmp_path / "copy/artifacts")
    disk = tmp_path / "disk"
    disk.mkdir()
    (copy.folder / "artifacts").symlink_to(disk)
    assert copy.run(WORLD).ok().counts == (1, 0)
    assert (disk / "refs/celeba/world.json").is_file()
    assert copy.run(WORLD).ok().idle
    # a copy of the working copy, link and all, would write the same pointers
    other = WorkingCopy(tmp_path / "other", tmp_path / "other/artifacts")
    (other.folder / "artifacts").symlink_to(disk)
    other.run("artifacts/refs/general/world.json").refused(
        "artifacts: found a link", str(disk), str(copy.folder), "store.root"
    )


@pytest.mark.parametrize("name", ["sp ace", "qu'o\"te $HOME", "ümläut %s; #&"])
def test_a_clone_with_an_odd_name(tmp_path: Path, name: str) -> None:
    assert run(clone(tmp_path / name), WORLD).ok().counts == (1, 0)


@pytest.mark.parametrize("name", ["br{a}ce", "half{", "col:on"])
def test_a_clone_with_a_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    folder = clone(tmp_path / name)
    outcome = run(folder, WORLD)
    outcome.refused(str(folder), "in the path of the clone", "Rename")
    assert outcome.text.splitlines()[-1].startswith(f"clipsteer: {folder}")


def test_a_table_that_is_a_folder(fresh: WorkingCopy) -> None:
    (fresh.folder / "results/celeba_table.csv").mkdir(parents=True)
    fresh.run("results/celeba_table.csv").refused("results/celeba_table.csv: found a folder")


@pytest.mark.parametrize("variables", [("HOME",), ("XDG_CACHE_HOME",), ("HOME", "XDG_CACHE_HOME")])
def test_no_home_that_can_be_written_to(fresh: WorkingCopy, variables: Sequence[str]) -> None:
    """The profile sees to it, before Snakemake looks for its cache."""
    file = fresh.folder / "file"
    file.touch()  # no folder can be made below it, whoever runs the tests
    nowhere = {name: str(file / "home") for name in variables}
    outcome = run(fresh.folder, WORLD, "--snakefile", BASE / "Snakefile", **nowhere)
    assert outcome.ok().counts == (1, 0)
