"""Where a run may take place, without Snakemake: what is wrong with a folder is one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clipsteer.errors import ClipsteerError
from clipsteer.workflow.places import check_places, check_writable, claim_pointers

FOLDERS = [".snakemake", "logs", "results", "artifacts", "artifacts/refs"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (".snakemake/log", "logs/make_table", "results", "artifacts/refs/celeba"):
        (tmp_path / "work" / name).mkdir(parents=True)
    return tmp_path / "work"


def check(folder: Path, base: str = "/clone", store: str = "artifacts") -> None:
    check_places(Path(base), folder, Path(store), writes=True)


def refused(folder: Path, *parts: str, base: str = "/clone", store: str = "artifacts") -> None:
    """There is one fault, and it says this."""
    with pytest.raises(ClipsteerError) as told:
        check(folder, base, store)
    [sentence] = str(told.value).splitlines()
    assert all(part in sentence for part in parts), sentence


def moved(folder: Path, name: str) -> Path:
    """Move a folder away, so that something else may take its place."""
    return (folder / name).rename(folder.parent / "moved")


def test_sound_folders_and_none_at_all_are_fine(folder: Path, tmp_path: Path) -> None:
    check(folder)
    check(tmp_path)
    check_writable(folder)
    check_writable(tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_to_nothing(folder: Path, name: str) -> None:
    moved(folder, name)
    (folder / name).symlink_to("/nowhere/at/all")
    refused(folder, f"{name}: found a link to /nowhere/at/all", "expected a folder")
    if name.startswith("artifacts"):
        refused(folder, "store.root")


def test_a_store_that_is_a_link_to_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").symlink_to("/nowhere")
    refused(folder, str(tmp_path / "disk"), "/nowhere", store=str(tmp_path / "disk/store"))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_to_a_folder_is_fine(folder: Path, name: str) -> None:
    (folder / name).symlink_to(moved(folder, name))
    check(folder)
    check_writable(folder)


def test_a_link_among_the_pointers(folder: Path) -> None:
    """It would not be followed, and the pointers behind it be forgotten."""
    (folder / "artifacts/refs/celeba").symlink_to(moved(folder, "artifacts/refs/celeba"))
    refused(folder, "artifacts/refs/celeba: found a link", "artifacts/refs itself")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_in_a_folders_place(folder: Path, name: str) -> None:
    moved(folder, name)
    (folder / name).touch()
    refused(folder, f"{name}: found a file, expected a folder")


@pytest.mark.parametrize("file", ["artifacts/refs/celeba/world.json", "logs/make_table/celeba.log"])
def test_a_folder_in_a_files_place(folder: Path, file: str) -> None:
    (folder / file).mkdir()
    refused(folder, f"{file}: found a folder, expected a file")


def test_other_folders_among_the_results_are_the_users_own(folder: Path) -> None:
    (folder / "results/last_week.csv").mkdir()
    check(folder)


@pytest.mark.parametrize(
    ("base", "sign"), [("/a/{b}/c", "{ and }"), ("/a}", "}"), ("/here:there/clone", ":")]
)
def test_a_path_of_the_clone_that_cannot_be_used(folder: Path, base: str, sign: str) -> None:
    refused(folder, f"{base}: found {sign} in the path of the clone", "Rename", base=base)


@pytest.mark.parametrize(
    "base", ["/with space", "/qu'o\"te", "/$HOME", "/ümläut", "/a%b", "/a;b&c#d"]
)
def test_other_paths_are_fine(folder: Path, base: str) -> None:
    check(folder, base)


# ---- without permission


@pytest.fixture
def obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions that bind the administrator, who may run the tests, as they do everybody else."""
    monkeypatch.setattr(os, "access", lambda path, mode: bool(os.stat(path).st_mode & 0o200))


@pytest.mark.usefixtures("obeyed")
@pytest.mark.parametrize(
    "name", [*FOLDERS, ".snakemake/log", "logs/make_table", "artifacts/refs/celeba"]
)
def test_a_folder_without_permission_to_write(folder: Path, name: str) -> None:
    (folder / name).chmod(0o500)
    if name == "artifacts":  # the store may be read-only as long as the pointers below it are not
        check_writable(folder)
        (folder / "artifacts/refs/celeba").rmdir()
        (folder / "artifacts/refs").rmdir()
    try:
        with pytest.raises(ClipsteerError) as told:
            check_writable(folder)
        assert str(told.value).startswith(
            f"{folder / name}: found a folder that you may not write to"
        )
        # Snakemake writes its own folder in any case; the others, only where there is something to do
        if name.startswith(".snakemake"):
            refused(folder, name, "may not write to")
        else:
            check(folder)
    finally:
        (folder / name).chmod(0o700)


@pytest.mark.usefixtures("obeyed")
def test_a_link_to_a_folder_without_permission(folder: Path) -> None:
    disk = moved(folder, "results")
    (folder / "results").symlink_to(disk)
    disk.chmod(0o500)
    with pytest.raises(ClipsteerError, match=f"results .a link to {disk}.: found a folder that"):
        check_writable(folder)


@pytest.mark.usefixtures("obeyed")
def test_a_working_directory_without_permission_is_one_fault(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    bare.chmod(0o500)
    with pytest.raises(ClipsteerError) as told:
        check_writable(bare)
    assert str(told.value).count("found a folder") == 1


# ---- pointers behind a link


def linked(tmp_path: Path, name: str, what: str, to: Path) -> Path:
    folder = tmp_path / name
    (folder / what).parent.mkdir(parents=True)
    (folder / what).symlink_to(to)
    return folder


@pytest.mark.parametrize("what", ["artifacts", "artifacts/refs"])
def test_linked_pointers_belong_to_one_working_copy(tmp_path: Path, what: str) -> None:
    disk = tmp_path / "disk"
    (disk / "refs").mkdir(parents=True)
    to = disk if what == "artifacts" else disk / "refs"
    one, two = (linked(tmp_path, name, what, to) for name in ("one", "two"))
    claim_pointers(one)
    claim_pointers(one)
    with pytest.raises(ClipsteerError) as told:
        claim_pointers(two)
    assert str(told.value).startswith(f"{what}: found a link to {to}")
    assert str(one) in str(told.value)
    assert "store.root" in str(told.value)
    # moved elsewhere, or with another folder by now: no longer the owner
    one.rename(tmp_path / "three")
    claim_pointers(two)
    with pytest.raises(ClipsteerError):
        claim_pointers(tmp_path / "three")
    (two / what).unlink()
    claim_pointers(tmp_path / "three")


def test_pointers_in_the_working_copy_are_not_marked(folder: Path) -> None:
    claim_pointers(folder)
    assert [p.name for p in (folder / "artifacts/refs").rglob("*")] == ["celeba"]
