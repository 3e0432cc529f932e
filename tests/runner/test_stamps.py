"""Numbers of many files, asked for by threads or processes: the same as one stat after the other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from clipsteer.runner import stamps as module
from clipsteer.runner.stamps import Stamped, all_stamps

ODD = ["a\nb.jpg", "ü.jpg", "sp ace.jpg", os.fsdecode(b"\xff\xfe.jpg")]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Names of files, among them a folder, a missing one and names that no text holds."""
    names = [f"{n:03d}.jpg" for n in range(60)]
    for name in [*names, *ODD]:
        (tmp_path / name).write_bytes(bytes(len(name)))
    (tmp_path / "folder").mkdir()
    return sorted([*names, *ODD, "folder", "030.missing"])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is worth it for ten files, and there are cores for four."""
    monkeypatch.setattr(module, "_CHUNK", 3)
    monkeypatch.setattr(module, "_EACH", 10)
    monkeypatch.setattr(module, "_FAR", 1.0)  # the disk is near, however busy the machine is
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


def expected(root: Path, names: list[str]) -> Stamped:
    there = [name for name in names if (root / name).is_file()]
    stats = [os.stat(root / name) for name in there]
    numbers = [f"{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}" for s in stats]
    return Stamped(there, numbers, max(s.st_ctime_ns for s in stats))


def started(monkeypatch: pytest.MonkeyPatch, program: str | None = None) -> list[Any]:
    """The processes that are started from now on, of another program if one is given."""
    found: list[Any] = []
    true = subprocess.Popen

    def popen(words: list[str], **options: Any) -> Any:
        found.append(true([program] if program else words, **options))
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    return found


@pytest.mark.parametrize(("threads", "processes"), [(1, 0), (2, 1), (8, 3)])
def test_processes_find_what_one_stat_after_the_other_does(
    tmp_path: Path,
    files: list[str],
    threads: int,
    processes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = started(monkeypatch)
    assert all_stamps(str(tmp_path), files, threads) == expected(tmp_path, files)
    assert len(found) == processes
    assert all(process.returncode == 0 for process in found)


def test_threads_ask_where_answers_come_from_far_away(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FAR", -1.0)
    found = started(monkeypatch)
    assert all_stamps(str(tmp_path), files, 4) == expected(tmp_path, files)
    assert not found


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("", 0),
        ("", 1),
        ("1 5\\0a.jpg\\0001 2 3 4\\0end", 1),
        ("1 5\\0a.jpg\\0001 2 3", 0),
        ("hello", 0),
        ("1 5", 0),
    ],
)
def test_a_process_that_does_not_answer_is_done_without(
    tmp_path: Path, files: list[str], answer: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\nprintf '{answer}'\nexit {status}\n")
    program.chmod(0o755)
    found = started(monkeypatch, str(program))
    assert all_stamps(str(tmp_path), files, 4) == expected(tmp_path, files)
    assert [process.returncode for process in found] == [status] * 3


def test_where_no_process_starts_this_one_asks(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = started(monkeypatch, "/nonexistent/python")
    assert all_stamps(str(tmp_path), files, 4) == expected(tmp_path, files)
    assert not found


def test_questions_and_answers_longer_than_a_pipe_holds(tmp_path: Path) -> None:
    names = [f"{n:0200d}" for n in range(1000)]
    for name in names:
        (tmp_path / name).touch()
    assert all_stamps(str(tmp_path), names, 2) == expected(tmp_path, names)


@pytest.mark.parametrize("place", [0, 5, -1])
def test_what_the_system_does_not_say_is_an_error_of_this_process(
    tmp_path: Path, files: list[str], place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "circle").symlink_to("circle")
    files.insert(place % (len(files) + 1), "circle")  # first chunk, own share, another's
    found = started(monkeypatch)
    with pytest.raises(OSError, match="circle"):
        all_stamps(str(tmp_path), files, 4)
    assert all(process.returncode is not None for process in found)


def test_no_files_at_all(tmp_path: Path) -> None:
    assert all_stamps(str(tmp_path), [], 4) == Stamped([], [], 0)
    assert all_stamps(str(tmp_path), ["a", "b"] * 30, 4) == Stamped([], [], 0)
