"""Which store a command looks at, where no option says it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from clipsteer.__main__ import main
from clipsteer.store.roots import REFS
from clipsteer.store.state import note_store, noted_stores
from tests.lineage.chains import Chain


class Copy:
    """A working copy whose run, with `store.root` in an overlay, has made one result."""

    def __init__(self, folder: Path, store: Path | str, text: str) -> None:
        self.folder = folder
        (folder / REFS).mkdir(parents=True)
        (folder / "results").mkdir()
        (folder / "config.yaml").write_text("store: {root: artifacts}\n")
        self.result = folder / "results/table.csv"
        self.result.write_text(text)
        self.chain = Chain(folder / store)
        self.made = self.chain.act("make_table", {}, {"csv": text.encode()}, recipe={"of": text})
        note_store(Path(store), folder)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    made = Copy(tmp_path / "copy", tmp_path / "big", "one\n")
    monkeypatch.chdir(made.folder)
    return made


def said(capsys: pytest.CaptureFixture[str], *words: str | Path, status: int = 0) -> str:
    assert main([*map(str, words)]) == status
    found = capsys.readouterr()
    return found.err if status else found.out


def test_a_note_says_which_stores_were_used(tmp_path: Path) -> None:
    assert noted_stores(tmp_path) == []
    for place in ("/a", "artifacts", "/a", "/b"):
        note_store(Path(place), tmp_path)
    assert noted_stores(tmp_path) == [Path("/b"), Path("/a"), tmp_path / "artifacts"]
    (note,) = (tmp_path / ".snakemake/clipsteer").iterdir()
    before = note.stat().st_mtime_ns
    note_store(Path("/b"), tmp_path)
    assert note.stat().st_mtime_ns == before
    note.write_text("damaged")
    assert noted_stores(tmp_path) == []
    note_store(Path("/c"), tmp_path)
    assert noted_stores(tmp_path) == [Path("/c")]


def test_where_no_note_can_be_written_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / ".snakemake").write_text("a file")
    note_store(Path("/a"), tmp_path)
    assert noted_stores(tmp_path) == []


def test_the_store_of_an_overlay_is_found(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    assert "1 action of 1 step" in said(capsys, "why", copy.result)
    assert "1 action," in said(capsys, "store", "ls")
    assert "all sound" in said(capsys, "store", "verify")
    assert "make_table" in said(capsys, "store", "du")
    assert said(capsys, "store", "get", copy.made["csv"], "out") == "out: 1 file, 4 B\n"
    assert (copy.folder / "out/csv").read_text() == "one\n"


def test_of_two_stores_one_has_to_be_named_unless_a_file_says_it(
    copy: Copy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default = Chain(copy.folder / "artifacts")
    default.act("make_table", {}, {"csv": b"two\n"}, recipe={"of": "two"})
    (copy.folder / "two.csv").write_text("two\n")
    for command in ("ls", "du", "verify", "gc --dry-run"):
        fault = said(capsys, "store", *command.split(), status=1)
        assert f"found 2 stores that its runs have used ({tmp_path}/big, artifacts)" in fault
        assert "--store DIR" in fault
        assert said(capsys, "store", *command.split(), "--store", "artifacts")
    assert "1 action of 1 step" in said(capsys, "why", "two.csv")
    assert "1 action of 1 step" in said(capsys, "why", "results/table.csv")
    fault = said(capsys, "diff", "two.csv", "results/table.csv", status=2)
    assert f"found results/table.csv in {tmp_path}/big and two.csv in " in fault
    assert "expected both in one store" in fault
    (copy.folder / "two.csv").write_text("edited\n")
    fault = said(capsys, "why", "two.csv", status=1)
    assert f"on record in {tmp_path}/big made" in fault
    assert fault.endswith(f"Looked in {copy.folder}/artifacts too.\n")
    # a link to the other is no store of its own
    shutil.rmtree(copy.folder / "artifacts")
    (copy.folder / "artifacts").symlink_to(tmp_path / "big")
    assert "1 action," in said(capsys, "store", "ls")


def test_a_file_in_another_working_copy_is_looked_for_in_its_store(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Copy(tmp_path / "other", "own/store", "three\n")  # relative: moves with its folder
    assert "1 action of 1 step" in said(capsys, "why", other.result)
    moved = other.folder.rename(tmp_path / "moved")
    assert "1 action of 1 step" in said(capsys, "why", moved / "results/table.csv")
    monkeypatch.chdir(tmp_path)
    assert "1 action of 1 step" in said(capsys, "why", "moved/results/table.csv")
    monkeypatch.chdir(moved / "results")
    assert "1 action of 1 step" in said(capsys, "why", "table.csv")
    # one whose store only its config names
    (moved / ".snakemake/clipsteer/stores").unlink()
    assert "artifacts: found no store" in said(capsys, "why", "table.csv", status=1)
    (moved / "config.yaml").write_text("store: {root: own/store}\n")
    assert "1 action of 1 step" in said(capsys, "why", "table.csv")


def test_a_store_that_is_gone_is_passed_over(
    copy: Copy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note_store(tmp_path / "gone", copy.folder)
    assert "1 action," in said(capsys, "store", "ls")
    os.rename(tmp_path / "big", tmp_path / "renamed")
    fault = said(capsys, "store", "ls", status=1)
    assert f"{tmp_path}/gone, {tmp_path}/big, artifacts: found no store" in fault
